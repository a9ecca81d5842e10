"""Compact: fewer and larger files, and nothing left of scans that died. What is in force stays.

Each step leaves the store as good as it found it, whoever scans or reads meanwhile and whenever it
is killed:

1. Observations of units that never leave the books are added up across scans and written under a
   new name; one commit of the stage then moves their units to that name.
2. Data files are written again without rows that can never count, small ones together.
3. The ledger is written again without rows that are not in force, and speaks of 2's version.
4. Files that no version since the retention needs are deleted.
5. Answers of traces that no longer hold are left out, the others put into one file.
"""

import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable, Transaction

from fidelity.config import Pipeline, mask
from fidelity.errors import StoreError
from fidelity.reconcile.looks import began
from fidelity.reconcile.recount import Question
from fidelity.reconcile.standing import standing
from fidelity.store import OBSERVATION_FILE, UNITS_FILE, Store
from fidelity.store.delta import Conflict, DataFile, Table
from fidelity.store.ledger import table_of
from fidelity.store.merging import lasting, merged, rows_in
from fidelity.store.snapshot import Snapshot
from fidelity.store.storage import told
from fidelity.trace import traces
from fidelity.units import LedgerRow, Unit

RETENTION_HOURS = 7 * 24
"""For so long earlier versions of the ledger can still be asked for."""

DAY_MS = 86_400_000  # no scan takes longer between its two commits
_SMALL, _LARGE = 8 << 20, 32 << 20  # bytes of a data file
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Compacted:
    """What became fewer: (before, after)."""

    files: tuple[int, int]  # of observations
    rows: tuple[int, int]  # of observations
    entries: tuple[int, int]  # of the ledger

    def __str__(self) -> str:
        parts = (
            ("observation files", self.files),
            ("observations", self.rows),
            ("ledger entries", self.entries),
        )
        told_ = ", ".join(f"{before:,} -> {after:,} {what}" for what, (before, after) in parts)
        return f"Compacted: {told_}."


def compact(pipeline: Pipeline, store: Store, everything: bool = False) -> Compacted:
    """Merge what can be merged, and clear away what can never count.

    Args:
        pipeline: says which stages' units never leave the books.
        store: its store.
        everything: also what may belong to a scan under way, and all earlier versions. Only when
            nothing else uses the store.

    Raises:
        StoreError: it cannot be written, or somebody else compacts it; what counts is unharmed.
    """
    before = _size(store)
    for stage in pipeline.stages:
        if lasting(stage):
            _merge_scans(store, stage.name, pipeline.settle)
    _rewrite_observations(store, everything)
    _rewrite_ledger(store)
    hours = 0 if everything else RETENTION_HOURS
    _vacuum(store, hours)
    _tidy_traces(pipeline, store, hours)
    after = _size(store)
    files, rows, entries = zip(before, after, strict=True)
    return Compacted(files, rows, entries)


@dataclass(frozen=True, slots=True)
class _File:
    """A data file of the observations table."""

    data: DataFile
    added: int  # milliseconds
    stage: str
    scan: str  # "" if it holds several


def _merge_scans(store: Store, stage: str, settle: int) -> None:
    """Step 1 for one stage, oldest scans first, as many at a time as fit in memory."""
    before = time.time_ns() // 1000 - settle
    rows = [
        row
        for row in store.ledger(stage)
        if row.status == "read" and row.unit.kind != "stage" and row.scanned_at < before
    ]
    by_scan: dict[str, list[LedgerRow]] = {}
    for row in sorted(rows, key=lambda row: row.commit):
        by_scan.setdefault(row.scan, []).append(row)
    for scans in _groups(store, stage, list(by_scan)):
        newest = max(began(scan) for scan, _ in scans) or f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
        name = f"compact-{newest}-{secrets.token_hex(4)}"
        _merge_group(store, stage, name, [row for scan, _ in scans for row in by_scan[scan]],
                     [file for _, files in scans for file in files])  # fmt: skip


def _groups(
    store: Store, stage: str, scans: Sequence[str]
) -> Iterator[list[tuple[str, list[DataFile]]]]:
    """Scans that follow each other, with their files: at least two, and not too large together."""
    files: dict[str, list[DataFile]] = {}
    for file in _files(store.observations_table.open()):
        if file.stage == stage and file.scan:
            files.setdefault(file.scan, []).append(file.data)
    group: list[tuple[str, list[DataFile]]] = []
    size = 0
    for scan in scans:
        own = files.get(scan, [])
        bytes_ = sum(file.bytes for file in own)
        if group and size + bytes_ > _SMALL:
            if len(group) > 1:
                yield group
            group, size = [], 0
        group.append((scan, own))
        size += bytes_
    if len(group) > 1:
        yield group


def _merge_group(
    store: Store, stage: str, name: str, rows: list[LedgerRow], files: list[DataFile]
) -> None:
    moved, new = merged(store, name, rows, files)
    if moved == rows:
        return
    for _ in range(_TRIES):
        ledger = store.ledger(stage)
        now = {row.unit.key: row for row in ledger}  # units of lasting stages stay
        if any(now[row.unit.key].scan != row.scan for row in rows if row.unit.key in now):
            break  # somebody else moved them first
        try:
            store.commit(name, stage, moved, new, max(row.commit for row in ledger))
            return
        except Conflict:
            continue
    store.observations_table.discard(file.name for file in new)


