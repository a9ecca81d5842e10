"""One pass over a batch: scan each line, understand its four parts, mark what is left to the SQL.

A part comes from a member or token that the scan finds, from given bytes (a header, a key, a
column), from the arrival, or is the same for all. Slots 0 to 3 of a record's spans are what the
scan found, slots 4 to 7 what was given for each part.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fidelity.decode.digits import UNSURE, natural
from fidelity.decode.ids import hashed, id_of
from fidelity.decode.names import FULL, LONGEST, intern
from fidelity.decode.scanner import QUOTES_HELD, scan_object
from fidelity.decode.spans import (
    ABSENT,
    BYTES,
    FORMS,
    LENGTHS,
    NONE,
    NUMBER,
    SPANS,
    Sought,
    put_span,
)
from fidelity.decode.text import line_start, scan_text
from fidelity.decode.times import sane, time_of
from fidelity.decode.utf8 import is_text
from fidelity.decode.words import Number, peek, poke

OVER_LONG = -2
"""Where a line that was too long to be read starts (records.Slices)."""

JSON, TEXT, UNREAD = range(3)
"""What a value is: formats of places.Places, in the order json, text, none."""

GIVEN = 4
"""The slot of the first part's given bytes."""

SAME, ARRIVES, WHOLE, STARTS_LINE, DONE = -1, -2, -3, -4, -5
"""Instead of a slot: the same for all, the arrival, the value's hash, the line's start, done."""

Out = tuple[
    NDArray[np.uint32],  # id
    NDArray[np.int64],  # time
    NDArray[np.int32],  # stream
    NDArray[np.int32],  # origin
    NDArray[np.bool_],  # malformed
    NDArray[np.bool_],  # identified
    NDArray[np.bool_],  # unsure: all else is the SQL's to say
]
Parts = tuple[int, int, int, int]
"""A number for each part, in the order of places.PARTS."""

MEMO, QUOTED, ROOM = SPANS, SPANS + 4, SPANS + 4 + QUOTES_HELD + 128
"""The scratch of int64: the scan's spans, a memo of the last date, the list of quotes."""


@njit(cache=True)
def _name(state: Number, spans: Number, slot: Number) -> Number:
    """The code of the name in a slot, NONE, UNSURE, or FULL: the table must grow first."""
    at, length, form = peek(spans, slot), peek(spans, LENGTHS + slot), peek(spans, FORMS + slot)
    if form == ABSENT:
        return np.int64(NONE)
    if length == 0 or length > LONGEST:
        return np.int64(NONE)
    if (form == BYTES and not is_text(at, at + length)) or (
        form == NUMBER and natural(at, length) < 0
    ):
        return np.int64(UNSURE)
    return intern(state, at, length)


