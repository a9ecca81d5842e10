"""One Delta table of the store: write data files, commit them, look at a version of it.

The only place that knows deltalake. Whatever goes wrong is a StoreError in one paragraph, or a
Conflict, which the caller must settle by looking at the table again.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.fs import DeltaStorageHandler
from deltalake.transaction import AddAction, RemoveAction

from fidelity.errors import StoreError
from fidelity.store.storage import storage_options, told

CONFIGURATION = {
    # A table is opened in milliseconds, however many scans it has seen.
    "delta.checkpointInterval": "20",
    "delta.logRetentionDuration": "interval 90 days",
}
_PIECE = 8 << 20
_PRUNED = ("stage", "window")  # columns whose ranges leave out whole files
_FORMAT = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=True)
)


class Conflict(Exception):  # noqa: N818 - an answer to act upon, not a failure
    """Somebody else committed first: look at the table again."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A Parquet file that was written into a table's folder and is not part of the table yet."""

    name: str
    bytes: int
    records: int  # rows of the file
    stats: str  # Delta's JSON: ranges and null counts


@dataclass(frozen=True, slots=True)
class Table:
    """The address of one Delta table; opens it anew for every question, so it may be pickled."""

    uri: str  # local path, s3://, gs://, hdfs://
    schema: pa.Schema
    options: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold secrets

    @property
    def local(self) -> bool:
        """On this machine's disks."""
        return "://" not in self.uri

    @property
    def storage_options(self) -> dict[str, str]:
        """The options by deltalake's names."""
        return storage_options(self.uri, self.options)

    def exists(self) -> bool:
        """Whether there is a Delta table at the address."""
        with told(self.uri, "read"):
            return DeltaTable.is_deltatable(self.uri, self.storage_options or None)

    def create(self, name: str, description: str) -> None:
        """Make an empty table, unless it is there by now."""
        with told(self.uri, "created"):
            try:
                DeltaTable.create(
                    self.uri, self.schema, "error", name=name, description=description,
                    configuration=CONFIGURATION, storage_options=self.storage_options or None,
                    commit_properties=CommitProperties(max_commit_retries=0),
                )  # fmt: skip
            except DeltaError:
                # Two first scans at once: one of them made it.
                if not DeltaTable.is_deltatable(self.uri, self.storage_options or None):
                    raise

    def open(self, known_at: int | datetime | None = None) -> DeltaTable:
        """The table as of a version, a moment, or now."""
        version = known_at if isinstance(known_at, int) else None
        with told(self.uri, "read"):
            table = DeltaTable(self.uri, version, self.storage_options or None)
            if isinstance(known_at, datetime):
                table.load_as_version(known_at)
            return table

    def write(
        self, name: str, batches: Iterable[pa.RecordBatch], options: Mapping[str, Any]
    ) -> DataFile | None:
        """Write one data file under the table; None and no file if there are no rows.

        It counts for nothing until it is committed. An error leaves no file behind.
        """
        filled = (batch for batch in batches if batch.num_rows)
        first = next(filled, None)
        if first is None:
            return None
        try:
            return self._write(name, _pieces(_chain(first, filled)), options)
        except BaseException:
            self.discard([name])
            raise

    def _write(self, name: str, pieces: Iterator[pa.Table], options: Mapping[str, Any]) -> DataFile:
        """What goes wrong while the pieces are made is not the store's."""
        about: list[pq.FileMetaData] = []
        with told(self.uri, "written"):
            stream = self.filesystem().open_output_stream(name)
            writer = pq.ParquetWriter(stream, self.schema, metadata_collector=about, **options)
        try:
            for piece in pieces:
                with told(self.uri, "written"):
                    writer.write_table(piece)
            with told(self.uri, "written"):
                writer.close()
                size = stream.tell()
                stream.close()
        except BaseException:
            writer.is_open = False  # to close it as well would fail, and hide why
            with suppress(OSError):
                stream.close()
            raise
        return DataFile(name, size, about[0].num_rows, _stats(about[0]))

    def discard(self, names: Iterable[str]) -> None:
        """Remove files that will not be committed, as far as the store lets us.

        A file that the table has after all stays: a commit may come through and fail to say so.
        """
        unwanted = list(names)
        with suppress(OSError, DeltaError, StoreError):
            held = self.names(self.open()) if unwanted else set()
            filesystem = self.filesystem()
            for name in unwanted:
                if name not in held:
                    with suppress(OSError, DeltaError):
                        filesystem.delete_file(name)

    @staticmethod
    def names(table: DeltaTable) -> set[str]:
        """The data files of the table as it was opened."""
        return set(pa.table(table.get_add_actions())["path"].to_pylist())

    @staticmethod
    def size(table: DeltaTable) -> int:
        """Bytes of the data files of the table as it was opened."""
        return sum(pa.table(table.get_add_actions())["size_bytes"].to_pylist())

    def commit(
        self,
        table: DeltaTable,
        add: Iterable[DataFile] = (),
        remove: Iterable[str] = (),
        transaction: Transaction | None = None,
    ) -> int:
        """Commit files to the table as `table` shows it, all or nothing; the version from then on.

        Raises:
            Conflict: after `table` was opened, somebody committed a transaction of the same name.
        """
        now = time.time_ns() // 1_000_000
        files = list(add)
        actions: list[AddAction | RemoveAction] = [
            AddAction(file.name, file.bytes, {}, now, True, file.stats) for file in files
        ]
        actions += [
            RemoveAction(name, False, now, size, {}) for name, size in _sizes(table, remove)
        ]
        properties = CommitProperties(app_transactions=[transaction] if transaction else [])
        with told(self.uri, "written"):
            try:
                table.create_write_transaction(
                    actions, "append", self.schema, commit_properties=properties
                )
            except CommitFailedError as error:
                raise Conflict(str(error)) from error
            except (DeltaError, OSError):
                if not files or not self._has(files[0]):
                    raise
            table.update_incremental()
            version: int = table.version()
            return version

    def _has(self, file: DataFile) -> bool:
        with suppress(StoreError):
            return file.name in self.names(self.open())
        return False

    def filesystem(self) -> pafs.FileSystem:
        """The table's folder; elsewhere than on local disks through deltalake's client."""
        if self.local:
            return pafs.SubTreeFileSystem(self.uri, pafs.LocalFileSystem())
        return pafs.PyFileSystem(DeltaStorageHandler(self.uri, self.storage_options))

    def dataset(self, table: DeltaTable) -> ds.Dataset:
        """The rows as a dataset that DuckDB reads with its filters and columns pushed down.

        Not deltalake's own: that one takes a column without statistics for a column of nulls.
        """
        filesystem = self.filesystem()
        fragments = [
            _FORMAT.make_fragment(path, filesystem, _within(ranges))
            for path, ranges in _files(table)
        ]
        return ds.FileSystemDataset(fragments, self.schema, _FORMAT, filesystem)


