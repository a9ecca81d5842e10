"""The bytes of a fetch response become Lines: checked, decompressed, laid out.

Invariant: a batch is delivered whole or UnreadableError is raised; nothing is skipped in silence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fidelity.errors import UnreadableError
from fidelity.records import PADDING, Lines, Slices
from fidelity.sources import kafka_kernels as kernels
from fidelity.sources.kafka_codecs import CodecError, OutputFull, decompress
from fidelity.sources.kafka_messages import legacy_records, sample_batch
from fidelity.sources.memory import address

Int64s = NDArray[np.int64]

BATCH_BYTES = 4 << 20
"""A Lines is given out once it holds this many bytes."""

_KEPT = 64 << 20  # a larger arena is not kept
_LARGEST = 1 << 30  # a batch that claims to be larger than this is taken to be broken
_ARENA = 2 * BATCH_BYTES + PADDING
_ROWS = 4096
_CODEC, _APPEND_TIME = 0x07, 0x08
_REASONS = {
    kernels.BROKEN: "A record batch is broken.",
    kernels.BAD_CRC: "A record batch does not match its checksum.",
}


@dataclass(slots=True)
class Unpacked:
    """Batches whose records' bytes are there to be laid out; or records of an old format."""

    arena: NDArray[np.uint8]
    rows: NDArray[np.int64]  # kernels.BATCH_COLUMNS
    regions: NDArray[np.int64]  # where each batch's records are in the arena
    start: int  # offsets before it are left out, as are those from `end` on
    end: int
    old: Lines | None = None


