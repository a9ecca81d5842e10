"""Digits, eight at a time: hexadecimal and decimal numbers, by address.

Functions read at most 8 bytes beyond the slice's end.
"""

import numpy as np
from numba import njit

from fidelity.decode.words import Number, byte, lowest, word

UNSURE = -2
"""Of a value: the kernel does not know, the SQL must say. Of a number of digits: there are none."""


def _all(value: int) -> np.uint64:
    return np.uint64(int.from_bytes(bytes([value]) * 8))


_01, _06, _0F, _10, _30, _F0 = map(_all, (0x01, 0x06, 0x0F, 0x10, 0x30, 0xF0))
_76, _7F, _80 = map(_all, (0x76, 0x7F, 0x80))
_U4, _U5, _U6, _U8 = (np.uint64(shift) for shift in (4, 5, 6, 8))
_U16, _U24, _U32, _U48 = (np.uint64(shift) for shift in (16, 24, 32, 48))
_FF = np.uint64(0xFF)
_PAIRS = np.uint64(0x00FF00FF00FF00FF)
_TENS = np.array([10**power for power in range(10)], np.int64)


@njit(cache=True)
def hex_digits(at: Number) -> Number:
    """8 hex digits as a number of 32 bits; UNSURE if they are not."""
    loaded = word(at)
    letters = (loaded >> _U6) & _01
    low = loaded & _0F
    # A letter is 0x4x or 0x6x with x in 1..6, a digit 0x3x with x in 0..9.
    high = (loaded | letters << _U5) & _F0
    too_big = (low + _06 + letters * np.uint64(3)) & _10
    no_letter = (low + _0F) & (letters << _U4) ^ (letters << _U4)
    if (high ^ (_30 + letters * np.uint64(0x30))) | too_big | no_letter:
        return np.int64(UNSURE)
    nibbles = low + letters * np.uint64(9)
    pairs = (nibbles << _U4 | nibbles >> _U8) & _PAIRS
    return np.int64(
        (pairs & _FF) << _U24
        | (pairs >> _U16 & _FF) << _U16
        | (pairs >> _U32 & _FF) << _U8
        | pairs >> _U48
    )


@njit(cache=True)
def leading_digits(loaded: Number) -> Number:
    """How many of a word's bytes, from the first on, are decimal digits: 0 to 8."""
    value = loaded ^ _30
    others = (((value & _7F) + _76) | value) & _80
    return lowest(others) >> 3


@njit(cache=True)
def digits_before(at: Number, end: Number) -> Number:
    """How many decimal digits there are from an address on, up to an end."""
    count = leading_digits(word(at))
    while count >= 8 and count & 7 == 0 and at + count < end:
        more = leading_digits(word(at + count))
        if more == 0:
            break
        count += more
    return min(count, max(end - at, 0))


@njit(cache=True)
def eight_digits(loaded: Number) -> Number:
    """A word of 8 decimal digits (or zero bytes) as a number."""
    value = (loaded & _0F) * np.uint64(2561) >> _U8
    value = (value & _PAIRS) * np.uint64(6553601) >> _U16
    return np.int64((value & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(42949672960001) >> _U32)


@njit(cache=True)
def natural(at: Number, length: Number) -> Number:
    """1 to 18 decimal digits as a number; UNSURE if they are not."""
    if length < 1 or length > 18:
        return np.int64(UNSURE)
    value = np.int64(0)
    while length > 0:
        count = min(length, 8)
        loaded = word(at)
        if leading_digits(loaded) < count:
            return np.int64(UNSURE)
        digits = eight_digits(loaded << np.uint64(64 - 8 * count))
        value = value * _TENS[count] + digits
        at += count
        length -= count
    return value


@njit(cache=True)
def millionths(at: Number, count: Number) -> Number:
    """The first 6 of `count` digits after a point, as millionths."""
    kept = min(count, 6)
    return eight_digits(word(at) << np.uint64(64 - 8 * kept)) * _TENS[6 - kept]


@njit(cache=True)
def power_of_ten(digits: Number) -> Number:
    """10^digits, for 0 to 9 of them."""
    return _TENS[digits]


@njit(cache=True)
def big_endian(at: Number, length: Number) -> Number:
    """4 or 8 bytes as an unsigned number; UNSURE from 2^63 on."""
    value = np.int64(0)
    if length == 8 and byte(at) >= 0x80:
        return np.int64(UNSURE)
    for place in range(length):
        value = value << 8 | byte(at + place)
    return value
