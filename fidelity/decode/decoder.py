"""Batches to Records: what the kernels are sure of, and the SQL's answer for all the rest."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from fidelity.decode.columns import Column, column, id_column, name_column, time_column, wrong_type
from fidelity.decode.gather import gathered
from fidelity.decode.judge import FUTURE, judge
from fidelity.decode.names import Names
from fidelity.decode.places import PARTS, Places, Spot
from fidelity.decode.sql import BATCH, ask
from fidelity.identity import ids_of, producer_seed
from fidelity.records import Lines, Records, Slices, Table

OVER_LONG = -2
"""Where a line that was too long to be read starts (records.Slices)."""


@dataclass(slots=True)
class Found:
    """What is known of each record before it is judged; -1 is no time, stream or origin."""

    records: Records
    malformed: NDArray[np.bool_]
    identified: NDArray[np.bool_]

    def first(self, count: int) -> "Found":
        """Views of the first `count` rows."""
        whole = self.records
        return Found(
            Records(
                id=whole.id[:count],
                time=whole.time[:count],
                stream=whole.stream[:count],
                origin=whole.origin[:count],
                size=whole.size[:count],
                arrival=whole.arrival[:count],
                position=whole.position[:count],
                flaw=whole.flaw[:count],
            ),
            self.malformed[:count],
            self.identified[:count],
        )


def room_for(count: int) -> Found:
    """Arrays for `count` records, their contents undefined."""
    return Found(
        Records(
            id=np.empty(count, np.uint32),
            time=np.empty(count, np.int64),
            stream=np.empty(count, np.int32),
            origin=np.empty(count, np.int32),
            size=np.empty(count, np.int64),
            arrival=np.empty(count, np.int64),
            position=np.empty(count, np.int64),
            flaw=np.empty(count, np.uint8),
        ),
        np.empty(count, np.bool_),
        np.empty(count, np.bool_),
    )


class Decoder:
    """Decodes the batches of one unit. Not to be shared between threads."""

    def __init__(self, places: Places, names: Names, where: str) -> None:
        self._places, self._names, self._where = places, names, where
        self._room = room_for(0)
        self._pointers = [spot.pointer for spot in places.spots if spot.pointer is not None]

    def decode(self, batch: Lines | Table) -> Records:
        """n records of a batch. They may be views of arrays that the next call overwrites.

        Raises:
            UnreadableError: a Table lacks a column, or has it in a type that cannot be read.
        """
        if len(self._room.malformed) < len(batch):
            self._room = room_for(len(batch))
        found = self._room.first(len(batch))
        records = found.records
        records.arrival[:] = batch.arrivals
        records.position[:] = batch.positions
        if isinstance(batch, Lines):
            records.size[:] = batch.sizes
            self._lines(batch, found)
        else:
            records.size[:] = 0
            self._table(batch, found)
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
            self._stamp(records)
        return records

    def _lines(self, lines: Lines, found: Found) -> None:
        rows = np.arange(len(lines), dtype=np.int64)
        self._ask(self._asked(lines, rows), found, PARTS, self._places.encoding, binary=True)

    def _asked(self, lines: Lines, rows: NDArray[np.int64]) -> pa.Table:
        """The chosen rows as the SQL's batch."""
        looked_at = self._places.format != "none" or self._places.id.content
        values = (
            gathered(lines.buffer, lines.values, rows)
            if looked_at
            else pa.nulls(len(rows), pa.large_binary())
        )
        given = [self._given(lines, spot, rows) for spot in self._places.spots]
        over_long = lines.values.starts[rows] == OVER_LONG
        return _batch(rows, over_long, lines.arrivals[rows], values, given)

    def _given(self, lines: Lines, spot: Spot, rows: NDArray[np.int64]) -> pa.Array:
        slices: Slices | None = None
        if spot.constant is not None:
            return pa.repeat(pa.scalar(spot.constant, pa.large_binary()), len(rows))
        if spot.header is not None:
            slices = lines.headers.get(spot.header)
        elif spot.key:
            slices = lines.keys
        if slices is None:
            return pa.nulls(len(rows), pa.large_binary())
        return gathered(lines.buffer, slices, rows)

    def _table(self, table: Table, found: Found) -> None:
        """Typed columns as they are, texts through the SQL."""
        spots = dict(zip(PARTS, self._places.spots, strict=True))
        columns = {part: self._column(table, part, spot) for part, spot in spots.items()}
        found.malformed[:] = False
        for part, done in columns.items():
            if done.values is not None and done.valid is not None:
                _put(found, part, done.values, done.valid)
        texts = [part for part in PARTS if columns[part].texts is not None]
        if not texts:
            return
        nothing = pa.nulls(len(table), pa.large_binary())
        given = [columns[part].texts if part in texts else nothing for part in PARTS]
        rows = np.arange(len(table), dtype=np.int64)
        asked = _batch(rows, np.zeros(len(table), np.bool_), table.arrivals, nothing, given)
        ids = columns["id"]
        self._ask(asked, found, texts, _text_encoding(ids, self._places.encoding), ids.binary)

    def _column(self, table: Table, part: str, spot: Spot) -> Column:
        if spot.column is None:
            constant = pa.scalar(spot.constant, pa.large_binary())
            return Column(texts=pa.repeat(constant, len(table)))
        array = column(table.batch, spot.column, self._where)
        if part == "id":
            done = id_column(array, self._places.encoding)
        elif part == "time":
            done = time_column(array, self._places.unit)
        else:
            done = name_column(array, self._names)
        if done is None:
            raise wrong_type(spot.column, part, array.type, self._where)
        return done

    def _ask(
        self,
        asked: pa.Table,
        found: Found,
        parts: tuple[str, ...] | list[str],
        encoding: str,
        binary: bool,
    ) -> None:
        """Fills in parts of the rows asked about, as the SQL says."""
        said = ask(asked, self._parameters(encoding, binary))
        at = said["n"].to_numpy()
        records = found.records
        found.malformed[at] = said["malformed"].to_numpy()
        if "id" in parts:
            records.id[at], found.identified[at] = _ids(said)
        if "time" in parts:
            records.time[at] = said["event_time"].fill_null(-1).to_numpy()
        for part in ("stream", "origin"):
            if part in parts:
                names = said[part].combine_chunks()
                getattr(records, part)[at] = self._names.codes(names)

    def _parameters(self, encoding: str, binary: bool) -> dict[str, object]:
        parameters: dict[str, object] = {
            "format": self._places.format,
            "pointers": self._pointers,
            "id_encoding": encoding,
            "id_is_binary": binary,
            "time_unit": self._places.unit,
            "time_arrives": self._places.time.arrives,
        }
        for part, spot in zip(PARTS, self._places.spots, strict=True):
            known = spot.pointer in self._pointers
            member = self._pointers.index(spot.pointer or "") + 1 if known else None
            parameters[f"{part}_member"] = member
            parameters[f"{part}_pattern"] = spot.pattern
        return parameters

    def _stamp(self, records: Records) -> None:
        """Turns sequence numbers into ids, by their producers' seeds."""
        pairs = records.stream.astype(np.int64) << 32 | records.origin
        sound = (records.flaw == 0) | (records.flaw == FUTURE)
        for pair in np.unique(pairs[sound]).tolist():
            mine = sound & (pairs == pair)
            names = (self._names.bytes_of(pair >> 32), self._names.bytes_of(pair & 0xFFFFFFFF))
            records.id[mine] = ids_of(records.id[mine], producer_seed(*names))


