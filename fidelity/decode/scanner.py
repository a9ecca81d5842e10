"""JSON lines, walked once: strict validation, and where the needed top-level members are.

What is accepted here is valid JSON by RFC 8259, in UTF-8; but not all that is valid is accepted:
escapes in a top-level key, a repeated needed member and deep nesting are left to
the SQL, as is all that looks broken. All positions are addresses; see words.py.
"""

import numpy as np
from numba import njit

from fidelity.decode.names import same
from fidelity.decode.utf8 import after_letter
from fidelity.decode.values import NONE, NUMBER, STRING, digits_before
from fidelity.decode.words import (
    Number,
    address,
    bit_count,
    byte,
    escapes,
    first_bytes,
    lowest,
    peek,
    poke,
    put_byte,
    quotes,
    stops,
    word,
)
from fidelity.records import PADDING

ABSENT = NONE
"""Form of a member that a line does not have, or has as null."""

DEEPEST = 60
"""Levels of nesting that are followed; one bit of a word each."""

LONGEST_NUMBER = 200
"""Bytes of a number that is certainly one to everybody."""

_QUOTE, _BACKSLASH, _COLON, _COMMA = 0x22, 0x5C, 0x3A, 0x2C
_OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST = 0x7B, 0x7D, 0x5B, 0x5D
_MINUS, _PLUS, _ZERO, _NINE, _POINT, _E, _N, _U = (0x2D, 0x2B, 0x30, 0x39, 0x2E, 0x65, 0x6E, 0x75)
_FOUR, _FIVE = np.uint64(0xFFFFFFFF), np.uint64(0xFFFFFFFFFF)
_TRUE, _NULL, _FALSE = (
    np.uint64(int.from_bytes(literal, "little")) for literal in (b"true", b"null", b"false")
)

Sought = tuple[int, int, int, int, int, int]
"""The needed members for kernels: how many, a bit for each length that a name has (62: and longer),
and addresses of the names' first 8 bytes, of their lengths, their bytes, and where each starts."""

LENGTHS, FORMS, SPANS = 8, 16, 24
"""Spans are 24 int64: where 8 values start (addresses), their lengths, their forms."""

LONGEST_UNESCAPED = 2048
"""Bytes of room, after the spans, for each of 4 strings with escapes; with PADDING in it."""

SPANS_ROOM = SPANS + 4 * LONGEST_UNESCAPED // 8

QUOTES_HELD = 8192
"""Longer lines are walked without a list of their quotes."""

_UNROLLED = 12
_PER_WORD = 64
_NOWHERE = 1 << 62
_ONE, _ALL = np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF)


class Members:
    """Names of needed members, all different, as the scanner looks for them."""

    def __init__(self, names: list[bytes]) -> None:
        self._names = np.frombuffer(b"".join(names) + bytes(64), np.uint8)
        self._lengths = np.array([len(name) for name in names], np.int64)
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._heads = np.array(
            [int.from_bytes(name[:8].ljust(8, b"\0"), "little", signed=True) for name in names],
            np.int64,
        )

    @property
    def sought(self) -> Sought:
        """For kernels; valid as long as this lives."""
        lengths = 0
        for length in self._lengths.tolist():
            lengths |= 1 << min(length, 62)
        return (
            len(self._lengths),
            lengths,
            address(self._heads),
            address(self._lengths),
            address(self._names),
            address(self._starts),
        )


@njit(cache=True)
def put_span(spans: Number, index: Number, start: Number, length: Number, form: Number) -> None:
    """Writes down where a value is."""
    poke(spans, index, start)
    poke(spans, LENGTHS + index, length)
    poke(spans, FORMS + index, form)


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
        if not ((_ZERO <= digit <= _NINE) or (0x61 <= letter <= 0x66)):
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
    simple = kind in (_QUOTE, _BACKSLASH, 0x2F, 0x62, 0x66, 0x6E, 0x72, 0x74)
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
        if here == _QUOTE:
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
    if here == _QUOTE:
        closing = string_end(at + 1, end)
        return abs(closing) + 1 if closing != 0 else 0
    if here <= _NINE:
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
            if byte(at) != _QUOTE:
                return 0
            at = string_end(at + 1, end)
            if at == 0:
                return 0
            at = blanks(abs(at) + 1, end)
            if byte(at) != _COLON:
                return 0
            at = blanks(at + 1, end)
        here = byte(at)
        if here in (_OPEN, _OPEN_LIST):
            depth += 1
            if depth > DEEPEST:
                return 0
            kinds = kinds << np.uint64(1) | np.uint64(here == _OPEN)
            at = blanks(at + 1, end)
            key_next = here == _OPEN
            if byte(at) != here + 2:
                continue
        else:
            at = scalar_end(at, end)
            if at == 0:
                return 0
        # Here a value has ended, or an empty object or list is about to.
        while at < end:
            at = blanks(at, end)
            if byte(at) != (_CLOSE if kinds & np.uint64(1) else _CLOSE_LIST):
                break
            at += 1
            depth -= 1
            kinds >>= np.uint64(1)
            if depth == 0:
                return at
        if byte(at) != _COMMA:
            return 0
        at = blanks(at + 1, end)
        key_next = kinds & np.uint64(1) == np.uint64(1)
    return 0


