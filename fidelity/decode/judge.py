"""The verdict on each decoded record: which flaw it has, if any; and ids made from sequences.

Precedence: malformed, unstamped, untimed, unattributed, future; codes as in units.FLAWS.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fidelity.decode.names import NAME_LENGTHS, name_at
from fidelity.decode.words import Number, byte, peek
from fidelity.identity import SEPARATOR, xxh32_bytes, xxh32_of_u32
from fidelity.units import FLAWS

_SEPARATOR = SEPARATOR[0]

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


@njit(cache=True)
def _producer_seed(state: Number, stream: Number, origin: Number) -> np.uint32:
    """identity.producer_seed of two names' codes."""
    lengths = peek(state, NAME_LENGTHS)
    first, second = peek(lengths, stream), peek(lengths, origin)
    both = np.empty(first + 1 + second, np.uint8)
    for place in range(first):
        both[place] = byte(name_at(state, stream) + place)
    both[first] = _SEPARATOR
    for place in range(second):
        both[first + 1 + place] = byte(name_at(state, origin) + place)
    return xxh32_bytes(both, 0, len(both), np.uint32(0))


@njit(cache=True)
def stamp(
    ids: NDArray[np.uint32],
    stream: NDArray[np.int32],
    origin: NDArray[np.int32],
    flaw: NDArray[np.uint8],
    state: Number,
    producers: NDArray[np.int64],
    seeds: NDArray[np.uint32],
) -> None:
    """Turns sequence numbers into ids, where the record has a producer.

    Args:
        ids, stream, origin, flaw: of each record; ids are overwritten.
        state: the names' table.
        producers, seeds: a cache that is kept between calls, at first all -1; its size is a
            power of two. A producer has one place there, where the last one to come stays.
    """
    mask = len(producers) - 1
    for i in range(len(ids)):
        if flaw[i] != 0 and flaw[i] != FUTURE:
            continue
        pair = np.int64(stream[i]) << 32 | np.int64(origin[i])
        slot = (np.int64(stream[i]) * 1021 + np.int64(origin[i])) & mask
        if producers[slot] != pair:
            producers[slot] = pair
            seeds[slot] = _producer_seed(state, np.int64(stream[i]), np.int64(origin[i]))
        ids[i] = xxh32_of_u32(ids[i], seeds[slot])


def warm() -> None:
    """Compile the kernel of all formats, or load it from numba's cache."""
    none, nothing = np.zeros(0, np.bool_), np.zeros(0, np.int64)
    code = np.zeros(0, np.int32)
    judge(none, none, nothing, code, code, nothing, np.zeros(0, np.uint8))
