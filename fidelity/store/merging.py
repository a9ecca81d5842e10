"""Merge: what a scan's tasks wrote becomes little and few, since every audit to come reads it.

The observations of units that never leave the books are kept as one row a scope: a topic's records
and the source's log lines were produced, whatever becomes of them later; so their units need not be
told apart any more. What is left does not grow with the number of files, partitions or scans. Those
of all other units keep their rows, and are put together into one file if they are few.
Law: what is in force adds up to the same before and after.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fidelity.config import Stage
from fidelity.observe.observations import OBSERVATIONS, merge
from fidelity.store import MERGED, MERGED_UNIT, DataFile, Store
from fidelity.store.storage import told
from fidelity.units import LedgerRow

_AT_ONCE = 16 << 20  # bytes of files whose rows are added up in memory


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
    store: Store, name: str, rows: Sequence[LedgerRow], files: Sequence[DataFile]
) -> tuple[list[LedgerRow], list[DataFile]]:
    """Rows of a lasting stage and their data files, as they are to be committed.

    Args:
        name: of whoever merges, a scan or a compaction.
        rows: what is to be committed; those read have their observations in `files`.
        files: other rows in them count for nothing, and are left out.

    Returns:
        The rows, under one scan `merged:<name>`, and new files; or what was given, if there is
        nothing to merge.
    """
    read = {_key(row) for row in rows if row.status == "read"}
    if len(read) < 2 or not files:
        return list(rows), list(files)
    scan = MERGED + name
    written = [
        store.write_observations(name, _one_unit(store, part, read, scan).to_batches())
        for part in _parts(files)
    ]
    moved = [replace(row, scan=scan) if row.status == "read" else row for row in rows]
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


def _one_unit(store: Store, files: Sequence[DataFile], read: set[str], scan: str) -> pa.Table:
    rows = rows_in(store, files)
    keys = pc.binary_join_element_wise(rows["scan"], rows["unit"], "\n")
    rows = rows.filter(pc.is_in(keys, pa.array(sorted(read), pa.string())))
    for column, value in (("scan", scan), ("unit", MERGED_UNIT)):
        constant = pa.repeat(pa.scalar(value, pa.string()), len(rows))
        rows = rows.set_column(rows.schema.get_field_index(column), column, constant)
    return merge(rows)


def _parts(files: Iterable[DataFile]) -> Iterator[list[DataFile]]:
    part: list[DataFile] = []
    for file in files:
        if part and sum(each.bytes for each in part) + file.bytes > _AT_ONCE:
            yield part
            part = []
        part.append(file)
    if part:
        yield part


def _key(row: LedgerRow) -> str:
    """Scan and unit of the row's observations, which may be merged ones already."""
    unit = MERGED_UNIT if row.scan.startswith(MERGED) else row.unit.key
    return f"{row.scan}\n{unit}"
