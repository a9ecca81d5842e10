"""What is known of each record before it is judged. Arrays are made once and used again."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fidelity.records import Lines, Records, Table


@dataclass(slots=True)
class Found:
    """n records in the making; a time, stream or origin of -1 is none."""

    records: Records
    malformed: NDArray[np.bool_]
    identified: NDArray[np.bool_]
    unsure: NDArray[np.bool_]  # the kernel leaves it to the SQL

    def of(self, batch: Lines | Table) -> "Found":
        """Views for the rows of a batch, whose arrivals, positions and sizes are taken over."""
        count, whole = len(batch), self.records
        sizes = batch.sizes if isinstance(batch, Lines) else np.zeros(count, np.int64)
        return Found(
            Records(
                id=whole.id[:count],
                time=whole.time[:count],
                stream=whole.stream[:count],
                origin=whole.origin[:count],
                size=_own(sizes),
                arrival=_own(batch.arrivals),
                position=_own(batch.positions),
                flaw=whole.flaw[:count],
            ),
            self.malformed[:count],
            self.identified[:count],
            self.unsure[:count],
        )


def _own(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same numbers in the one layout that kernels are compiled for."""
    if numbers.dtype == np.int64 and numbers.flags.carray:  # np.require takes longer to see that
        return numbers
    return np.require(numbers, np.int64, ["C", "W"])


def room_for(count: int) -> Found:
    """Arrays for `count` records, their contents undefined."""
    nothing = np.empty(0, np.int64)
    return Found(
        Records(
            id=np.empty(count, np.uint32),
            time=np.empty(count, np.int64),
            stream=np.empty(count, np.int32),
            origin=np.empty(count, np.int32),
            size=nothing,
            arrival=nothing,
            position=nothing,
            flaw=np.empty(count, np.uint8),
        ),
        np.empty(count, np.bool_),
        np.empty(count, np.bool_),
        np.empty(count, np.bool_),
    )
