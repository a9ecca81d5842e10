"""What the bytes of an id, a time or a number mean, where there is no doubt; else UNSURE.

Law: a value that comes back is the one that sql/decode_values.sql gives for the same bytes. All
functions take addresses, and read at most 24 bytes beyond the slice's end.
"""

import math

import numba
import numpy as np
from numba import njit

from fidelity.decode.words import Number, byte, bytes_at, first_bytes, lowest, peek, poke, word
from fidelity.identity import xxh32_bytes

_carray = numba.carray  # type: ignore[attr-defined]

UNSURE = -2
NONE = -1
UNSURE_ZONE = 1 << 40  # no zone is that far ahead

STRING, NUMBER, BYTES = 1, 2, 3
"""Forms of a value: text, a JSON number as it was written, raw bytes that may be binary."""

AUTO, HEX, INT, SEQUENCE, OPAQUE, CONTENT = range(6)
ENCODINGS = ("auto", "hex", "int", "sequence", "opaque", "content")
"""Encodings of an id, by their codes."""

BY_SIZE, ISO, SECONDS, MILLIS, MICROS, NANOS = range(6)
UNITS = ("auto", "iso", "s", "ms", "us", "ns")
"""Units of a time, by their codes."""

LAST_SECOND = 253_402_300_800
"""Where the year 10000 starts, seconds: no time reaches it."""


def _all(value: int) -> np.uint64:
    return np.uint64(int.from_bytes(bytes([value]) * 8))


_01, _06, _0F, _10, _30, _F0 = map(_all, (0x01, 0x06, 0x0F, 0x10, 0x30, 0xF0))
_76, _7F, _80 = map(_all, (0x76, 0x7F, 0x80))
_U4, _U5, _U6, _U8 = (np.uint64(shift) for shift in (4, 5, 6, 8))
_U16, _U24, _U32, _U48 = (np.uint64(shift) for shift in (16, 24, 32, 48))
_U0, _FF = np.uint64(0), np.uint64(0xFF)
_PAIRS = np.uint64(0x00FF00FF00FF00FF)
# HH:MM:SS as a word: the digits' low halves, all else, what all else must be, and the check for 9.
_CLOCK_LOW = np.uint64(0x0F0F000F0F000F0F)
_CLOCK_HIGH = np.uint64(0xF0F0FFF0F0FFF0F0)
_CLOCK = np.uint64(0x30303A30303A3030)
_CLOCK_SIX = np.uint64(0x0606000606000606)
_CLOCK_TEN = np.uint64(0x1010001010001010)
_TENS = np.array([10**power for power in range(9)], np.int64)
_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.int64)
_BEFORE = np.concatenate([np.zeros(1, np.int64), np.cumsum(_DAYS[:-1])])


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
def _midnight(at: Number, memo: Number) -> Number:
    """Seconds of the day YYYY-MM-DD at an address, 1970 and later; UNSURE if it is none.

    Args:
        memo: address of 3 int64, at first 0: the last date's 10 bytes and its answer, since log
            lines seldom change the date.
    """
    head, tail = word(at), first_bytes(word(at + 8), 2)
    if np.int64(head) == peek(memo, 0) and np.int64(tail) == peek(memo, 1):
        return peek(memo, 2)
    dashes = (head >> _U32 & _FF) == 0x2D and (head >> np.uint64(56)) == 0x2D
    year, month, day = natural(at, 4), natural(at + 5, 2), natural(at + 8, 2)
    if not dashes or year < 1970 or month < 1 or month > 12 or day < 1:
        return np.int64(UNSURE)
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if day > _DAYS[month] + (1 if leap and month == 2 else 0):
        return np.int64(UNSURE)
    past = year - 1  # whole years before this one
    days = past * 365 + past // 4 - past // 100 + past // 400 - 719162
    days += _BEFORE[month] + (1 if leap and month > 2 else 0) + day - 1
    poke(memo, 0, np.int64(head))
    poke(memo, 1, np.int64(tail))
    poke(memo, 2, days * 86400)
    return np.int64(days * 86400)


