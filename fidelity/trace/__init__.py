"""Trace: settle the scopes that observations cannot, by reading their records again.

reconcile -> trace -> reconcile. Only units that touch the scopes' windows are read, at the two
stages of the edge, by the reader and decoder that scanned them. The copies go to temporary files
and are counted as signed sums by DuckDB, which spills: exact for any number of differences.
Invariant: a scope is either counted from all units that touch it, read as they were scanned, or it
is untraceable.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fidelity.config import Pipeline
from fidelity.questions import ask, connect, database
from fidelity.trace.addresses import Addresses, at, known_addresses, new_addresses
from fidelity.trace.reread import Reread, RereadTask, Scopes, Target, reread_task, room_for
from fidelity.units import LedgerRow
from fidelity.workers import run

TRACED = pa.schema(
    [
        ("window", pa.timestamp("us", "UTC")),
        ("stream", pa.string()),
        ("origin", pa.string()),
        ("id", pa.uint32()),
        ("r", pa.int64()),  # copies at the reference
        ("d", pa.int64()),  # copies at the stage
    ]
)
COPY = pa.schema(
    [
        ("stage", pa.string()),
        ("path", pa.string()),  # where it was read: file or topic
        ("partition", pa.int32()),  # -1: of a file
        ("position", pa.int64()),
        ("time", pa.timestamp("us", "UTC")),
        ("window", pa.timestamp("us", "UTC")),
        ("stream", pa.string()),
        ("origin", pa.string()),
        ("id", pa.uint32()),
    ]
)
MEMORY = "1GiB"
"""For counting; beyond it DuckDB spills to the temporary folder."""

_WORTH_A_PROCESS = 32 << 20
"""Bytes to read; less is read where we are."""
_TASKS_A_WORKER = 4


@dataclass(frozen=True)
class Traced:
    """Rows of TRACED, and why some scopes (window, stream) could not be traced: they have none."""

    rows: pa.Table
    untraceable: Mapping[tuple[int, str], str]


def trace(
    pipeline: Pipeline,
    reference: str,
    stage: str,
    ledger: Sequence[LedgerRow],
    scopes: Sequence[tuple[int, str]],
    ids: pa.Table | None = None,
    *,
    memory: str = MEMORY,
) -> Traced:
    """Count the copies of ids at two stages again.

    Args:
        pipeline: its record specs are those that the ledger's units were scanned with.
        reference, stage: names of the stages of an edge. One and the same stage counts as the
            reference, with no copies on the other side.
        ledger: rows in force of both stages.
        scopes: (window start in microseconds, stream).
        ids: None for all ids whose counts differ; or a table (window, stream, id): just these,
            whether they differ or not.
        memory: DuckDB's limit for counting.

    Raises:
        StoreError: the temporary folder has no room.
    """
    wanted = _wanted(pipeline, scopes, ids)
    with _reread(pipeline, {stage: -1, reference: 1}, ledger, wanted) as done:
        return Traced(_count(done, wanted, memory), done.lacking)


def copies(
    pipeline: Pipeline,
    stages: Sequence[str],
    ledger: Sequence[LedgerRow],
    scopes: Sequence[tuple[int, str]],
    ids: pa.Table | None = None,
) -> Traced:
    """Every copy of some ids at some stages, as rows of COPY: where it is, and since when.

    Takes and raises what `trace` does; meant for few ids.
    """
    wanted = _wanted(pipeline, scopes, ids)
    with _reread(pipeline, dict.fromkeys(stages, 1), ledger, wanted) as done:
        return Traced(_positions(done, wanted), done.lacking)


def _wanted(pipeline: Pipeline, scopes: Sequence[tuple[int, str]], ids: pa.Table | None) -> Scopes:
    pairs = tuple(dict.fromkeys(scopes))
    return Scopes(pipeline.window, pairs, None if ids is None else _asked(ids, pairs))


def _asked(ids: pa.Table, pairs: tuple[tuple[int, str], ...]) -> NDArray[np.uint64]:
    place = {pair: at for at, pair in enumerate(pairs)}
    windows = ids["window"].cast(pa.int64()).to_pylist()
    scopes = [place.get(pair, -1) for pair in zip(windows, ids["stream"].to_pylist(), strict=True)]
    scope, id = np.array(scopes, np.int64), np.asarray(ids["id"].cast(pa.uint32()))
    known = scope >= 0
    keys: NDArray[np.uint64] = scope[known].astype(np.uint64) << np.uint64(32) | id[known]
    return np.unique(keys)


@dataclass(frozen=True, slots=True)
class _Done:
    """What was read again: files of copies in a temporary folder."""

    folder: str
    files: list[str]
    rows: dict[int, LedgerRow]  # by place
    failed: dict[int, str]  # places of attempts whose copies do not count
    lacking: dict[tuple[int, str], str]
    origins: dict[int, str]  # by hash


@contextmanager
def _reread(
    pipeline: Pipeline, signs: Mapping[str, int], ledger: Sequence[LedgerRow], scopes: Scopes
) -> Iterator[_Done]:
    """Read what touches the scopes; the copies are there until the block ends."""
    where = tempfile.gettempdir()
    with room_for(where), tempfile.TemporaryDirectory(prefix="fidelity-trace-") as folder:
        targets = _targets(pipeline, signs, ledger, scopes)
        done = list(_read_all(pipeline, targets, scopes, folder))
        failed = {place: reason for each in done for place, reason in each.failed.items()}
        again = _moved(pipeline, [each for each in targets if each.place in failed], ledger)
        retried = list(_read_all(pipeline, again, scopes, folder))
        still = {place: reason for each in retried for place, reason in each.failed.items()}
        found = {target.place - len(ledger) for target in again if target.place not in still}
        rows = {target.place: target.row for target in (*targets, *again)}
        lost = {place: reason for place, reason in failed.items() if place not in found}
        yield _Done(
            folder,
            [each.path for each in (*done, *retried)],
            rows,
            failed | still,
            _untraceable(lost, rows, scopes),
            _origins((*done, *retried)),
        )


def _origins(done: Sequence[Reread]) -> dict[int, str]:
    """The names of all origins by their hash, which stands for a name while copies are counted."""
    origins: dict[int, str] = {}
    for each in done:
        for hash, name in each.origins.items():
            if origins.setdefault(hash, name) != name:
                raise AssertionError(f"origins {name!r} and {origins[hash]!r} share a 64-bit hash")
    return origins


def _moved(
    pipeline: Pipeline, failed: Sequence[Target], ledger: Sequence[LedgerRow]
) -> list[Target]:
    """Units that failed, where a look at their stage finds their files elsewhere."""
    now, addresses = time.time_ns() // 1000, Addresses()
    for name in {each.stage.name for each in failed if each.row.unit.kind == "text"}:
        addresses |= new_addresses(pipeline.stage(name), ledger, now, pipeline.settle)
    moved = [
        replace(each, place=each.place + len(ledger), row=at(each.row, addresses))
        for each in failed
    ]
    return [new for new, old in zip(moved, failed, strict=True) if new.row != old.row]


def _targets(
    pipeline: Pipeline, signs: Mapping[str, int], ledger: Sequence[LedgerRow], scopes: Scopes
) -> list[Target]:
    """The units that may hold records of the scopes."""
    windows = np.unique(np.array([window for window, _ in scopes.pairs], np.int64))
    addresses = known_addresses(row for row in ledger if row.unit.stage in signs)
    return [
        Target(place, signs[row.unit.stage], pipeline.stage(row.unit.stage), at(row, addresses))
        for place, row in enumerate(ledger)
        if row.unit.stage in signs
        and row.status == "read"
        and row.unit.kind != "stage"
        and row.tally.records
        and _touches(row, windows, scopes.length)
    ]


def _touches(row: LedgerRow, windows: NDArray[np.int64], length: int) -> bool:
    """Whether a unit may hold records of any of the windows (ascending)."""
    first, last = row.tally.first_event, row.tally.last_event
    if first == -1 or last == -1:  # not known
        return True
    at = int(np.searchsorted(windows, first - length, side="right"))
    return at < len(windows) and int(windows[at]) <= last


def _read_all(
    pipeline: Pipeline, targets: Sequence[Target], scopes: Scopes, folder: str
) -> Iterator[Reread]:
    """Read all units, in worker processes if there is much to read."""
    workers = pipeline.workers or os.cpu_count() or 1
    size = sum(target.row.unit.size for target in targets)
    if workers == 1 or len(targets) == 1 or size < _WORTH_A_PROCESS:
        tasks = _tasks(targets, scopes, folder, 1)
        yield from map(reread_task, tasks)
        return
    tasks = _tasks(targets, scopes, folder, workers * _TASKS_A_WORKER)
    yield from run(reread_task, tasks, workers, preload=("fidelity.trace.reread",))


def _tasks(targets: Sequence[Target], scopes: Scopes, folder: str, most: int) -> list[RereadTask]:
    """Tasks of about equal size, the largest first."""
    count = min(most, len(targets))
    parts: list[list[Target]] = [[] for _ in range(count)]
    sizes = [0] * count
    for target in sorted(targets, key=lambda target: -target.row.unit.size):
        least = sizes.index(min(sizes))
        parts[least].append(target)
        sizes[least] += max(target.row.unit.size, 1)
    tasks = [
        RereadTask(tuple(part), scopes, str(Path(folder, f"{part[0].place}.parquet")))
        for part in parts
    ]
    return sorted(tasks, key=lambda task: -task.size)


def _untraceable(
    lost: Mapping[int, str], rows: Mapping[int, LedgerRow], scopes: Scopes
) -> dict[tuple[int, str], str]:
    """Scopes that a unit touches which could not be read as it once was."""
    lacking: dict[tuple[int, str], str] = {}
    for place, reason in sorted(lost.items()):
        for pair in scopes.pairs:
            if _touches(rows[place], np.array([pair[0]], np.int64), scopes.length):
                lacking.setdefault(pair, reason)
    return lacking


def _count(done: _Done, scopes: Scopes, memory: str) -> pa.Table:
    if not done.files:
        return TRACED.empty_table()
    with database() as connection:  # settings hold for all of a database, and this spills
        spill = str(Path(done.folder, "spill"))
        connection.execute("SET memory_limit = $memory", {"memory": memory})
        connection.execute("SET temp_directory = $folder", {"folder": spill})
        connection.execute("SET preserve_insertion_order = false")
        found = ask(
            connection,
            "trace_differences",
            files=done.files,
            failed=list(done.failed),
            traceable=[pair not in done.lacking for pair in scopes.pairs],
            differing_only=scopes.asked is None,
        ).to_arrow_table()
    return _named(found, done, scopes, TRACED)


def _positions(done: _Done, scopes: Scopes) -> pa.Table:
    if not done.files:
        return COPY.empty_table()
    with connect() as connection:
        found = ask(
            connection,
            "trace_positions",
            files=done.files,
            failed=list(done.failed),
            traceable=[pair not in done.lacking for pair in scopes.pairs],
        ).to_arrow_table()
    units = [done.rows[place].unit for place in found["unit"].to_pylist()]
    found = found.append_column("stage", pa.array([unit.stage for unit in units], pa.string()))
    found = found.append_column("path", pa.array([unit.path for unit in units], pa.string()))
    found = found.append_column("partition", pa.array([unit.partition for unit in units]))
    return _named(found, done, scopes, COPY)


def _named(found: pa.Table, done: _Done, scopes: Scopes, schema: pa.Schema) -> pa.Table:
    """Windows, streams and origins by name in place of numbers."""
    windows = pa.array([window for window, _ in scopes.pairs], pa.int64())
    streams = pa.array([stream for _, stream in scopes.pairs], pa.string())
    hashes = np.array(sorted(done.origins), np.uint64)
    origins = pa.array([done.origins[hash] for hash in hashes.tolist()], pa.string())
    scope = found["scope"].combine_chunks()
    origin = pa.array(np.searchsorted(hashes, found["origin"].to_numpy()))
    found = found.drop_columns(["origin"])
    found = found.append_column("window", windows.take(scope))
    found = found.append_column("stream", streams.take(scope))
    found = found.append_column("origin", origins.take(origin))
    return found.select(schema.names).cast(schema)
