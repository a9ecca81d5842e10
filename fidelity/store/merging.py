"""Merge: what a scan's tasks wrote becomes little and few, since every audit to come reads it.

The observations of units that never leave the books are kept as one row a scope: a topic's records
and the source's log lines were produced, whatever becomes of them later; so their units need not be
told apart any more. What is left does not grow with the number of files, partitions or scans. Those
of all other units keep their rows, and are put together into one file if they are few.
Law: what is in force adds up to the same before and after, save samples that only some of the units
have: these count as not taken before, and are gone after.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fidelity.config import Stage
from fidelity.observe.observations import OBSERVATIONS, merge
from fidelity.store import MERGED, MERGED_UNIT, DataFile, Store
from fidelity.store.storage import told
from fidelity.units import LedgerRow

_AT_ONCE = 16 << 20  # bytes of files whose rows are added up in memory
_UNIT = ("scan", "unit")


def lasting(stage: Stage) -> bool:
    """Whether a unit of the stage, once read, stays in the books for good."""
    return stage.kind == "kafka" or (stage.after is None and stage.record.format != "parquet")


def gathered(
    store: Store, stage: Stage, name: str, rows: Sequence[LedgerRow], files: Sequence[DataFile]
) -> tuple[list[LedgerRow], list[DataFile]]:
    """What a scan commits of a stage: merged if the stage is lasting, else in fewer files.

    Args and result are those of `merged`; the files given are not part of the store any more.
    """
    if lasting(stage):
        return merged(store, name, rows, files)
    return list(rows), _together(store, name, files)


def merged(
    store: Store,
    name: str,
    rows: Sequence[LedgerRow],
    files: Sequence[DataFile],
    most: int | None = None,
) -> tuple[list[LedgerRow], list[DataFile]]:
    """Rows of a lasting stage and their data files, as they are to be committed.

    Args:
        name: of whoever merges, a scan or a compaction.
        rows: what is to be committed. Those whose observations are not in `files` stay as they are.
        files: other rows in them count for nothing, and are left out.
        most: bytes of files whose rows are added up at once, a few by default. The units of files
            that are not must have the same samples.

    Returns:
        The rows, under one scan `merged:<name>`, and new files; or what was given, if there is
        nothing to merge.
    """
    read = {_key(row) for row in rows if row.status == "read"}
    if len(read) < 2 or not files:
        return list(rows), list(files)
    scan = MERGED + name
    found: set[str] = set()
    written = []
    for part in _parts(files, _AT_ONCE if most is None else most):
        own = _those_of(read, store, part)
        found.update(pc.unique(joined(own, *_UNIT)).to_pylist())
        written.append(store.write_observations(name, _one_unit(own, scan).to_batches()))
    moved = [
        replace(row, scan=scan) if row.status == "read" and _key(row) in found else row
        for row in rows
    ]
    return moved, [file for file in written if file is not None]


def _together(store: Store, name: str, files: Sequence[DataFile]) -> list[DataFile]:
    """The same rows in one file, if they are few; more are left to a compaction."""
    if len(files) < 2 or sum(file.bytes for file in files) > _AT_ONCE:
        return list(files)
    rows = rows_in(store, files).sort_by("window")
    file = store.write_observations(name, rows.to_batches())
    return [file] if file is not None else []


def rows_in(store: Store, files: Iterable[DataFile]) -> pa.Table:
    """All observations of some data files."""
    with told(store.uri, "read"):
        filesystem = store.observations_table.filesystem()
        tables = [pq.read_table(file.name, filesystem=filesystem) for file in files]
    return pa.concat_tables(tables).cast(OBSERVATIONS)


def _those_of(read: set[str], store: Store, files: Sequence[DataFile]) -> pa.Table:
    """The observations of some units, file by file: most of a file may be of others."""
    wanted = pa.array(sorted(read), pa.string())
    tables = [rows_in(store, [file]) for file in files]
    return pa.concat_tables(rows.filter(pc.is_in(joined(rows, *_UNIT), wanted)) for rows in tables)


def _one_unit(rows: pa.Table, scan: str) -> pa.Table:
    rows = _with_whole_samples(rows)
    for column, value in (("scan", scan), ("unit", MERGED_UNIT)):
        constant = pa.repeat(pa.scalar(value, pa.string()), len(rows))
        rows = rows.set_column(rows.schema.get_field_index(column), column, constant)
    return merge(rows)


def _with_whole_samples(rows: pa.Table) -> pa.Table:
    """Without the samples that some unit of their window and stream was not asked for.

    Of a part of the units a sample tells nothing, and as one unit they would not be told apart.
    """
    if not pc.any(pc.greater(rows["sample"], 1)).as_py():
        return rows
    scope = ["window", "stream"]
    each = rows.select(["scan", "unit", "sample", *scope])
    units = each.group_by(each.column_names).aggregate([])
    units = units.group_by(["sample", *scope]).aggregate([([], "count_all")])
    everything = units.filter(pc.field("sample") == 1).drop_columns("sample")
    whole = units.join(everything, [*scope, "count_all"], join_type="left semi")
    places = rows.select(["sample", *scope]).append_column("place", pa.array(np.arange(len(rows))))
    kept = places.join(whole, ["sample", *scope], join_type="left semi")
    return rows.take(kept["place"])


def _parts(files: Iterable[DataFile], most: int) -> Iterator[list[DataFile]]:
    part: list[DataFile] = []
    for file in files:
        if part and sum(each.bytes for each in part) + file.bytes > most:
            yield part
            part = []
        part.append(file)
    if part:
        yield part


def joined(rows: pa.Table, *columns: str) -> pa.ChunkedArray:
    """Texts of a table as one, to tell which rows have the same."""
    return pc.binary_join_element_wise(*(rows[column] for column in columns), "\n")


def _key(row: LedgerRow) -> str:
    """Scan and unit of the row's observations, which may be merged ones already."""
    unit = MERGED_UNIT if row.scan.startswith(MERGED) else row.unit.key
    return f"{row.scan}\n{unit}"
