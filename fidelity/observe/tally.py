"""The tally: what reading one unit added up to, flawed records included. The ledger keeps it."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fidelity.records import Records
from fidelity.units import FLAWS, Flaw, Tally

MOST_POSITIONS = 5
_FUTURE = np.uint8(1 + FLAWS.index("future"))  # such a record still counts in the books
_NONE = int(np.iinfo(np.int64).min)  # of a last time; of a first one ~_NONE
_BYTES, _FIRST_EVENT, _LAST_EVENT, _FIRST_ARRIVAL, _LAST_ARRIVAL = range(5)


@njit(cache=True, nogil=True)
def _add_up(
    size: NDArray[np.int64],
    arrival: NDArray[np.int64],
    time: NDArray[np.int64],
    flaw: NDArray[np.uint8],
    sums: NDArray[np.int64],
) -> bool:
    """Adds a batch to the sums and extents; whether a record has a flaw. One pass, no branches."""
    total, flaws = np.int64(0), np.uint8(0)
    no_first, no_last = ~np.int64(_NONE), np.int64(_NONE)
    first, last, first_arrival, last_arrival = no_first, no_last, no_first, no_last
    for i in range(len(flaw)):
        total += size[i]
        flaws |= flaw[i]
        counts = flaw[i] == 0 or flaw[i] == _FUTURE
        first = min(first, time[i] if counts else no_first)
        last = max(last, time[i] if counts else no_last)
        first_arrival = min(first_arrival, arrival[i] if arrival[i] >= 0 else no_first)
        last_arrival = max(last_arrival, arrival[i] if arrival[i] >= 0 else no_last)
    sums[_BYTES] += total
    sums[_FIRST_EVENT] = min(sums[_FIRST_EVENT], first)
    sums[_LAST_EVENT] = max(sums[_LAST_EVENT], last)
    sums[_FIRST_ARRIVAL] = min(sums[_FIRST_ARRIVAL], first_arrival)
    sums[_LAST_ARRIVAL] = max(sums[_LAST_ARRIVAL], last_arrival)
    return bool(flaws != 0)


class Tallying:
    """A tally in the making."""

    def __init__(self) -> None:
        self._records = 0
        self._sums = np.array([0, ~_NONE, _NONE, ~_NONE, _NONE], np.int64)
        self._flaws: dict[int, tuple[int, list[int]]] = {}

    def add(self, records: Records) -> None:
        """Count a batch of records, flawed ones too."""
        self._records += len(records)
        if _add_up(records.size, records.arrival, records.time, records.flaw, self._sums):
            self._add_flaws(records)

    def _add_flaws(self, records: Records) -> None:
        counts = np.bincount(records.flaw, minlength=1)
        for code in np.flatnonzero(counts[1:]) + 1:
            count, positions = self._flaws.get(int(code), (0, []))
            if len(positions) < MOST_POSITIONS:
                here = records.position[records.flaw == code]
                positions = positions + here[: MOST_POSITIONS - len(positions)].tolist()
            self._flaws[int(code)] = count + int(counts[code]), positions

    def done(self) -> Tally:
        """The tally of all batches."""
        _, *extents = (-1 if one in (_NONE, ~_NONE) else one for one in self._sums.tolist())
        first_event, last_event, first_arrival, last_arrival = extents
        return Tally(
            records=self._records,
            bytes=int(self._sums[_BYTES]),
            first_event=first_event,
            last_event=last_event,
            first_arrival=first_arrival,
            last_arrival=last_arrival,
            flaws=tuple(
                Flaw(FLAWS[code - 1], count, tuple(positions))
                for code, (count, positions) in sorted(self._flaws.items())
            ),
        )
