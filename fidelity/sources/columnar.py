"""Plan and read Parquet files: by row groups, and only the columns that are needed.

Invariant: a file of one path and version never changes, so its units are read once. A file that
vanished or was replaced leaves the books with all its units; its successor enters.
"""

import posixpath
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fidelity.config import Stage
from fidelity.records import Table
from fidelity.sources.filesystem import Entry, filesystem
from fidelity.sources.globs import failure, files_of
from fidelity.sources.planning import Plan, Wanted, modified_at, size_at
from fidelity.units import LedgerRow, Unit

SMALL = 64 << 20
"""Bytes up to which a file is one unit, without a look at its footer."""

UNIT_BYTES = 512 << 20
UNIT_ROWS = 2_000_000
"""A unit of a larger file takes row groups until it has this many bytes (unpacked), or rows."""

BATCH_ROWS = 1 << 16

_NULL = "__HIVE_DEFAULT_PARTITION__"
"""What Hive and Spark call the folder of the rows whose partition column is null."""

_DAMAGE = (pa.ArrowException, UnicodeDecodeError)  # Arrow's names are strings, Parquet's bytes


def plan(stage: Stage, ledger: list[LedgerRow], now: int, small: int = SMALL) -> Plan:
    """What is new in the Parquet files of a stage. See sources.plan."""
    rows = [row for row in ledger if row.unit.kind == "parquet" and row.status != "vanished"]
    by_file: dict[str, list[LedgerRow]] = {}
    for row in rows:
        by_file.setdefault(_name(row.unit.path, row.unit.version), []).append(row)
    entries = files_of(stage.paths, stage.options, stage.name, {row.unit.path for row in ledger})
    there = {_name(entry.path, entry.version): entry for entry in entries}
    fresh = [entry for name, entry in there.items() if name not in by_file]
    again = [row.unit for row in rows if row.status == "unreadable" and _file_of(row) in there]
    notes = [
        LedgerRow(row.unit, "vanished", "", now, "", reason="is not there any more, or replaced")
        for row in rows
        if _file_of(row) not in there
    ]
    units = [*again, *(unit for units in _all_cut(fresh, stage, small) for unit in units)]
    return Plan(sorted(units, key=lambda unit: (unit.path, unit.start)), notes)


def _name(path: str, version: str) -> str:
    return f"{path}@{version}"


def _file_of(row: LedgerRow) -> str:
    return _name(row.unit.path, row.unit.version)


def _all_cut(entries: list[Entry], stage: Stage, small: int) -> list[list[Unit]]:
    """The units of each file; those of a store far away are looked at many at a time."""

    def cut(entry: Entry) -> list[Unit]:
        return _cut(entry, stage, small)

    if not any("://" in entry.path and entry.size > small for entry in entries):
        return [cut(entry) for entry in entries]
    with ThreadPoolExecutor(max_workers=32) as threads:
        return list(threads.map(cut, entries))


def _cut(entry: Entry, stage: Stage, small: int) -> list[Unit]:
    if entry.problem or entry.size <= small:
        return [_unit(entry, stage, 0, -1, entry.size)]
    try:
        with filesystem(entry.path, stage.options).open(entry.path) as raw:
            footer = _footer(raw)
    except (OSError, *_DAMAGE):
        return [_unit(entry, stage, 0, -1, entry.size)]  # reading it will say what is wrong
    units, first, rows, size = [], 0, 0, 0
    for i in range(footer.num_row_groups):
        group = footer.row_group(i)
        rows, size = rows + group.num_rows, size + group.total_byte_size
        if rows >= UNIT_ROWS or size >= UNIT_BYTES or i == footer.num_row_groups - 1:
            units.append(_unit(entry, stage, first, i + 1, size))
            first, rows, size = i + 1, 0, 0
    return units or [_unit(entry, stage, 0, -1, entry.size)]


def _footer(raw: pa.NativeFile) -> pq.FileMetaData:
    """A file's footer; ArrowInvalid where it contradicts itself: rows would be left out unseen."""
    footer = pq.read_metadata(raw)
    rows = _rows(footer, range(footer.num_row_groups))
    if min(rows, default=0) < 0 or sum(rows) != footer.num_rows:
        raise pa.ArrowInvalid("its row groups do not add up to its rows")
    return footer


