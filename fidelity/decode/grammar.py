"""The pieces of JSON: where a blank, a string, a number, a nested value ends. RFC 8259, in UTF-8.

All positions are addresses (words.py). An end may be looked for a little beyond the line, in what
PADDING or the next line holds; whoever asks checks that the line is whole.
"""

import numpy as np
from numba import njit

from fidelity.decode.digits import digits_before
from fidelity.decode.utf8 import after_letter
from fidelity.decode.words import Number, byte, lowest, put_byte, stops, word

DEEPEST = 60
"""Levels of nesting that are followed; one bit of a word each."""

LONGEST_NUMBER = 200
"""Bytes of a number that is certainly one to everybody."""

QUOTE, COLON, COMMA, OPEN, CLOSE, OPEN_LIST, NINE = 0x22, 0x3A, 0x2C, 0x7B, 0x7D, 0x5B, 0x39
_BACKSLASH, _CLOSE_LIST, _U = 0x5C, 0x5D, 0x75
_MINUS, _PLUS, _ZERO, _POINT, _E = 0x2D, 0x2B, 0x30, 0x2E, 0x65
_FOUR, _FIVE = np.uint64(0xFFFFFFFF), np.uint64(0xFFFFFFFFFF)
_TRUE, _NULL, _FALSE = (
    np.uint64(int.from_bytes(literal, "little")) for literal in (b"true", b"null", b"false")
)


@njit(cache=True)
def blanks(at: Number, end: Number) -> Number:
    """The first address from `at` on that holds no JSON whitespace, at most `end`."""
    here = byte(at)
    while here <= 0x20 and at < end:
        if not (here == 0x20 or here == 0x09 or here == 0x0A or here == 0x0D):
            break
        at += 1
        here = byte(at)
    return at


@njit(cache=True)
def plain_run(at: Number, end: Number) -> Number:
    """The first address from `at` on whose byte is not plain within a string; may pass `end`."""
    while at < end:
        found = stops(at)
        if found != 0:
            return at + lowest(found)
        at += 16
    return at


@njit(cache=True)
def _four_hex(at: Number) -> Number:
    """4 hex digits as a number; -1 if they are none."""
    value = np.int64(0)
    for place in range(4):
        digit = byte(at + place)
        letter = digit | 0x20
        if not ((_ZERO <= digit <= NINE) or (0x61 <= letter <= 0x66)):
            return np.int64(-1)
        value = value << 4 | (digit & 0xF) + (9 if digit >= 0x40 else 0)
    return value


@njit(cache=True)
def _letter_at(at: Number) -> Number:
    """The letter that the escape whose backslash is at `at` stands for; -1 if it is broken.

    One above U+FFFF is a pair of surrogates, and takes 12 bytes instead of 6.
    """
    first = _four_hex(at + 2)
    if first >> 11 != 0x1B:  # no surrogate
        return first
    if first >= 0xDC00 or byte(at + 6) != _BACKSLASH or byte(at + 7) != _U:
        return np.int64(-1)
    second = _four_hex(at + 8)
    if second >> 10 != 0x37:
        return np.int64(-1)
    return 0x10000 + ((first & 0x3FF) << 10 | second & 0x3FF)


@njit(cache=True)
def _after_escape(at: Number) -> Number:
    """The address after the escape whose backslash is at `at`; 0 if it is none."""
    kind = byte(at + 1)
    if kind == _U:
        letter = _letter_at(at)
        if letter < 0:
            return 0
        return at + 12 if letter > 0xFFFF else at + 6
    # " \ / b f n r t
    simple = kind in (QUOTE, _BACKSLASH, 0x2F, 0x62, 0x66, 0x6E, 0x72, 0x74)
    return at + 2 if simple else 0


@njit(cache=True)
def unescaped(at: Number, stop: Number, to: Number) -> Number:
    """Writes a valid string, its escapes resolved, at `to`; its length, 0 if it has a NUL."""
    start = to
    while at < stop:
        here = byte(at)
        if here != _BACKSLASH:
            put_byte(to, here)
            at, to = at + 1, to + 1
            continue
        kind = byte(at + 1)
        if kind != _U:
            put_byte(to, _simple_escape(kind))
            at, to = at + 2, to + 1
            continue
        letter = _letter_at(at)
        if letter == 0:
            return np.int64(0)
        to = _put_letter(to, letter)
        at += 12 if letter > 0xFFFF else 6
    return to - start


