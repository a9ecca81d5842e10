"""The tally: what reading one unit added up to, flawed records included. The ledger keeps it."""

import numpy as np
from numpy.typing import NDArray

from fidelity.records import Records
from fidelity.units import FLAWS, Flaw, Tally

MOST_POSITIONS = 5
_FUTURE = 1 + FLAWS.index("future")  # such a record still counts in the books


class Tallying:
    """A tally in the making."""

    def __init__(self) -> None:
        self._records = self._bytes = 0
        self._event, self._arrival = _Extent(), _Extent()
        self._flaws: dict[int, tuple[int, list[int]]] = {}

    def add(self, records: Records) -> None:
        """Count a batch of records, flawed ones too."""
        self._records += len(records)
        self._bytes += int(records.size.sum())
        arrival, time = records.arrival, records.time
        self._arrival.add(arrival if arrival.min(initial=0) >= 0 else arrival[arrival >= 0])
        if records.flaw.any():
            time = time[(records.flaw == 0) | (records.flaw == _FUTURE)]
            self._add_flaws(records)
        self._event.add(time)

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
        return Tally(
            records=self._records,
            bytes=self._bytes,
            first_event=self._event.first,
            last_event=self._event.last,
            first_arrival=self._arrival.first,
            last_arrival=self._arrival.last,
            flaws=tuple(
                Flaw(FLAWS[code - 1], count, tuple(positions))
                for code, (count, positions) in sorted(self._flaws.items())
            ),
        )


class _Extent:
    """The first and last of many times; -1 while there are none."""

    def __init__(self) -> None:
        self.first = self.last = -1
        self._any = False

    def add(self, times: NDArray[np.int64]) -> None:
        if len(times):
            first, last = int(times.min()), int(times.max())
            self.first = min(self.first, first) if self._any else first
            self.last = max(self.last, last) if self._any else last
            self._any = True
