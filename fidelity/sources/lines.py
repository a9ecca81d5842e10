"""Cut a stream of bytes into Lines over one buffer; a line too long to keep is only measured."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pyarrow as pa

from fidelity.records import PADDING, Lines, Slices
from fidelity.sources.newlines import address, find_newline, split, trimmed_end

_MARK = np.frombuffer(b"\xef\xbb\xbf", dtype=np.uint8)
_RETURN = 13


_Dropping = Literal["", "part", "long"]
"""What is passed over up to the next newline: the end of somebody else's line, or a long one."""


class LineSplitter:
    """The lines of one stream.

    Args:
        batch: bytes read at a time (at least 4).
        longest: bytes of the longest line that is kept; at most this and two batches are held.
        arrival: of every line, microseconds.

    position: how far the stream has been read. next_start: where the first line starts that was
    not given out.
    """

    def __init__(self, batch: int, longest: int, arrival: int) -> None:
        self._batch, self._longest = batch, longest
        self._buffer = np.zeros(2 * batch + PADDING, dtype=np.uint8)
        self._ends = np.empty(batch + 1, dtype=np.int64)  # every byte may be a newline
        # A line that is not blank has two bytes of this batch, but for the first.
        shape = (3, batch // 2 + 2)
        self._starts, self._offsets, self._sizes = np.empty(shape, dtype=np.int64)
        self._arrival = arrival
        self._base = 0  # place in the stream of the buffer's first byte
        self._kept = 0  # bytes in the buffer of a line that has not ended
        self._dropping: _Dropping = ""
        self._long_size = self._long_start = 0
        self._long_return = False
        self.position = self.next_start = 0

    def lines(
        self, stream: pa.NativeFile, begin: int, skip_first: bool, last_start: int
    ) -> Iterator[Lines]:
        """The lines that end in a newline and start at or before byte `last_start`.

        `stream` stands at byte `begin`; with `skip_first` all up to the first newline is the end of
        a line that somebody else reads.
        """
        self._base = self.position = self.next_start = begin
        self._dropping = "part" if skip_first else ""
        while (fresh := self._refill(stream)) > 0:
            stop = self._kept + fresh
            line = 0
            if self._dropping:
                newline = find_newline(address(self._buffer), 0, stop)
                if newline < 0:
                    self._drop(stop)
                    continue
                yield from self._long_line(newline)
                self._dropping, line = "", newline + 1
            count, line = self._split(line, stop, last_start)
            if count:
                yield self._batch_of(count)
            self.next_start = self._base + line
            if self.next_start > last_start:
                return
            self._keep(line, stop)

    @property
    def has_rest(self) -> bool:
        """Whether the stream ended in a line without a newline."""
        return self._kept > 0 or self._dropping == "long"

    def rest(self) -> Iterator[Lines]:
        """The last line, which has no newline; nothing if it is blank."""
        yield from self._long_line(0)
        end = trimmed_end(self._buffer, 0, self._kept, self._longest)
        if end > 0:
            long = end > self._longest
            self._set(-2 if long else 0, -2 if long else end, self._base, end)
            yield self._batch_of(1)

    def _refill(self, stream: pa.NativeFile) -> int:
        start, read = self._kept, 0
        window = memoryview(self._buffer.data)[start : start + self._batch]
        while read < self._batch:
            got = stream.readinto(window[read:])
            if not got:
                break
            read += got
        self.position += read
        return read

    def _split(self, line: int, stop: int, last_start: int) -> tuple[int, int]:
        first = max(line, self._kept)  # what was kept has no newline in it
        count, rest = split(
            *(address(self._buffer), self._buffer, first, stop, line),
            *(last_start - self._base, self._longest),
            *(self._starts, self._ends, self._offsets, self._sizes),
        )
        self._offsets[:count] += self._base
        return count, rest

    def _batch_of(self, count: int) -> Lines:
        first = self._skip_mark() if self._offsets[0] == 0 else 0
        return Lines(
            self._buffer,
            Slices(self._starts[first:count], self._ends[first:count]),
            self._offsets[first:count],
            np.full(count - first, self._arrival, dtype=np.int64),
            self._sizes[first:count],
        )

    def _skip_mark(self) -> int:
        """Leave a byte order mark out of the text's first line; 1 if nothing else is in it."""
        start, size = int(self._starts[0]), int(self._sizes[0])
        if start < 0 or size < 3 or not np.array_equal(self._buffer[start : start + 3], _MARK):
            return 0
        self._starts[0], self._sizes[0] = start + 3, size - 3
        return int(size == 3)

    def _set(self, start: int, end: int, offset: int, size: int) -> None:
        self._starts[0], self._ends[0], self._offsets[0], self._sizes[0] = start, end, offset, size

    def _keep(self, line: int, stop: int) -> None:
        """Move the line that has not ended to the buffer's front, or stop keeping it."""
        kept = stop - line
        if kept >= self._longest + 2:  # too long even if it ends in a carriage return
            self._dropping, self._long_start, self._long_size = "long", self._base + line, 0
            self._drop_long(line, stop)
            kept = 0
        self._resize(line, kept)
        self._kept = kept
        self._base = self.position - kept

    def _resize(self, line: int, kept: int) -> None:
        old, usual = self._buffer, 2 * self._batch + PADDING
        needed = kept + self._batch + PADDING
        if needed > len(old):
            most = self._longest + 2 + self._batch + PADDING
            self._buffer = np.zeros(max(needed, min(2 * len(old), most)), dtype=np.uint8)
        elif len(old) > usual >= needed:
            self._buffer = np.zeros(usual, dtype=np.uint8)
        if line > 0 or self._buffer is not old:
            self._buffer[:kept] = old[line : line + kept]

    def _drop(self, stop: int) -> None:
        """Pass over a whole batch that has no newline."""
        if self._dropping == "long":
            self._drop_long(0, stop)
        self._base = self.position
        if self._dropping == "part":
            self.next_start = self.position

    def _drop_long(self, start: int, stop: int) -> None:
        self._long_size += stop - start
        if stop > start:
            self._long_return = bool(self._buffer[stop - 1] == _RETURN)

    def _long_line(self, newline: int) -> Iterator[Lines]:
        """The record of a line that was passed over, if that is what was."""
        if self._dropping == "long":
            self._drop_long(0, newline)
            self._set(-2, -2, self._long_start, self._long_size - self._long_return)
            yield self._batch_of(1)