@njit(cache=True)
def clock(at: Number, memo: Number) -> Number:
    """Seconds at YYYY-MM-DD[T ]HH:MM:SS, no zone; UNSURE if the 19 bytes are not such a time."""
    day = _midnight(at, memo)
    between = byte(at + 10)
    loaded = word(at + 11)
    low = loaded & _CLOCK_LOW
    shaped = loaded & _CLOCK_HIGH == _CLOCK and (low + _CLOCK_SIX) & _CLOCK_TEN == _U0
    if day < 0 or not shaped or not (between == 0x54 or between == 0x20 or between == 0x74):
        return np.int64(UNSURE)
    pairs = np.int64((low * np.uint64(10) + (low >> _U8)) & np.uint64(0x00FF0000FF0000FF))
    hour, minute, second = pairs & 0xFF, pairs >> 24 & 0xFF, pairs >> 48
    if hour > 23 or minute > 59 or second > 60:
        return np.int64(UNSURE)
    return day + hour * 3600 + minute * 60 + second


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
def fraction(at: Number, end: Number) -> Number:
    """How many bytes [.,]digits take at an address; 0: there are none, UNSURE: no digits follow."""
    mark = byte(at)
    if at >= end or not (mark == 0x2E or mark == 0x2C):
        return np.int64(0)
    count = digits_before(at + 1, end)
    return count + 1 if count > 0 else np.int64(UNSURE)


@njit(cache=True)
def zone(at: Number, end: Number) -> Number:
    """The zone at an address: 16 x seconds ahead of UTC + bytes it takes; 0: none, UNSURE_ZONE.

    Z, UTC, +HH, +HHMM or +HH:MM.
    """
    here = byte(at)
    if at >= end:
        return np.int64(0)
    if here | 0x20 == 0x7A:
        return np.int64(1)
    if here == 0x55 and end - at >= 3 and byte(at + 1) == 0x54 and byte(at + 2) == 0x43:
        return np.int64(3)
    if here not in (0x2B, 0x2D):
        return np.int64(0)
    digits = digits_before(at + 1, end)
    taken = digits + 1
    minutes = np.int64(0)
    if digits == 4:
        minutes = natural(at + 3, 2)
    elif digits == 2 and at + 3 < end and byte(at + 3) == 0x3A:
        minutes = natural(at + 4, 2) if digits_before(at + 4, end) == 2 else np.int64(UNSURE)
        taken = np.int64(6)
    elif digits != 2:
        return np.int64(UNSURE_ZONE)
    hours = natural(at + 1, 2)
    if minutes < 0 or minutes > 59 or hours > 23:
        return np.int64(UNSURE_ZONE)
    ahead = hours * 3600 + minutes * 60
    return (ahead if here == 0x2B else -ahead) * 16 + taken


@njit(cache=True)
def iso_time(at: Number, length: Number, memo: Number) -> Number:
    """YYYY-MM-DD[T ]HH:MM:SS[.fff][ ][zone] as microseconds; UNSURE of any other form."""
    if length < 19:
        return np.int64(UNSURE)
    end = at + length
    seconds = clock(at, memo)
    after = at + 19
    taken = fraction(after, end)
    if seconds < 0 or taken < 0:
        return np.int64(UNSURE)
    part = millionths(after + 1, taken - 1) if taken > 0 else np.int64(0)
    after += taken
    if after < end and byte(after) == 0x20:
        after += 1
    ahead = zone(after, end)
    if ahead == UNSURE_ZONE or after + (ahead & 15) != end:
        return np.int64(UNSURE)
    return sane((seconds - (ahead >> 4)) * 1_000_000 + part)


@njit(cache=True)
def sane(microseconds: Number) -> Number:
    """A time that a clock can show, else UNSURE."""
    if microseconds < 0 or microseconds >= LAST_SECOND * 1_000_000:
        return np.int64(UNSURE)
    return microseconds


