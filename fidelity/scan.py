"""Scan: plan what is new at each stage, have it read, commit what was read, stage by stage.

Invariant: a stage's commit holds all that became of what was planned from the ledger it is based
on. Of two scans at once the later conflicts: it looks again, and keeps what is still new.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from fidelity import sources
from fidelity.config import Engine, Pipeline, Stage, mask
from fidelity.edges import samples_of
from fidelity.errors import SourceError, StoreError
from fidelity.scheduler import Scheduler, grouped, scheduler
from fidelity.sources import Plan
from fidelity.store import Conflict, DataFile, Store, check_spec
from fidelity.store.merging import gathered
from fidelity.tasks import ScanTask, ScanTaskResult
from fidelity.units import LOOKED, LedgerRow, Status, Unit

__all__ = ["ScanResult", "StageScan", "scan", "something_new"]

Progress = Callable[[str, int, int], None]
"""Told (stage, bytes done, bytes planned)."""

_ROUNDS = 50


@dataclass(frozen=True, slots=True)
class StageScan:
    """What a scan did at one stage."""

    stage: str
    units: int  # read
    records: int
    bytes: int
    unreadable: tuple[LedgerRow, ...]
    noted: tuple[LedgerRow, ...]  # vanished, truncated, trimmed: what needed no reading
    commit: int  # the stage's commit that holds all this
    error: SourceError | None  # the stage could not be looked at, or not to the end


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a scan did, stage by stage, and the ledger's version that shows all of it."""

    scan: str
    scanned_at: int  # microseconds
    version: int
    stages: tuple[StageScan, ...]

    @property
    def errors(self) -> tuple[SourceError, ...]:
        """Why stages could not be looked at."""
        return tuple(stage.error for stage in self.stages if stage.error is not None)


