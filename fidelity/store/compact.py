"""Compact: fewer and larger files, and nothing left of scans that died. What is in force stays.

Each step leaves the store as good as it found it, whoever scans or reads meanwhile and whenever it
is killed:

1. Observations of units that never leave the books are added up across scans and written under a
   new name, which counts for nothing yet.
2. The ledger is written again without rows that are not in force; it has those units under 1's
   name. Each row keeps its commit's number: in which order things were seen is not to change.
3. Data files are written again without rows that can never count, small ones together.
4. The ledger is written again and speaks of 3's version.
5. Files that no version since the retention needs are deleted.
6. Answers of traces that no longer hold are left out, the others put into one file.
"""

import secrets
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable, Transaction

from fidelity.config import Pipeline, mask
from fidelity.errors import StoreError
from fidelity.reconcile.looks import began, looks_of
from fidelity.reconcile.recount import Question
from fidelity.reconcile.standing import standing
from fidelity.store import MERGED, OBSERVATION_FILE, UNITS_FILE, Store
from fidelity.store.delta import Conflict, DataFile, Table
from fidelity.store.ledger import rows_of, table_of
from fidelity.store.merging import joined, lasting, merged, rows_in
from fidelity.store.snapshot import Snapshot
from fidelity.store.storage import told
from fidelity.trace import traces
from fidelity.units import LOOKED, LedgerRow, Unit

RETENTION_HOURS = 7 * 24
"""For so long earlier versions of the ledger can still be asked for."""

DAY_MS = 86_400_000  # no scan takes longer between its two commits
_SMALL, _LARGE = 8 << 20, 32 << 20  # bytes of a data file


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
    before, known = _size(store), store.at()
    moves = _merge_scans(pipeline, store, known)
    if moves:
        _rewrite_ledger(store, moves)
    _rewrite_observations(store, known, everything)
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


@dataclass(frozen=True, slots=True)
class _Move:
    """Units of a stage whose observations now stand under another scan's name, too."""

    stage: str
    units: frozenset[tuple[str, str]]  # key and the scan that the ledger names
    scan: str


def _merge_scans(pipeline: Pipeline, store: Store, known: Snapshot) -> list[_Move]:
    """Step 1, as much at a time as fits in memory."""
    in_force = known.rows_in_force()
    looks = looks_of(rows_of(in_force.filter(pc.field("key") == LOOKED)))
    seen = sorted(began(look.scan) for look in looks.last.values())
    before = time.time_ns() // 1000 - pipeline.settle
    moves = []
    for stage in filter(lasting, pipeline.stages):
        by_scan: dict[str, list[LedgerRow]] = {}
        for row in rows_of(in_force.filter(pc.field("stage") == stage.name)):
            settled = row.scanned_at < before and bool(began(row.scan))
            if row.status == "read" and row.unit.kind != "stage" and settled:
                by_scan.setdefault(row.scan, []).append(row)
        holders = _holders(store, stage.name) if len(by_scan) > 1 else {}
        for scans, files in _groups(holders, by_scan, seen):
            rows = [row for scan in scans for row in by_scan[scan]]
            moves += _merge_group(store, stage.name, scans, rows, files)
    return moves


@dataclass(frozen=True, slots=True)
class _Share:
    """What a data file holds of a scan."""

    data: DataFile
    bytes: float


def _holders(store: Store, stage: str) -> dict[str, list[_Share]]:
    """The files that hold a stage's scans, by scan. An earlier compaction's hold several."""
    found: dict[str, list[_Share]] = {}
    for file in _files(store.observations_table.open()):
        if file.stage != stage:
            continue
        if file.scan:
            shares = {file.scan: 1.0}
        else:
            counts = pc.value_counts(_read(store, file, ["scan"])["scan"]).to_pylist()
            rows = sum(each["counts"] for each in counts)
            shares = {each["values"]: each["counts"] / rows for each in counts}
        for scan, share in shares.items():
            found.setdefault(scan, []).append(_Share(file.data, file.data.bytes * share))
    return found