@njit(cache=True)
def _which(key: Number, length: Number, sought: Sought) -> Number:
    """The index of the needed member with the key in memory [key, key + length); -1 if none."""
    count, kinds, heads, lengths, names, starts = sought
    if kinds >> min(length, 62) & 1 == 0:
        return np.int64(-1)
    head = np.int64(first_bytes(word(key), min(length, 8))) if length > 0 else np.int64(0)
    for index in range(count):
        alike = peek(heads, index) == head and peek(lengths, index) == length
        if alike and (length <= 8 or same(names + peek(starts, index), key, length)):
            return index
    return np.int64(-1)


@njit(cache=True)
def _quotes_of(start: Number, end: Number, quoted: Number) -> Number:
    """Writes the addresses of a line's quotes, then NOWHERE; how many they are.

    -1: there is an escape, a control character, a letter beyond ASCII or an odd number of quotes.
    """
    at = start
    count = np.int64(0)
    odd = np.uint64(0)
    while at < end:
        found, escaped = quotes(at), escapes(at)
        left = end - at
        if left < _PER_WORD:
            kept = _ALL >> np.uint64(_PER_WORD - left)
            found &= kept
            escaped &= kept
        odd |= escaped
        here = bit_count(found)
        # Most words hold no more than these; writing some too many is cheaper than asking.
        for place in range(_UNROLLED):
            poke(quoted, count + place, at + lowest(found))
            found &= found - _ONE
        for place in range(_UNROLLED, here):
            poke(quoted, count + place, at + lowest(found))
            found &= found - _ONE
        count += here
        at += _PER_WORD
    poke(quoted, count, _NOWHERE)
    return count if odd == 0 and count & 1 == 0 else np.int64(-1)


@njit(cache=True)
def scan_object(at: Number, end: Number, sought: Sought, spans: Number, quoted: Number) -> bool:
    """Whether memory [at, end) is surely a JSON object; where its needed members' values are.

    Args:
        at, end: addresses; PADDING bytes after `end` can be read.
        sought: the needed members.
        spans: address of SPANS_ROOM int64, written for each member: where the bytes of a string
            without its quotes (STRING) or of a number (NUMBER) are; or that it is ABSENT.
        quoted: address of room for QUOTES_HELD + 128 int64.
    """
    for index in range(sought[0]):
        poke(spans, FORMS + index, ABSENT)
    listed = end - at <= QUOTES_HELD and _quotes_of(at, end, quoted) >= 0
    seen = np.int64(0)
    place = np.int64(0)  # in the list of quotes
    at = blanks(at, end)
    if byte(at) != _OPEN:
        return False
    at = blanks(at + 1, end)
    more = byte(at) != _CLOSE
    while more:
        if listed:
            if at != peek(quoted, place):
                return False
            stop = peek(quoted, place + 1)
            place += 2
        else:
            if at >= end or byte(at) != _QUOTE:
                return False
            stop = string_end(at + 1, end)
            if stop <= 0:
                return False
        index = _which(at + 1, stop - at - 1, sought)
        at = blanks(stop + 1, end)
        if byte(at) != _COLON:
            return False
        at = blanks(at + 1, end)
        here = byte(at)
        value = at
        if here == _QUOTE:
            if listed:
                if at != peek(quoted, place):
                    return False
                stop = peek(quoted, place + 1)
                place += 2
            else:
                stop = string_end(at + 1, end)
                if stop == 0:
                    return False
            at = abs(stop) + 1
        elif here in (_OPEN, _OPEN_LIST):
            at = nested_end(at, end)
            if at == 0 or index >= 0:
                return False
            while listed and peek(quoted, place) < at:
                place += 2
        else:
            at = scalar_end(at, end)
            if at == 0:
                return False
        if index >= 0:
            if seen >> index & 1:
                return False
            seen |= 1 << index
            if here == _QUOTE and stop > 0:
                put_span(spans, index, value + 1, at - value - 2, STRING)
            elif here == _QUOTE:
                text = spans + 8 * SPANS + index * LONGEST_UNESCAPED
                length = np.int64(0)
                if at - value < LONGEST_UNESCAPED - PADDING:
                    length = unescaped(value + 1, at - 1, text)
                if length == 0:
                    return False
                put_span(spans, index, text, length, STRING)
            elif here <= _NINE:
                put_span(spans, index, value, at - value, NUMBER)
            elif here != _N:
                return False
        at = blanks(at, end)
        here = byte(at)
        more = here == _COMMA
        if more:
            at = blanks(at + 1, end)
        elif here != _CLOSE:
            return False
    return bool(at < end and blanks(at + 1, end) == end)
