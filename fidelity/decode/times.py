"""What the bytes of a time mean, where there is no doubt: microseconds since the epoch, UTC.

Law: a time that comes back is the one that sql/decode_values.sql gives for the same bytes; else
UNSURE. Functions take addresses, and read at most 24 bytes beyond the slice's end.
"""

import math

import numpy as np
from numba import njit

from fidelity.decode.digits import (
    UNSURE,
    big_endian,
    digits_before,
    millionths,
    natural,
    power_of_ten,
)
from fidelity.decode.spans import BYTES, NUMBER
from fidelity.decode.words import Number, byte, first_bytes, peek, poke, word

BY_SIZE, ISO, SECONDS, MILLIS, MICROS, NANOS = range(6)
UNITS = ("auto", "iso", "s", "ms", "us", "ns")
"""Units of a time, by their codes."""

LAST_SECOND = 253_402_300_800
"""Where the year 10000 starts, seconds: no time reaches it."""

UNSURE_ZONE = 1 << 40  # no zone is that far ahead

_U0, _U8, _U32, _FF = (np.uint64(number) for number in (0, 8, 32, 0xFF))
# HH:MM:SS as a word: the digits' low halves, all else, what all else must be, and the check for 9.
_CLOCK_LOW = np.uint64(0x0F0F000F0F000F0F)
_CLOCK_HIGH = np.uint64(0xF0F0FFF0F0FFF0F0)
_CLOCK = np.uint64(0x30303A30303A3030)
_CLOCK_SIX = np.uint64(0x0606000606000606)
_CLOCK_TEN = np.uint64(0x1010001010001010)
_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.int64)
_BEFORE = np.concatenate([np.zeros(1, np.int64), np.cumsum(_DAYS[:-1])])


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
    return _scaled(whole, numerator, power_of_ten(digits), unit)


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
    denominator = power_of_ten(digits)
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
