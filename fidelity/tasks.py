"""A task: units in, one written file of observations out. The seam between scan and its scheduler.

read -> decode -> observe -> write. Runs in a worker process or a Spark task, which hand it a
ScanTask and collect its ScanTaskResult, nothing more; what it wrote counts once scan commits it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from fidelity.config import Stage, mask
from fidelity.errors import SourceError, UnreadableError
from fidelity.store import DataFile, Store
from fidelity.units import LedgerRow, Status, Tally, Unit

if TYPE_CHECKING:
    from fidelity.decode import Names
    from fidelity.observe import Observer

_MOST_WAITING = 32 << 20
"""Bytes of a unit's rows that are held until it is known to be readable."""


_MOST_NAMES = 10_000

_spare: dict[tuple[int, tuple[int, ...], bool], tuple["Names", "Observer"]] = {}
"""Observers that have nothing in them, for this process's next task: to make one takes as long as
to read a hundred thousand records."""


@dataclass(frozen=True, slots=True)
class ScanTask:
    """Units of one stage, to be read by one worker. Can be pickled."""

    scan: str
    scanned_at: int  # microseconds
    spec: str  # digest of what the observations depend on
    stage: Stage
    window: int  # microseconds
    samples: tuple[int, ...]
    units: tuple[Unit, ...]
    store: Store

    @property
    def size(self) -> int:
        """Bytes to read, estimated."""
        return sum(unit.size for unit in self.units)


@dataclass(frozen=True, slots=True)
class ScanTaskResult:
    """What became of each unit, and where the observations are (None: nothing was observed).

    error: the stage went out of reach; `rows` are the units before that.
    """

    rows: tuple[LedgerRow, ...]
    file: DataFile | None
    error: SourceError | None = None


def scan_task(task: ScanTask) -> ScanTaskResult:
    """Read the units and write what they hold as one data file.

    A unit that cannot be read becomes a row that says so; nothing of it counts.

    Raises:
        StoreError: the observations cannot be written; nothing is left behind.
    """
    reading = _Reading(task)
    file = task.store.write_observations(task.scan, reading.batches())
    return ScanTaskResult(tuple(reading.rows), file, reading.error)


@dataclass(slots=True)
class _Reading:
    """The units of a task, one after another."""

    task: ScanTask
    rows: list[LedgerRow] = field(default_factory=list)
    error: SourceError | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The observations of all units; `rows` and `error` are known once they are exhausted."""
        from fidelity.decode import Names
        from fidelity.observe import Observer

        task = self.task
        kind = (task.window, task.samples, not task.stage.record.opaque)
        names, observer = _spare.pop(kind, (None, None))
        if names is None or observer is None:
            names = Names()
            observer = Observer(task.window, names, task.samples, not task.stage.record.opaque)
        try:
            for unit in task.units:
                yield from self._unit(unit, names, observer)
        except SourceError as error:
            self.error = error
        else:
            if len(names) < _MOST_NAMES:
                _spare[kind] = names, observer

    def _unit(self, unit: Unit, names: "Names", observer: "Observer") -> Iterator[pa.RecordBatch]:
        """Rows given away before a unit proves unreadable are in the file, but never in force."""
        from fidelity.reading import Reading

        key = (unit.key, self.task.scan, unit.stage)
        try:
            reading = Reading(unit, self.task.stage, names, self.task.window)
            for records in reading:
                observer.add(records)
                if observer.waiting > _MOST_WAITING:
                    yield from observer.rows(*key)
        except UnreadableError as error:
            observer.discard()
            self.rows.append(self._row(unit, "unreadable", Tally(), _reason(error, unit)))
            return
        yield from observer.rows(*key)
        self.rows.append(self._row(replace(unit, end=reading.end), "read", observer.tally()))

    def _row(self, unit: Unit, status: Status, tally: Tally, reason: str = "") -> LedgerRow:
        task = self.task
        return LedgerRow(unit, status, task.scan, task.scanned_at, task.spec, tally, reason)


def _reason(error: UnreadableError, unit: Unit) -> str:
    """What is wrong, and what is to be done about it; its place as far as the row has it not."""
    at = "" if not error.where or unit.path in error.where else f"{error.where}: "
    told = f"{at}{error.what.rstrip('.')}."
    return mask(f"{told} {error.action}" if error.action else told)
