"""`scan`, `reconcile`, `audit`, `report` and `show`: looking, and telling what was found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fidelity.cli import numbers, options, output
from fidelity.errors import FidelityError, UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from fidelity.audit import Answer
    from fidelity.config import Engine, Pipeline
    from fidelity.report import Report


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (audit, scan, reconcile, report, show):
        app.command()(command)


def audit(
    pipeline: options.PipelineFile,
    json: options.AsJson = False,
    stage: options.Stages = None,
    window: options.InWindow = None,
    as_of: options.AsOf = None,
    workers: options.Workers = None,
    engine: options.EngineKind = None,
    master: options.Master = None,
    conf: options.Conf = None,
    top: options.Top = 10,
    quiet: options.Quiet = False,
    file: options.Output = None,
) -> int:
    """Scan what is new at every stage, reconcile, keep the run and print the report."""
    asked = understood(pipeline, stage, window, as_of, file)
    chosen = options.engine(engine, master, conf, asked.pipeline.engine)
    from fidelity import audit as made
    from fidelity.cli.progress import Progress

    with Progress(quiet) as shown:
        answer = made.audit(
            asked.pipeline,
            stages=asked.stages,
            as_of=asked.as_of,
            workers=workers,
            progress=shown,
            engine=chosen,
        )
    return _tell(answer, asked, json, top, file)


def scan(
    pipeline: options.PipelineFile,
    json: options.AsJson = False,
    stage: options.Stages = None,
    as_of: options.AsOf = None,
    workers: options.Workers = None,
    engine: options.EngineKind = None,
    master: options.Master = None,
    conf: options.Conf = None,
    quiet: options.Quiet = False,
    file: options.Output = None,
) -> int:
    """Read what is new at each stage and keep what was observed."""
    asked = understood(pipeline, stage, None, as_of, file)
    chosen = options.engine(engine, master, conf, asked.pipeline.engine)
    return scan_and_tell(asked, chosen, json, workers, quiet, file)


def scan_and_tell(
    asked: "Asked",
    engine: "Engine",
    json: bool,
    workers: int | None,
    quiet: bool,
    file: Path | None,
) -> int:
    """Scan and tell what was read; the exit status. The job for spark-submit calls the same."""
    from fidelity import audit as made
    from fidelity.cli import scanned
    from fidelity.cli.progress import Progress

    with Progress(quiet) as shown:
        found = made.scan(
            asked.pipeline,
            stages=asked.stages,
            as_of=asked.as_of,
            workers=workers,
            progress=shown,
            engine=engine,
        )
    with output.opened(file) as out:
        if json:
            output.as_json(scanned.document(found), out)
        else:
            out.writelines(f"{line}\n" for line in scanned.as_lines(found))
    return told(found.errors)


def reconcile(
    pipeline: options.PipelineFile,
    json: options.AsJson = False,
    stage: options.Stages = None,
    window: options.InWindow = None,
    as_of: options.AsOf = None,
    known_at: options.KnownAt = None,
    top: options.Top = 10,
    file: options.Output = None,
) -> int:
    """Close the books over what was observed so far, without looking for anything new."""
    asked = understood(pipeline, stage, window, as_of, file)
    known = options.version(known_at)
    from fidelity import audit as made

    answer = made.reconcile(asked.pipeline, as_of=asked.as_of, known_at=known)
    return _tell(answer, asked, json, top, file)


def report(
    pipeline: options.PipelineFile,
    json: options.AsJson = False,
    stage: options.Stages = None,
    window: options.InWindow = None,
    as_of: options.KeptAsOf = None,
    run: options.RunId = None,
    top: options.Top = 10,
    form: numbers.Form = None,
    origins: numbers.Origins = False,
    file: options.Output = None,
) -> int:
    """Print the last run's report again (with --as-of: the last run up to that time)."""
    numbers.check(form, origins, narrowing={"--json": json, "--stage": stage, "--window": window})
    options.kept(run, as_of)
    asked = understood(pipeline, stage, window, as_of, file)
    from fidelity import audit as made

    answer = made.kept(asked.pipeline, run=run, as_of=asked.as_of)
    if form is None:
        return _tell(answer, asked, json, top, file)
    with output.opened(file) as out:
        numbers.write(answer.report, form, origins, out)
    return _status(answer.report, answer.errors)


def show(
    pipeline: options.PipelineFile,
    record: Annotated[
        str | None,
        typer.Option("--id", metavar="HEX", help="Where was the record with this id seen?"),
    ] = None,
    window: options.InWindow = None,
    json: options.AsJson = False,
    stage: options.Stages = None,
    as_of: options.AsOf = None,
    known_at: options.KnownAt = None,
    file: options.Output = None,
) -> int:
    """Show one window's books at every stage, or where one id was seen.

    With --id the units that may hold it are read again; --window and --stage say where to look.
    """
    asked = understood(pipeline, stage, window, as_of, file)
    known = options.version(known_at)
    if record is not None:
        return _show_id(asked, options.record_id(record), known, json, file)
    if asked.window is None:
        action = "For instance: --window 2026-01-31T10:20, or --id 0012abcd."
        raise UsageError("say what to show: --window or --id.", where="show", action=action)
    from fidelity import audit as made

    answer = made.reconcile(asked.pipeline, as_of=asked.as_of, known_at=known, keep=False)
    return _tell(answer, asked, json, None, file)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command line asks about."""

    pipeline: "Pipeline"
    stages: tuple[str, ...]
    window: options.Window | None
    as_of: int | None


def understood(
    file: Path,
    stages: Sequence[str] | None,
    window: str | None,
    as_of: str | None,
    to: Path | None,
) -> Asked:
    """Understood before anything heavy is imported, so that a mistake is told at once."""
    from fidelity.config import load

    output.check(to, file)
    pipeline = load(file)
    return Asked(
        pipeline,
        tuple(pipeline.stage(name).name for name in stages or ()),
        options.window(window, pipeline.window),
        options.moment(as_of, "--as-of"),
    )


def _show_id(
    asked: Asked, record: int, known: "int | datetime | None", as_json: bool, file: Path | None
) -> int:
    from fidelity import audit as made
    from fidelity.report import terminal

    seen = made.where_seen(
        asked.pipeline, record, stages=asked.stages, window=asked.window, known_at=known
    )
    with output.opened(file) as out:
        if as_json:
            output.as_json(seen.document(), out)
        else:
            terminal.whereabouts(seen, output.console(out))
    return 2 if seen.untold else 0 if seen.sightings else 1


def _tell(answer: "Answer", asked: Asked, as_json: bool, top: int | None, file: Path | None) -> int:
    """Print the report, or (no `top`) its windows. 2 if there were errors, else its verdict"""
    from fidelity.report import json, narrow, terminal

    narrowed = narrow.narrowed(answer.report, asked.stages, asked.window)
    with output.opened(file) as out:
        if as_json:
            json.write(narrowed, out)
        elif top is None:
            terminal.windows(narrowed, output.console(out))
        else:
            terminal.render(narrowed, output.console(out), top)
    return _status(narrowed, answer.errors)


def _status(report: "Report", errors: Sequence[FidelityError]) -> int:
    return told(errors) or (0 if report.verdict in ("pass", "pending") else 1)


def told(errors: Sequence[FidelityError]) -> int:
    """The errors on stderr, after the answer; the worst exit status of theirs."""
    from fidelity.config.masking import mask

    for error in errors:
        output.note(f"fidelity: {mask(str(error))}")
    return max((error.exit_code for error in errors), default=0)
