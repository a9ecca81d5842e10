"""The 4-byte id: XXH32 of a producer's sequence number, and its inverse.

    seed = XXH32(UTF-8 of stream, 0x1F, UTF-8 of origin; seed 0)
    id = XXH32(sequence as 4 bytes little-endian; seed)

Law: for a fixed seed the id is a bijection on 0 .. 2^32-1, so `sequences_of(ids_of(s, seed), seed)`
is `s`, and no two of 2^32 consecutive records of one producer share an id. Everything here is
unsigned 32-bit arithmetic modulo 2^32. Stamping, decoding and reconciling all stand on it.

The vectors in docs/id-test-vectors.json hold this module and producers in other languages true.
"""

import numpy as np
import xxhash
from numba import njit, vectorize
from numpy.typing import ArrayLike, NDArray

from fidelity.errors import UsageError

SEPARATOR = b"\x1f"
"""Stands between stream and origin; `check_name` keeps it out of names that producers use."""

LONGEST_NAME = 1024
"""Bytes. Decoding takes nothing longer for a name."""

_P1 = np.uint32(0x9E3779B1)
_P2 = np.uint32(0x85EBCA77)
_P3 = np.uint32(0xC2B2AE3D)
_P4 = np.uint32(0x27D4EB2F)
_P5 = np.uint32(0x165667B1)
# Each prime is odd, so it has an inverse modulo 2^32: multiplying by it can be undone.
_INVERSE_P2 = np.uint32(pow(int(_P2), -1, 1 << 32))
_INVERSE_P3 = np.uint32(pow(int(_P3), -1, 1 << 32))
_INVERSE_P4 = np.uint32(pow(int(_P4), -1, 1 << 32))
_EIGHT_HEX = b"0123456789abcdefABCDEF"


# numba widens uint32 arithmetic to 64 bits; every step is therefore cut back to 32 by np.uint32.


@njit(cache=True, inline="always")
def _rotate(value: np.uint32, bits: np.uint32) -> np.uint32:
    return np.uint32((value << bits) | (value >> np.uint32(32 - bits)))


@njit(cache=True, inline="always")
def _avalanche(mixed: np.uint32) -> np.uint32:
    mixed = np.uint32(np.uint32(mixed ^ (mixed >> np.uint32(15))) * _P2)
    mixed = np.uint32(np.uint32(mixed ^ (mixed >> np.uint32(13))) * _P3)
    return np.uint32(mixed ^ (mixed >> np.uint32(16)))


@njit(cache=True)
def xxh32_of_u32(value: np.uint32, seed: np.uint32) -> np.uint32:
    """XXH32 of `value` as 4 little-endian bytes. Scalars, for use inside other kernels."""
    start = np.uint32(np.uint32(seed) + np.uint32(_P5 + np.uint32(4)))
    mixed = np.uint32(start + np.uint32(np.uint32(value) * _P3))
    return _avalanche(np.uint32(_rotate(mixed, np.uint32(17)) * _P4))


@njit(cache=True)
def u32_of_xxh32(digest: np.uint32, seed: np.uint32) -> np.uint32:
    """The one value whose `xxh32_of_u32(value, seed)` is `digest`. For use inside other kernels."""
    mixed = np.uint32(digest)
    mixed = np.uint32(mixed ^ (mixed >> np.uint32(16)))
    mixed = np.uint32(mixed * _INVERSE_P3)
    mixed = np.uint32(mixed ^ (mixed >> np.uint32(13)) ^ (mixed >> np.uint32(26)))
    mixed = np.uint32(mixed * _INVERSE_P2)
    mixed = np.uint32(mixed ^ (mixed >> np.uint32(15)) ^ (mixed >> np.uint32(30)))
    mixed = _rotate(np.uint32(mixed * _INVERSE_P4), np.uint32(15))
    start = np.uint32(np.uint32(seed) + np.uint32(_P5 + np.uint32(4)))
    return np.uint32(np.uint32(mixed - start) * _INVERSE_P3)


@njit(cache=True, inline="always")
def _word(buffer: NDArray[np.uint8], at: int) -> np.uint32:
    return np.uint32(
        np.uint32(buffer[at])
        | (np.uint32(buffer[at + 1]) << np.uint32(8))
        | (np.uint32(buffer[at + 2]) << np.uint32(16))
        | (np.uint32(buffer[at + 3]) << np.uint32(24))
    )


@njit(cache=True, inline="always")
def _round(lane: np.uint32, word: np.uint32) -> np.uint32:
    mixed = np.uint32(lane + np.uint32(word * _P2))
    return np.uint32(_rotate(mixed, np.uint32(13)) * _P1)


@njit(cache=True)
def xxh32_bytes(buffer: NDArray[np.uint8], start: int, end: int, seed: np.uint32) -> np.uint32:
    """XXH32 of buffer[start:end]. For use inside other kernels; reads nothing outside the slice."""
    base = np.uint32(seed)
    at = start
    if end - start >= 16:
        one = np.uint32(base + np.uint32(_P1 + _P2))
        two = np.uint32(base + _P2)
        three = base
        four = np.uint32(base - _P1)
        while at + 16 <= end:
            one = _round(one, _word(buffer, at))
            two = _round(two, _word(buffer, at + 4))
            three = _round(three, _word(buffer, at + 8))
            four = _round(four, _word(buffer, at + 12))
            at += 16
        left = np.uint32(_rotate(one, np.uint32(1)) + _rotate(two, np.uint32(7)))
        right = np.uint32(_rotate(three, np.uint32(12)) + _rotate(four, np.uint32(18)))
        mixed = np.uint32(left + right)
    else:
        mixed = np.uint32(base + _P5)
    mixed = np.uint32(mixed + np.uint32(end - start))
    while at + 4 <= end:
        mixed = np.uint32(mixed + np.uint32(_word(buffer, at) * _P3))
        mixed = np.uint32(_rotate(mixed, np.uint32(17)) * _P4)
        at += 4
    while at < end:
        mixed = np.uint32(mixed + np.uint32(np.uint32(buffer[at]) * _P5))
        mixed = np.uint32(_rotate(mixed, np.uint32(11)) * _P1)
        at += 1
    return _avalanche(mixed)


