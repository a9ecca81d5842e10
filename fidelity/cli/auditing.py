"""`scan`, `reconcile`, `audit`, `report` and `show`: looking, and telling what was found."""

from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from fidelity.cli import options, output
from fidelity.errors import FidelityError, UsageError

if TYPE_CHECKING:
    from fidelity.audit import Answer
    from fidelity.config import Pipeline
    from fidelity.report import Report

RunId = Annotated[
    str | None,
    typer.Option("--run", metavar="RUN", help="The run to show. Default: the last one."),
]


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
    top: options.Top = 10,
    quiet: options.Quiet = False,
    file: options.Output = None,
) -> int:
    """Scan what is new at every stage, reconcile, keep the run and print the report."""
    from fidelity.audit import audit as made
    from fidelity.cli.progress import Progress

    loaded, stages = _loaded(pipeline, stage)
    shown = options.window(window, loaded.window)
    with Progress(quiet) as progress:
        answer = made(
            loaded,
            stages=stages,
            as_of=options.moment(as_of, "--as-of"),
            workers=workers,
            progress=progress,
        )
    return _tell(answer, stages, shown, json, top, file)


def scan(
    pipeline: options.PipelineFile,
    json: options.AsJson = False,
    stage: options.Stages = None,
    as_of: options.AsOf = None,
    workers: options.Workers = None,
    quiet: options.Quiet = False,
    file: options.Output = None,
) -> int:
    """Read what is new at each stage and keep what was observed."""
    from fidelity.audit import scan as made
    from fidelity.cli.progress import Progress
    from fidelity.cli.scanned import as_lines, document

    loaded, stages = _loaded(pipeline, stage)
    with Progress(quiet) as progress:
        found = made(
            loaded,
            stages=stages,
            as_of=options.moment(as_of, "--as-of"),
            workers=workers,
            progress=progress,
        )
    with output.opened(file) as out:
        if json:
            output.as_json(document(found), out)
        else:
            for line in as_lines(found):
                out.write(f"{line}\n")
    return _told(found.errors)


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
    from fidelity.audit import reconcile as made

    loaded, stages = _loaded(pipeline, stage)
    shown = options.window(window, loaded.window)
    answer = made(
        loaded,
        as_of=options.moment(as_of, "--as-of"),
        known_at=options.version(known_at),
    )
    return _tell(answer, stages, shown, json, top, file)


def report(
    pipeline: options.PipelineFile,
    json: options.AsJson = False,
    stage: options.Stages = None,
    window: options.InWindow = None,
    as_of: options.AsOf = None,
    run: RunId = None,
    top: options.Top = 10,
    file: options.Output = None,
) -> int:
    """Print the last run's report again (with --as-of: the last run up to that time)."""
    from fidelity.audit import kept

    loaded, stages = _loaded(pipeline, stage)
    shown = options.window(window, loaded.window)
    answer = kept(loaded, run=run, as_of=options.moment(as_of, "--as-of"))
    return _tell(answer, stages, shown, json, top, file)


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
    from fidelity.audit import reconcile as made
    from fidelity.audit import whereabouts
    from fidelity.report import narrow, terminal
    from fidelity.report.json import document

    loaded, stages = _loaded(pipeline, stage)
    shown = options.window(window, loaded.window)
    known = options.version(known_at)
    if record is not None:
        seen = whereabouts(loaded, options.record_id(record), stages, shown, known)
        with output.opened(file) as out:
            if json:
                output.as_json(seen.document(), out)
            else:
                terminal.whereabouts(seen, output.console(out))
        return _told(seen.errors)
    if shown is None:
        action = "For instance: --window 2026-01-31T10:20, or --id 0012abcd."
        raise UsageError("say what to show: --window or --id.", where="show", action=action)
    answer = made(loaded, as_of=options.moment(as_of, "--as-of"), known_at=known, keep=False)
    narrowed = narrow.narrowed(answer.report, stages, shown)
    with output.opened(file) as out:
        if json:
            output.as_json(document(narrowed), out)
        else:
            terminal.windows(narrowed, output.console(out))
    return _status(narrowed, answer.errors)


def _loaded(file: Path, stages: Sequence[str] | None) -> tuple["Pipeline", tuple[str, ...]]:
    """The pipeline, and the stages that were named, which it has."""
    from fidelity.config import load

    pipeline = load(file)
    return pipeline, tuple(pipeline.stage(name).name for name in stages or ())


def _tell(
    answer: "Answer",
    stages: tuple[str, ...],
    window: options.Window | None,
    as_json: bool,
    top: int,
    file: Path | None,
) -> int:
    from fidelity.report import narrow

    narrowed = narrow.narrowed(answer.report, stages, window)
    with output.opened(file) as out:
        _write(narrowed, as_json, top, out)
    return _status(narrowed, answer.errors)


def _write(report: "Report", as_json: bool, top: int, out: IO[str]) -> None:
    if as_json:
        from fidelity.report.json import write

        write(report, out)
    else:
        from fidelity.report import terminal

        terminal.render(report, output.console(out), top)


def _status(report: "Report", errors: Sequence[FidelityError]) -> int:
    """2 if something could not be looked at, else what the verdict says."""
    return _told(errors) or (0 if report.verdict in ("pass", "pending") else 1)


def _told(errors: Sequence[FidelityError]) -> int:
    """The errors on stderr, after the answer; the worst exit status of theirs."""
    from fidelity.config.masking import mask

    for error in errors:
        output.note(f"fidelity: {mask(str(error))}")
    return max((error.exit_code for error in errors), default=0)
