"""The SQL's side of decoding: rows that the kernel is not sure of, asked about and filled in."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from fidelity.decode.found import Found
from fidelity.decode.gather import gathered
from fidelity.decode.kernel import OVER_LONG
from fidelity.decode.names import Names
from fidelity.decode.places import PARTS, Places, Spot
from fidelity.records import Lines, Slices

BATCH = pa.schema(
    [
        ("n", pa.int64()),  # the row's number, given back with the answer
        ("over_long", pa.bool_()),
        ("arrival", pa.int64()),
        ("value", pa.large_binary()),
        ("id_given", pa.large_binary()),
        ("time_given", pa.large_binary()),
        ("stream_given", pa.large_binary()),
        ("origin_given", pa.large_binary()),
    ]
)
"""The columns of sql/decode_batch.sql."""


class Answers:
    """What the SQL says of records whose parts are at these places."""

    def __init__(self, places: Places, names: Names) -> None:
        self._places, self._names = places, names
        self._pointers = [spot.pointer for spot in places.spots if spot.pointer is not None]

    def lines(
        self,
        lines: Lines,
        rows: NDArray[np.int64],
        found: Found,
        parts: Sequence[str] = PARTS,
    ) -> None:
        """Fills in parts of the chosen rows of a batch of lines."""
        if not len(rows):
            return
        looked_at = self._places.format != "none" or self._places.id.content
        values = gathered(lines.buffer, lines.values, rows) if looked_at else _nothing(len(rows))
        given = [self._given(lines, spot, rows) for spot in self._places.spots]
        over_long = lines.values.starts[rows] == OVER_LONG
        asked = _batch(rows, over_long, lines.arrivals[rows], values, given)
        self._fill(asked, found, parts, self._places.encoding, binary=True)

    def texts(
        self,
        texts: dict[str, pa.Array],
        rows: NDArray[np.int64],
        found: Found,
        encoding: str,
        *,
        binary: bool,
    ) -> None:
        """Fills in the chosen rows of a table: the parts that are texts (large_binary).

        Args:
            texts: by part, one each row of the table.
            rows: which rows.
            found: where to.
            encoding, binary: how ids are to be read, and whether they may be raw bytes.
        """
        chosen = pa.array(rows)
        given = [
            texts[part].take(chosen) if part in texts else _nothing(len(rows)) for part in PARTS
        ]
        nothing = _nothing(len(rows))
        whole = np.zeros(len(rows), np.bool_)
        asked = _batch(rows, whole, found.records.arrival[rows], nothing, given)
        self._fill(asked, found, tuple(texts), encoding, binary=binary)

    def _given(self, lines: Lines, spot: Spot, rows: NDArray[np.int64]) -> pa.Array:
        if spot.constant is not None:
            return pa.repeat(pa.scalar(spot.constant, pa.large_binary()), len(rows))
        slices = given_slices(lines, spot)
        return _nothing(len(rows)) if slices is None else gathered(lines.buffer, slices, rows)

    def _fill(
        self, asked: pa.Table, found: Found, parts: Sequence[str], encoding: str, *, binary: bool
    ) -> None:
        from fidelity.decode.sql import question

        said = question(self._spec(encoding, binary)).ask(asked)
        at = said["n"].to_numpy()
        records = found.records
        found.malformed[at] = said["malformed"].to_numpy()
        if "id" in parts:
            records.id[at], found.identified[at] = _ids(said)
        if "time" in parts:
            records.time[at] = said["event_time"].fill_null(-1).to_numpy()
        if "stream" in parts:
            records.stream[at] = self._names.codes(said["stream"].combine_chunks())
        if "origin" in parts:
            records.origin[at] = self._names.codes(said["origin"].combine_chunks())

    def _spec(self, encoding: str, binary: bool) -> dict[str, object]:
        spec: dict[str, object] = {
            "format": self._places.format,
            "pointers": self._pointers,
            "id_encoding": encoding,
            "id_is_binary": binary,
            "time_unit": self._places.unit,
            "time_arrives": self._places.time.arrives,
        }
        for part, spot in zip(PARTS, self._places.spots, strict=True):
            place = None if spot.pointer is None else self._pointers.index(spot.pointer) + 1
            spec[f"{part}_member"] = place
            spec[f"{part}_pattern"] = spot.pattern
        return spec


def given_slices(lines: Lines, spot: Spot) -> Slices | None:
    """The header or key that holds a part; None if it is elsewhere, or no record has it."""
    if spot.header is not None:
        return lines.headers.get(spot.header)
    return lines.keys if spot.key else None


def _nothing(count: int) -> pa.Array:
    return pa.nulls(count, pa.large_binary())


def _batch(
    rows: NDArray[np.int64],
    over_long: NDArray[np.bool_],
    arrivals: NDArray[np.int64],
    values: pa.Array,
    given: list[pa.Array],
) -> pa.Table:
    columns = [pa.array(rows), pa.array(over_long), pa.array(arrivals), values, *given]
    return pa.table(columns, schema=BATCH)


def _ids(said: pa.Table) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    ids = said["id"].fill_null(0).to_numpy().astype(np.uint32)
    identified = said["id"].is_valid().to_numpy().copy()
    hashed = said["id_bytes"]
    for row in np.flatnonzero(hashed.is_valid().to_numpy()).tolist():
        ids[row] = xxhash.xxh32_intdigest(hashed[row].as_py())
        identified[row] = True
    return ids, identified
