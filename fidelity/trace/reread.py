"""Reread: read units again and keep the records of a few scopes, as a Parquet file of their own.

The worker's half of trace. It keeps whatever it is given scopes for, side by side: which stage a
record was read at is the sign of its copy.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numba import njit
from numpy.typing import NDArray

from fidelity.config import Stage, mask
from fidelity.decode import Names
from fidelity.errors import SourceError, StoreError, UnreadableError
from fidelity.reading import Reading
from fidelity.records import Records
from fidelity.units import FLAWS, LedgerRow

CHANGED = "what is there now is not what was scanned"

COPIES = pa.schema(
    [
        ("scope", pa.int32()),  # place in the list of scopes
        ("origin", pa.uint64()),  # XXH3 of its name
        ("id", pa.uint32()),
        ("sign", pa.int8()),  # 1: a copy at the reference, -1: a copy at the stage
        ("unit", pa.int32()),  # place in the list of units
        ("time", pa.int64()),
        ("position", pa.int64()),
    ]
)
_WRITING = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": ["origin"],
    "column_encoding": dict.fromkeys(
        ("scope", "sign", "unit", "time", "position"), "DELTA_BINARY_PACKED"
    ),
    "write_statistics": False,
}
_ROWS_AT_ONCE = 1 << 19
_FUTURE = np.uint8(1 + FLAWS.index("future"))


@dataclass(frozen=True, slots=True)
class Scopes:
    """The scopes to keep: window (start, microseconds) and stream; and, if given, only these ids.

    `asked` holds scope << 32 | id, ascending; None keeps all ids.
    """

    length: int  # of a window, microseconds
    pairs: tuple[tuple[int, str], ...]
    asked: NDArray[np.uint64] | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A unit to read again. `sign` is 1 at the reference, -1 at the stage."""

    place: int  # in the ledger; other numbers mark other attempts
    sign: int
    stage: Stage
    row: LedgerRow


@dataclass(frozen=True, slots=True)
class RereadTask:
    """Units to read again, and the file to write. Can be pickled."""

    targets: tuple[Target, ...]
    scopes: Scopes
    path: str

    @property
    def size(self) -> int:
        """Bytes to read, estimated."""
        return sum(target.row.unit.size for target in self.targets)


@dataclass(frozen=True, slots=True)
class Reread:
    """What came of a task: the file, and why some units could not be read as they once were."""

    path: str
    failed: dict[int, str]  # a unit's place -> the reason
    origins: dict[int, str]  # an origin's hash -> its name


def reread_task(task: RereadTask) -> Reread:
    """Read the units and write the copies that lie in the scopes, as COPIES.

    Raises:
        StoreError: the file cannot be written.
    """
    failed: dict[int, str] = {}
    names = Names()
    finder = _Finder(task.scopes, names)
    with room_for(task.path), pq.ParquetWriter(task.path, COPIES, **_WRITING) as writer:
        for batch in _gathered(_copies(task.targets, finder, names, failed)):
            writer.write_table(batch)
    return Reread(task.path, failed, finder.origins)


@contextmanager
def room_for(path: str) -> Iterator[None]:
    """Tells of a temporary folder that cannot take what it is given."""
    try:
        yield
    except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise StoreError(
            f"the records to be counted again cannot be kept: {error}.",
            where=path,
            action="Make room there, or set TMPDIR to a folder on a larger disk.",
        ) from None


def _copies(
    targets: Sequence[Target], finder: "_Finder", names: Names, failed: dict[int, str]
) -> Iterator[pa.RecordBatch]:
    unreachable: dict[str, str] = {}
    for target in targets:
        name = target.stage.name
        if name in unreachable:
            failed[target.place] = unreachable[name]
            continue
        try:
            yield from _copies_of(target, finder, names)
        except SourceError as error:
            failed[target.place] = unreachable[name] = mask(str(error))
        except UnreadableError as error:
            failed[target.place] = mask(str(error))


def _copies_of(target: Target, finder: "_Finder", names: Names) -> Iterator[pa.RecordBatch]:
    """Raises UnreadableError, at the end, if this was not what the ledger says was read."""
    row = target.row
    reading = Reading(row.unit, target.stage, names, finder.scopes.length)
    records = size = 0
    for batch in reading:
        records += len(batch)
        size += int(batch.size.sum())
        yield from finder.copies(batch, target)
    if (records, size, reading.end) != (row.tally.records, row.tally.bytes, row.unit.end):
        raise UnreadableError(CHANGED, where=row.unit.path)


