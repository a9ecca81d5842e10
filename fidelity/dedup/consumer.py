"""The consumer's side of the id: tells the first copy of a record from all later ones.

Law: `first` is what `id not in seen` says of a set of ids for each producer, for any order, any
cut into batches and any restart, as far back as the pages reach. What it says depends on nothing
but its state and the records, so a batch that is read again after a crash is judged as it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, SupportsIndex, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from fidelity.dedup.checkpoints import Checkpoints, Positions, Seen, checked
from fidelity.dedup.runs import KNOWN, NEW, STOPPED, Runs, add_id, add_ids, by_group
from fidelity.errors import DedupError, UsageError
from fidelity.identity import producer_seed

PAGE = 1 << 30
"""Records of a producer on one page. Ids repeat after 2^32 records; two pages are half of it."""

MOST_RUNS = 2_000_000
"""8 bytes each, and as much again for room to grow."""

_LARGEST_ID = (1 << 32) - 1
_TEXTS = (
    *(pa.string(), pa.large_string(), pa.string_view()),
    *(pa.binary(), pa.large_binary(), pa.binary_view(), pa.null()),
)
_Names: TypeAlias = str | Sequence[str] | pa.Array | pa.ChunkedArray


@dataclass(slots=True)
class _Producer:
    stream: str
    origin: str
    seed: int
    page: Runs = field(default_factory=Runs)
    before: Runs = field(default_factory=Runs)  # the page before

    @property
    def runs(self) -> int:
        return len(self.page) + len(self.before)


class Deduplicator:
    """Says of each record of a consumer whether it is the first of its id, and remembers it.

    One process at a time; not to be shared between threads. Memory and state: 8 bytes a run of
    sequence numbers. Nothing is written but by `save`, least of all when a `with` block ends: what
    was seen since then is forgotten, and is to be read again from `positions` on.

    Args:
        state: the folder that keeps the state; None: nothing is kept.
        at: what the sink or the consumer group says was done, (topic, partition) -> next offset;
            zero or below: nothing yet. The one of the last two states that was saved with these
            positions is taken. None: the last.
        page: records of a producer that are surely remembered, the last so many; twice as many may
            be. A copy that comes later than that counts as new.
        most_runs: the runs that may be open at once. Rather than forget one, it refuses to go on.

    Raises:
        UsageError: there can be no such page, or no such positions.
        DedupError: another process uses the state, it is damaged, it fits no such positions, or the
            disk refuses it.
    """

    def __init__(
        self,
        state: str | Path | None = None,
        *,
        at: Positions | None = None,
        page: int = PAGE,
        most_runs: int = MOST_RUNS,
    ) -> None:
        if not 1 <= page <= 1 << 31:
            raise UsageError(f"A page of {page} records cannot be.", where="Deduplicator")
        self._page, self._most_runs = page, most_runs
        self._producers: list[_Producer] = []
        self._codes: dict[tuple[str, str], int] = {}
        self._runs = 0
        self._positions: dict[tuple[str, int], int] = {}
        self._closed = False
        at = None if at is None else checked(at)
        self._kept = None if state is None else Checkpoints(Path(state), at)
        if self._kept is not None:
            self._positions = dict(self._kept.current.positions)
            for seen in self._kept.current.seen:
                self._know(seen)

    @property
    def positions(self) -> dict[tuple[str, int], int]:
        """Where to read on: (topic, partition) -> next offset, as they were saved."""
        return dict(self._positions)

    @property
    def runs(self) -> int:
        """How many runs are open, of all producers."""
        return self._runs

    def first(self, stream: str, origin: str, id: int) -> bool:
        """Whether this is the first record of that producer with that id.

        Raises:
            UsageError: that is no id.
            DedupError: there are too many open runs, or it is closed; the record was not looked at.
        """
        if not 0 <= id <= _LARGEST_ID:
            raise UsageError(f"{id} is no id: ids have 4 bytes.", where="Deduplicator")
        self._check_room()
        code = self._codes.get((stream, origin))
        producer = self._producers[self.producer(stream, origin) if code is None else code]
        while True:
            page, before = producer.page, producer.before
            said = add_id(
                *(id, producer.seed, before.bounds, len(before)),
                *(page.bounds, page.state, self._page),
            )
            if said > STOPPED + 1:
                break
            self._make_room(producer)
        new = bool(said > NEW - 2)
        self._runs += said - (NEW if new else KNOWN)
        return new

    def firsts(
        self, streams: _Names, origins: _Names, ids: ArrayLike | Sequence[SupportsIndex]
    ) -> NDArray[np.bool_]:
        """Of each of n records whether it is the first of its id, in the order of their arrival.

        Args:
            streams, origins: n names each, as a list or an Arrow array; or one name for all.
            ids: n integers.

        Returns:
            bool[n]: the records to keep.

        Raises:
            UsageError: that are no names or ids, or not equally many.
            DedupError: there are too many open runs, or it is closed; no record was looked at.
        """
        numbers = _ids(ids)
        return self.firsts_of(self.producers(streams, origins, len(numbers)), numbers)

    def firsts_of(self, producers: NDArray[np.int32], ids: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """The same by the producers' codes: see `producer`. Raises what `firsts` does."""
        codes, ids = np.asarray(producers), _ids(ids)
        if codes.shape != ids.shape:
            raise UsageError(f"{len(codes)} producers, {len(ids)} ids.", where="Deduplicator")
        if len(codes) and not 0 <= codes.min() <= codes.max() < len(self._producers):
            raise UsageError("There is no producer of such a code.", where="Deduplicator")
        self._check_room()
        new = np.empty(len(ids), np.bool_)
        rows, starts = by_group(np.ascontiguousarray(codes, np.int32), len(self._producers))
        ids = np.ascontiguousarray(ids)
        for code in np.flatnonzero(np.diff(starts)).tolist():
            begin, end = int(starts[code]), int(starts[code + 1])
            self._add(self._producers[code], ids, rows, begin, end, new)
        return new

    def producer(self, stream: str, origin: str) -> int:
        """The code of a producer, for `firsts_of`; good for the life of this object."""
        code = self._codes.get((stream, origin))
        if code is None:
            code = self._know(Seen(stream, origin, Runs(), Runs()))
        return code

    def producers(self, streams: _Names, origins: _Names, count: int) -> NDArray[np.int32]:
        """The codes of `count` records' producers. Raises UsageError."""
        stream, stream_names = _coded(streams, count, "streams")
        origin, origin_names = _coded(origins, count, "origins")
        pairs = stream * max(len(origin_names), 1) + origin
        found, place = np.unique(pairs, return_inverse=True)
        codes = [
            self.producer(
                stream_names[pair // len(origin_names)], origin_names[pair % len(origin_names)]
            )
            for pair in found.tolist()
        ]
        return np.array(codes, np.int32)[place]

    def turn(self) -> int:
        """Begin a new page for every producer: what is not on the last one is forgotten.

        Called once a day, say, it remembers each record for one to two days. It closes runs for
        good, so it is the way out when there are too many.

        Returns:
            How many records were forgotten: a copy of one of them would count as new.
        """
        return sum(self._turn(producer) for producer in self._producers)

    def save(self, positions: Positions) -> None:
        """Keep all that was seen, and where to read on, in one atomic step.

        Args:
            positions: (topic, partition) -> next offset; what is not named stays as it was.

        Raises:
            UsageError: these are no positions.
            DedupError: the disk refuses it; the state that was saved before is still there.
        """
        self._check_open()
        positions = self._positions | checked(positions)
        if self._kept is not None:
            seen = [
                Seen(each.stream, each.origin, each.page, each.before)
                for each in self._producers
                if each.runs
            ]
            self._kept.save(positions, seen)
        self._positions = positions

    def close(self) -> None:
        """Let another process use the state. What was not saved is forgotten."""
        self._closed = True
        if self._kept is not None:
            self._kept.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _know(self, seen: Seen) -> int:
        code = len(self._producers)
        seed = producer_seed(seen.stream, seen.origin)
        producer = _Producer(seen.stream, seen.origin, seed, seen.page, seen.before)
        self._producers.append(producer)
        self._codes[seen.stream, seen.origin] = code
        self._runs += producer.runs
        return code

    def _add(
        self,
        producer: _Producer,
        ids: NDArray[np.uint32],
        rows: NDArray[np.int64],
        begin: int,
        end: int,
        new: NDArray[np.bool_],
    ) -> None:
        runs = producer.runs
        seed = np.uint32(producer.seed)
        while begin < end:
            page, before = producer.page, producer.before
            older = before.bounds, len(before)
            begin = add_ids(
                ids, rows, begin, end, seed, *older, page.bounds, page.state, self._page, new
            )
            if begin < end:
                self._runs += producer.runs - runs
                self._make_room(producer)
                runs = producer.runs
        self._runs += producer.runs - runs

    def _make_room(self, producer: _Producer) -> None:
        if producer.page.taken >= self._page:
            self._turn(producer)
        else:
            producer.page.grow()

    def _turn(self, producer: _Producer) -> int:
        forgotten = producer.before.taken
        self._runs -= len(producer.before)
        producer.before, producer.page = producer.page, Runs()
        return forgotten

    def _check_open(self) -> None:
        if self._closed:
            raise DedupError("The deduplicator is closed.", where="Deduplicator")

    def _check_room(self) -> None:
        self._check_open()
        if self._runs >= self._most_runs:
            most = max(self._producers, key=lambda producer: producer.runs)
            raise DedupError(
                f"There are {self._runs:,} open runs of sequence numbers, {most.runs:,} of them"
                f" of stream {most.stream!r} of origin {most.origin!r}.",
                where="Deduplicator",
                action="Have each producer's records go to one partition, let more runs be open"
                " (`most_runs`), or forget older ones (`turn`).",
            )


def _ids(ids: ArrayLike | Sequence[SupportsIndex]) -> NDArray[np.uint32]:
    numbers = np.asarray(ids)
    if numbers.dtype == np.uint32 and numbers.ndim == 1:
        return numbers
    whole = numbers.dtype.kind in "iu" or not numbers.size
    if numbers.ndim != 1 or not whole or (numbers.size and not _fit(numbers)):
        raise UsageError("These are no ids: ids are integers of 4 bytes.", where="Deduplicator")
    return numbers.astype(np.uint32)


def _fit(numbers: NDArray[np.integer]) -> bool:
    return bool(numbers.min() >= 0 and numbers.max() <= _LARGEST_ID)


def _coded(names: _Names, count: int, what: str) -> tuple[NDArray[np.int64], list[str]]:
    """(n codes, the names behind them)."""
    if isinstance(names, str):
        return np.zeros(count, np.int64), [names]
    try:
        array = names if isinstance(names, pa.Array | pa.ChunkedArray) else pa.array(names)
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        if not pa.types.is_dictionary(array.type):
            array = _texts(array).dictionary_encode()
        known = _texts(array.dictionary)
    except (pa.ArrowException, TypeError, UnicodeError) as error:
        raise UsageError(f"The {what} are no names: {error}.", where="Deduplicator") from None
    nulls = array.null_count + known.null_count
    if len(array) != count or nulls:
        told = f"{len(array)} {what}, {nulls} of them null, for {count} ids."
        raise UsageError(told, where="Deduplicator")
    return np.asarray(array.indices, np.int64), known.to_pylist()


def _texts(names: pa.Array) -> pa.Array:
    """Names as strings. Raises TypeError: they are none; ArrowException: bytes that are no text."""
    if names.type not in _TEXTS:
        raise TypeError(f"they are of type {names.type}")
    return names.cast(pa.string())
