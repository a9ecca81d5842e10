"""JSON lines, walked once: strict validation, and where the needed top-level members are.

What is accepted here is a JSON object by RFC 8259, in UTF-8; but not all that is valid is accepted:
escapes in a top-level name, a repeated needed member and deep nesting are left to the SQL, as is
all that looks broken.
"""

import numpy as np
from numba import njit

from fidelity.decode.grammar import (
    CLOSE,
    COLON,
    COMMA,
    NINE,
    OPEN,
    OPEN_LIST,
    QUOTE,
    blanks,
    nested_end,
    scalar_end,
    string_end,
    unescaped,
)
from fidelity.decode.names import same
from fidelity.decode.spans import (
    ABSENT,
    FORMS,
    LONGEST_UNESCAPED,
    NUMBER,
    STRING,
    TEXTS,
    Sought,
    put_span,
)
from fidelity.decode.words import (
    Number,
    bit_count,
    byte,
    escapes,
    first_bytes,
    lowest,
    peek,
    poke,
    quotes,
    word,
)
from fidelity.records import PADDING

QUOTES_HELD = 8192
"""Longer lines are walked without a list of their quotes."""

_N = 0x6E
_UNROLLED = 12
_PER_WORD = 64
_NOWHERE = 1 << 62
_ONE, _ALL = np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF)


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
def _follows(at: Number, mark: Number, quote: Number) -> bool:
    """Whether a mark, one blank at most and the quote at an address are what comes at `at`."""
    if byte(at) != mark:
        return False
    return bool(quote == at + 1 or (quote == at + 2 and byte(at + 1) == 0x20))


@njit(cache=True)
def scan_object(at: Number, end: Number, sought: Sought, spans: Number, quoted: Number) -> bool:
    """Whether memory [at, end) is surely a JSON object; where its needed members' values are.

    Args:
        at, end: addresses; PADDING bytes after `end` can be read.
        sought: the needed members.
        spans: address of SPANS int64, written for each member: where the bytes of a string
            without its quotes (STRING) or of a number (NUMBER) are; or that it is ABSENT.
        quoted: address of room for QUOTES_HELD + 128 int64.
    """
    for index in range(sought[0]):
        poke(spans, FORMS + index, ABSENT)
    listed = end - at <= QUOTES_HELD and _quotes_of(at, end, quoted) >= 0
    seen = np.int64(0)
    place = np.int64(0)  # in the list of quotes
    at = blanks(at, end)
    if byte(at) != OPEN:
        return False
    at = blanks(at + 1, end)
    more = byte(at) != CLOSE
    while more:
        if listed:
            if at != peek(quoted, place):
                return False
            stop = peek(quoted, place + 1)
            place += 2
        else:
            if at >= end or byte(at) != QUOTE:
                return False
            stop = string_end(at + 1, end)
            if stop <= 0:
                return False
        index = _which(at + 1, stop - at - 1, sought)
        if listed and _follows(stop + 1, COLON, peek(quoted, place)):
            # The usual member: a string. Nothing of it is left to be looked at.
            value, stop = peek(quoted, place) + 1, peek(quoted, place + 1)
            place += 2
            if index >= 0:
                if seen >> index & 1:
                    return False
                seen |= 1 << index
                put_span(spans, index, value, stop - value, STRING)
            at = stop + 1
            if _follows(at, COMMA, peek(quoted, place)):
                at = peek(quoted, place)
                continue
        else:
            at = blanks(stop + 1, end)
            if byte(at) != COLON:
                return False
            at = blanks(at + 1, end)
            here = byte(at)
            value = at
            if here == QUOTE:
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
            elif here in (OPEN, OPEN_LIST):
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
                if here == QUOTE and stop > 0:
                    put_span(spans, index, value + 1, at - value - 2, STRING)
                elif here == QUOTE:
                    text = spans + 8 * TEXTS + index * LONGEST_UNESCAPED
                    length = np.int64(0)
                    if at - value < LONGEST_UNESCAPED - PADDING:
                        length = unescaped(value + 1, at - 1, text)
                    if length == 0:
                        return False
                    put_span(spans, index, text, length, STRING)
                elif here <= NINE:
                    put_span(spans, index, value, at - value, NUMBER)
                elif here != _N:
                    return False
        at = blanks(at, end)
        here = byte(at)
        more = here == COMMA
        if more:
            at = blanks(at + 1, end)
        elif here != CLOSE:
            return False
    return bool(at < end and blanks(at + 1, end) == end)
