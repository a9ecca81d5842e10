"""Names: stream and origin byte strings, each known by one int32 code.

Law: code(a) == code(b) exactly if a == b, and text(code(a)) == a. Codes count up from 0 and are
stable for the life of the table.
"""

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from fidelity.decode.words import Number, address, first_bytes, word

LONGEST = 1024
"""A longer name is no name: it bounds memory, where a payload was taken for a name."""

State = tuple[
    NDArray[np.uint8],  # arena: the names' bytes, each name padded with zeros to a multiple of 8
    NDArray[np.int64],  # where each code's name starts in the arena
    NDArray[np.int64],  # how long each code's name is
    NDArray[np.uint64],  # each code's hash
    NDArray[np.int32],  # open addressing: hash -> code, -1 is free; its size is a power of two
    NDArray[np.int64],  # [names, bytes of the arena in use]
]
FULL = -1
"""What `intern` says when the table must grow first."""


@njit(cache=True)
def _mix(start: Number, length: Number) -> Number:
    """A 64-bit hash of the bytes [start, start + length) of memory; 8 more must be readable."""
    mixed = np.uint64(length) * np.uint64(0x9E3779B97F4A7C15)
    at = np.int64(0)
    while at < length:
        piece = first_bytes(word(start + at), min(length - at, 8))
        mixed = (mixed ^ piece) * np.uint64(0xFF51AFD7ED558CCD)
        mixed ^= mixed >> np.uint64(32)
        at += 8
    return mixed


@njit(cache=True)
def same(left: Number, right: Number, length: Number) -> bool:
    """Whether two runs of `length` bytes of memory are equal; 8 more must be readable."""
    at = np.int64(0)
    while at < length:
        count = min(length - at, 8)
        if first_bytes(word(left + at) ^ word(right + at), count) != 0:
            return False
        at += 8
    return True


@njit(cache=True)
def intern(state: State, start: Number, length: Number) -> Number:
    """The code of the name in memory [start, start + length), made anew if it has none; or FULL."""
    arena, starts, lengths, hashes, table, tally = state
    mixed = _mix(start, length)
    mask = np.int64(len(table) - 1)
    slot = np.int64(mixed >> np.uint64(20)) & mask
    base = np.int64(arena.ctypes.data)
    while table[slot] >= 0:
        code = np.int64(table[slot])
        if (
            hashes[code] == mixed
            and lengths[code] == length
            and same(base + starts[code], start, length)
        ):
            return code
        slot = (slot + 1) & mask
    code = tally[0]
    room = tally[1] + (length + 7) // 8 * 8
    if 2 * code >= len(table) or code >= len(starts) or room + 8 > len(arena):
        return np.int64(FULL)
    for at in range(0, length, 8):
        piece = first_bytes(word(start + at), min(length - at, 8))
        for k in range(8):
            arena[tally[1] + at + k] = (piece >> np.uint64(8 * k)) & np.uint64(0xFF)
    table[slot] = code
    starts[code], lengths[code], hashes[code] = tally[1], length, mixed
    tally[0], tally[1] = code + 1, room
    return code


@njit(cache=True)
def _rehash(hashes: NDArray[np.uint64], count: int, table: NDArray[np.int32]) -> None:
    mask = np.int64(len(table) - 1)
    for code in range(count):
        slot = np.int64(hashes[code] >> np.uint64(20)) & mask
        while table[slot] >= 0:
            slot = (slot + 1) & mask
        table[slot] = code


@njit(cache=True)
def _intern_all(
    state: State,
    base: Number,
    offsets: NDArray[np.int64],
    codes: NDArray[np.int32],
    done: Number,
) -> Number:
    """Interns names [offsets[i], offsets[i+1]) from memory; returns how many it got through."""
    for i in range(done, len(codes)):
        length = offsets[i + 1] - offsets[i]
        if length == 0:
            codes[i] = -1
            continue
        code = intern(state, base + offsets[i], length)
        if code == FULL:
            return i
        codes[i] = code
    return len(codes)


class Names:
    """One table for the names of streams and origins."""

    def __init__(self) -> None:
        self.state: State = (
            np.zeros(1 << 16, np.uint8),
            np.zeros(512, np.int64),
            np.zeros(512, np.int64),
            np.zeros(512, np.uint64),
            np.full(1024, -1, np.int32),
            np.zeros(2, np.int64),
        )

    def __len__(self) -> int:
        return int(self.state[5][0])

    def code(self, name: str) -> int:
        """The code of a name of 1 to LONGEST bytes (UTF-8)."""
        return int(self.codes(pa.array([name]))[0])

    def codes(self, names: pa.Array) -> NDArray[np.int32]:
        """The code of each name of a string array; -1 for a null, an empty or a too long one."""
        whole = names.cast(pa.large_binary())
        offsets = np.frombuffer(whole.buffers()[1], np.int64)
        offsets = offsets[whole.offset : whole.offset + len(whole) + 1].copy()
        size = int(offsets[-1] - offsets[0]) if len(whole) else 0
        padded = np.zeros(size + 16, np.uint8)
        if size:
            data = np.frombuffer(whole.buffers()[2], np.uint8)
            padded[:size] = data[offsets[0] : offsets[-1]]
        offsets -= offsets[0]
        lengths = np.diff(offsets)
        usable = (lengths > 0) & (lengths <= LONGEST)
        if whole.null_count:
            usable &= np.asarray(whole.is_valid())
        codes = np.full(len(whole), -1, np.int32)
        if usable.all():
            self._intern(padded, offsets, codes)
        elif usable.any():
            kept = np.flatnonzero(usable)
            codes[kept] = self.codes(whole.take(pa.array(kept)))
        return codes

    def _intern(
        self, data: NDArray[np.uint8], offsets: NDArray[np.int64], codes: NDArray[np.int32]
    ) -> None:
        done = 0
        while done < len(codes):
            done = _intern_all(self.state, address(data), offsets, codes, done)
            if done < len(codes):
                self.grow()

    def grow(self) -> None:
        """Doubles the table. Codes stay; arrays taken from `state` before are stale."""
        arena, starts, lengths, hashes, table, tally = self.state
        wider = np.full(2 * len(table), -1, np.int32)
        _rehash(hashes, int(tally[0]), wider)
        self.state = (
            np.concatenate([arena, np.zeros_like(arena)]),
            np.concatenate([starts, np.zeros_like(starts)]),
            np.concatenate([lengths, np.zeros_like(lengths)]),
            np.concatenate([hashes, np.zeros_like(hashes)]),
            wider,
            tally,
        )

    def bytes_of(self, code: int) -> bytes:
        """The name behind a code, as it was read."""
        arena, starts, lengths = self.state[:3]
        start = int(starts[code])
        return arena[start : start + int(lengths[code])].tobytes()

    def text(self, code: int) -> str:
        """The name behind a code."""
        return self.bytes_of(code).decode()
