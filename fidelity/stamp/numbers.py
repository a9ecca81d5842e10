"""Sequence numbers for one producer: never handed out twice, whatever dies and whoever forks.

Invariant: a number is handed out only after the state file durably says that the next session
starts beyond it. So a crash leaves a gap (the rest of a block) and never a repeat. Without a state
file a session starts at a random point, and repeats only by chance.
"""

import threading
import time
from pathlib import Path
from typing import Protocol

from fidelity.errors import StampError
from fidelity.stamp.state import MODULUS, StateFile, random_start

Run = tuple[int, int]
"""First sequence number and count; goes on at 0 after 2^32 - 1."""

_LARGEST_BLOCK = 1 << 20
_BUSY_SECONDS = 1.0


class Reserve(Protocol):
    """Where blocks of numbers come from."""

    def reserve(self, count: int) -> int:
        """The first of `count` numbers that nobody else gets."""

    def give_back(self, first: int, count: int) -> None:
        """Return the unused end of the latest block."""

    def after_fork(self) -> None:
        """Called in a forked child, before it uses anything."""

    def close(self) -> None:
        """Let others use it."""


class RandomStart:
    """Numbers of a session without a state file: from a random point on."""

    def __init__(self) -> None:
        self._next = random_start()

    def reserve(self, count: int) -> int:
        """The next numbers."""
        first, self._next = self._next, (self._next + count) % MODULUS
        return first

    def give_back(self, first: int, count: int) -> None:
        """Take the unused numbers back."""
        if (first + count) % MODULUS == self._next:
            self._next = first

    def after_fork(self) -> None:
        """A child is another session: it starts at its own random point."""
        self._next = random_start()

    def close(self) -> None:
        """Nothing to let go."""


class Numbers:
    """Hands out runs of sequence numbers. Safe to use from several threads, and after a fork.

    Args:
        reserve: where blocks come from.
        block: numbers to reserve at once; grows while blocks are used up faster than one a second,
            so that bulk use does not wait for the disk at every block.
    """

    def __init__(self, reserve: Reserve, block: int) -> None:
        self._reserve = reserve
        self._smallest = self._block = block
        self._reserved_at = -_BUSY_SECONDS
        self._first = self._left = 0
        self._closed = False
        self._lock = threading.Lock()

    def one(self) -> int:
        """The next number."""
        with self._lock:
            if not self._left:
                self._refill(1)
            first = self._first
            self._first = (first + 1) % MODULUS
            self._left -= 1
            return first

    def take(self, count: int) -> list[Run]:
        """The next `count` numbers as one or two runs. Takes nothing if it fails."""
        with self._lock:
            if count <= self._left:
                return [self._cut(count)] if count else []
            first, left = self._first, self._left
            self._refill(count - left)
            if (first + left) % MODULUS == self._first and left:
                self._cut(count - left)
                return [(first, count)]
            return [(first, left)] * bool(left) + [self._cut(count - left)]

    def settle(self) -> None:
        """Give unused numbers back; the next use reserves anew."""
        with self._lock:
            if self._left:
                self._reserve.give_back(self._first, self._left)
                self._left = 0

    def after_fork(self) -> None:
        """In a child: the block is the parent's."""
        self._lock = threading.Lock()
        self._left = 0
        self._reserve.after_fork()

    def close(self) -> None:
        """Give unused numbers back and let others use the state file."""
        self._closed = True
        try:
            self.settle()
        finally:
            self._reserve.close()

    def _cut(self, count: int) -> Run:
        first = self._first
        self._first = (first + count) % MODULUS
        self._left -= count
        return first, count

    def _refill(self, needed: int) -> None:
        if self._closed:
            raise StampError("The stamper is closed.")
        now = time.monotonic()
        busy = now - self._reserved_at < _BUSY_SECONDS
        block = min(self._block * 2, _LARGEST_BLOCK) if busy else self._smallest
        block = max(block, self._smallest)
        count = max(block, needed)
        self._first = self._reserve.reserve(count)
        self._left, self._block, self._reserved_at = count, block, now


def numbers_for(stream: str, origin: str, state: Path | None, block: int) -> Numbers:
    """Numbers from a state file, or from a random point. Raises StampError (see StateFile)."""
    return Numbers(RandomStart() if state is None else StateFile(state, stream, origin), block)
