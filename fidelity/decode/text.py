"""Text lines, walked once: valid UTF-8 without a NUL, and where key=value tokens and the time are.

What is found here is what places.token and places.LINE_START find as patterns; quoted and empty
values, and times of unusual form, are left to the SQL. All positions are addresses; see words.py.
"""

import numpy as np
from numba import njit

from fidelity.decode.digits import UNSURE, millionths
from fidelity.decode.names import same
from fidelity.decode.spans import ABSENT, FORMS, STRING, Sought, put_span
from fidelity.decode.times import UNSURE_ZONE, clock, fraction, sane, zone
from fidelity.decode.utf8 import is_text
from fidelity.decode.words import Number, blanks_and_tabs, byte, equals_signs, lowest, peek, poke

_SPACE, _TAB, _QUOTE = 0x20, 0x09, 0x22
_ONE = np.uint64(1)


@njit(cache=True)
def is_blank(here: Number) -> bool:
    """Whether a byte separates tokens."""
    return here in (_SPACE, _TAB)


@njit(cache=True)
def _token_end(at: Number, end: Number) -> Number:
    while at < end:
        found = blanks_and_tabs(at)
        if found != 0:
            return min(at + lowest(found), end)
        at += 16
    return end


@njit(cache=True)
def _before(equals: Number, start: Number, sought: Sought) -> Number:
    """The index of the field whose name stands right before an `=`; -1 if none of ours does."""
    count, _, _, lengths, names, starts = sought
    for index in range(count):
        length = peek(lengths, index)
        key = equals - length
        if key < start or not (key == start or is_blank(byte(key - 1))):
            continue
        if same(names + peek(starts, index), key, length):
            return index
    return -1


@njit(cache=True)
def scan_text(start: Number, end: Number, sought: Sought, last: Number, spans: Number) -> bool:
    """Whether memory [start, end) is surely a line of text; where its fields' values are.

    Args:
        start, end: addresses; PADDING bytes after `end` can be read.
        sought: the needed fields.
        last: the index of the field whose last token counts, not its first; -1 if none does.
        spans: see scanner.scan_object; a field is STRING or ABSENT.
    """
    if not is_text(start, end):
        return False
    for index in range(sought[0]):
        poke(spans, FORMS + index, ABSENT)
    if sought[0] == 0:
        return True
    for block in range(start, end, 64):
        found = equals_signs(block)
        while found != 0:
            equals = block + lowest(found)
            found &= found - _ONE
            if equals >= end:
                break
            index = _before(equals, start, sought)
            if index < 0 or (index != last and peek(spans, FORMS + index) != ABSENT):
                continue
            value = equals + 1
            stop = _token_end(value, end)
            if value == stop or byte(value) == _QUOTE:
                return False
            put_span(spans, index, value, stop - value, STRING)
    return True


@njit(cache=True)
def line_start(at: Number, end: Number, memo: Number) -> Number:
    """The time that a line starts with, microseconds; UNSURE of any form but the usual ones."""
    if byte(at) == 0x5B:  # [
        at += 1
    if end - at < 19:
        return np.int64(UNSURE)
    seconds = clock(at, memo)
    at += 19
    taken = fraction(at, end)
    if seconds < 0 or taken < 0:
        return np.int64(UNSURE)
    part = millionths(at + 1, taken - 1) if taken > 0 else np.int64(0)
    at += taken
    ahead = zone(at, end)
    if ahead == 0 and at + 1 < end and byte(at) == _SPACE:
        # A zone may stand apart from its time; or a word of the message, which may look like one.
        apart = zone(at + 1, end)
        if apart == UNSURE_ZONE:
            return np.int64(UNSURE)
        if apart != 0 and _bounded(at + 1 + (apart & 15), end):
            ahead = apart + 1
    if ahead == UNSURE_ZONE or not _bounded(at + (ahead & 15), end):
        return np.int64(UNSURE)
    return sane((seconds - (ahead >> 4)) * 1_000_000 + part)


@njit(cache=True)
def _bounded(at: Number, end: Number) -> bool:
    """Whether a time may end here: at a blank, a bracket, a separator or the line's end."""
    here = byte(at)
    return bool(at == end or here in (_SPACE, _TAB, 0x5D, 0x3B, 0x7C))
