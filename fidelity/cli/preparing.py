"""`init` and `check-config`: to a pipeline file that says what was meant."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fidelity.cli import options, output
from fidelity.errors import UsageError

if TYPE_CHECKING:
    from rich.tree import Tree

    from fidelity.config import Pipeline, Stage

TEMPLATE = """\
# A pipeline that Fidelity audits. What was understood: fidelity check-config FILE
# Every key: docs/configuration.md. ${NAME} and ${NAME:-default} are read from the environment.
# Relative paths are taken from the folder that this file is in.

pipeline: my-logs
store: ./fidelity-store     # what was observed: a local path, s3://bucket/prefix, hdfs://host/path

window: 10m                 # the books are kept for each 10 minutes of event time, in UTC
settle: 30m                 # how late a record may come; until then a missing one is in flight

# Where the values of a record are found. This is said once, a stage may say otherwise.
record:
  format: json              # json lines, text lines, or parquet
  id: fid                   # the 4-byte id that `fidelity stamp` embeds; `id: content` if none
  time: ts                  # event time: ISO 8601, or seconds, ms, us, ns since 1970
  stream: type              # the kind of record
  origin: host              # who produced it

# From the source (the one without `after`) to the sink.
stages:
  source:
    kind: files
    path: logs/*.jsonl*     # also .gz and .zst; rotated files are recognised
  queue:
    kind: kafka
    after: source
    brokers: ${KAFKA_BROKERS:-localhost:9092}
    topic: logs
    # options:              # client settings; secrets are never shown
    #   security.protocol: SASL_SSL
    #   sasl.mechanism: SCRAM-SHA-256
    #   sasl.username: audit
    #   sasl.password: ${KAFKA_PASSWORD}
  lake:
    kind: files
    after: queue
    path: lake/**/*.parquet # or s3://bucket/logs/**/*.parquet
    # keep: {type: [access, audit]}   # only these pass on purpose: what else is missing is no loss
    # sample: 1/100                   # only ids divisible by 100 pass on purpose

targets:                    # what decides between pass and fail, per window
  completeness: 100%
  duplicates: 0%
  # streams: {debug: {completeness: 99.9%}}
"""


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("init")(init)
    app.command("check-config")(check_config)


def init(
    file: Annotated[Path, typer.Argument(help="The file to write.")] = Path("pipeline.yaml"),
) -> int:
    """Write a commented pipeline file to start from."""
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(TEMPLATE)
    except FileExistsError:
        action = "Give another name, or remove it first."
        raise UsageError("is there already.", where=str(file), action=action) from None
    except OSError as error:
        what = f"cannot be written: {error.strerror or error}."
        raise UsageError(what, where=str(file), action="Give another name.") from None
    output.note(f"Wrote {file}. Say where your stages are, then: fidelity check-config {file}")
    return 0


def check_config(
    pipeline: options.PipelineFile,
    json: options.AsJson = False,
    file: options.Output = None,
) -> int:
    """Print what was understood of a pipeline file, secrets masked."""
    from fidelity.config import load
    from fidelity.config.showing import shown

    output.check(file, pipeline)
    understood = load(pipeline)
    if understood.expectations:
        _check_expectations(understood)
    with output.opened(file) as out:
        if json:
            output.as_json(shown(understood), out)
        else:
            _print(understood, out)
    return 0


def _check_expectations(pipeline: "Pipeline") -> None:
    """Their names and arguments, where Great Expectations is installed to tell."""
    from importlib.util import find_spec

    if find_spec("great_expectations") is None:
        output.note("Expectations are not checked here: that takes the extra `checks`.")
        return
    from fidelity.check.own import refuse_unknown

    refuse_unknown(pipeline)


def _print(pipeline: "Pipeline", out: Any) -> None:
    from fidelity.config.showing import shown

    words = shown(pipeline)
    console = output.console(out)
    for key in ("pipeline", "store", "window", "settle"):
        console.print(f"{key:10}{words[key]}", soft_wrap=True)
    after = "" if pipeline.retire_after is None else " of silence"
    console.print(f"{'retire':10}{words['retire_after']}{after}")
    console.print(f"{'workers':10}{pipeline.workers or 'one for each core'}")
    engine = words["engine"]
    master = f" on {engine['master']}" if "master" in engine else ""
    console.print(f"{'engine':10}{engine['kind']}{master}")
    for name, value in engine.get("conf", {}).items():
        console.print(f"{'':10}{name} = {value}", soft_wrap=True)
    for name, value in words["options"].items():
        console.print(f"{'options':10}{name} = {value}", soft_wrap=True)
    targets = words["targets"]
    streams = targets.pop("streams")
    for name, shares in {"": targets, **streams}.items():
        told = ", ".join(f"{key} {_flat(share)}" for key, share in shares.items())
        console.print(f"{'targets':10}{f'{name}: ' if name else ''}{told}", soft_wrap=True)
    for line in _published(words.get("publish", {})):
        console.print(f"{'publish':10}{line}", soft_wrap=True)
    for each in pipeline.expectations:
        where = ", ".join((each.over, *each.stages, *each.streams))
        console.print(f"{'expects':10}{each.name} ({where})", soft_wrap=True)
    console.print()
    console.print(_tree(pipeline, words["stages"]), soft_wrap=True)


def _published(words: dict[str, Any], before: str = "") -> Iterator[str]:
    """`star s3://...`, a line for each destination and option."""
    for name, value in words.items():
        if isinstance(value, dict):
            yield from _published(value, f"{before}{name} ")
        else:
            yield f"{before}{name} {value}"


def _flat(value: Any) -> str:
    """A target in one line: `99.9%`, or `p99 5m, stages lake p99 1h`."""
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{key} {_flat(held)}" for key, held in value.items())


def _tree(pipeline: "Pipeline", words: dict[str, Any]) -> "Tree":
    from rich.text import Text
    from rich.tree import Tree

    nodes: dict[str, Tree] = {}
    for stage in pipeline.stages:
        label = Text("\n").join(Text(line) for line in _lines(stage, words[stage.name]))
        if stage.after is None:
            nodes[stage.name] = Tree(label)
        else:
            nodes[stage.name] = nodes[stage.after].add(label)
    return nodes[pipeline.source.name]


def _lines(stage: "Stage", words: dict[str, Any]) -> list[str]:
    """A stage: its name and kind, where it is, how its records are read, its contract."""
    from fidelity.config.record import PARTS
    from fidelity.config.showing import place_text

    places = words.get("path") or [f"{words['brokers']}  topic {', '.join(words['topic'])}"]
    lines = [f"{stage.name}  ({stage.kind})", *(f"  {place}" for place in places)]
    record = [f"{part} {place_text(getattr(stage.record, part))}" for part in PARTS]
    lines.append(f"  {stage.record.format}: {', '.join(record)}")
    for name, kept in words.get("keep", {}).items():
        lines.append(f"  keeps only {name} {', '.join(kept)}")
    if stage.sample > 1:
        lines.append(f"  keeps only a sample: {words['sample']}, by id")
    lines += [f"  {name} = {value}" for name, value in words.get("options", {}).items()]
    return lines