def _rows(footer: pq.FileMetaData, groups: range) -> list[int]:
    return [footer.row_group(i).num_rows for i in groups]


def _unit(entry: Entry, stage: Stage, start: int, end: int, size: int) -> Unit:
    """Row groups [start, end) of a file; end -1: all, as many as there are."""
    return Unit(
        stage=stage.name,
        key=f"{_name(entry.path, entry.version)}#{start}",
        kind="parquet",
        path=entry.path,
        start=start,
        end=end,
        version=entry.version,
        size=max(size, 0),
    )


def read(unit: Unit, stage: Stage, wanted: Wanted, batch_rows: int = BATCH_ROWS) -> "ColumnReader":
    """The rows of a unit; UnreadableError comes while they are read."""
    return ColumnReader(unit, stage, wanted, batch_rows)


class ColumnReader:
    """An iterator of Table. A struct's member is given inside its struct.

    end: the row group reached, valid after exhaustion.

    Raises (while iterating):
        UnreadableError: the file is gone, another than planned, or no sound Parquet.
    """

    def __init__(self, unit: Unit, stage: Stage, wanted: Wanted, batch_rows: int) -> None:
        self.end = unit.start
        self._unit, self._stage = unit, stage
        self._columns, self._names = wanted.columns, wanted.names
        self._batch_rows = batch_rows
        self._batches = self._guarded()

    def __iter__(self) -> "ColumnReader":
        return self

    def __next__(self) -> Table:
        return next(self._batches)

    def _guarded(self) -> Iterator[Table]:
        unit = self._unit
        try:
            store = filesystem(unit.path, self._stage.options)
            with store.open(unit.path) as raw:
                if raw.size() != size_at(unit.version):
                    raise OSError(None, "was replaced after the scan was planned")
                footer = _footer(raw)
                file = pq.ParquetFile(
                    raw,
                    metadata=footer,
                    read_dictionary=_few(self._names, footer.schema.to_arrow_schema()),
                    buffer_size=1 << 20,  # large column chunks come piece by piece
                    pre_buffer=store.remote,
                    page_checksum_verification=True,
                    coerce_int96_timestamp_unit="us",  # in ns the year 2610 would be 2026
                )
                with file:
                    yield from self._tables(file)
        except OSError as error:
            raise failure(error, unit.path, self._stage) from None
        except _DAMAGE as error:
            why = "a name in it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
            broken = OSError(None, f"no Parquet file that can be read: {why}")
            raise failure(broken, unit.path, self._stage) from None

    def _tables(self, file: pq.ParquetFile) -> Iterator[Table]:
        unit, footer = self._unit, file.metadata
        end = unit.end if unit.end >= 0 else footer.num_row_groups
        position = sum(_rows(footer, range(unit.start)))
        after = position + sum(_rows(footer, range(unit.start, end)))
        modified = modified_at(unit.version)
        complete = _partition_values(unit.path, self._columns, file.schema_arrow.names)
        batches = file.iter_batches(
            batch_size=self._batch_rows,
            row_groups=list(range(unit.start, end)),
            columns=self._columns,
            use_threads=False,
        )
        for batch in batches:
            count = batch.num_rows
            positions = np.arange(position, position + count, dtype=np.int64)
            yield Table(complete(batch), positions, np.full(count, modified, dtype=np.int64))
            position += count
        if position != after:
            raise pa.ArrowInvalid("its columns have not as many rows as its footer tells")
        self.end = end


def _few(names: list[str], schema: pa.Schema) -> list[str]:
    """Names that are stored as plain strings, to be read as codes into a dictionary."""
    return [
        field.name
        for field in schema
        if field.name in names and field.type in (pa.string(), pa.binary())
    ]


def _partition_values(
    path: str, wanted: list[str], stored: list[str]
) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    """Adds the wanted columns that are not in the file but in its path: `.../date=2024-01-01/..`"""
    parts = dict(
        part.split("=", 1) for part in posixpath.dirname(path).split("/") if "=" in part[1:]
    )
    added = {
        name: pa.scalar(None if parts[name] == _NULL else unquote(parts[name]), pa.string())
        for name in wanted
        if name in parts and name not in stored
    }

    def complete(batch: pa.RecordBatch) -> pa.RecordBatch:
        for name, value in added.items():
            batch = batch.append_column(name, pa.repeat(value, batch.num_rows))
        return batch

    return complete
