"""Batches to Records: what the kernel is sure of, and the SQL's answer for all the rest."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fidelity.decode.answers import Answers, given_slices
from fidelity.decode.columns import (
    Column,
    Done,
    NameColumn,
    Texts,
    column,
    id_column,
    padded,
    time_column,
    wrong_type,
)
from fidelity.decode.found import Found, room_for
from fidelity.decode.ids import ENCODINGS
from fidelity.decode.judge import judge, stamp
from fidelity.decode.kernel import (
    ARRIVES,
    DONE,
    GIVEN,
    ROOM,
    SAME,
    STARTS_LINE,
    WHOLE,
    Parts,
    decode,
)
from fidelity.decode.names import Names
from fidelity.decode.places import PARTS, Places, Spot, left_over
from fidelity.decode.spans import BYTES, NONE, NUMBER, STRING, Members
from fidelity.decode.times import UNITS
from fidelity.decode.words import address
from fidelity.records import PADDING, Lines, Records, Slices, Table

FORMATS = ("json", "text", "none")
"""Formats by the kernel's codes JSON, TEXT, UNREAD."""

_PRODUCERS = 4096
"""Producers whose seeds are kept at hand; a power of two."""


@dataclass(slots=True)
class _Given:
    """The bytes that one part of each record is read from."""

    buffer: NDArray[np.uint8]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    form: int


class Decoder:
    """Decodes the batches of one unit. Not to be shared between threads."""

    def __init__(self, places: Places, names: Names, where: str) -> None:
        self._places, self._names, self._where = places, names, where
        self._answers = Answers(places, names)
        self._room = room_for(0)
        self._absent = np.empty(0, np.int64)
        late = left_over(places)
        self._late = None if late is None else Answers(late, names)
        self._late_parts = [
            part for part, spot in zip(PARTS, places.spots, strict=True) if spot.needs_sql
        ]
        # Of one field the last token is the id and the first another part: no kernel does both.
        shared = [spot for spot in places.spots[1:] if spot.member is not None]
        self._all_sql = places.format == "text" and any(
            spot.member == places.id.member for spot in shared
        )
        members = list(
            dict.fromkeys(spot.member for spot in places.spots if spot.member is not None)
        )
        self._members = Members(members)
        self._sought = self._members.sought
        self._slots = [_slot(spot, place, members) for place, spot in enumerate(places.spots)]
        self._constants = self._same_for_all()
        self._last_token = self._slots[0] if places.format == "text" else NONE
        self._scratch = np.zeros(ROOM, np.int64)
        self._scratch_at = address(self._scratch)
        self._name_columns = {part: NameColumn(names) for part in ("stream", "origin")}
        self._producers = np.full(_PRODUCERS, -1, np.int64)
        self._seeds = np.zeros(_PRODUCERS, np.uint32)

    def decode(self, batch: Lines | Table) -> Records:
        """n records of a batch. They may be views of arrays that the next call overwrites.

        Raises:
            UnreadableError: a Table lacks a column, or has it in a type that cannot be read.
        """
        if len(self._room.malformed) < len(batch):
            self._room = room_for(len(batch))
            self._absent = np.full(len(batch), NONE, np.int64)
        found = self._room.of(batch)
        if isinstance(batch, Lines):
            self._lines(batch, found)
        else:
            self._table(batch, found)
        self._judge(found)
        return found.records

    def _same_for_all(self) -> Parts:
        """What the parts are that are the same for all records; NONE if they have no value."""
        given = {
            part: pa.array([spot.constant], pa.large_binary())
            for part, spot in zip(PARTS, self._places.spots, strict=True)
            if spot.constant is not None
        }
        one = room_for(1)
        one.records.id[:], one.identified[:] = 0, False
        one.records.time[:], one.records.stream[:], one.records.origin[:] = NONE, NONE, NONE
        one.records.arrival = np.full(1, NONE, np.int64)
        if given:
            row = np.zeros(1, np.int64)
            self._answers.texts(given, row, one, self._places.encoding, binary=True)
        found = one.records
        first = int(found.id[0]) if one.identified[0] else NONE
        return first, int(found.time[0]), int(found.stream[0]), int(found.origin[0])

    def _lines(self, lines: Lines, found: Found) -> None:
        if self._all_sql:
            self._answers.lines(lines, np.arange(len(lines), dtype=np.int64), found)
            return
        given = _nothing_given()
        for place, spot in enumerate(self._places.spots):
            at = given_slices(lines, spot)
            if at is not None:
                given[place] = _Given(lines.buffer, at.starts, at.ends, BYTES)
        encoding = self._places.encoding
        self._kernel(found, lines.buffer, lines.values, given, self._slots, encoding)
        self._answers.lines(lines, np.flatnonzero(found.unsure), found)
        if self._late is not None:
            sure = np.flatnonzero(~found.unsure)
            self._late.lines(lines, sure, found, self._late_parts)

    def _kernel(
        self,
        found: Found,
        buffer: NDArray[np.uint8],
        values: Slices,
        given: list[_Given | None],
        slots: list[int],
        encoding: str,
    ) -> None:
        """Runs the kernel over a batch, and has the names' table grow where it must."""
        records = found.records
        absent = _Given(buffer, self._absent, self._absent, BYTES)
        parts = [
            each or (absent if slot >= GIVEN else None)
            for each, slot in zip(given, slots, strict=True)
        ]
        starts = [None if each is None else _whole(each.starts) for each in parts]
        ends = [None if each is None else _whole(each.ends) for each in parts]
        first, after = _whole(values.starts), _whole(values.ends)
        of_kernel = (
            FORMATS.index(self._places.format),
            address(buffer),
            address(first),
            address(after),
            records.arrival,
            _four(0 if each is None else address(each.buffer) for each in parts),
            _four(0 if each is None else address(each) for each in starts),
            _four(0 if each is None else address(each) for each in ends),
            _four(BYTES if each is None else each.form for each in parts),
            self._sought,
            _four(slots),
            self._constants,
            (ENCODINGS.index(encoding), UNITS.index(self._places.unit), self._last_token),
            self._names.state,
            self._scratch_at,
            (
                records.id,
                records.time,
                records.stream,
                records.origin,
                found.malformed,
                found.identified,
                found.unsure,
            ),
        )
        row = 0
        while row < len(records):
            row = decode(row, *of_kernel)
            if row < len(records):
                self._names.grow()

    def _table(self, table: Table, found: Found) -> None:
        """Typed columns as they are; texts through the kernel, and the SQL where it must be."""
        columns = {
            part: self._column(table, part, spot.column)
            for part, spot in zip(PARTS, self._places.spots, strict=True)
            if spot.column is not None
        }
        texts = {part: each for part, each in columns.items() if isinstance(each, Texts)}
        encoding = self._places.encoding
        if "id" in texts:
            encoding = _text_encoding(texts["id"], encoding)
        slots, given = self._slots.copy(), _nothing_given()
        for place, part in enumerate(PARTS):
            if part in texts:
                buffer, at = padded(texts[part].texts)
                form = _form(texts[part], part)
                given[place] = _Given(buffer, at.starts, at.ends, form)
            elif part in columns:
                slots[place] = DONE
        if texts or not all(slot in (DONE, SAME) for slot in slots):
            absent = self._absent[: len(table)]
            nowhere = np.zeros(PADDING, np.uint8)
            self._kernel(found, nowhere, Slices(absent, absent), given, slots, encoding)
        else:
            self._same(found)
        for part, each in columns.items():
            if isinstance(each, Done):
                _put(found, part, each)
        rows = np.flatnonzero(found.unsure)
        if len(rows):
            arrays = {part: each.texts for part, each in texts.items()}
            binary = "id" in texts and texts["id"].binary
            self._answers.texts(arrays, rows, found, encoding, binary=binary)

    def _same(self, found: Found) -> None:
        """What the kernel would write where no part is a text: the parts that are all the same."""
        id, time, stream, origin = self._constants
        records = found.records
        found.malformed[:], found.unsure[:], found.identified[:] = False, False, id >= 0
        records.id[:] = np.uint32(id & 0xFFFFFFFF)
        records.time[:], records.stream[:], records.origin[:] = time, stream, origin

    def _column(self, table: Table, part: str, name: str) -> Column:
        array = column(table.batch, name, self._where)
        if part == "id":
            done = id_column(array, self._places.encoding)
        elif part == "time":
            done = time_column(array, self._places.unit)
        else:
            done = self._name_columns[part].of(array)
        if done is None:
            raise wrong_type(name, part, array.type, self._where)
        return done

    def _judge(self, found: Found) -> None:
        records = found.records
        judge(
            found.malformed,
            found.identified,
            records.time,
            records.stream,
            records.origin,
            records.arrival,
            records.flaw,
        )
        if self._places.encoding == "sequence":
            stamp(
                records.id,
                records.stream,
                records.origin,
                records.flaw,
                self._names.state,
                self._producers,
                self._seeds,
            )