def _batch(
    rows: NDArray[np.int64],
    over_long: NDArray[np.bool_],
    arrivals: NDArray[np.int64],
    values: pa.Array,
    given: list[pa.Array],
) -> pa.Table:
    columns = [pa.array(rows), pa.array(over_long), pa.array(arrivals), values, *given]
    return pa.table(columns, schema=BATCH)


def _text_encoding(ids: Column, encoding: str) -> str:
    """How the texts of an id column are read, since its type says what they are."""
    if ids.number and encoding in ("auto", "hex"):
        return "int"
    if not ids.binary and encoding == "auto":
        return "hex"
    return encoding


def _put(found: Found, part: str, values: NDArray[np.int64], valid: NDArray[np.bool_]) -> None:
    if part == "id":
        found.records.id[:] = values
        found.identified[:] = valid
    else:
        getattr(found.records, part)[:] = np.where(valid, values, -1)


def _ids(said: pa.Table) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    ids = said["id"].fill_null(0).to_numpy().astype(np.uint32)
    identified = said["id"].is_valid().to_numpy().copy()
    hashed = said["id_bytes"]
    for row in np.flatnonzero(hashed.is_valid().to_numpy()).tolist():
        ids[row] = xxhash.xxh32_intdigest(hashed[row].as_py())
        identified[row] = True
    return ids, identified
