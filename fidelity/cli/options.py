"""The options that several commands share, and what their values mean."""

import contextlib
import os
import re
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fidelity.errors import UsageError

if TYPE_CHECKING:
    from fidelity.config import Engine

Window = tuple[int, int]
"""[from, to) in microseconds UTC."""


def _stage_names(incomplete: str) -> list[str]:
    """Completion: the stages of the pipeline file that stands on the command line already."""
    # A line that ends in `--stage` is not parsed further, so its words are taken as the shell
    # gave them: bash in the one variable, other shells in the other.
    line = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")
    with contextlib.suppress(Exception):  # completion must never print an error into the prompt
        from fidelity.config.document import parse

        file = next(path for path in map(Path, shlex.split(line)[2:]) if path.is_file())
        value: Any = parse(file).value
        return [str(name) for name in value["stages"] if str(name).startswith(incomplete)]
    return []


PipelineFile = Annotated[
    Path, typer.Argument(metavar="PIPELINE", help="The pipeline file (YAML).", show_default=False)
]
File = Annotated[Path, typer.Option("--pipeline", metavar="FILE", help="The pipeline file (YAML).")]
"""The same, where the command is spark-submit's."""
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]
AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="TIME",
        help="The clock that decides which windows have settled. ISO 8601; UTC if it has no "
        "offset. Default: now.",
    ),
]
KeptAsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="TIME",
        help="The last kept run up to this time. ISO 8601; UTC if it has no offset. Default: the "
        "last one.",
    ),
]
"""The same option, of commands that look at what was kept."""
KnownAt = Annotated[
    str | None,
    typer.Option(
        "--known-at",
        metavar="TIME|VERSION",
        help="Answer from what the store knew at that time, or at that version of its ledger.",
    ),
]
Stages = Annotated[
    list[str] | None,
    typer.Option(
        "--stage",
        metavar="NAME",
        help="Only this stage. May be repeated.",
        autocompletion=_stage_names,
    ),
]
InWindow = Annotated[
    str | None,
    typer.Option(
        "--window",
        metavar="TIME[/TIME]",
        help="Only the window that holds this time, or the windows between two times.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=1,
        help="Processes that read; of Spark, cores to make tasks for. Default: as in the file.",
    ),
]
EngineKind = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="local|spark",
        help="Who reads: processes here, or Spark's tasks. Default: as in the file.",
    ),
]
Master = Annotated[
    str | None,
    typer.Option(
        "--master",
        metavar="URL",
        help="Spark's master, for instance spark://host:7077, yarn or local[4].",
    ),
]
Conf = Annotated[
    list[str] | None,
    typer.Option("--conf", metavar="NAME=VALUE", help="A setting of Spark's. May be repeated."),
]
RunId = Annotated[
    str | None,
    typer.Option("--run", metavar="RUN", help="The kept run. Default: the last one."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no remarks on stderr.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write to a file instead of stdout."),
]
Top = Annotated[
    int, typer.Option("--top", metavar="N", min=0, help="How many of the worst windows to list.")
]


def moment(text: str | None, option: str) -> int | None:
    """Microseconds of an ISO 8601 time; no offset means UTC. Raises UsageError."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        action = "Write it as 2026-01-31T10:20 or 2026-01-31T10:20:00+01:00."
        raise UsageError(f"`{text}` is not a time.", where=option, action=action) from None
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def kept(run: str | None, as_of: str | None) -> None:
    """Refuse a run that is named and looked for by time as well. Raises UsageError."""
    if run is not None and as_of is not None:
        action = "Say --run for the one, or --as-of for the last one up to a time."
        raise UsageError("both choose a run.", where="--run and --as-of", action=action)


def window(text: str | None, length: int) -> Window | None:
    """The windows that `--window` names, as [from, to) on the grid of windows of this length."""
    if text is None:
        return None
    first, slash, last = text.partition("/")
    start = moment(first, "--window") or 0
    end = moment(last, "--window") or 0 if slash else start + 1
    if end <= start:
        raise UsageError(f"`{text}` ends before it begins.", where="--window")
    return start // length * length, -(-end // length) * length


def engine(
    kind: str | None, master: str | None, conf: Sequence[str] | None, given: "Engine"
) -> "Engine":
    """The pipeline file's engine, as the command line changes it. Raises UsageError."""
    from fidelity.config import Engine
    from fidelity.config.model import ENGINES
    from fidelity.config.values import nearest

    if kind is not None and kind not in ENGINES:
        action = nearest(kind, ENGINES)
        raise UsageError(
            f"`{kind}` is not one of {', '.join(ENGINES)}.", where="--engine", action=action
        )
    chosen = given if kind in (None, given.kind) else Engine.model_validate({"kind": kind})
    if chosen.kind == "local" and (master or conf):
        where = "--master" if master else "--conf"
        raise UsageError("this is for Spark alone.", where=where, action="Say --engine spark, too.")
    settings = dict(_setting(text) for text in conf or ())
    return chosen.model_copy(
        update={"master": master or chosen.master, "conf": {**chosen.conf, **settings}}
    )


def _setting(text: str) -> tuple[str, str]:
    from fidelity.config.masking import is_secret, remember

    name, equals, value = text.partition("=")
    if not equals or not name.startswith("spark."):
        action = "Write it as spark.executor.memory=4g."
        raise UsageError("not a setting of Spark's.", where="--conf", action=action)
    if is_secret(name):
        remember(value)
    return name, value


def record_id(text: str) -> int:
    """An id of 8 hex digits. Raises UsageError."""
    if not re.fullmatch(r"(0x)?[0-9a-fA-F]{8}", text):
        action = "An id is 8 hex digits, as 0012abcd."
        raise UsageError(f"`{text}` is not an id.", where="--id", action=action)
    return int(text, 16)


def version(text: str | None) -> int | datetime | None:
    """A version of the store, or a time. Raises UsageError."""
    if text is None or text.isdecimal():
        return None if text is None else int(text)
    time = moment(text, "--known-at") or 0
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)
