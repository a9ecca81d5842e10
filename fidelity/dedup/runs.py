"""Runs: a set of numbers below 2^32, held as sorted runs [first, last] that do not touch.

Law: `add(numbers)` tells of each number whether it was not in the set yet, and puts it there; the
set does not depend on the order or on how the numbers were cut into calls. A set costs 8 bytes a
run, however long its runs are. 2^32-1 and 0 are neighbours of no run: a run ends at the edge.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fidelity.identity import u32_of_xxh32

Bounds = NDArray[np.uint32]
"""[2, n]: the first and the last numbers of n runs, ascending."""

Number = Any
"""An integer of numba's."""

COUNT, HINT, TAKEN = range(3)
"""What a set's state holds: how many runs there are, where the last number went, and how many
numbers were added."""

KNOWN, NEW, STOPPED = 0, 10, -10
"""What `add_id` says, give or take one run."""

_ROOM = 8  # runs that a new set has room for


class Runs:
    """One set. `bounds` has room for more runs than there are; see `runs` for what is in it."""

    __slots__ = ("bounds", "state")

    def __init__(self, runs: Bounds | None = None, taken: int = 0) -> None:
        count = 0 if runs is None else runs.shape[1]
        self.bounds: Bounds = np.empty((2, max(count, _ROOM)), np.uint32)
        if runs is not None:
            self.bounds[:, :count] = runs
        self.state = np.array([count, 0, taken], np.int64)

    def __len__(self) -> int:
        """How many runs there are."""
        return int(self.state[COUNT])

    @property
    def taken(self) -> int:
        """How many numbers were added by `add_ids`, over all its life."""
        return int(self.state[TAKEN])

    @property
    def runs(self) -> Bounds:
        """The runs: a view, valid until the next number is added."""
        return self.bounds[:, : len(self)]

    @property
    def size(self) -> int:
        """How many numbers are in the set."""
        first, last = self.runs.astype(np.int64)
        return int((last - first + 1).sum())

    def grow(self) -> None:
        """Make room for half as many runs again."""
        size = self.bounds.shape[1]
        bounds = np.empty((2, size + max(size // 2, _ROOM)), np.uint32)
        bounds[:, : len(self)] = self.runs
        self.bounds = bounds

    def add_runs(self, runs: Bounds) -> Bounds:
        """Add whole runs; those numbers of them that were there already, as runs."""
        if not runs.shape[1]:
            return runs
        mine = self.runs
        # Only the runs that the new ones reach take part: most often the last few.
        low = int(np.searchsorted(mine[1], max(int(runs[0, 0]), 1) - 1))
        high = int(np.searchsorted(mine[0], min(int(runs[1, -1]), _LAST - 1) + 1, side="right"))
        joined, shared = _united(np.ascontiguousarray(mine[:, low:high]), runs)
        count = low + joined.shape[1] + len(self) - high
        rest = mine[:, high:].copy()
        while self.bounds.shape[1] < count:
            self.grow()
        self.bounds[:, low : low + joined.shape[1]] = joined
        self.bounds[:, low + joined.shape[1] : count] = rest
        self.state[COUNT], self.state[HINT] = count, 0
        return shared


_LAST = (1 << 32) - 1


@njit(cache=True, nogil=True)
def add_ids(
    ids: NDArray[np.uint32],
    rows: NDArray[np.int64],
    start: Number,
    stop: Number,
    seed: Number,
    before: Bounds,
    earlier: Number,
    bounds: Bounds,
    state: NDArray[np.int64],
    most: Number,
    new: NDArray[np.bool_],
) -> Number:
    """Add the sequence numbers of one producer's ids; tell of each whether it is new.

    Args:
        ids, new: of a batch; new[row] is written.
        rows, start, stop: the producer's rows are rows[start:stop], in the order of arrival.
        seed: the producer's.
        before, earlier: an older set of so many runs; what is in it is not new, and not added.
        bounds, state: the set.
        most: numbers that may be added to the set over all its life.

    Returns:
        Where in `rows` it stopped: at `stop`, or where the set has no room, or has `most` numbers.
    """
    at = np.int64(0)
    for place in range(start, stop):
        row = rows[place]
        number = np.int64(u32_of_xxh32(ids[row], seed))
        if earlier:
            at = _run_of(before, earlier, at, number)
            if at >= 0 and number <= np.int64(before[1, at]):
                new[row] = False
                continue
        found = _add(bounds, state, number, most)
        if found < 0:
            return place
        new[row] = found > 0
    return stop


@njit(cache=True, nogil=True)
def add_id(
    id: Number,
    seed: Number,
    before: Bounds,
    earlier: Number,
    bounds: Bounds,
    state: NDArray[np.int64],
    most: Number,
) -> Number:
    """`add_ids` for one id: NEW or KNOWN, and how many runs there are more; STOPPED."""
    number = np.int64(u32_of_xxh32(np.uint32(id), np.uint32(seed)))
    if earlier:
        at = _run_of(before, earlier, -1, number)
        if at >= 0 and number <= np.int64(before[1, at]):
            return KNOWN
    count = state[0]
    found = _add(bounds, state, number, most)
    if found < 0:
        return STOPPED
    return (NEW if found else KNOWN) + state[0] - count


@njit(cache=True, nogil=True)
def _run_of(bounds: Bounds, count: Number, hint: Number, number: Number) -> Number:
    """The last run that begins at or before a number; -1 if there is none."""
    if (
        0 <= hint < count
        and np.int64(bounds[0, hint]) <= number
        and (hint + 1 == count or number < np.int64(bounds[0, hint + 1]))
    ):
        return hint
    low, high = np.int64(0), np.int64(count)
    while low < high:
        middle = (low + high) >> 1
        if np.int64(bounds[0, middle]) <= number:
            low = middle + 1
        else:
            high = middle
    return low - 1


@njit(cache=True, nogil=True)
def _add(bounds: Bounds, state: NDArray[np.int64], number: Number, most: Number) -> Number:
    """1: added; 0: was there; -1: there is no room for it, nothing was done."""
    count = state[0]
    at = _run_of(bounds, count, state[1], number)
    state[1] = at
    if at >= 0 and number <= np.int64(bounds[1, at]):
        return 0
    if state[2] >= most:
        return -1
    left = at >= 0 and np.int64(bounds[1, at]) + 1 == number
    right = at + 1 < count and np.int64(bounds[0, at + 1]) == number + 1
    if left and right:
        bounds[1, at] = bounds[1, at + 1]
        for move in range(at + 1, count - 1):
            bounds[0, move] = bounds[0, move + 1]
            bounds[1, move] = bounds[1, move + 1]
        state[0] = count - 1
    elif left:
        bounds[1, at] = np.uint32(number)
    elif right:
        bounds[0, at + 1] = np.uint32(number)
    else:
        if count == bounds.shape[1]:
            return -1
        for move in range(count, at + 1, -1):
            bounds[0, move] = bounds[0, move - 1]
            bounds[1, move] = bounds[1, move - 1]
        bounds[0, at + 1] = bounds[1, at + 1] = np.uint32(number)
        state[0] = count + 1
    state[2] += 1
    return 1


@njit(cache=True, nogil=True)
def _united(one: Bounds, other: Bounds) -> tuple[Bounds, Bounds]:
    """The union of two sets of runs, and what they share. Both are sorted and do not touch."""
    most = one.shape[1] + other.shape[1]
    union, shared = np.empty((2, most), np.uint32), np.empty((2, most), np.uint32)
    i, j, n, k = 0, 0, 0, 0
    while i < one.shape[1] or j < other.shape[1]:
        if j == other.shape[1] or (i < one.shape[1] and one[0, i] <= other[0, j]):
            first, last = np.int64(one[0, i]), np.int64(one[1, i])
            i += 1
        else:
            first, last = np.int64(other[0, j]), np.int64(other[1, j])
            j += 1
        if n and first <= np.int64(union[1, n - 1]) + 1:
            # Runs of one set do not touch: what overlaps is of both.
            until = min(last, np.int64(union[1, n - 1]))
            if first <= until:
                shared[0, k], shared[1, k] = np.uint32(first), np.uint32(until)
                k += 1
            union[1, n - 1] = np.uint32(max(last, np.int64(union[1, n - 1])))
        else:
            union[0, n], union[1, n] = np.uint32(first), np.uint32(last)
            n += 1
    return union[:, :n].copy(), shared[:, :k].copy()


@njit(cache=True, nogil=True)
def by_group(codes: NDArray[np.int32], groups: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows by group, in their order within it: (rows, where each group starts; groups + 1)."""
    starts = np.zeros(groups + 1, np.int64)
    for code in codes:
        starts[code + 1] += 1
    for group in range(groups):
        starts[group + 1] += starts[group]
    rows, free = np.empty(len(codes), np.int64), starts[:-1].copy()
    for row in range(len(codes)):
        rows[free[codes[row]]] = row
        free[codes[row]] += 1
    return rows, starts


def warm() -> None:
    """Compile the kernels, or load them from numba's cache."""
    some = Runs()
    rows, starts = by_group(np.zeros(1, np.int32), 1)
    new = np.empty(1, np.bool_)
    ids = np.zeros(1, np.uint32)
    add_ids(ids, rows, 0, 1, np.uint32(0), some.bounds, 0, some.bounds, some.state, 1, new)
    add_id(1, 1, some.bounds, 0, some.bounds, some.state, 1)
    some.add_runs(some.runs.copy())
    assert len(starts) == 2