def _groups(
    holders: Mapping[str, Sequence[_Share]], scans: Iterable[str], looks: Sequence[str]
) -> Iterator[tuple[list[str], list[DataFile]]]:
    """Scans to be merged and their files: at least two scans, and not too large together.

    A merged scan is as old as its youngest. So the last look at any stage must not lie between
    them: what was there before that look and was not seen is lost, what came after it may not be.
    """
    group: list[str] = []
    size, side = 0.0, 0

    def files() -> list[DataFile]:
        shares = [share.data for scan in group for share in holders[scan]]
        return list({data.name: data for data in shares}.values())

    for scan in sorted(filter(holders.get, scans), key=lambda scan: (began(scan), scan)):
        own = sum(share.bytes for share in holders[scan])
        after = bisect_left(looks, began(scan))
        if group and (size + own > _SMALL or after != side):
            if len(group) > 1:
                yield group, files()
            group, size = [], 0.0
        group.append(scan)
        size, side = size + own, after
    if len(group) > 1:
        yield group, files()


def _merge_group(
    store: Store, stage: str, scans: list[str], rows: list[LedgerRow], files: list[DataFile]
) -> list[_Move]:
    name = f"compact-{max(map(began, scans))}-{secrets.token_hex(4)}"
    moved, new = merged(store, name, rows, files, sum(file.bytes for file in files))
    units = frozenset(
        (old.unit.key, old.scan) for old, row in zip(rows, moved, strict=True) if row is not old
    )
    if not units:
        return []
    table = store.observations_table
    table.commit(table.open(), new)
    return [_Move(stage, units, MERGED + name)]


def _rewrite_observations(store: Store, known: Snapshot, everything: bool) -> None:
    """Step 3: leave out rows that never can count, put small files together."""
    table = store.observations_table
    opened = table.open()  # before the ledger: what it has, the ledger may know
    dead = _Dead.of(store.at(), known, everything)
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
    def of(cls, snapshot: Snapshot, earlier: Snapshot, everything: bool) -> "_Dead":
        counted = snapshot.in_force()
        names = ["stage", "scan"]
        all_rows = pa.concat_tables([snapshot.rows.select(names), earlier.rows.select(names)])
        over = pc.unique(joined(all_rows, "stage", "scan").combine_chunks())
        return cls(joined(counted, "stage", "scan", "unit").combine_chunks(), over, everything)

    def among(self, rows: pa.Table) -> pa.ChunkedArray:
        """Rows that do not count."""
        return pc.invert(pc.is_in(joined(rows, "stage", "scan", "unit"), self.in_force))

    def any_among(self, rows: pa.Table) -> bool:
        """Whether there are any."""
        return bool(pc.any(self.among(rows)).as_py())

    def may_count_yet(self, rows: pa.Table, file: _File) -> bool:
        """Whether the file may be of a scan under way: one that the ledger does not have yet.

        Such a file is left as it is: the scan may be about to commit it, or to commit it again.
        """
        if self.everything or file.added < time.time_ns() // 1_000_000 - DAY_MS:
            return False
        known = pc.is_in(joined(rows, "stage", "scan"), self.over)
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


def _rewrite_ledger(store: Store, moves: Sequence[_Move] = ()) -> None:
    """Steps 2 and 4: only rows in force, in one file, which speaks of the observations' version."""
    observed: int = store.observations_table.open().version()
    snapshot = store.at()
    note = Unit("", "compacted", "stage", "", 0, 0)
    now = time.time_ns() // 1000
    last = table_of([LedgerRow(note, "read", "", now, "")], 0, observed)
    of_stages = snapshot.rows_in_force().filter(pc.field("stage") != note.stage)
    for move in moves:
        of_stages = _moved(of_stages, move)
    rows = pa.concat_tables([of_stages, last])
    name = f"compact-{secrets.token_hex(8)}.parquet"
    file = store.units.write(name, rows.to_batches(), UNITS_FILE)
    assert file is not None
    _commit(store.units, snapshot.table, [file], [old.data.name for old in _files(snapshot.table)])


def _moved(rows: pa.Table, move: _Move) -> pa.Table:
    """The ledger with some units under another scan; as it was, if one has changed meanwhile."""
    wanted = pa.array(["\n".join((move.stage, *unit)) for unit in sorted(move.units)])
    ours = pc.is_in(joined(rows, "stage", "key", "scan"), wanted)
    if pc.sum(ours).as_py() != len(wanted):
        return rows
    scan = pc.if_else(ours, move.scan, rows["scan"])
    return rows.set_column(rows.schema.get_field_index("scan"), "scan", scan)


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


def _size(store: Store) -> tuple[int, int, int]:
    observations, units = store.observations_table.open(), store.units.open()
    files = _files(observations)
    rows = sum(file.data.records for file in files)
    return len(files), rows, sum(file.data.records for file in _files(units))