@vectorize(cache=True)  # type: ignore[no-untyped-call]  # numba ships no types for it
def _forward(value: np.uint32, seed: np.uint32) -> np.uint32:
    return xxh32_of_u32(value, seed)


@vectorize(cache=True)  # type: ignore[no-untyped-call]  # numba ships no types for it
def _inverse(digest: np.uint32, seed: np.uint32) -> np.uint32:
    return u32_of_xxh32(digest, seed)


def _uint32(values: ArrayLike) -> NDArray[np.uint32]:
    # Through int64, so that negative and large integers wrap instead of failing.
    array = np.asarray(values)
    if array.dtype == np.uint32:
        return array
    return array.astype(np.int64, copy=False).astype(np.uint32)


def ids_of(sequences: ArrayLike, seed: ArrayLike) -> NDArray[np.uint32]:
    """Ids of sequence numbers.

    Args:
        sequences: n integers; taken modulo 2^32.
        seed: one seed for all, or n seeds.

    Returns:
        uint32[n].
    """
    ids: NDArray[np.uint32] = _forward(_uint32(sequences), _uint32(seed))
    return ids


def sequences_of(ids: ArrayLike, seed: ArrayLike) -> NDArray[np.uint32]:
    """Sequence numbers of ids: undoes `ids_of` with the same seed or seeds. uint32[n]."""
    sequences: NDArray[np.uint32] = _inverse(_uint32(ids), _uint32(seed))
    return sequences


@njit(cache=True)
def _run_digest(first: np.int64, records: np.int64, seed: np.uint32) -> tuple[np.uint64, np.uint32]:
    total, mixed = np.uint64(0), np.uint32(0)
    for number in range(records):
        id_ = xxh32_of_u32(np.uint32(first + number), seed)
        total += np.uint64(id_)
        mixed ^= id_
    return total, mixed


def run_digest(first: int, last: int, seed: int) -> tuple[int, int]:
    """What the ids of the numbers first .. last add up to, modulo 2^64, and their exclusive or.

    About a nanosecond an id, and no memory.
    """
    total, mixed = _run_digest(np.int64(first), np.int64(last - first + 1), np.uint32(seed))
    return int(total), int(mixed)


def producer_seed(stream: str | bytes, origin: str | bytes) -> int:
    """The seed of one producer. Names are hashed as UTF-8; an empty name is a name.

    Raises:
        UsageError: a name is no valid Unicode.
    """
    return int(xxhash.xxh32_intdigest(_name(stream) + SEPARATOR + _name(origin)))


def _name(name: str | bytes) -> bytes:
    try:
        return name.encode() if isinstance(name, str) else name
    except UnicodeEncodeError:
        raise UsageError("A stream or origin is not valid Unicode.", where=repr(name)) from None


def check_name(name: str, what: str) -> bytes:
    """UTF-8 of a stream's or origin's name that a producer may use.

    Raises:
        UsageError: it is empty, no valid Unicode, longer than 1,024 bytes, or holds a control
            character.
    """
    if not name:
        raise UsageError(f"The {what} is empty.", action=f"Give the {what} a name.")
    if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in name):
        raise UsageError(f"The {what} holds a control character.", where=repr(name))
    raw = _name(name)
    if len(raw) > LONGEST_NAME:
        raise UsageError(f"The {what} is longer than {LONGEST_NAME} bytes.", where=name[:40] + "…")
    return raw


def id_of(sequence: int, seed: int) -> int:
    """The id of one sequence number (modulo 2^32)."""
    return int(xxhash.xxh32_intdigest((sequence & 0xFFFFFFFF).to_bytes(4, "little"), seed))


def content_id(payload: bytes) -> int:
    """The id of a record that has none: XXH32 of its bytes, seed 0. Also of opaque ids."""
    return int(xxhash.xxh32_intdigest(payload))


def hex_of(fid: int) -> str:
    """8 lowercase hex digits, as a record carries them."""
    return f"{fid:08x}"


def bytes_of(fid: int) -> bytes:
    """4 bytes, big-endian, as a Kafka header carries them."""
    return int(fid).to_bytes(4, "big")


def id_of_hex(text: str | bytes) -> int | None:
    """The id of exactly 8 hex digits in either case; None if it is anything else."""
    raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
    if len(raw) != 8 or raw.strip(_EIGHT_HEX):
        return None
    return int(raw, 16)


def id_of_bytes(value: bytes) -> int | None:
    """The id of exactly 4 big-endian bytes; None if it is anything else."""
    return int.from_bytes(value, "big") if len(value) == 4 else None


def warm() -> None:
    """Compile the kernels."""
    sequences_of(ids_of([1], 1), 1)
    run_digest(1, 1, 1)
    u32_of_xxh32(xxh32_of_u32(np.uint32(1), np.uint32(1)), np.uint32(1))
    xxh32_bytes(np.zeros(1, np.uint8), 0, 1, np.uint32(0))