@njit(cache=True, nogil=True)
def decode(
    row: Number,
    format_: Number,
    base: Number,
    starts: Number,
    ends: Number,
    arrivals: NDArray[np.int64],
    bases: Parts,
    given_starts: Parts,
    given_ends: Parts,
    given_forms: Parts,
    sought: Sought,
    slots: Parts,
    constants: Parts,
    read_as: tuple[int, int, int],
    state: Number,
    scratch: Number,
    out: Out,
) -> Number:
    """Decodes rows from `row` on; returns where it stopped: at the end, or where names are full.

    Args:
        row: the first row to do.
        format_: JSON, TEXT or UNREAD.
        base: address of the buffer that the values are in.
        starts, ends: addresses of the values' slices; start NONE: there is none, OVER_LONG: it was
            not read.
        arrivals: microseconds.
        bases, given_starts, given_ends, given_forms: for each part the address of the buffer that
            its given bytes are in, of its starts (NONE: nowhere) and ends there, and their form.
        sought: the members or fields to be found in values.
        slots: for each part where it is: a slot, or SAME, ARRIVES, WHOLE, STARTS_LINE, DONE.
        constants: for each part what it is if it is SAME; NONE if it has no value.
        read_as: [encoding of the id, unit of the time, index of the text field whose last token
            counts]
        state: the names' table, by address.
        scratch: address of ROOM int64.
        out: written, for each row.
    """
    id_out, time_out, stream_out, origin_out, malformed, identified, unsure = out
    id_out, time_out, stream_out, origin_out, malformed, identified, unsure = out
    encoding, unit, last_token = read_as
    spans, memo, quoted = scratch, scratch + 8 * MEMO, scratch + 8 * QUOTED
    for place in range(4):
        poke(memo, place, 0)
    poke(memo, 1, np.int64(-1))  # no date's last two bytes
    for place in range(4):
        poke(spans, FORMS + place, ABSENT)
    for i in range(row, len(arrivals)):
        start = peek(starts, i)
        first, end = base + start, base + peek(ends, i)
        malformed[i] = start == OVER_LONG
        unsure[i] = False
        if format_ != UNREAD:
            sure = True
            if start < 0:
                for place in range(4):
                    poke(spans, FORMS + place, ABSENT)
            elif format_ == JSON:
                sure = scan_object(first, end, sought, spans, quoted)
            else:
                sure = scan_text(first, end, sought, last_token, spans)
            if not sure:
                unsure[i] = True
                continue
        _given(spans, slots[0], i, bases[0], given_starts[0], given_ends[0], given_forms[0])
        _given(spans, slots[1], i, bases[1], given_starts[1], given_ends[1], given_forms[1])
        _given(spans, slots[2], i, bases[2], given_starts[2], given_ends[2], given_forms[2])
        _given(spans, slots[3], i, bases[3], given_starts[3], given_ends[3], given_forms[3])

        doubt = False
        value: Number = np.int64(NONE)
        slot = slots[0]
        if slot != DONE:
            if slot >= 0:
                form = peek(spans, FORMS + slot)
                if form != ABSENT:
                    length = peek(spans, LENGTHS + slot)
                    value = id_of(peek(spans, slot), length, form, encoding)
            elif slot == WHOLE:
                if start >= 0:
                    value = np.int64(hashed(first, end - first))
            else:
                value = constants[0]
            doubt = value == UNSURE
            id_out[i] = np.uint32(value)
            identified[i] = value >= 0

        slot = slots[1]
        if slot != DONE:
            value = np.int64(NONE)
            if slot >= 0:
                form = peek(spans, FORMS + slot)
                if form != ABSENT:
                    length = peek(spans, LENGTHS + slot)
                    value = time_of(peek(spans, slot), length, form, unit, memo)
            elif slot == STARTS_LINE:
                if start >= 0:
                    value = line_start(first, end, memo)
            elif slot == ARRIVES:
                value = max(sane(arrivals[i]), NONE)
            else:
                value = constants[1]
            doubt |= value == UNSURE
            time_out[i] = value

        slot = slots[2]
        if slot != DONE:
            value = constants[2]
            if slot >= 0:
                value = _name(state, spans, slot)
                if value == FULL:
                    return i
            doubt |= value == UNSURE
            stream_out[i] = np.int32(value)

        slot = slots[3]
        if slot != DONE:
            value = constants[3]
            if slot >= 0:
                value = _name(state, spans, slot)
                if value == FULL:
                    return i
            doubt |= value == UNSURE
            origin_out[i] = np.int32(value)
        unsure[i] = doubt
    return np.int64(len(arrivals))


@njit(cache=True)
def _given(
    spans: Number,
    slot: Number,
    row: Number,
    base: Number,
    starts: Number,
    ends: Number,
    form: Number,
) -> None:
    """Puts a part's given bytes in its slot, if that is where it comes from."""
    if slot >= GIVEN:
        start = peek(starts, row)
        length = peek(ends, row) - start
        put_span(spans, slot, base + start, length, form if start >= 0 else ABSENT)
