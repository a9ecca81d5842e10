"""Names: stream and origin byte strings, each known by one int32 code.

Law: code(a) == code(b) exactly if a == b, and text(code(a)) == a. Codes count up from 0 and are
stable for the life of the table.
"""

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from fidelity.decode.utf8 import is_text
from fidelity.decode.words import Number, address, first_bytes, peek, poke, word
from fidelity.records import PADDING

LONGEST = 1024
"""A longer name is no name: it bounds memory, where a payload was taken for a name."""

ARENA, ARENA_SIZE, STARTS, NAME_LENGTHS, HASHES, TABLE, TABLE_SIZE, TALLY = range(8)
"""What the state holds, an int64 each, read by `peek(state, ARENA)`: addresses and sizes.

Arena and its size, where each code's name starts, how long it is, its hash, the hash table and its
size (a power of two; -1 is free), and [names, bytes of the arena in use]."""

FULL = -3
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
def intern(state: Number, start: Number, length: Number) -> Number:
    """The code of the name in memory [start, start + length), made anew if it has none; or FULL."""
    table, table_size, hashes = peek(state, TABLE), peek(state, TABLE_SIZE), peek(state, HASHES)
    mixed = np.int64(_mix(start, length))
    slot = (mixed >> 20) & (table_size - 1)
    code = peek(table, slot)
    while code >= 0:
        if peek(hashes, code) == mixed and is_name(state, code, start, length):
            return code
        slot = (slot + 1) & (table_size - 1)
        code = peek(table, slot)
    tally, arena = peek(state, TALLY), peek(state, ARENA)
    code = peek(tally, 0)
    used = peek(tally, 1)
    room = used + (length + 7) // 8 * 8
    if 2 * code >= table_size or room + 8 > peek(state, ARENA_SIZE):
        return np.int64(FULL)
    for at in range(0, length, 8):
        piece = first_bytes(word(start + at), min(length - at, 8))
        poke(arena + used + at, 0, np.int64(piece))
    poke(table, slot, code)
    poke(peek(state, STARTS), code, used)
    poke(peek(state, NAME_LENGTHS), code, length)
    poke(hashes, code, mixed)
    poke(tally, 0, code + 1)
    poke(tally, 1, room)
    return code


@njit(cache=True)
def is_name(state: Number, code: Number, start: Number, length: Number) -> bool:
    """Whether a code's name is the bytes of memory [start, start + length)."""
    if peek(peek(state, NAME_LENGTHS), code) != length:
        return False
    return same(name_at(state, code), start, length)


@njit(cache=True)
def name_at(state: Number, code: Number) -> Number:
    """Where a code's name starts in memory."""
    return peek(state, ARENA) + peek(peek(state, STARTS), code)


@njit(cache=True)
def _rehash(hashes: NDArray[np.int64], count: int, table: NDArray[np.int64]) -> None:
    mask = len(table) - 1
    for code in range(count):
        slot = (hashes[code] >> 20) & mask
        while table[slot] >= 0:
            slot = (slot + 1) & mask
        table[slot] = code


@njit(cache=True)
def _intern_all(
    state: Number,
    base: Number,
    offsets: NDArray[np.int64],
    codes: NDArray[np.int32],
    done: Number,
) -> Number:
    """Interns names [offsets[i], offsets[i+1]) from memory; returns how many it got through."""
    for i in range(done, len(codes)):
        start, end = base + offsets[i], base + offsets[i + 1]
        if end == start or end - start > LONGEST or not is_text(start, end):
            codes[i] = -1
            continue
        code = intern(state, start, end - start)
        if code == FULL:
            return i
        codes[i] = code
    return len(codes)


class Names:
    """One table for the names of streams and origins."""

    def __init__(self) -> None:
        self._arena = np.zeros(1 << 16, np.uint8)
        self._starts = np.zeros(512, np.int64)
        self._lengths = np.zeros(512, np.int64)
        self._hashes = np.zeros(512, np.int64)
        self._table = np.full(1024, -1, np.int64)
        self._tally = np.zeros(2, np.int64)
        self._state = np.empty(8, np.int64)
        self.state = address(self._state)
        """For kernels, which read it by `peek`; the same for the life of the table."""
        self._note()

    def _note(self) -> None:
        self._state[:] = (
            address(self._arena),
            len(self._arena),
            address(self._starts),
            address(self._lengths),
            address(self._hashes),
            address(self._table),
            len(self._table),
            address(self._tally),
        )

    def __len__(self) -> int:
        return int(self._tally[0])

    def code(self, name: str) -> int:
        """The code of a name of 1 to LONGEST bytes (UTF-8)."""
        return int(self.codes(pa.array([name]))[0])

    def codes(self, names: pa.Array) -> NDArray[np.int32]:
        """The code of each name of a string array; -1 for a null, and for what is no name.

        A name has 1 to LONGEST bytes, is UTF-8 and holds no NUL. Bytes are taken for strings.
        """
        whole = names.cast(pa.large_binary())
        offsets = np.frombuffer(whole.buffers()[1], np.int64)
        offsets = offsets[whole.offset : whole.offset + len(whole) + 1].copy()
        size = int(offsets[-1] - offsets[0]) if len(whole) else 0
        data = np.zeros(size + PADDING, np.uint8)
        if size:
            data[:size] = np.frombuffer(whole.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
        codes = np.empty(len(whole), np.int32)
        self._intern(data, offsets - offsets[:1], codes)
        if whole.null_count:
            codes[~np.asarray(whole.is_valid())] = -1
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
        """Doubles the table. Codes stay."""
        table = np.full(2 * len(self._table), -1, np.int64)
        _rehash(self._hashes, len(self), table)
        self._table = table
        self._arena = np.concatenate([self._arena, np.zeros_like(self._arena)])
        self._starts = np.concatenate([self._starts, np.zeros_like(self._starts)])
        self._lengths = np.concatenate([self._lengths, np.zeros_like(self._lengths)])
        self._hashes = np.concatenate([self._hashes, np.zeros_like(self._hashes)])
        self._note()

    def bytes_of(self, code: int) -> bytes:
        """The name behind a code, as it was read."""
        start = int(self._starts[code])
        return self._arena[start : start + int(self._lengths[code])].tobytes()

    def text(self, code: int) -> str:
        """The name behind a code."""
        return self.bytes_of(code).decode()
