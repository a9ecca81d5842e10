"""The stamper: ids for one producer's records, and the count of those that were written.

take -> the caller writes its records -> written -> (a window closes) -> a manifest line
"""

import atexit
import contextlib
import logging
import os
import sys
import threading
import time
import weakref
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fidelity.errors import FidelityError, StampError, UsageError
from fidelity.identity import check_name, id_of, ids_of, producer_seed, sequences_of, u32_of_xxh32
from fidelity.stamp.manifest import Manifest
from fidelity.stamp.numbers import numbers_for
from fidelity.stamp.state import MODULUS

if TYPE_CHECKING:
    from fidelity.stamp.embed import LineFormat, Stamped

_log = logging.getLogger(__name__)

_LONGEST_WAIT = 10.0  # seconds between two looks for closed windows


class Stamper:
    """Ids for the records of one (stream, origin). Safe to use from threads and forked children.

    Args:
        stream: the kind of record. origin: who produces it (host, pod).
        state: file that lets the next session go on where this one ends. Without it, a session
            starts at a random point.
        manifest: file to append the producer's own counts to.
        window: of the manifest, seconds; the pipeline's window should be a multiple of it.
        block: how many sequence numbers to reserve at once; a crash leaves a gap of at most the
            current block, which grows up to 2^20 under bulk use.

    Raises:
        UsageError: a name, the window or the block makes no sense.
        StampError: the state or manifest file is in use by another process or cannot be used.
    """

    def __init__(
        self,
        stream: str,
        origin: str,
        *,
        state: str | os.PathLike[str] | None = None,
        manifest: str | os.PathLike[str] | None = None,
        window: float | timedelta = 60,
        block: int = 4096,
    ) -> None:
        check_name(stream, "stream")
        check_name(origin, "origin")
        if not 1 <= block <= MODULUS // 2:
            raise UsageError(f"A block of {block} sequence numbers makes no sense.")
        self.stream, self.origin = stream, origin
        self.seed = producer_seed(stream, origin)
        self._numbers = numbers_for(stream, origin, None if state is None else Path(state), block)
        try:
            self._manifest = _manifest(stream, origin, manifest, window)
        except FidelityError:
            self._numbers.close()
            raise
        self._clock = _Clock()
        self._closed = False
        _open_stampers.add(self)

    @property
    def counts(self) -> bool:
        """Whether there is a manifest, so that `written` matters."""
        return self._manifest is not None

    def stamp(self, lines: bytes, line_format: "LineFormat" = "json") -> "Stamped":
        """Put ids into a block of whole lines. Write `.data`, then call `written(s.ids, ...)`.

        Raises:
            StampError: as `take`; the lines are unchanged.
        """
        from fidelity.stamp.embed import embed  # a producer that stamps by itself needs none of it

        return embed(lines, line_format, self.take)

    def take(self, n: int) -> NDArray[np.uint32]:
        """The next n ids, uint32[n]. Give each to one record.

        Raises:
            UsageError: n is negative or beyond 2^32.
            StampError: the state file cannot be written; no id is used up.
        """
        if not 0 <= n <= MODULUS:
            raise UsageError(f"Asked for {n} ids; between 0 and 2^32 can be had.")
        sequences = [
            np.arange(count, dtype=np.uint32) + np.uint32(first)
            for first, count in self._numbers.take(n)
        ]
        return ids_of(np.concatenate(sequences) if sequences else np.empty(0, np.uint32), self.seed)

    def next(self) -> int:
        """The next id. Raises StampError as `take`."""
        return id_of(self._numbers.one(), self.seed)

    def written(self, ids: ArrayLike, times: ArrayLike | None = None, sizes: ArrayLike = 0) -> None:
        """Count records for the manifest. Call it once they are written, never before.

        Args:
            ids: one id or n, as taken.
            times: event times, microseconds since the epoch, one for all or n; None is now.
            sizes: bytes of each record, one for all or n.

        Raises:
            UsageError: an event time lies outside the years 1970 to 9998.
            StampError: too much is pending and the manifest cannot be written; the records are
                counted all the same.
        """
        if self._manifest is None:
            return
        times = time.time_ns() // 1000 if times is None else times
        if isinstance(ids, int) and isinstance(times, int) and isinstance(sizes, int):
            sequence = int(u32_of_xxh32(np.uint32(ids), np.uint32(self.seed)))
            self._manifest.add_one(sequence, times, sizes)
        else:
            self._count(self._manifest, ids, times, sizes)
        if self._closed:
            self._manifest.flush()
        else:
            self._clock.start(self._manifest)

    def _count(
        self, manifest: Manifest, ids: ArrayLike, times: ArrayLike, sizes: ArrayLike
    ) -> None:
        sequences = np.atleast_1d(sequences_of(ids, self.seed))
        shape = sequences.shape
        manifest.add(
            sequences,
            np.broadcast_to(np.asarray(times, np.int64), shape),
            np.broadcast_to(np.asarray(sizes, np.int64), shape),
        )

    def flush(self) -> None:
        """Append all counts to the manifest, also of windows that are still open."""
        if self._manifest:
            self._manifest.flush()

    def close(self) -> None:
        """Write the manifest, keep the state, and let others use the files. Ids end here."""
        self._closed = True
        _open_stampers.discard(self)
        self._clock.stop()
        try:
            self.flush()
        finally:
            self._numbers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # A stamper that was forgotten must not hold its state file for the life of the process.
        if not getattr(self, "_closed", True) and not sys.is_finalizing():
            with contextlib.suppress(FidelityError):
                self.close()

    def _after_fork(self) -> None:
        self._numbers.after_fork()
        if self._manifest:
            self._manifest.after_fork()
        self._clock = _Clock()

    def _settle(self) -> None:
        self.flush()
        self._numbers.settle()


class _Clock:
    """A daemon thread that writes windows to the manifest once they are over."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def start(self, manifest: Manifest) -> None:
        if self._thread is not None:
            return
        with self._starting:
            if self._thread is None:
                watched = (manifest, self._stop)
                self._thread = threading.Thread(target=_watch, args=watched, daemon=True)
                self._thread.start()

    def stop(self) -> None:
        self._stop.set()


def _watch(manifest: Manifest, stop: threading.Event) -> None:
    told = ""
    while not stop.wait(min(manifest.window / 1_000_000, _LONGEST_WAIT)):
        try:
            manifest.flush(until=time.time_ns() // 1000)
            told = ""
        except StampError as error:
            if str(error) != told:
                told = str(error)
                _log.warning("%s The counts are kept and tried again.", error)


def _manifest(
    stream: str,
    origin: str,
    path: str | os.PathLike[str] | None,
    window: float | timedelta,
) -> Manifest | None:
    if path is None:
        return None
    seconds = window.total_seconds() if isinstance(window, timedelta) else window
    if not 1 <= seconds <= 86_400:
        raise UsageError(f"A manifest window of {seconds} seconds makes no sense: 1 s to 1 day.")
    return Manifest(Path(path), stream, origin, round(seconds * 1_000_000))


_open_stampers: weakref.WeakSet[Stamper] = weakref.WeakSet()


def _after_fork() -> None:
    for stamper in list(_open_stampers):
        stamper._after_fork()


@atexit.register
def _at_exit() -> None:
    # Not closed: a logging handler may still write its last records after this.
    for stamper in list(_open_stampers):
        try:
            stamper._settle()
        except FidelityError as error:
            _log.warning("%s", error)


os.register_at_fork(after_in_child=_after_fork)
