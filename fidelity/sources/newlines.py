"""Where the lines of a buffer begin and end: the only loop over a text file's bytes here.

64 bytes at a time become one word with a bit for each newline (a few vector instructions), and the
kernel walks the set bits.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

NEWLINE, RETURN, SPACE, TAB = 10, 13, 32, 9
LANES = 64
"""Bytes looked at together; a buffer must have as many after its last byte (records.PADDING)."""

Number = Any
"""An integer in a kernel: numba infers its width and wraps as machines do; mypy cannot know."""

_intrinsic: Any = intrinsic  # its callers pass one argument less than its typing sees


@_intrinsic
def _newlines(_typing: Any, _place: Any) -> Any:
    """Which of the 64 bytes at an address are newlines: a bit each, uint64."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        lanes = ir.VectorType(ir.IntType(8), LANES)
        loaded = builder.load(builder.inttoptr(arguments[0], lanes.as_pointer()))
        loaded.align = 1
        equal = builder.icmp_unsigned("==", loaded, ir.Constant(lanes, [NEWLINE] * LANES))
        return builder.bitcast(equal, ir.IntType(64))

    return types.uint64(types.int64), generate


@_intrinsic
def _lowest(_typing: Any, _bits: Any) -> Any:
    """The place of the lowest bit that is set, int64; 64 if none is."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


def address(buffer: NDArray[np.uint8]) -> int:
    """Where a buffer's first byte lies. Valid as long as the buffer is."""
    place: int = buffer.__array_interface__["data"][0]
    return place


@njit(cache=True, nogil=True)
def find_newline(place: Number, start: Number, stop: Number) -> int:
    """The first newline in bytes [start, stop) of the buffer at an address, or -1."""
    for i in range(start, stop, LANES):
        found = i + _lowest(_newlines(place + i))
        if found < min(i + LANES, stop):
            return int(found)
    return -1


@njit(cache=True, nogil=True)
def trimmed_end(buffer: NDArray[np.uint8], start: int, stop: int, longest: int) -> int:
    """Where the line buffer[start:stop] ends without its carriage return; `start` if it is blank.

    Of a line longer than `longest` nobody asks whether it is blank: it may not be there whole.
    """
    if stop > start and buffer[stop - 1] == RETURN:
        stop -= 1
    if longest >= stop - start > 0 and (buffer[start] == SPACE or buffer[start] == TAB):
        for i in range(start, stop):
            if buffer[i] != SPACE and buffer[i] != TAB:
                return stop
        return start
    return stop


@njit(cache=True, nogil=True)
def _find_all(place: Number, first: int, stop: int, found: NDArray[np.int64]) -> int:
    """The newlines in bytes [first, stop) of the buffer at an address; how many there are."""
    count = 0
    for i in range(first, stop, LANES):
        bits = _newlines(place + i)
        if i + LANES > stop:
            bits &= (np.uint64(1) << np.uint64(stop - i)) - np.uint64(1)
        while bits != 0:
            found[count] = i + _lowest(bits)
            count += 1
            bits &= bits - np.uint64(1)
    return count


@njit(cache=True, nogil=True)
def split(
    place: Number,
    buffer: NDArray[np.uint8],
    first: int,
    stop: int,
    line: int,
    last_start: int,
    longest: int,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    offsets: NDArray[np.int64],
    sizes: NDArray[np.int64],
) -> tuple[int, int]:
    """The lines of a buffer that end in a newline and start at or before `last_start`.

    Args:
        place: the buffer's address.
        first, stop: the bytes in which to look for newlines.
        line: where the first line starts (at or before `first`, with no newline between).
        longest: a line with more bytes becomes start = end = -2.
        starts, ends, offsets, sizes: filled: the line without newline and carriage return, where
            it begins in the buffer, how long it is. Blank lines are left out. Room for one more
            than there are bytes to look at.

    Returns:
        How many lines there are, and where the first line starts that is not among them.
    """
    count = 0
    # Two loops, since one that does both waits on every branch: three times as slow. The places
    # of the newlines lie in `ends` until they are overwritten from the front, never ahead of use.
    for k in range(_find_all(place, first, stop, ends)):
        newline = ends[k]
        if line > last_start:
            break
        end = newline
        if newline > line and (buffer[newline - 1] == RETURN or buffer[line] <= SPACE):
            end = trimmed_end(buffer, line, newline, longest)
        if end > line:
            starts[count] = line
            ends[count] = end
            offsets[count] = line
            sizes[count] = end - line
            if end - line > longest:
                starts[count] = -2
                ends[count] = -2
            count += 1
        line = newline + 1
    return count, line
