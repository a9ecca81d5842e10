"""Kernels of observe: which group a record belongs to, and what the group adds up to.

A group is a producer's records of one window; a scope is a stream's records of one window. Both are
numbered as they appear. `assign` numbers the records' groups, `accumulate` adds the records up:
two passes over a batch, since a new group's seed is worked out between them.

The sketch is kept in two words a cell, so that a cell is 16 bytes and never lies across two cache
lines: [count << 48 | sum of ids, sum of check values]. The first word holds 65,535 records, so
`unpack` moves a scope's words into the plain sketch before it can have taken more.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fidelity.identity import u32_of_xxh32
from fidelity.observe.observations import LAG_BUCKETS, LAG_LIMIT
from fidelity.sketch import BANDS, BITS, CELLS, Cells, check_of
from fidelity.units import FLAWS

RECORDS, BYTES, ID_SUM, ID_XOR, FIRST, LAST, SEQ_FIRST, SEQ_LAST = range(8)
"""The columns of a group's totals."""

PACKED_LIMIT = 65_535
BATCH = 32_767
"""Most records for one call of `accumulate`."""

_FUTURE = np.uint8(1 + FLAWS.index("future"))
_NONE = np.int32(-1)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True, nogil=True)
def lag_bucket(lag: np.int64) -> np.int64:
    """The bucket of a lag in microseconds; `observations.lag_lower` tells the bounds.

    Eight buckets an octave: the exponent and the first three bits of lag + 8 as a float64.
    """
    size = lag if lag >= 0 else ~lag
    if size > LAG_LIMIT:
        size = np.int64(LAG_LIMIT)
    bits = np.float64(size + 8).view(np.int64)
    bucket = np.int64((bits >> 49) - ((1023 + 3) << 3))
    return bucket if lag >= 0 else -1 - bucket


@njit(cache=True, nogil=True)
def _slot(window: np.int64, names: np.int64, mask: np.int64) -> np.int64:
    mixed = (np.uint64(window) * _SPREAD ^ np.uint64(names)) * _SPREAD
    return np.int64(mixed >> np.uint64(32)) & mask


@njit(cache=True, nogil=True)
def _scope_of(
    window: np.int64,
    stream: np.int32,
    table: NDArray[np.int32],
    windows: NDArray[np.int64],
    streams: NDArray[np.int32],
    used: NDArray[np.int64],
) -> np.int32:
    """The scope's number, made anew if it has none; -1 if there is no room for one."""
    mask = np.int64(len(table) - 1)
    slot = _slot(window, np.int64(stream), mask)
    while table[slot] >= 0:
        known = np.int32(table[slot])
        if windows[known] == window and streams[known] == stream:
            return known
        slot = (slot + 1) & mask
    if used[1] == len(windows):
        return _NONE
    scope = np.int32(used[1])
    table[slot] = scope
    windows[scope], streams[scope] = window, stream
    used[1] += 1
    return scope


