"""Observe: records add up to observations, a row for each window x stream, and to the unit's tally.

decode -> Observer.add -> rows -> store. Law: the rows' sum does not depend on how the records were
split into batches, nor on their order. Memory is bounded: when there are too many groups or scopes,
they become Arrow rows early, since rows add.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fidelity import sketch
from fidelity.decode.names import Names
from fidelity.identity import producer_seed
from fidelity.observe import groups
from fidelity.observe.observations import CELL, LAG, LAG_BUCKETS, OBSERVATIONS, ORIGIN
from fidelity.observe.tally import Tallying
from fidelity.records import Records
from fidelity.units import Tally

MOST_GROUPS = 65_536
MOST_SCOPES = 2_048
"""About 22 KiB each."""

_EMPTY_TOTALS = np.zeros(8, np.int64)
_EMPTY_TOTALS[[groups.FIRST, groups.SEQ_FIRST]] = np.iinfo(np.int64).max
_EMPTY_TOTALS[[groups.LAST, groups.SEQ_LAST]] = np.iinfo(np.int64).min


class Observer:
    """Adds up the records of one unit after another.

    Args:
        window: length of a window, microseconds.
        names: the table behind the records' stream and origin codes.
        samples: 1 is every record; k makes further rows of the ids that are divisible by k.
        stamped: ids can be turned back into sequence numbers.
        most_groups, most_scopes: how many to hold before rows are made of them.
    """

    def __init__(
        self,
        window: int,
        names: Names,
        samples: Sequence[int] = (1,),
        stamped: bool = True,
        most_groups: int = MOST_GROUPS,
        most_scopes: int = MOST_SCOPES,
    ) -> None:
        texts = _Texts(names)
        self._sums = [
            _Sums(window, texts, k, stamped, most_groups, most_scopes)
            for k in dict.fromkeys(samples)
        ]
        self._tally = Tallying()

    def add(self, records: Records) -> None:
        """Add a batch of records; it is not kept."""
        self._tally.add(records)
        for sums in self._sums:
            sums.add(records)

    @property
    def waiting(self) -> int:
        """Bytes of rows that were made early; a long unit may drain `rows` whenever it likes."""
        return sum(batch.nbytes for sums in self._sums for batch in sums.early)

    def rows(self, unit_key: str, scan: str, stage: str) -> Iterator[pa.RecordBatch]:
        """The observations (OBSERVATIONS) of all that was added since the last call.

        A window x stream may come in more than one row. The records are forgotten; the tally is
        not.
        """
        for sums in self._sums:
            for batch in sums.drain():
                constant = [
                    pa.repeat(pa.scalar(text, pa.string()), len(batch))
                    for text in (scan, unit_key, stage)
                ]
                yield pa.RecordBatch.from_arrays(constant + batch.columns, schema=OBSERVATIONS)

    def tally(self) -> Tally:
        """What the unit added up to, for the ledger; the next unit starts from nothing."""
        tally, self._tally = self._tally.done(), Tallying()
        return tally

    def discard(self) -> None:
        """Forget the unit: it turned out unreadable, so nothing of it is counted."""
        self._tally = Tallying()
        for sums in self._sums:
            for _ in sums.drain():
                pass


class _Texts:
    """The names behind codes, each asked for once."""

    def __init__(self, names: Names) -> None:
        self._names, self._known = names, list[str]()

    def __getitem__(self, code: int) -> str:
        for unknown in range(len(self._known), len(self._names)):
            self._known.append(self._names.text(unknown))
        return self._known[code]

    def sorted(self, codes: NDArray[np.int32]) -> tuple[NDArray[np.int64], pa.StringArray]:
        """The rank of each code's name among those given, and each code's name."""
        distinct, place = np.unique(codes, return_inverse=True)
        texts = [self[code] for code in distinct.tolist()]
        rank = np.empty(len(texts), np.int64)
        rank[sorted(range(len(texts)), key=texts.__getitem__)] = np.arange(len(texts))
        return rank[place], pa.array(texts, pa.string()).take(pa.array(place))


class _Sums:
    """The groups and scopes of one sample.

    The arrays have their full size from the start: the system gives memory to what is used of them.
    """

    def __init__(
        self,
        window: int,
        texts: _Texts,
        sample: int,
        stamped: bool,
        most_groups: int,
        most_scopes: int,
    ) -> None:
        self._window, self._texts, self._sample, self._stamped = window, texts, sample, stamped
        self.early: list[pa.RecordBatch] = []
        self._batch = np.empty(groups.BATCH, np.int32)
        self._used = np.zeros(2, np.int64)  # groups, scopes
        self._ready = 0  # groups that have their seed
        self._seeds: dict[int, int] = {}  # by stream << 32 | origin
        self._group_table = _hash_table(most_groups)
        self._group_window = np.zeros(most_groups, np.int64)
        self._group_names = np.zeros(most_groups, np.int64)
        self._group_scope = np.zeros(most_groups, np.int32)
        self._group_seed = np.zeros(most_groups, np.uint32)
        self._totals = np.zeros((most_groups, len(_EMPTY_TOTALS)), np.int64)
        self._scope_table = _hash_table(most_scopes)
        self._scope_window = np.zeros(most_scopes, np.int64)
        self._scope_stream = np.zeros(most_scopes, np.int32)
        self._packed = np.zeros((most_scopes, sketch.BANDS * sketch.CELLS, 2), np.uint64)
        self._packed_records = np.zeros(most_scopes, np.int64)
        self._cells = np.zeros((most_scopes, sketch.BANDS, sketch.CELLS, sketch.WORDS), np.uint64)
        self._lags = np.zeros((most_scopes, 2 * LAG_BUCKETS), np.int64)

    def add(self, records: Records) -> None:
        done = 0
        while done < len(records):
            part = slice(done, min(done + groups.BATCH, len(records)))
            through = self._assign(records, part)
            self._prepare()
            self._accumulate(records, slice(done, done + through))
            done += through
            if done < part.stop:
                self.early.append(self._rows())

    def _assign(self, records: Records, part: slice) -> int:
        through: int = groups.assign(
            records.id[part],
            records.time[part],
            records.stream[part],
            records.origin[part],
            records.flaw[part],
            self._window,
            self._sample,
            self._group_table,
            self._group_window,
            self._group_names,
            self._group_scope,
            self._scope_table,
            self._scope_window,
            self._scope_stream,
            self._used,
            self._batch,
        )
        return through

    def _prepare(self) -> None:
        """Give new groups their seed and empty totals; make room in the packed sketches."""
        new = slice(self._ready, int(self._used[0]))
        self._totals[new] = _EMPTY_TOTALS
        if self._stamped:
            self._group_seed[new] = [self._seed(names) for names in self._group_names[new].tolist()]
        self._ready = new.stop
        groups.unpack(
            self._packed, self._packed_records, self._cells, groups.PACKED_LIMIT - groups.BATCH
        )

    def _seed(self, names: int) -> int:
        seed = self._seeds.get(names)
        if seed is None:
            seed = producer_seed(self._texts[names >> 32], self._texts[names & 0xFFFFFFFF])
            self._seeds[names] = seed
        return seed

    def _accumulate(self, records: Records, part: slice) -> None:
        groups.accumulate(
            records.id[part],
            records.time[part],
            records.size[part],
            records.arrival[part],
            self._batch,
            self._group_scope,
            self._group_seed,
            self._stamped,
            self._totals,
            self._packed,
            self._packed_records,
            self._lags,
        )

    def drain(self) -> Iterator[pa.RecordBatch]:
        """Everything so far, without the constant columns; leaves nothing."""
        early, self.early = self.early, []
        yield from early
        if self._used[1]:
            yield self._rows()

    def _rows(self) -> pa.RecordBatch:
        of_group, of_scope = (int(used) for used in self._used)
        groups.unpack(self._packed[:of_scope], self._packed_records, self._cells, 0)
        rank, stream = self._texts.sorted(self._scope_stream[:of_scope])
        order = np.lexsort((rank, self._scope_window[:of_scope]))
        place = np.empty(of_scope, np.int64)
        place[order] = np.arange(of_scope)
        origins = self._origins(place[self._group_scope[:of_group]], of_scope)
        totals = np.zeros((2, of_scope), np.int64)
        for row, column in enumerate((groups.RECORDS, groups.BYTES)):
            np.add.at(
                totals[row], place[self._group_scope[:of_group]], self._totals[:of_group, column]
            )
        batch = pa.RecordBatch.from_arrays(
            [
                pa.repeat(pa.scalar(self._sample, pa.int32()), of_scope),
                _times(self._scope_window[:of_scope][order]),
                stream.take(pa.array(order)),
                pa.array(totals[0]),
                pa.array(totals[1]),
                origins,
                _lags(self._lags[:of_scope][order]),
                _cells(self._cells[:of_scope][order]),
            ],
            schema=pa.schema(list(OBSERVATIONS)[3:]),
        )
        self._clear()
        return batch

    def _origins(self, scope: NDArray[np.int64], scopes: int) -> pa.ListArray:
        """The groups as lists, one for each scope; `scope` is each group's place."""
        used = len(scope)
        rank, origin = self._texts.sorted(self._group_names[:used].astype(np.int32))
        order = np.lexsort((rank, scope))
        totals = np.ascontiguousarray(self._totals[:used][order].T)
        unknown = np.full(used, not self._stamped)
        columns = [
            origin.take(pa.array(order)),
            *(pa.array(totals[i]) for i in range(groups.FIRST)),
            *(_times(totals[i]) for i in (groups.FIRST, groups.LAST)),
            *(pa.array(totals[i], mask=unknown) for i in (groups.SEQ_FIRST, groups.SEQ_LAST)),
        ]
        return _lists(np.bincount(scope, minlength=scopes), columns, ORIGIN)

    def _clear(self) -> None:
        used = slice(0, int(self._used[1]))
        for array in (self._packed, self._packed_records, self._cells, self._lags):
            array[used] = 0
        self._group_table[:] = -1
        self._scope_table[:] = -1
        self._used[:] = 0
        self._ready = 0