class BatchLayout:
    """Turns responses of one partition into Lines, in two steps; keeps its buffers.

    There are buffers enough for one thread to unpack, one to lay out, and one to work on Lines.

    Args:
        where: names the partition in errors.
        headers: names of the headers to deliver.
        keys: whether to deliver keys.
        check: verify checksums.
    """

    def __init__(self, where: str, headers: Sequence[str], *, keys: bool, check: bool) -> None:
        self.append_time = False  # of the last Lines: the broker's timestamps, not the producer's
        self._where, self._keys, self._check = where, keys, check
        self._headers = list(headers)
        encoded = [name.encode() for name in headers]
        self._names = np.frombuffer(b"".join(encoded) or b"\0", np.uint8)
        self._name_ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)
        self._arenas = [np.empty(_ARENA, np.uint8) for _ in range(3)]  # the first is being filled
        shape = (kernels.RECORD_COLUMNS + 2 * len(encoded), 1 << 15)
        self._columns, self._other_columns = np.empty(shape, np.int64), np.empty(shape, np.int64)
        self._rows = np.empty((_ROWS, kernels.BATCH_COLUMNS), np.int64)
        self._regions = np.empty((_ROWS, 2), np.int64)

    def next_offset(self, response: bytes) -> tuple[int, int]:
        """(bytes of whole batches, offset after the last of them or -1). Raises UnreadableError."""
        status, size, following = kernels.whole(*_span(response))
        if status != kernels.OK:
            raise self._unreadable(_REASONS[status], following)
        return int(size), int(following)

    def lines(
        self, response: bytes, size: int, start: int, end: int, aborted: Sequence[tuple[int, int]]
    ) -> Iterator[Lines]:
        """Both steps: see `unpacked`."""
        for unpacked in self.unpacked(response, size, start, end, aborted):
            lines = self.laid_out(unpacked)
            if len(lines):
                yield lines

    def unpacked(
        self, response: bytes, size: int, start: int, end: int, aborted: Sequence[tuple[int, int]]
    ) -> Iterator[Unpacked]:
        """The records with offsets in [start, end) of the response's whole batches.

        Args:
            response, size: a response, and `next_offset`'s bytes of it.
            aborted: (producer id, first offset) of the response's aborted transactions.
        """
        buffer = np.frombuffer(response, np.uint8)
        place = address(buffer)
        pids = np.array([pid for pid, _ in aborted], np.int64)
        firsts = np.array([first for _, first in aborted], np.int64)
        states = np.zeros(len(pids), np.uint8)
        at = 0
        while at < size:
            status, n, at = kernels.batches(
                place, at, size, start, end, self._check, pids, firsts, states, self._rows
            )
            if status != kernels.OK:
                raise self._unreadable(_REASONS[status], int.from_bytes(response[at : at + 8]))
            yield from self._groups(response, buffer, n, start, end)

    def _groups(
        self, response: bytes, buffer: NDArray[np.uint8], n: int, start: int, end: int
    ) -> Iterator[Unpacked]:
        """Fill an arena batch by batch, and give it away whenever it is full."""
        first, i, used = 0, 0, 0
        while i < n:
            if self._rows[i, kernels.MAGIC] != 2:
                yield from self._full(first, i, start, end)
                yield from self._old_format(response, i, start, end)
                i, first, used = i + 1, i + 1, 0
                continue
            done, used = self._fill(response, buffer, i, n, used)
            stuck, i = done == i, done
            if stuck or used >= BATCH_BYTES:
                if first == i:
                    self._grow(i)
                yield from self._full(first, i, start, end)
                first, used = i, 0
        yield from self._full(first, n, start, end)

    def _fill(
        self, response: bytes, buffer: NDArray[np.uint8], i: int, n: int, used: int
    ) -> tuple[int, int]:
        """Bring one compressed or some plain batches into the arena: (rows done, bytes used)."""
        room = self._arenas[0][:-PADDING]
        row = self._rows[i]
        codec = int(row[kernels.ATTRIBUTES]) & _CODEC
        if codec == 0:
            done, used = kernels.copy_plain(
                buffer, self._rows, i, n, room, used, BATCH_BYTES, self._regions
            )
            return int(done), int(used)
        place, size = int(row[kernels.AT]), int(row[kernels.SIZE])
        source = memoryview(response)[place + kernels.HEADER_BYTES : place + size]
        try:
            got = decompress(codec, source, room[used:])
        except OutputFull:
            return i, used
        except CodecError as error:
            raise self._unreadable(
                f"A record batch cannot be decompressed: {error}.", int(row[kernels.BASE])
            ) from None
        self._regions[i] = used, used + got
        return i + 1, used + got

    def _grow(self, i: int) -> None:
        size = 2 * len(self._arenas[0])
        if size > 2 * _LARGEST:
            raise self._unreadable(
                "A record batch is larger than 1 GiB.", int(self._rows[i, kernels.BASE])
            )
        self._arenas[0] = np.empty(size, np.uint8)

    def _full(self, first: int, n: int, start: int, end: int) -> Iterator[Unpacked]:
        if first == n:
            return
        arena, *others = self._arenas
        rows, regions = self._rows[first:n].copy(), self._regions[first:n].copy()
        yield Unpacked(arena, rows, regions, start, end)
        self._arenas = [*others, arena if len(arena) <= _KEPT else np.empty(_ARENA, np.uint8)]

    def laid_out(self, unpacked: Unpacked) -> Lines:
        """The second step; there may be no records between the offsets."""
        if unpacked.old is not None:
            return unpacked.old
        arena, rows, regions = unpacked.arena, unpacked.rows, unpacked.regions
        claimed = kernels.records_in(rows, regions, 0, len(rows))
        if claimed < 0:
            raise self._unreadable(_REASONS[kernels.BROKEN], int(rows[0, kernels.BASE]))
        self._columns, self._other_columns = self._other_columns, self._columns
        if claimed > self._columns.shape[1]:
            self._columns = np.empty((len(self._columns), 2 * claimed), np.int64)
        status, count = kernels.layout(
            *(address(arena), rows, regions, 0, len(rows), unpacked.start, unpacked.end),
            *(address(self._names), self._name_ends, self._columns),
        )
        if status != kernels.OK:
            raise self._unreadable(_REASONS[status], int(rows[count, kernels.BASE]))
        self.append_time = bool(rows[0, kernels.ATTRIBUTES] & _APPEND_TIME)
        return self._as_lines(arena, self._columns, count)

    def _as_lines(self, arena: NDArray[np.uint8], columns: Int64s, n: int) -> Lines:
        k = kernels
        return Lines(
            buffer=arena,
            values=Slices(columns[k.STARTS, :n], columns[k.ENDS, :n]),
            positions=columns[k.OFFSETS, :n],
            arrivals=columns[k.ARRIVALS, :n],
            sizes=columns[k.SIZES, :n],
            keys=Slices(columns[k.KEY_STARTS, :n], columns[k.KEY_ENDS, :n]) if self._keys else None,
            headers={
                name: Slices(
                    columns[k.RECORD_COLUMNS + 2 * i, :n], columns[k.RECORD_COLUMNS + 2 * i + 1, :n]
                )
                for i, name in enumerate(self._headers)
            },
        )

    def _old_format(self, response: bytes, i: int, start: int, end: int) -> Iterator[Unpacked]:
        """A batch of format v0 or v1, record by record: they are rare, and have no headers."""
        row = self._rows[i]
        place, size = int(row[kernels.AT]), int(row[kernels.SIZE])
        records = [
            record
            for record in legacy_records(
                response[place : place + size], self._check, f"{self._where} offset {row[2]}"
            )
            if start <= record[0] < end
        ]
        if not records:
            return
        columns = np.full((len(self._columns), len(records)), -1, np.int64)
        arena = bytearray()
        for n, (offset, ms, key, value) in enumerate(records):
            columns[kernels.OFFSETS, n] = offset
            columns[kernels.ARRIVALS, n] = ms * 1000 if ms >= 0 else -1
            columns[kernels.SIZES, n] = len(key or b"") + len(value or b"")
            for column, data in ((kernels.STARTS, value), (kernels.KEY_STARTS, key)):
                if data is not None:
                    columns[column : column + 2, n] = len(arena), len(arena) + len(data)
                    arena += data
        arena += bytes(PADDING)
        old = self._as_lines(np.frombuffer(arena, np.uint8), columns, len(records))
        yield Unpacked(old.buffer, row[:0], row[:0], start, end, old)

    def _unreadable(self, what: str, offset: int) -> UnreadableError:
        return UnreadableError(
            what,
            where=f"{self._where} offset {offset}",
            action="Check the brokers' disks; a replica may still hold it. Then scan again.",
        )


def _span(response: bytes) -> tuple[int, int]:
    start = address(np.frombuffer(response, np.uint8))
    return start, start + len(response)


def warm() -> None:
    """Compile the kernels, or load them from numba's cache."""
    for headers in ([], ["fid"]):
        for compressed in (False, True):
            layout = BatchLayout("", headers, keys=True, check=True)
            batch = sample_batch(compressed=compressed)
            size, following = layout.next_offset(batch)
            for _lines in layout.lines(batch, size, 0, following, []):
                pass
