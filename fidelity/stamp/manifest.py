"""A producer's own counts: which sequence numbers it wrote in which window of event time.

A line of a manifest file, several lines for one window add up:

    {"manifest":1,"stream":s,"origin":o,"start":ISO,"end":ISO,"runs":[[first,count],...],"bytes":n}

Invariant: a line claims only what `add` was told was written, and no record is claimed twice. The
file only grows, by whole lines; a line that a dying process left half is closed off, not repeated.
"""

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fidelity.errors import StampError, UsageError
from fidelity.stamp.state import MODULUS

VERSION = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = int((datetime(9999, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()) * 1_000_000
_RUNS_A_LINE = 10_000
_MOST_RUNS = 200_000  # held in memory before they are written, whatever the clock says


@dataclass(slots=True)
class _Window:
    runs: list[list[int]] = field(default_factory=list)
    bytes: int = 0


class Manifest:
    """Counts by window, appended to a file. Safe to use from several threads.

    Args:
        path: the file; several producers and processes may share it.
        window: microseconds.
    """

    def __init__(self, path: Path, stream: str, origin: str, window: int) -> None:
        self._path, self.window = path, window
        self._stream, self._origin = stream, origin
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._pending: dict[int, _Window] = {}
        self._runs = 0
        self._append(b"")  # a path that cannot be written is told now, not after the first window

    def add_one(self, sequence: int, time: int, size: int) -> None:
        """Count one written record: event time in microseconds, size in bytes."""
        if not 0 <= time < _LATEST:
            raise UsageError("An event time lies outside the years 1970 to 9998.")
        with self._lock:
            self._add_run(time // self.window * self.window, sequence, 1, size)
        self._limit()

    def add(
        self, sequences: NDArray[np.uint32], times: NDArray[np.int64], sizes: NDArray[np.int64]
    ) -> None:
        """Count n written records.

        Raises:
            UsageError: an event time lies outside the years 1970 to 9998; nothing is counted.
        """
        if not len(sequences):
            return
        if times.min() < 0 or times.max() >= _LATEST:
            raise UsageError("An event time lies outside the years 1970 to 9998.")
        starts = times // self.window * self.window
        firsts = _run_starts(sequences, starts)
        if len(firsts) > 16 and len(firsts) > len(sequences) // 8:
            order = np.lexsort((sequences, starts))
            sequences, starts, sizes = sequences[order], starts[order], sizes[order]
            firsts = _run_starts(sequences, starts)
        counts = np.diff(firsts, append=len(sequences))
        rows = (starts[firsts], sequences[firsts], counts, np.add.reduceat(sizes, firsts))
        with self._lock:
            for start, first, count, size in zip(*(row.tolist() for row in rows), strict=True):
                self._add_run(start, first, count, size)
        self._limit()

    def flush(self, until: int | None = None) -> None:
        """Append what was counted: windows that end at or before `until`, or all.

        Raises:
            StampError: the file cannot be written; the counts are kept for the next time.
        """
        with self._writing:
            with self._lock:
                due = [s for s in self._pending if until is None or s + self.window <= until]
                taken = {start: self._pending.pop(start) for start in sorted(due)}
                self._runs -= sum(len(window.runs) for window in taken.values())
            if not taken:
                return
            try:
                self._append(b"".join(self._lines(taken)))
            except StampError:
                with self._lock:
                    self._put_back(taken)
                raise

    def after_fork(self) -> None:
        """In a child: what was counted so far is the parent's to write."""
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._pending, self._runs = {}, 0

    def _add_run(self, start: int, first: int, count: int, size: int) -> None:
        window = self._pending.get(start)
        if window is None:
            window = self._pending[start] = _Window()
        window.bytes += size
        runs = window.runs
        if runs and (runs[-1][0] + runs[-1][1]) % MODULUS == first:
            runs[-1][1] += count
        else:
            runs.append([first, count])
            self._runs += 1

    def _put_back(self, taken: dict[int, _Window]) -> None:
        for start, window in taken.items():
            for first, count in window.runs:
                self._add_run(start, first, count, 0)
            self._pending[start].bytes += window.bytes

    def _limit(self) -> None:
        if self._runs > _MOST_RUNS:
            self.flush()

    def _lines(self, windows: dict[int, _Window]) -> Iterator[bytes]:
        for start, window in windows.items():
            runs, size = merged(window.runs), window.bytes
            for at in range(0, len(runs), _RUNS_A_LINE):
                last = at + _RUNS_A_LINE >= len(runs)
                yield self._line(start, runs[at : at + _RUNS_A_LINE], size if last else 0)

    def _line(self, start: int, runs: list[list[int]], size: int) -> bytes:
        line = {
            "manifest": VERSION,
            "stream": self._stream,
            "origin": self._origin,
            "start": iso(start),
            "end": iso(start + self.window),
            "runs": runs,
            "bytes": size,
        }
        return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    def _append(self, lines: bytes) -> None:
        try:
            append(self._path, lines)
        except OSError as error:
            raise StampError(
                f"The manifest cannot be written: {error.strerror}.",
                where=str(self._path),
                action="Check the folder, its rights and the free space.",
            ) from error


def merged(runs: list[list[int]]) -> list[list[int]]:
    """The same numbers in as few runs as possible, sorted; a repeated number stays repeated."""
    joined: list[list[int]] = []
    for first, count in sorted(runs):
        if joined and joined[-1][0] + joined[-1][1] == first:
            joined[-1][1] += count
        else:
            joined.append([first, count])
    if len(joined) > 1 and joined[0][0] == 0 and sum(joined[-1]) == MODULUS:
        joined[-1][1] += joined.pop(0)[1]
    return joined


def iso(time: int) -> str:
    """Microseconds since the epoch as ISO 8601 in UTC, with a fraction only where there is one."""
    return (_EPOCH + timedelta(microseconds=time)).isoformat().replace("+00:00", "Z")


def append(path: Path, lines: bytes) -> None:
    """Append whole lines, or nothing. Raises OSError."""
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        before = os.fstat(handle).st_size
        torn = lines and before and os.pread(handle, 1, before - 1) != b"\n"
        lines = b"\n" + lines if torn else lines
        written = 0
        try:
            while written < len(lines):
                written += os.write(handle, lines[written:])
        except OSError:
            with contextlib.suppress(OSError):  # half a line is closed off by the next append
                os.ftruncate(handle, before)
            raise
        if lines:
            os.fsync(handle)
    finally:
        os.close(handle)


def _run_starts(sequences: NDArray[np.uint32], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    step = np.diff(sequences) != np.uint32(1)
    return np.concatenate([[0], np.flatnonzero(step | (np.diff(starts) != 0)) + 1])