@njit(cache=True)
def epoch_time(at: Number, length: Number, form: Number, unit: Number) -> Number:
    """A decimal number of some unit as microseconds; UNSURE of signs, exponents, long fractions."""
    count = digits_before(at, at + length)
    whole = natural(at, count)
    if whole < 0:
        return np.int64(UNSURE)
    if count == length:
        return _scaled(whole, np.int64(0), np.int64(1), unit)
    digits = length - count - 1
    numerator = natural(at + count + 1, digits)
    if byte(at + count) != 0x2E or numerator < 0 or digits > 9:
        return np.int64(UNSURE)
    if form == NUMBER and count + digits > 15:
        return _scaled_double(whole, numerator, digits, unit)
    return _scaled(whole, numerator, _powers(digits), unit)


@njit(cache=True)
def _powers(digits: Number) -> Number:
    """10^digits, for 0 to 9 of them."""
    return _TENS[digits] if digits < 9 else np.int64(1_000_000_000)


@njit(cache=True)
def _per_unit(whole: Number, unit: Number) -> Number:
    """Microseconds that one of a unit takes, 0 for nanoseconds; `auto` goes by the magnitude."""
    if unit == SECONDS or (unit == BY_SIZE and whole < 100_000_000_000):
        return np.int64(1_000_000)
    if unit == MILLIS or (unit == BY_SIZE and whole < 100_000_000_000_000):
        return np.int64(1000)
    small = unit == MICROS or (unit == BY_SIZE and whole < 100_000_000_000_000_000)
    return np.int64(1) if small else np.int64(0)


@njit(cache=True)
def _scaled(whole: Number, numerator: Number, denominator: Number, unit: Number) -> Number:
    """whole + numerator / denominator of a unit as microseconds, rounded down."""
    scale = _per_unit(whole, unit)
    if scale == 0:
        return sane(whole // 1000)
    if whole > LAST_SECOND * (1_000_000 // scale):
        return np.int64(UNSURE)
    return sane(whole * scale + numerator * scale // denominator)


@njit(cache=True)
def _scaled_double(whole: Number, numerator: Number, digits: Number, unit: Number) -> Number:
    """The same for a number that JSON readers take for a double and write anew.

    The SQL sees the shortest decimal that rounds to that double. If a decimal of whole
    microseconds does, that is it; else the two have the same whole microseconds.
    """
    scale = _per_unit(whole, unit)
    if scale == 0 or whole < 1 << 20 or whole >= 1 << 43:
        return np.int64(UNSURE)
    bits = np.int64(53 - math.frexp(float(whole))[1])  # of the double's fraction: 10 to 32
    denominator = _powers(digits)
    exact = numerator << bits
    fraction = exact // denominator
    rest = 2 * (exact - fraction * denominator)
    if rest == denominator or scale >= 1 << bits:
        return np.int64(UNSURE)
    fraction += 1 if rest > denominator else 0
    scaled = fraction * scale
    nearest = (scaled + (1 << (bits - 1))) >> bits
    apart = 2 * abs(scaled - (nearest << bits))
    if apart == scale or nearest >= scale:
        return np.int64(UNSURE)
    part = nearest if apart < scale else scaled >> bits
    return sane(whole * scale + part) if whole <= LAST_SECOND * 1000 else np.int64(UNSURE)


@njit(cache=True)
def big_endian(at: Number, length: Number) -> Number:
    """4 or 8 bytes as an unsigned number; UNSURE from 2^63 on."""
    value = np.int64(0)
    if length == 8 and byte(at) >= 0x80:
        return np.int64(UNSURE)
    for place in range(length):
        value = value << 8 | byte(at + place)
    return value


@njit(cache=True)
def time_of(at: Number, length: Number, form: Number, unit: Number, memo: Number) -> Number:
    """An event time in microseconds, or UNSURE."""
    if form != NUMBER:
        if length >= 19 and byte(at + 4) == 0x2D:
            return iso_time(at, length, memo) if unit <= ISO else np.int64(UNSURE)
        if form == BYTES and length == 8 and byte(at) == 0 and unit != ISO:
            return _scaled(big_endian(at, length), np.int64(0), np.int64(1), unit)
    if unit == ISO:
        return np.int64(UNSURE)
    return epoch_time(at, length, form, unit)


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
