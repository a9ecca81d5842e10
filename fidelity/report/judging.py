"""When a scope meets a target: said once, for reconciling and for checking.

What meets a target exactly meets it: 100 % can be. A share of nothing misses no target.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def kept(due: Ints, lost: Ints) -> Floats:
    """The share of what was due that is not lost."""
    share: Floats = (due - lost) / np.maximum(due, 1)
    return share


def share_of(part: Ints, whole: Ints) -> Floats:
    """A part of the whole; 0 of nothing."""
    share: Floats = part / np.maximum(whole, 1)
    return share


def short(due: Ints, lost: Ints, target: Floats) -> Bools:
    """Where more is lost than the target for completeness lets be."""
    found: Bools = (lost > 0) & (kept(due, lost) < target)
    return found


def beyond(part: Ints, whole: Ints, target: Floats) -> Bools:
    """Where a part of the whole is larger than the target for it."""
    found: Bools = (part > 0) & (share_of(part, whole) > target)
    return found


def enough(due: Ints, target: Floats) -> Bools:
    """Where so many records can tell the target for completeness from a miss: the rule of three.

    Of a target of 1 every single record is due: one that is missing proves the miss.
    """
    found: Bools = np.where(target >= 1, due > 0, due * (1 - target) >= 3 * (1 - 1e-9))
    return found


def needed(target: float) -> int:
    """How many records it takes to prove a target for completeness below 1."""
    return int(np.ceil(3 / (1 - target) * (1 - 1e-9)))