def _slot(spot: Spot, place: int, members: list[bytes]) -> int:
    """Where the kernel looks for the part at this place of PARTS."""
    if spot.member is not None:
        return members.index(spot.member)
    if spot.arrives:
        return ARRIVES
    if spot.content:
        return WHOLE
    if spot.line_start:
        return STARTS_LINE
    given = spot.header is not None or spot.key or spot.column is not None
    return GIVEN + place if given else SAME


def _four(numbers: Iterable[int]) -> Parts:
    one, two, three, four = numbers
    return one, two, three, four


def _whole(array: NDArray[np.int64]) -> NDArray[np.int64]:
    if array.dtype == np.int64 and array.flags.c_contiguous:
        return array
    return np.ascontiguousarray(array, np.int64)


def _nothing_given() -> list[_Given | None]:
    return [None] * len(PARTS)


def _form(texts: Texts, part: str) -> int:
    if part in ("stream", "origin") or texts.binary:
        return BYTES
    return NUMBER if texts.number and part == "id" else STRING


def _text_encoding(ids: Texts, encoding: str) -> str:
    """How the texts of an id column are read, since its type says what they are."""
    if ids.number and encoding in ("auto", "hex"):
        return "int"
    if not ids.binary and encoding == "auto":
        return "hex"
    return encoding


def _put(found: Found, part: str, done: Done) -> None:
    if part == "id":
        found.records.id[:] = done.values
        found.identified[:] = True if done.valid is None else done.valid
    elif done.valid is None:
        getattr(found.records, part)[:] = done.values
    else:
        getattr(found.records, part)[:] = np.where(done.valid, done.values, NONE)
