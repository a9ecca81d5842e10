"""What is known of each record before it is judged. Arrays are made once and used again."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from fidelity.records import Records


@dataclass(slots=True)
class Found:
    """n records in the making; a time, stream or origin of -1 is none."""

    records: Records
    malformed: NDArray[np.bool_]
    identified: NDArray[np.bool_]
    unsure: NDArray[np.bool_]  # the kernel leaves it to the SQL

    def first(self, count: int) -> "Found":
        """Views of the first `count` rows."""
        whole = self.records
        return Found(
            Records(**{each.name: getattr(whole, each.name)[:count] for each in fields(Records)}),
            self.malformed[:count],
            self.identified[:count],
            self.unsure[:count],
        )


def room_for(count: int) -> Found:
    """Arrays for `count` records, their contents undefined."""
    return Found(
        Records(
            id=np.empty(count, np.uint32),
            time=np.empty(count, np.int64),
            stream=np.empty(count, np.int32),
            origin=np.empty(count, np.int32),
            size=np.empty(count, np.int64),
            arrival=np.empty(count, np.int64),
            position=np.empty(count, np.int64),
            flaw=np.empty(count, np.uint8),
        ),
        np.empty(count, np.bool_),
        np.empty(count, np.bool_),
        np.empty(count, np.bool_),
    )