def _gathered(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Few large tables out of many small batches."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        held.append(batch)
        rows += len(batch)
        if rows >= _ROWS_AT_ONCE:
            yield pa.Table.from_batches(held)
            held, rows = [], 0
    if held:
        yield pa.Table.from_batches(held)


class _Finder:
    """Finds the records of a batch that lie in the scopes.

    Attributes:
        origins: the names behind the hashes in copies.
    """

    def __init__(self, scopes: Scopes, names: Names) -> None:
        self.scopes, self._names = scopes, names
        self.origins: dict[int, str] = {}
        self._hashes = np.empty(0, np.uint64)  # by code
        self._windows = np.unique(np.array([window for window, _ in scopes.pairs], np.int64))
        streams = [stream for _, stream in scopes.pairs]
        # Row 0 is for names that are no stream of the scopes.
        self._rows = {stream: at for at, stream in enumerate(dict.fromkeys(streams), 1)}
        self._places = np.full((len(self._rows) + 1, len(self._windows)), -1, np.int32)
        for place, (window, stream) in enumerate(scopes.pairs):
            self._places[self._rows[stream], np.searchsorted(self._windows, window)] = place
        self._row_of = np.empty(0, np.int32)  # by code
        self._asked = np.empty(0, np.uint64) if scopes.asked is None else scopes.asked
        self._likely = np.zeros(1 << 16, np.bool_)
        self._likely[(self._asked & np.uint64(0xFFFF)).astype(np.int64)] = True

    def copies(self, records: Records, target: Target) -> Iterator[pa.RecordBatch]:
        """The batch's copies within the scopes; nothing if there are none."""
        self._know_all_names()
        scope = np.empty(len(records), np.int32)
        _find(
            records.id,
            records.time,
            records.stream,
            records.flaw,
            self.scopes.length,
            self._windows,
            self._row_of,
            self._places,
            self.scopes.asked is not None,
            self._asked,
            self._likely,
            scope,
        )
        kept = np.flatnonzero(scope >= 0)
        if len(kept):
            columns = [
                pa.array(scope[kept]),
                pa.array(self._hashes[records.origin[kept]]),
                pa.array(records.id[kept]),
                pa.array(np.full(len(kept), target.sign, np.int8)),
                pa.array(np.full(len(kept), target.place, np.int32)),
                pa.array(records.time[kept]),
                pa.array(records.position[kept]),
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=COPIES)

    def _know_all_names(self) -> None:
        texts = [self._names.text(code) for code in range(len(self._row_of), len(self._names))]
        if texts:
            rows = [self._rows.get(text, 0) for text in texts]
            self._row_of = np.concatenate([self._row_of, np.array(rows, np.int32)])
            hashes = [xxhash.xxh3_64_intdigest(text.encode()) for text in texts]
            self._hashes = np.concatenate([self._hashes, np.array(hashes, np.uint64)])
            self.origins.update(zip(hashes, texts, strict=True))


@njit(cache=True, nogil=True)
def _find(
    id: NDArray[np.uint32],
    time: NDArray[np.int64],
    stream: NDArray[np.int32],
    flaw: NDArray[np.uint8],
    length: int,
    windows: NDArray[np.int64],  # ascending
    row_of: NDArray[np.int32],  # by stream code
    places: NDArray[np.int32],  # [rows, windows]: the scope's place or -1
    some_only: bool,
    asked: NDArray[np.uint64],  # scope << 32 | id, ascending
    likely: NDArray[np.bool_],  # by the low 16 bits of an id: whether one like it is asked for
    scope: NDArray[np.int32],  # out: each record's scope or -1
) -> None:
    low, high, at = np.int64(0), np.int64(0), np.int64(-1)
    for i in range(len(id)):
        scope[i] = -1
        if flaw[i] != 0 and flaw[i] != _FUTURE:
            continue
        if some_only and not likely[id[i] & np.uint32(0xFFFF)]:
            continue
        if not low <= time[i] < high:
            low = np.int64(time[i] // length * length)
            high = low + length
            at = np.int64(np.searchsorted(windows, low))
            if at == len(windows) or windows[at] != low:
                at = np.int64(-1)
        if at < 0:
            continue
        found = places[row_of[stream[i]], at]
        if found >= 0 and some_only:
            key = np.uint64(found) << np.uint64(32) | np.uint64(id[i])
            place = np.searchsorted(asked, key)
            if place == len(asked) or asked[place] != key:
                continue
        scope[i] = found


def warm() -> None:
    """Compile the kernel."""
    nothing = np.empty(0, np.int64)
    _find(
        nothing.astype(np.uint32),
        nothing,
        nothing.astype(np.int32),
        nothing.astype(np.uint8),
        1,
        nothing,
        nothing.astype(np.int32),
        np.empty((0, 0), np.int32),
        False,
        nothing.astype(np.uint64),
        np.zeros(1 << 16, np.bool_),
        nothing.astype(np.int32),
    )