def _hash_table(most: int) -> NDArray[np.int32]:
    """Free slots for open addressing: a power of two, at most half of them used."""
    return np.full(1 << (2 * most - 1).bit_length(), -1, np.int32)


def _times(microseconds: NDArray[np.int64]) -> pa.Array:
    return pa.array(microseconds).view(OBSERVATIONS.field("window").type)


def _lists(counts: NDArray[np.int64], columns: list[pa.Array], kind: pa.StructType) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    values = pa.StructArray.from_arrays(columns, fields=list(kind))
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _lags(lags: NDArray[np.int64]) -> pa.ListArray:
    scope, bucket = np.nonzero(lags)
    buckets = (bucket - LAG_BUCKETS).astype(np.int32)
    columns = [pa.array(buckets), pa.array(lags[scope, bucket])]
    return _lists(np.bincount(scope, minlength=len(lags)), columns, LAG)


def _cells(cells: sketch.Cells) -> pa.ListArray:
    offsets, *columns = sketch.sparse(cells)
    return _lists(np.diff(offsets), [pa.array(column) for column in columns], CELL)


def warm() -> None:
    """Compile the kernels."""
    names = Names()
    code = np.full(1, names.code("warm"), np.int32)
    zero = np.zeros(1, np.int64)
    records = Records(
        zero.astype(np.uint32), zero, code, code, zero, zero, zero, zero.astype(np.uint8)
    )
    observer = Observer(1, names)
    observer.add(records)
    list(observer.rows("", "", ""))
