"""The two ends of a pipe, and the signals that end it.

Input and Output go to the file descriptor where there is one, so that a read gives what is there
and a write says how much was taken.
"""

import os
import select
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, BinaryIO, NoReturn, Self

from fidelity.errors import StampError

_READ = 1 << 20
_DRAINED = 1 << 20  # what a pipe can hold: read after a signal, so that nobody's lines are lost
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals:
    """Notes the first ending signal; a second one ends the process at once.

    Outside the main thread, where Python allows no handlers, it notes nothing.
    """

    def __init__(self) -> None:
        self.received = 0
        self.wakes, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _ENDING:
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays nohup
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self.wakes)
        os.close(self._wake)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.received:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        self.received = number
        os.write(self._wake, b"!")


class Input:
    """Chunks of a stream as they come. `exhausted` says afterwards whether its end was reached.

    Raises:
        StampError: it cannot be read.
    """

    def __init__(self, stream: BinaryIO, signals: Signals) -> None:
        self._stream, self._signals = stream, signals
        self._descriptor = _descriptor(stream)
        self.exhausted = False

    def __iter__(self) -> Iterator[bytes]:
        while not self._signals.received:
            if not self._ready(wait=True):
                continue
            chunk = self._read(_READ)
            if not chunk:
                return
            yield chunk
        left = _DRAINED
        while left > 0 and self._ready(wait=False):
            chunk = self._read(left)
            if not chunk:
                return
            left -= len(chunk)
            yield chunk

    def _ready(self, wait: bool) -> bool:
        if self._descriptor < 0:
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.register(self._signals.wakes, select.POLLIN)
        events = dict(poll.poll(None if wait else 0))
        return self._descriptor in events

    def _read(self, most: int) -> bytes:
        try:
            if self._descriptor < 0:
                chunk = self._stream.read(most)
            else:
                chunk = os.read(self._descriptor, most)
        except OSError as error:
            raise StampError(f"The input cannot be read: {error.strerror}.") from error
        self.exhausted = not chunk
        return chunk


class Output:
    """Writes at once. `taken` says how many bytes of the last write were taken, also if it failed.

    Raises:
        BrokenPipeError: the reader went away.
        StampError: it cannot be written for another reason.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._descriptor = _descriptor(stream)
        self.taken = 0
        if self._descriptor >= 0:
            stream.flush()

    def write(self, data: bytes | memoryview) -> None:
        """Write all of it, at once."""
        self.taken = 0
        view = memoryview(data)
        try:
            if self._descriptor < 0:
                self._stream.write(view)
                self._stream.flush()
                self.taken = len(view)
            while self.taken < len(view):
                self._write_some(view)
        except BrokenPipeError:
            raise
        except OSError as error:
            _refused(error)

    def _write_some(self, view: memoryview) -> None:
        try:
            self.taken += os.write(self._descriptor, view[self.taken :])
        except BlockingIOError:
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            poll.poll()


def _refused(error: OSError) -> NoReturn:
    raise StampError(
        f"The output cannot be written: {error.strerror}.",
        action="Lines from here on were not passed on.",
    ) from error


def _descriptor(stream: BinaryIO) -> int:
    try:
        return stream.fileno()
    except (OSError, AttributeError):
        return -1