def something_new(pipeline: Pipeline, store: Store) -> Iterator[str]:
    """The stages at which a scan would now find something to do, a stage out of reach among them.

    Raises ConfigError, StoreError.
    """
    for stage in pipeline.stages:
        ledger = store.ledger(stage.name)
        check_spec(stage.name, stage.record.digest(pipeline.window), ledger, store)
        try:
            plan = sources.plan(stage, ledger, time.time_ns() // 1000, pipeline.settle)
        except SourceError:
            yield stage.name
        else:
            if plan.units or plan.rows:
                yield stage.name


def scan(
    pipeline: Pipeline,
    store: Store,
    stages: Sequence[str] | None = None,
    as_of: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> ScanResult:
    """Read what is new at each stage, and commit what was observed.

    Args:
        pipeline: what to look at.
        store: the pipeline's store.
        stages: names of the stages to look at, all if none are given.
        as_of: a clock that is ahead of ours, microseconds.
        workers: processes that read; by default as the pipeline says, or one for each core.
        progress: told of each stage's bytes.
        engine: who reads; by default as the pipeline says.

    A stage that cannot be looked at does not keep the others from it: see ScanResult.errors.

    Raises:
        ConfigError: the store holds what was read by another record spec or window.
        StoreError: the store cannot be read or written. Stages that were committed stay so.
        EngineError: Spark cannot be had, or gave a task up.
    """
    wanted = {pipeline.stage(name).name for name in stages or ()}
    # A stage is looked at after what it comes from: what it lacks then was there before.
    chosen = [stage for stage in pipeline.stages if not wanted or stage.name in wanted]
    now = max(time.time_ns() // 1000, as_of or 0)
    name = f"{_now()}-{secrets.token_hex(4)}"
    most = workers or pipeline.workers
    written: set[str] = set()
    committed: set[str] = set()
    looks = {stage.name: _Look(pipeline, stage, store, name, now, progress) for stage in chosen}
    try:
        with scheduler(engine or pipeline.engine, most, chosen) as work:
            for look in looks.values():
                work.submit(look.plan(work))
                look.settle(work, written, committed)
            for task, result in work.results():
                written.update([result.file.name] if result.file is not None else [])
                looks[task.stage.name].take(task, result, work)
                looks[task.stage.name].settle(work, written, committed)
    except BaseException:
        store.discard(name, keep=committed)
        raise
    if work.repeats:
        store.discard(name, keep=committed)
    else:
        store.observations_table.discard(written - committed)
    told = tuple(look.told for look in looks.values() if look.told is not None)
    return ScanResult(name, now, store.version(), told)


@dataclass(slots=True)
class _Look:
    """One stage, from its plan to its commit; planned again whenever another scan was first."""

    pipeline: Pipeline
    stage: Stage
    store: Store
    scan: str
    now: int
    progress: Progress | None
    round: int = 0
    scan_of_round: str = field(init=False)
    """A unit that is read twice in one scan is observed under two names, so it counts once; what
    was there when a stage was looked at again may not have been there for the stages after it."""
    ledger: list[LedgerRow] = field(default_factory=list)
    planned: Plan = field(default_factory=Plan)
    done: dict[str, tuple[LedgerRow, DataFile | None]] = field(default_factory=dict)  # by unit key
    error: SourceError | None = None
    waiting: int = 0  # tasks
    bytes_planned: int = 0
    bytes_done: int = 0
    told: StageScan | None = None

    def __post_init__(self) -> None:
        self.scan_of_round = self.scan

    def plan(self, work: Scheduler) -> list[ScanTask]:
        """Look at the stage; what is new and was not read in an earlier round, as tasks."""
        self.ledger = self.store.ledger(self.stage.name)
        check_spec(self.stage.name, self._spec, self.ledger, self.store)
        self.error = None
        try:
            settle = self.pipeline.settle
            self.planned = sources.plan(self.stage, self.ledger, self.now, settle)
        except SourceError as error:
            self.planned, self.error = Plan(), error
        self.done = {
            unit.key: self.done[unit.key]
            for unit in self.planned.units
            if unit.key in self.done and _still_new(unit, self.done[unit.key][0].unit)
        }
        todo = [unit for unit in self.planned.units if unit.key not in self.done]
        tasks = [self._task(units) for units in grouped(todo, work.parallelism)] if todo else []
        self.waiting += len(tasks)
        self.bytes_planned += sum(task.size for task in tasks)
        self._tell_progress()
        return tasks

    def take(self, task: ScanTask, result: ScanTaskResult, work: Scheduler) -> None:
        """Keep what a task found; once the stage is out of reach nothing more of it is begun."""
        self.waiting -= 1
        self.bytes_done += task.size
        self._tell_progress()
        for row in result.rows:
            self.done[row.unit.key] = (row, result.file)
        if result.error is not None:
            self.error = result.error
            self.waiting -= work.withdraw(self.stage.name)

    def settle(self, work: Scheduler, written: set[str], committed: set[str]) -> None:
        """Commit, once all tasks are done; note the files written, and those that count."""
        while self.waiting == 0 and self.told is None:
            rows, files = gathered(self.store, self.stage, self.scan_of_round, *self._outcome())
            based_on = max((row.commit for row in self.ledger), default=0)
            try:
                commit = self.store.commit(self.scan, self.stage.name, rows, files, based_on)
            except Conflict:
                written.update(file.name for file in files)
                self._go_round()
                work.submit(self.plan(work))
            else:
                committed.update(file.name for file in files)
                self.told = self._told(rows, commit)

    def _go_round(self) -> None:
        self.round += 1
        self.scan_of_round = f"{self.scan}-{_now()}"
        if self.round == _ROUNDS:
            raise StoreError(
                f"other scans of stage `{self.stage.name}` come in between again and again.",
                where=mask(self.store.uri),
                action="Let one scan of a stage run at a time.",
            )

    def _outcome(self) -> tuple[list[LedgerRow], list[DataFile]]:
        """The rows to commit, and the files that hold their observations.

        What was read before the stage went out of reach counts, unless something vanished as well:
        its successor may be what could not be read, so the two come together or not at all.
        """
        partial = self.error is not None and self.planned.rows
        done = [] if partial else list(self.done.values())
        noted = [] if self.error is not None else self.planned.rows
        rows = [self._signed(row) for row in noted]
        planned = {unit.key: unit for unit in self.planned.units}
        for row, _ in done:
            rows += self._bounded(row, planned[row.unit.key])
        rows.append(self._looked())
        files = {file.name: file for row, file in done if file is not None and row.status == "read"}
        return rows, list(files.values())

    def _looked(self) -> LedgerRow:
        status: Status = "read" if self.error is None else "unreadable"
        reason = "" if self.error is None else mask(str(self.error))
        unit = Unit(self.stage.name, LOOKED, "stage", "", 0, 0)
        return LedgerRow(unit, status, self.scan_of_round, self.now, self._spec, reason=reason)

    def _signed(self, row: LedgerRow) -> LedgerRow:
        return replace(
            row, scan=self.scan_of_round, spec=self._spec, scanned_at=max(row.scanned_at, self.now)
        )

    def _bounded(self, row: LedgerRow, planned: Unit) -> Iterator[LedgerRow]:
        """The row, with the event times of what it did not see, and a row for what it left."""
        settle = self.pipeline.settle
        rest = sources.rest_of(row, planned, self.ledger, settle)
        if row.status == "unreadable":
            first, last = sources.unseen(row.unit, self.ledger, settle)
            yield replace(row, unseen_from=first, unseen_to=last)
        elif self.stage.kind == "manifests" and _hides_claims(row):
            yield replace(row, unseen_from=0)
        elif rest is None or rest.unit.key != row.unit.key:
            yield row
        if rest is not None:
            yield rest

    def _task(self, units: list[Unit]) -> ScanTask:
        return ScanTask(
            self.scan_of_round,
            self.now,
            self._spec,
            self.stage,
            self.pipeline.window,
            samples_of(self.pipeline, self.stage.name),
            tuple(units),
            self.store,
        )

    def _told(self, rows: list[LedgerRow], commit: int) -> StageScan:
        read = [row for row in rows if row.status == "read" and row.unit.key != LOOKED]
        noted = {row.key for row in (noted.unit for noted in self.planned.rows)}
        return StageScan(
            stage=self.stage.name,
            units=len(read),
            records=sum(row.tally.records for row in read),
            bytes=sum(row.tally.bytes for row in read),
            unreadable=tuple(
                row for row in rows if row.status == "unreadable" and row.unit.key != LOOKED
            ),
            noted=tuple(row for row in rows if row.unit.key in noted),
            commit=commit,
            error=self.error,
        )

    def _tell_progress(self) -> None:
        if self.progress is not None:
            self.progress(self.stage.name, self.bytes_done, self.bytes_planned)

    @property
    def _spec(self) -> str:
        return self.stage.record.digest(self.pipeline.window)


def _now() -> str:
    """For the names of scans, see looks."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"


def _hides_claims(row: LedgerRow) -> bool:
    """Whether a manifest line was not understood: it may claim any records, of any time."""
    return any(flaw.kind != "future" for flaw in row.tally.flaws)


def _still_new(planned: Unit, read: Unit) -> bool:
    """Whether what was read before a conflict is part of what is still to be read."""
    return planned.start == read.start and (planned.end == -1 or read.end <= planned.end)