@njit(cache=True, nogil=True)
def assign(
    id: NDArray[np.uint32],
    time: NDArray[np.int64],
    stream: NDArray[np.int32],
    origin: NDArray[np.int32],
    flaw: NDArray[np.uint8],
    window: int,
    sample: int,
    group_table: NDArray[np.int32],
    group_window: NDArray[np.int64],
    group_names: NDArray[np.int64],  # stream << 32 | origin
    group_scope: NDArray[np.int32],
    scope_table: NDArray[np.int32],
    scope_window: NDArray[np.int64],
    scope_stream: NDArray[np.int32],
    used: NDArray[np.int64],  # [groups, scopes] in use
    groups: NDArray[np.int32],  # out: each record's group; -1 takes no part
) -> int:
    """Number the records' groups. Returns how many records it got through before room ran out."""
    mask = np.int64(len(group_table) - 1)
    low, high = np.int64(0), np.int64(0)
    last_names, last = np.int64(-1), _NONE
    for i in range(len(id)):
        if flaw[i] != 0 and flaw[i] != _FUTURE:
            groups[i] = _NONE
            continue
        if sample > 1 and id[i] % sample != 0:
            # The scope is there even if none of its ids is sampled: that none is, is known then.
            start = np.int64(time[i] // window * window)
            if _scope_of(start, stream[i], scope_table, scope_window, scope_stream, used) < 0:
                return i
            groups[i] = _NONE
            continue
        names = np.int64(stream[i]) << 32 | np.int64(origin[i])
        if not low <= time[i] < high:
            low = np.int64(time[i] // window * window)
            high = low + window
        elif names == last_names:
            groups[i] = last
            continue
        slot = _slot(low, names, mask)
        while group_table[slot] >= 0:
            group = group_table[slot]
            if group_window[group] == low and group_names[group] == names:
                break
            slot = (slot + 1) & mask
        group = group_table[slot]
        if group < 0:
            if used[0] == len(group_window):
                return i
            scope = _scope_of(low, stream[i], scope_table, scope_window, scope_stream, used)
            if scope < 0:
                return i
            group = np.int32(used[0])
            group_table[slot] = group
            group_window[group], group_names[group], group_scope[group] = low, names, scope
            used[0] += 1
        groups[i] = group
        last_names, last = names, group
    return len(id)


@njit(cache=True, nogil=True)
def accumulate(
    id: NDArray[np.uint32],
    time: NDArray[np.int64],
    size: NDArray[np.int64],
    arrival: NDArray[np.int64],
    groups: NDArray[np.int32],
    group_scope: NDArray[np.int32],
    group_seed: NDArray[np.uint32],
    stamped: bool,
    totals: NDArray[np.int64],  # [groups, 8]
    packed: NDArray[np.uint64],  # [scopes, BANDS * CELLS, 2]
    packed_records: NDArray[np.int64],  # records in a scope's packed words
    lags: NDArray[np.int64],  # [scopes, 2 * LAG_BUCKETS]
) -> None:
    """Add records to their groups' totals and their scopes' sketch and lags. At most BATCH."""
    one = np.uint64(1) << np.uint64(48)
    cell_mask = np.uint64(CELLS - 1)
    for i in range(len(id)):
        group = groups[i]
        if group < 0:
            continue
        total = totals[group]
        value = np.int64(id[i])
        total[RECORDS] += 1
        total[BYTES] += size[i]
        total[ID_SUM] += value
        total[ID_XOR] ^= value
        total[FIRST] = min(total[FIRST], time[i])
        total[LAST] = max(total[LAST], time[i])
        if stamped:
            sequence = np.int64(u32_of_xxh32(id[i], group_seed[group]))
            total[SEQ_FIRST] = min(total[SEQ_FIRST], sequence)
            total[SEQ_LAST] = max(total[SEQ_LAST], sequence)
        scope = group_scope[group]
        packed_records[scope] += 1
        word, check = np.uint64(value), check_of(np.uint64(value))
        for band in range(BANDS):
            cell = np.uint64(band * CELLS) + (word >> np.uint64(BITS * band) & cell_mask)
            packed[scope, cell, 0] += one + word
            packed[scope, cell, 1] += check
        if arrival[i] >= 0:  # -1: unknown
            lags[scope, LAG_BUCKETS + lag_bucket(arrival[i] - time[i])] += 1


@njit(cache=True, nogil=True)
def unpack(
    packed: NDArray[np.uint64],
    packed_records: NDArray[np.int64],
    cells: Cells,  # [scopes, BANDS, CELLS, 3]
    above: int,
) -> None:
    """Move the packed words of scopes with more than `above` records into their plain sketch."""
    low = (np.uint64(1) << np.uint64(48)) - np.uint64(1)
    for scope in range(len(packed)):
        if packed_records[scope] <= above:
            continue
        packed_records[scope] = 0
        for place in range(BANDS * CELLS):
            word = packed[scope, place, 0]
            if word != 0:
                cell = cells[scope, place // CELLS, place % CELLS]
                cell[0] += word >> np.uint64(48)
                cell[1] += word & low
                cell[2] += packed[scope, place, 1]
                packed[scope, place, 0], packed[scope, place, 1] = 0, 0
