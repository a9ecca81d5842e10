"""What the bytes of an id mean, where there is no doubt; else UNSURE.

Law: an id that comes back is the one that sql/decode_values.sql gives for the same bytes. Functions
take addresses, and read at most 8 bytes beyond the slice's end.
"""

import numba
import numpy as np
from numba import njit

from fidelity.decode.digits import UNSURE, big_endian, hex_digits, natural
from fidelity.decode.spans import BYTES, NUMBER
from fidelity.decode.words import Number, bytes_at
from fidelity.identity import xxh32_bytes

_carray = numba.carray  # type: ignore[attr-defined]

AUTO, HEX, INT, SEQUENCE, OPAQUE, CONTENT = range(6)
ENCODINGS = ("auto", "hex", "int", "sequence", "opaque", "content")
"""Encodings of an id, by their codes."""


@njit(cache=True)
def id_of(at: Number, length: Number, form: Number, encoding: Number) -> Number:
    """An id (or sequence number, modulo 2^32) of 32 bits, or UNSURE."""
    if encoding == OPAQUE:
        if length < 1 or (form == NUMBER and natural(at, length) < 0):
            return np.int64(UNSURE)
        return np.int64(hashed(at, length))
    if encoding <= HEX and form != NUMBER:
        if length == 8:
            return hex_digits(at)
        if length == 4 and form == BYTES and encoding == AUTO:
            return big_endian(at, 4)
        return np.int64(UNSURE)
    if encoding == HEX:
        return np.int64(UNSURE)
    value = natural(at, length)
    if value < 0 and form == BYTES and (length == 4 or length == 8):
        value = _binary_number(at, length)
    if encoding == SEQUENCE:
        return value & 0xFFFFFFFF if value >= 0 else value
    return value if value <= 0xFFFFFFFF else np.int64(UNSURE)


@njit(cache=True)
def _binary_number(at: Number, length: Number) -> Number:
    """Big-endian bytes that are no decimal digits; what has more than 18 digits is the SQL's."""
    value = big_endian(at, length)
    return value if value < 1_000_000_000_000_000_000 else np.int64(UNSURE)


@njit(cache=True)
def hashed(at: Number, length: Number) -> Number:
    """XXH32 of a run of bytes, seed 0: the id of content and of opaque ids."""
    return xxh32_bytes(_carray(bytes_at(at), (length,)), 0, length, np.uint32(0))
