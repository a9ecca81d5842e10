"""Write a file again without its repeats: the same lines byte for byte, the same Parquet schema.

Invariant: what is written is what was read when the repeats were found, less the repeats; anything
else is an error, and then nothing is published.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fidelity.config import Stage
from fidelity.decode import Names
from fidelity.dedup.int96 import unit_of
from fidelity.dedup.output import Draft
from fidelity.dedup.repeats import Firsts, Group
from fidelity.dedup.runs import Bounds
from fidelity.errors import DedupError, UnreadableError
from fidelity.reading import Reading
from fidelity.sources.compression import codec_of, text_of
from fidelity.sources.filesystem import filesystem
from fidelity.sources.globs import failure
from fidelity.sources.planning import size_at
from fidelity.units import Unit

_CHUNK = 4 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """A unit to write again: what was found in it, and what of it earlier units hold already."""

    unit: Unit
    records: int
    end: int
    repeats: dict[Group, Bounds]


@dataclass(frozen=True, slots=True)
class CleanTask:
    """One file, with all its units, and its name in the copy. Can be pickled.

    An empty text file has no units.
    """

    path: str
    version: str
    parts: tuple[Part, ...]
    name: str
    stage: Stage
    window: int
    by_window: bool
    draft: Draft


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What became of a file's records."""

    name: str
    read: int
    dropped: int


def clean_task(task: CleanTask) -> Cleaned:
    """Write a file of the copy.

    Raises:
        UnreadableError, SourceError: it cannot be read as it was before.
        DedupError: it cannot be written, or not as it was.
    """
    masks = [_Mask(part, task) for part in task.parts]
    repeated = np.concatenate([np.empty(0, np.int64), *(mask.repeated for mask in masks)])
    path = task.path
    kept = sum(mask.read for mask in masks) - len(repeated)
    try:
        if task.stage.record.format == "parquet":
            _write_parquet(path, task, repeated, kept)
        else:
            _write_text(path, task, repeated)
        _check_unchanged(path, task)
    except pa.ArrowException as error:
        raise DedupError(f"it cannot be written again: {error}.", where=path) from None
    return Cleaned(task.name, sum(mask.read for mask in masks), len(repeated))


def _check_unchanged(path: str, task: CleanTask) -> None:
    """Raises UnreadableError if what was copied is not what was planned."""
    try:
        entry = filesystem(path, task.stage.options).stat(path)
    except OSError as error:
        raise failure(error, path, task.stage) from None
    if entry is None or entry.version != task.version:
        raise _changed(path)


class _Mask:
    """The positions of a unit's repeats, ascending, found by reading it once more."""

    def __init__(self, part: Part, task: CleanTask) -> None:
        repeated, self.read, end = repeated_in(
            part.unit, task.stage, task.window, task.by_window, part.repeats
        )
        self.repeated = repeated
        if (self.read, end) != (part.records, part.end):
            raise _changed(part.unit.path)


CHANGED = "it changed while it was being read."


def _changed(path: str) -> UnreadableError:
    return UnreadableError(CHANGED, where=path, action="Run again once it rests.")


def repeated_in(
    unit: Unit, stage: Stage, window: int, by_window: bool, repeats: dict[Group, Bounds]
) -> tuple[NDArray[np.int64], int, int]:
    """(positions of the repeats, records read, where the unit ends)."""
    names = Names()
    firsts = Firsts(names, window if by_window else 0, repeats)
    reading = Reading(unit, stage, names, window)
    found = [np.empty(0, np.int64)]
    for records in reading:
        found.append(records.position[~firsts.of(records)])
    return np.concatenate(found), firsts.records, reading.end


def _write_text(path: str, task: CleanTask, repeated: NDArray[np.int64]) -> None:
    """All bytes but those of the repeated lines, each up to and with its newline."""
    size = size_at(task.version)
    try:
        with filesystem(path, task.stage.options).open(path) as raw:
            codec = codec_of(raw.read_at(6, 0))
            text = text_of(raw, codec, size)
            with task.draft.file(task.name) as file:
                out = pa.CompressedOutputStream(_LeftOpen(file), codec) if codec else file
                for piece in _without(text, repeated):
                    if not task.parts:  # it was empty
                        raise _changed(path)
                    out.write(piece)
                if codec:
                    out.close()
    except OSError as error:
        raise failure(error, path, task.stage) from None


