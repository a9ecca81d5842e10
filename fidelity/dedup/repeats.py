"""Which copies of a stage's records are repeats: found without sorting or joining any records.

Each unit tells the runs of sequence numbers that it holds, by producer: bytes a run. In the order
of the units, what a unit's runs share with those of the units before it are its repeats; copies
within the unit are found while it is read the second time, which begins with its repeats as seen.
Law: of every id of a producer the first copy is kept, by unit and position within it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fidelity.config import Stage
from fidelity.decode import Names
from fidelity.dedup.runs import Bounds, Runs, add_ids, by_group
from fidelity.identity import producer_seed
from fidelity.reading import Reading
from fidelity.records import Records
from fidelity.units import FLAWS, Unit

Group = tuple[int, str, str]
"""(window, stream, origin): what ids are unique in. Window 0 is all time."""

_EVER = 1 << 62
_FUTURE = np.uint8(1 + FLAWS.index("future"))


@dataclass(frozen=True, slots=True)
class SeenTask:
    """A unit to read, to learn what it holds. Can be pickled."""

    unit: Unit
    stage: Stage
    window: int  # the pipeline's, microseconds
    by_window: bool


@dataclass(frozen=True, slots=True)
class Held:
    """What a unit holds. `flaws` are the records whose ids say nothing: they are all kept."""

    end: int
    records: int
    flaws: dict[str, int] = field(default_factory=dict)
    runs: dict[Group, Bounds] = field(default_factory=dict)


def seen_task(task: SeenTask) -> Held:
    """Read a unit. Raises UnreadableError, SourceError."""
    names = Names()
    firsts = Firsts(names, task.window if task.by_window else 0)
    reading = Reading(task.unit, task.stage, names, task.window)
    for records in reading:
        firsts.of(records)
    runs = {group: runs.runs.copy() for group, runs in firsts.seen.items()}
    return Held(reading.end, firsts.records, firsts.flaws(), runs)


class Firsts:
    """Tells the first copies of a unit's records, batch by batch.

    Args:
        names: that the records were decoded with.
        window: microseconds; 0: ids are unique whatever the event time.
        seen: what counts as seen already.
    """

    def __init__(self, names: Names, window: int, seen: dict[Group, Bounds] | None = None) -> None:
        self._names, self._window = names, window
        self.seen: dict[Group, Runs] = {group: Runs(runs) for group, runs in (seen or {}).items()}
        self.records = 0
        self._flaws = np.zeros(256, np.int64)

    def of(self, records: Records) -> NDArray[np.bool_]:
        """bool[n]: the records to keep; those with a flaw are."""
        self.records += len(records)
        self._flaws += np.bincount(records.flaw, minlength=256)
        sound = np.flatnonzero((records.flaw == 0) | (records.flaw == _FUTURE))
        new = np.ones(len(records), np.bool_)
        if len(sound):
            groups, codes = self._grouped(records, sound)
            rows, starts = by_group(codes, len(groups))
            rows = sound[rows]
            for code, group in enumerate(groups):
                self._add(group, records.id, rows, int(starts[code]), int(starts[code + 1]), new)
        return new

    def flaws(self) -> dict[str, int]:
        """How many records had each kind of flaw, of those that are kept for it."""
        counts = {kind: int(self._flaws[1 + at]) for at, kind in enumerate(FLAWS)}
        return {kind: count for kind, count in counts.items() if count and kind != "future"}

    def _grouped(
        self, records: Records, rows: NDArray[np.int64]
    ) -> tuple[list[Group], NDArray[np.int32]]:
        """The groups of a batch, and the place of each row's group among them."""
        names = len(self._names)
        pairs = records.stream[rows].astype(np.int64) * names + records.origin[rows]
        starts = np.zeros(1, np.int64)
        if self._window:
            windows = records.time[rows] // self._window * self._window
            starts, places = np.unique(windows, return_inverse=True)
            pairs += places * names * names
        found, places = np.unique(pairs, return_inverse=True)
        groups = []
        for pair in found.tolist():
            window, producer = divmod(pair, names * names)
            stream, origin = divmod(producer, names)
            producer_names = self._names.text(stream), self._names.text(origin)
            groups.append((int(starts[window]), *producer_names))
        return groups, places.astype(np.int32)

    def _add(
        self,
        group: Group,
        ids: NDArray[np.uint32],
        rows: NDArray[np.int64],
        begin: int,
        end: int,
        new: NDArray[np.bool_],
    ) -> None:
        runs = self.seen.get(group)
        if runs is None:
            runs = self.seen[group] = Runs()
        seed = np.uint32(producer_seed(*group[1:]))
        while begin < end:
            bounds = runs.bounds
            begin = add_ids(ids, rows, begin, end, seed, bounds, 0, bounds, runs.state, _EVER, new)
            if begin < end:
                runs.grow()


def repeats(units: Sequence[dict[Group, Bounds]]) -> list[dict[Group, Bounds]]:
    """Of each unit's runs, in order, those that an earlier unit has as well."""
    seen: dict[Group, Runs] = {}
    found = []
    for runs_of in units:
        mine = {}
        for group, runs in runs_of.items():
            shared = seen.setdefault(group, Runs()).add_runs(runs)
            if shared.shape[1]:
                mine[group] = shared
        found.append(mine)
    return found
