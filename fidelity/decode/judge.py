"""The verdict on each decoded record: which flaw it has, if any; and ids made from sequences.

Precedence: malformed, unstamped, untimed, unattributed, future; codes as in units.FLAWS.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fidelity.units import FLAWS

DAY = 86_400_000_000
"""Microseconds. An event that claims to be this much later than its arrival is from the future."""

MALFORMED = FLAWS.index("malformed") + 1
UNSTAMPED = FLAWS.index("unstamped") + 1
UNTIMED = FLAWS.index("untimed") + 1
UNATTRIBUTED = FLAWS.index("unattributed") + 1
FUTURE = FLAWS.index("future") + 1


@njit(cache=True)
def judge(
    malformed: NDArray[np.bool_],
    identified: NDArray[np.bool_],
    time: NDArray[np.int64],
    stream: NDArray[np.int32],
    origin: NDArray[np.int32],
    arrival: NDArray[np.int64],
    flaw: NDArray[np.uint8],
) -> None:
    """Writes each record's flaw code. A time, stream or origin of -1 is none."""
    for i in range(len(flaw)):
        if malformed[i]:
            flaw[i] = MALFORMED
        elif not identified[i]:
            flaw[i] = UNSTAMPED
        elif time[i] < 0:
            flaw[i] = UNTIMED
        elif stream[i] < 0 or origin[i] < 0:
            flaw[i] = UNATTRIBUTED
        elif arrival[i] >= 0 and time[i] > arrival[i] + DAY:
            flaw[i] = FUTURE
        else:
            flaw[i] = 0