class _LeftOpen:
    """A file that whoever compresses into it does not close: its end is its owner's to write."""

    closed = False

    def __init__(self, file: pa.NativeFile) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        """Bytes go on as they come."""
        self._file.write(data)
        return len(data)

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Its owner does."""


def _without(text: pa.NativeFile, starts: NDArray[np.int64]) -> Iterator[memoryview]:
    """The stream without the lines that begin at these bytes."""
    base, at, dropping = 0, 0, False
    while chunk := text.read(_CHUNK):
        view, place = memoryview(chunk), 0
        while place < len(chunk):
            if dropping:
                newline = chunk.find(b"\n", place)
                dropping = newline < 0
                place = len(chunk) if dropping else newline + 1
                continue
            until = len(chunk)
            if at < len(starts) and starts[at] < base + len(chunk):
                until, dropping, at = int(starts[at]) - base, True, at + 1
            yield view[place:until]
            place = until
        base += len(chunk)


def _write_parquet(path: str, task: CleanTask, repeated: NDArray[np.int64], kept: int) -> None:
    try:
        store = filesystem(path, task.stage.options)
        with store.open(path) as raw:
            footer = pq.read_metadata(raw)
            file = pq.ParquetFile(
                raw,
                metadata=footer,
                pre_buffer=store.remote,
                coerce_int96_timestamp_unit=unit_of(raw, footer, path),
            )
            settings = settings_of(file, path)
            with (
                task.draft.file(task.name) as out,
                pq.ParquetWriter(out, file.schema_arrow, **settings) as writer,
            ):
                rows = _write_groups(file, writer, repeated)
                writer.add_key_value_metadata(_metadata_besides(file, settings))
    except OSError as error:
        raise failure(error, path, task.stage) from None
    if rows != kept:
        raise AssertionError(f"{path}: {rows} rows written, {kept} are to be kept")


def _metadata_besides(file: pq.ParquetFile, settings: dict[str, Any]) -> dict[bytes, bytes]:
    """What a file says of itself that does not come along with its Arrow schema."""
    along = {b"ARROW:schema", *(file.schema_arrow.metadata or {})}
    known = along if settings["store_schema"] else ()
    return {
        name: text for name, text in (file.metadata.metadata or {}).items() if name not in known
    }


def _write_groups(
    file: pq.ParquetFile, writer: pq.ParquetWriter, repeated: NDArray[np.int64]
) -> int:
    first = rows = 0
    for number in range(file.num_row_groups):
        count = file.metadata.row_group(number).num_rows
        mask = np.ones(count, np.bool_)
        low, high = np.searchsorted(repeated, (first, first + count))
        mask[repeated[low:high] - first] = False
        table = file.read_row_group(number, use_threads=False)
        table = table if mask.all() else _kept(table, mask)
        if table.num_rows:
            writer.write_table(table, row_group_size=table.num_rows)
        first, rows = first + count, rows + table.num_rows
    return rows


def _kept(table: pa.Table, mask: NDArray[np.bool_]) -> pa.Table:
    """The rows of a table that a mask names."""
    try:
        return table.filter(pa.array(mask))
    except pa.ArrowNotImplementedError:  # of string_view and its like; slices do for all types
        edges = np.flatnonzero(np.diff(np.r_[False, mask, False])).reshape(-1, 2)
        parts = [table.slice(first, end - first) for first, end in edges.tolist()]
        return pa.concat_tables(parts) if parts else table.slice(0, 0)


def settings_of(file: pq.ParquetFile, path: str) -> dict[str, Any]:
    """How to write a Parquet file so that its schema and compression are those of another.

    Raises:
        DedupError: Arrow cannot write such a schema.
    """
    footer = file.metadata
    columns = [file.schema.column(at) for at in range(len(file.schema))]
    group = footer.row_group(0) if footer.num_row_groups else None
    chunks = [] if group is None else [group.column(at) for at in range(len(columns))]
    settings: dict[str, Any] = {
        "version": footer.format_version if footer.format_version in ("1.0", "2.4") else "2.6",
        "compression": {
            chunk.path_in_schema: _CODECS.get(chunk.compression, chunk.compression.lower())
            for chunk in chunks
        }
        or "snappy",
        "use_dictionary": [
            chunk.path_in_schema for chunk in chunks if any("DICT" in e for e in chunk.encodings)
        ]
        or (not chunks),
        "store_schema": b"ARROW:schema" in (footer.metadata or {}),
        "use_deprecated_int96_timestamps": any(c.physical_type == "INT96" for c in columns),
        "store_decimal_as_integer": any(
            c.logical_type.type == "DECIMAL" and c.physical_type in ("INT32", "INT64")
            for c in columns
        ),
    }
    if group is not None and group.sorting_columns:
        settings["sorting_columns"] = group.sorting_columns
    for choice in ({}, {"version": "1.0"}, {"use_compliant_nested_type": False}):
        if _schema_written(file, settings | choice).equals(file.schema):
            return settings | choice
    raise DedupError(
        "its Parquet schema cannot be written again as it is.",
        where=path,
        action="Have the tool that wrote it drop the duplicates: `fidelity audit` names them.",
    )


_CODECS = {"UNCOMPRESSED": "none", "LZ4_RAW": "lz4"}


def _schema_written(file: pq.ParquetFile, settings: dict[str, Any]) -> pq.ParquetSchema:
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, file.schema_arrow, **settings):
        pass
    return pq.ParquetFile(sink).schema