def _pieces(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Row groups of a good size, however small the batches are."""
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size >= _PIECE:
            yield pa.Table.from_batches(held)
            held, size = [], 0
    if held:
        yield pa.Table.from_batches(held)


def _chain(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _sizes(table: DeltaTable, names: Iterable[str]) -> list[tuple[str, int]]:
    wanted = set(names)
    if not wanted:
        return []
    actions = pa.table(table.get_add_actions())
    paths, sizes = actions["path"].to_pylist(), actions["size_bytes"].to_pylist()
    return [(path, size) for path, size in zip(paths, sizes, strict=True) if path in wanted]


def _files(table: DeltaTable) -> list[tuple[str, dict[str, tuple[Any, Any]]]]:
    """Each file of the table, with the ranges of the columns that prune."""
    actions = pa.table(table.get_add_actions(flatten=True))
    columns = {
        column: (actions[f"min.{column}"], actions[f"max.{column}"])
        for column in _PRUNED
        if f"min.{column}" in actions.column_names
    }
    return [
        (path, {column: (low[n], high[n]) for column, (low, high) in columns.items()})
        for n, path in enumerate(actions["path"].to_pylist())
    ]


def _within(ranges: dict[str, tuple[Any, Any]]) -> ds.Expression:
    expression = ds.scalar(True)
    for column, (low, high) in ranges.items():
        if low.is_valid and high.is_valid:
            expression &= (ds.field(column) >= low) & (ds.field(column) <= high)
    return expression


def _stats(about: pq.FileMetaData) -> str:
    """Delta's statistics of a file, from its Parquet footer: top-level columns, none left out."""
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    groups = [about.row_group(n) for n in range(about.num_row_groups)]
    for index in range(about.num_columns):
        name = about.schema.column(index).path
        found = [group.column(index).statistics for group in groups]
        if "." in name or any(each is None for each in found):
            continue
        nulls[name] = sum(each.null_count for each in found)
        ranged = [each for each in found if each.has_min_max]
        if ranged and len(ranged) == sum(each.num_values > 0 for each in found):
            kind = ranged[0].logical_type.type
            low[name] = _shown(min(each.min_raw for each in ranged), kind)
            high[name] = _shown(max(each.max_raw for each in ranged), kind)
    low = {name: value for name, value in low.items() if value is not None}
    high = {name: value for name, value in high.items() if value is not None}
    return json.dumps(
        {"numRecords": about.num_rows, "minValues": low, "maxValues": high, "nullCount": nulls}
    )


_YEARS = (-62_135_596_800_000_000, 253_402_300_799_999_999)  # 1 to 9999, microseconds


def _shown(value: Any, kind: str) -> Any:
    """A raw Parquet statistic as Delta's JSON has it; None: better left out."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if kind == "TIMESTAMP":
        if not _YEARS[0] <= value <= _YEARS[1]:
            return None
        return f"{np.datetime64(value, 'us')}Z"
    return None if isinstance(value, bool) else value
