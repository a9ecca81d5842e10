"""Audit: scan all stages, reconcile, keep the run. What the CLI, the Spark job and the DAG call.

A stage that cannot be looked at does not keep the others from being audited: its error comes along
with the report, in which it is unknown.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from fidelity.config import Engine, Pipeline
from fidelity.edges import path
from fidelity.errors import FidelityError, StoreError
from fidelity.report import Report, iso
from fidelity.scan import ScanResult
from fidelity.scan import scan as look
from fidelity.scan import something_new as news
from fidelity.store import Snapshot, Store, check_spec, checks, runs
from fidelity.units import LedgerRow

if TYPE_CHECKING:  # imported once they are needed: a scan starts without them
    from fidelity.check.checked import Checked
    from fidelity.trace.whereabouts import Whereabouts

Progress = Callable[[str, int, int], None]
"""Told (stage, bytes done, bytes planned)."""
KnownAt = int | datetime | None
"""A version of the ledger, a moment, or now."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A report, and what went wrong on the way to it without keeping it from being made."""

    report: Report
    errors: tuple[FidelityError, ...] = ()


def opened_store(pipeline: Pipeline, create: bool = False) -> Store:
    """The pipeline's store. Raises StoreError."""
    return Store.open(pipeline.store, pipeline.name, pipeline.store_options, create=create)


def _snapshot(pipeline: Pipeline, known_at: KnownAt) -> tuple[Store, Snapshot]:
    return Store.seen(pipeline.store, pipeline.name, pipeline.store_options, known_at)


def scan(
    pipeline: Pipeline,
    *,
    stages: Sequence[str] = (),
    as_of: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> ScanResult:
    """Read what is new at the stages (none: at all) and commit what was observed.

    Raises ConfigError, StoreError and EngineError; why stages could not be looked at is in the
    result's errors.
    """
    store = opened_store(pipeline, create=True)
    return look(pipeline, store, stages or None, as_of, workers, progress, engine)


def something_new(pipeline: Pipeline) -> tuple[str, ...]:
    """The stages that have something to scan, those out of reach among them.

    Raises ConfigError and StoreError.
    """
    return tuple(news(pipeline, opened_store(pipeline, create=True)))


def reconcile(
    pipeline: Pipeline,
    *,
    as_of: int | None = None,
    known_at: KnownAt = None,
    keep: bool = True,
    run: str | None = None,
) -> Answer:
    """Close the books over what was observed up to now, or as it was known at a version or moment.

    Args:
        as_of: decides what has settled, microseconds; default now.
        run: the run's name, which replaces a run that was kept under it; default a new one.
        keep: keep the run in the store, and what had to be traced for it. If the run cannot be
            kept, that is one of the answer's errors.

    Raises:
        ConfigError: the store holds what was read by another record spec or window.
        StoreError: there is no store, or it cannot be read.
    """
    from fidelity import reconcile as books
    from fidelity.trace import trace
    from fidelity.trace.traces import Traces

    store, snapshot = _snapshot(pipeline, known_at)
    ledger = ledger_of(pipeline, store, snapshot)
    memory = Traces(store)
    report = books.reconcile(
        pipeline,
        ledger,
        snapshot.observations_at_hand(),
        as_of=_now() if as_of is None else as_of,
        run=run or runs.new_run(),
        known_at=None if known_at is None else str(snapshot.version),
        tracer=lambda reference, stage, scopes, ids: trace(
            pipeline, reference, stage, ledger, scopes, ids
        ),
        memory=memory,
    )
    try:
        if keep:
            memory.save()
            runs.keep(store, report)
    except StoreError as error:
        return Answer(report, (error,))
    return Answer(report)


def audit(
    pipeline: Pipeline,
    *,
    stages: Sequence[str] = (),
    as_of: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    engine: Engine | None = None,
    run: str | None = None,
) -> Answer:
    """Scan the stages and those that they come from (none: all), reconcile, keep the run.

    `run` names the run, as in `reconcile`. Raises ConfigError, StoreError, EngineError.
    """
    needed = {each.name for name in stages for each in path(pipeline, name)}
    looked = [stage.name for stage in pipeline.stages if stage.name in needed]
    found = scan(
        pipeline, stages=looked, as_of=as_of, workers=workers, progress=progress, engine=engine
    )
    answer = reconcile(pipeline, as_of=as_of, run=run)
    return Answer(answer.report, (*found.errors, *answer.errors))


def kept(pipeline: Pipeline, *, run: str | None = None, as_of: int | None = None) -> Answer:
    """A run that was kept: this one, the last one, or the last one up to a time.

    Raises UsageError, StoreError.
    """
    return Answer(runs.kept(opened_store(pipeline), run, as_of))


def check(
    pipeline: Pipeline,
    *,
    run: str | None = None,
    as_of: int | None = None,
    stages: Sequence[str] = (),
    window: tuple[int, int] | None = None,
    keep: bool = True,
) -> "Checked":
    """Hold a kept run (this one, the last one, or the last one up to a time) against the targets.

    Args:
        stages: only these (none: all).
        window: only windows that start in [from, to), microseconds.
        keep: keep Great Expectations' result and Data Docs with the run; if that cannot be, it is
            one of the answer's errors.

    Raises:
        ConfigError: an expectation is not one of Great Expectations', or cannot be judged.
        UsageError: there is no such run, or Great Expectations is not installed.
        StoreError: the store, or the run in it, cannot be read.
    """
    from fidelity.check import check as judge
    from fidelity.check.page import PAGE, files_of
    from fidelity.report.narrow import narrowed

    store = opened_store(pipeline)
    report = narrowed(runs.kept(store, run, as_of), stages, window)
    found = judge(pipeline, report)
    if not keep:
        return found
    try:
        folder = checks.keep(store, found.run, _part(stages, found.within), files_of(found))
    except StoreError as error:
        return replace(found, errors=(error,))
    return replace(found, place=f"{folder}/{PAGE}")


def _part(stages: Sequence[str], within: tuple[int, int] | None) -> str:
    """The name of a part of a run: its windows and its stages."""
    times = [] if within is None else ["".join(c for c in iso(at) if c.isalnum()) for at in within]
    return "_".join([*times, *sorted(set(stages))])


def where_seen(
    pipeline: Pipeline,
    id: int,
    *,
    stages: Sequence[str] = (),
    window: tuple[int, int] | None = None,
    known_at: KnownAt = None,
) -> "Whereabouts":
    """At which stages the record with an id was seen. Raises StoreError."""
    from fidelity.trace.whereabouts import whereabouts

    store, snapshot = _snapshot(pipeline, known_at)
    ledger = ledger_of(pipeline, store, snapshot)
    return whereabouts(pipeline, snapshot, ledger, id, stages, window)


def ledger_of(pipeline: Pipeline, store: Store, snapshot: Snapshot) -> list[LedgerRow]:
    """The rows in force of all stages.

    Raises:
        ConfigError: they were made by another record spec or window than the pipeline has now.
    """
    ledger = []
    found = snapshot.ledgers()
    for stage in pipeline.stages:
        rows = found.get(stage.name, [])
        check_spec(stage.name, stage.record.digest(pipeline.window), rows, store)
        ledger += rows
    return ledger


def _now() -> int:
    return time.time_ns() // 1000