@njit(cache=True)
def _simple_escape(kind: Number) -> Number:
    if kind == 0x62:  # \b
        return 0x08
    if kind == 0x66:  # \f
        return 0x0C
    if kind == 0x6E:  # \n
        return 0x0A
    if kind == 0x72:  # \r
        return 0x0D
    return 0x09 if kind == 0x74 else kind  # \t


@njit(cache=True)
def _put_letter(to: Number, letter: Number) -> Number:
    """Writes a letter as UTF-8; the address after it."""
    if letter < 0x80:
        put_byte(to, letter)
        return to + 1
    if letter < 0x800:
        put_byte(to, 0xC0 | letter >> 6)
        put_byte(to + 1, 0x80 | letter & 0x3F)
        return to + 2
    after = to + 3
    if letter < 0x10000:
        put_byte(to, 0xE0 | letter >> 12)
    else:
        put_byte(to, 0xF0 | letter >> 18)
        put_byte(to + 1, 0x80 | letter >> 12 & 0x3F)
        after += 1
    put_byte(after - 2, 0x80 | letter >> 6 & 0x3F)
    put_byte(after - 1, 0x80 | letter & 0x3F)
    return after


@njit(cache=True)
def string_end(at: Number, end: Number) -> Number:
    """The address of the quote that ends the string whose contents start at `at`.

    0: it is broken, or we cannot be sure. Negated: it holds an escape.
    """
    escaped = False
    while at < end:
        at = plain_run(at, end)
        here = byte(at)
        if here == QUOTE:
            return -at if escaped else at
        if here == _BACKSLASH:
            escaped = True
            at = _after_escape(at)
        elif here >= 0x80:
            at = after_letter(at)
        else:
            return 0
        if at == 0:
            return 0
    return 0


@njit(cache=True)
def number_end(at: Number, end: Number) -> Number:
    """The address after the number at `at`; 0 if there is none by RFC 8259, or a huge one."""
    start = at
    if byte(at) == _MINUS:
        at += 1
    digits = digits_before(at, end)
    if digits == 0 or (digits > 1 and byte(at) == _ZERO):
        return 0
    at += digits
    if byte(at) == _POINT:
        digits = digits_before(at + 1, end)
        if digits == 0:
            return 0
        at += digits + 1
    if byte(at) | 0x20 == _E:
        at += 1
        small = byte(at) == _MINUS
        if small or byte(at) == _PLUS:
            at += 1
        digits = digits_before(at, end)
        if digits == 0 or digits > (3 if small else 2):  # more may be beyond a double
            return 0
        at += digits
    return at if at - start <= LONGEST_NUMBER else 0


@njit(cache=True)
def scalar_end(at: Number, end: Number) -> Number:
    """The address after the string, number or literal at `at`; 0 if there is none."""
    here = byte(at)
    if here == QUOTE:
        closing = string_end(at + 1, end)
        return abs(closing) + 1 if closing != 0 else 0
    if here <= NINE:
        return number_end(at, end)
    loaded = word(at)
    if loaded & _FOUR == _TRUE or loaded & _FOUR == _NULL:
        return at + 4
    return at + 5 if loaded & _FIVE == _FALSE else 0


@njit(cache=True)
def nested_end(at: Number, end: Number) -> Number:
    """The address after the object or list at `at`; 0 if it is broken, or too deep to follow."""
    depth = 0
    kinds = np.uint64(0)  # a bit a level, the innermost lowest: 1 is an object
    key_next = False
    while at < end:
        # Here a value starts, or a key and then its value.
        if key_next:
            if byte(at) != QUOTE:
                return 0
            at = string_end(at + 1, end)
            if at == 0:
                return 0
            at = blanks(abs(at) + 1, end)
            if byte(at) != COLON:
                return 0
            at = blanks(at + 1, end)
        here = byte(at)
        if here in (OPEN, OPEN_LIST):
            depth += 1
            if depth > DEEPEST:
                return 0
            kinds = kinds << np.uint64(1) | np.uint64(here == OPEN)
            at = blanks(at + 1, end)
            key_next = here == OPEN
            if byte(at) != here + 2:
                continue
        else:
            at = scalar_end(at, end)
            if at == 0:
                return 0
        # Here a value has ended, or an empty object or list is about to.
        while at < end:
            at = blanks(at, end)
            if byte(at) != (CLOSE if kinds & np.uint64(1) else _CLOSE_LIST):
                break
            at += 1
            depth -= 1
            kinds >>= np.uint64(1)
            if depth == 0:
                return at
        if byte(at) != COMMA:
            return 0
        at = blanks(at + 1, end)
        key_next = kinds & np.uint64(1) == np.uint64(1)
    return 0