def _rewrite_observations(store: Store, everything: bool) -> None:
    """Step 2: leave out rows that never can count, put small files together."""
    table = store.observations_table
    opened = table.open()  # before the ledger: what it has, the ledger may know
    dead = _Dead.of(store.at(), everything)
    doomed: list[str] = []
    written: list[DataFile] = []
    for files in _work(store, _files(opened), dead):
        rows = rows_in(store, [file.data for file in files])
        rows = rows.filter(pc.invert(dead.among(rows)))
        name = f"compact-{secrets.token_hex(8)}.parquet"
        new = store.observations_table.write(
            name, rows.sort_by("window").to_batches(), OBSERVATION_FILE
        )
        written += [new] if new is not None else []
        doomed += [file.data.name for file in files]
    if doomed:
        _commit(table, opened, written, doomed)


@dataclass(frozen=True, slots=True)
class _Dead:
    """Tells which observations do not count, and never will."""

    in_force: pa.Array  # keys
    over: pa.Array  # stage and scan of all commits: what they left out of force stays out
    everything: bool

    @classmethod
    def of(cls, snapshot: Snapshot, everything: bool) -> "_Dead":
        counted = snapshot.in_force()
        all_rows = snapshot.rows.select(["stage", "scan"])
        over = pc.unique(_joined(all_rows, "stage", "scan").combine_chunks())
        return cls(_joined(counted, "stage", "scan", "unit").combine_chunks(), over, everything)

    def among(self, rows: pa.Table) -> pa.ChunkedArray:
        """Rows that do not count."""
        return pc.invert(pc.is_in(_joined(rows, "stage", "scan", "unit"), self.in_force))

    def any_among(self, rows: pa.Table) -> bool:
        """Whether there are any."""
        return bool(pc.any(self.among(rows)).as_py())

    def may_count_yet(self, rows: pa.Table, file: _File) -> bool:
        """Whether the file may be of a scan under way: one that the ledger does not have yet.

        Such a file is left as it is: the scan may be about to commit it, or to commit it again.
        """
        if self.everything or file.added < time.time_ns() // 1_000_000 - DAY_MS:
            return False
        known = pc.is_in(_joined(rows, "stage", "scan"), self.over)
        return bool(pc.any(pc.and_(self.among(rows), pc.invert(known))).as_py())


def _work(store: Store, files: Iterable[_File], dead: _Dead) -> Iterator[list[_File]]:
    """Files to be written again, as groups of one stage that each become one file."""
    by_stage: dict[str, list[_File]] = {}
    for file in files:
        by_stage.setdefault(file.stage, []).append(file)
    for mine in by_stage.values():
        small = [file for file in mine if file.data.bytes < _SMALL]
        group: list[_File] = []
        for file in mine:
            keys = _read(store, file, ["stage", "scan", "unit"])
            needless = file not in small or len(small) < 2
            if dead.may_count_yet(keys, file) or (needless and not dead.any_among(keys)):
                continue
            group.append(file)
            if sum(each.data.bytes for each in group) > _LARGE:
                yield group
                group = []
        if group:
            yield group


def _rewrite_ledger(store: Store) -> None:
    """Step 3: only rows in force, in one file, which speaks of 2's version."""
    observed: int = store.observations_table.open().version()
    snapshot = store.at()
    note = Unit("", "compacted", "stage", "", 0, 0)
    now = time.time_ns() // 1000
    last = table_of([LedgerRow(note, "read", "", now, "")], 0, observed)
    of_stages = snapshot.rows_in_force().filter(pc.field("stage") != note.stage)
    rows = pa.concat_tables([of_stages, last])
    name = f"compact-{secrets.token_hex(8)}.parquet"
    file = store.units.write(name, rows.to_batches(), UNITS_FILE)
    assert file is not None
    _commit(store.units, snapshot.table, [file], [old.data.name for old in _files(snapshot.table)])


def _commit(table: Table, opened: DeltaTable, new: list[DataFile], doomed: list[str]) -> None:
    """Put new files in the place of others. Of two compactions at once the later fails."""
    number = int(opened.transaction_version("compaction") or 0) + 1
    try:
        table.commit(opened, new, doomed, Transaction("compaction", number))
    except (Conflict, StoreError) as error:
        table.discard(file.name for file in new)
        if isinstance(error, StoreError):
            raise
        raise StoreError(
            "the store is being compacted by somebody else.",
            where=mask(table.uri),
            action="Nothing was changed; run it again if need be.",
        ) from error


def _vacuum(store: Store, hours: int) -> None:
    """Step 4."""
    for table in (store.observations_table, store.units):
        with told(store.uri, "written"):
            table.open().vacuum(hours, dry_run=False, enforce_retention_duration=False, full=True)


def _tidy_traces(pipeline: Pipeline, store: Store, hours: int) -> None:
    """Step 5."""

    def hold(questions: Sequence[Question]) -> list[bool]:
        snapshot = store.at()
        ledger = [row for stage in pipeline.stages for row in snapshot.ledger(stage.name)]
        return standing(pipeline, ledger, snapshot.observations(), questions)

    traces.tidy(store, hold, time.time_ns() // 1000 - hours * 3_600_000_000)


def _files(table: DeltaTable) -> list[_File]:
    found = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    return [
        _File(
            DataFile(each["path"], each["size_bytes"], each["num_records"] or 0, ""),
            each["modification_time"],
            each.get("min.stage") or "",
            each["min.scan"] if each.get("min.scan") == each.get("max.scan") else "",
        )
        for each in found
    ]


def _read(store: Store, file: _File, columns: list[str]) -> pa.Table:
    filesystem = store.observations_table.filesystem()
    with told(store.uri, "read"):
        return pq.read_table(file.data.name, columns=columns, filesystem=filesystem)


def _joined(rows: pa.Table, *columns: str) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(*(rows[column] for column in columns), "\n")


def _size(store: Store) -> tuple[int, int, int]:
    observations, units = store.observations_table.open(), store.units.open()
    files = _files(observations)
    rows = sum(file.data.records for file in files)
    return len(files), rows, sum(file.data.records for file in _files(units))
