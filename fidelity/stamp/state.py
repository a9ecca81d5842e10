"""The state file: where the next session of a producer starts. One session at a time.

It is replaced as a whole (write, fsync, rename, fsync of the folder), so it is never half written.
A lock on `<state>.lock` is held as long as the session lives. Forked children share that lock and
reserve their own blocks, one process at a time.
"""

import fcntl
import json
import os
import threading
from pathlib import Path

from fidelity import durable
from fidelity.errors import StampError

MODULUS = 1 << 32
_VERSION = 1

# POSIX record locks belong to the process and go when any handle of the file is closed, so opening,
# closing and reserving take turns within the process. Reentrant, since a forgotten stamper may be
# closed by the garbage collector in the middle of another one's turn.
_turn = threading.RLock()


def _new_turn() -> None:
    global _turn
    _turn = threading.RLock()


os.register_at_fork(after_in_child=_new_turn)


def random_start() -> int:
    """Where a producer starts that remembers nothing: zero would repeat the ids of its past."""
    return int.from_bytes(os.urandom(4), "little")


class StateFile:
    """Blocks of sequence numbers of one producer, kept in a file.

    Raises:
        StampError: another process holds it, it is damaged or another producer's, or the disk
            refuses it.
    """

    def __init__(self, path: Path, stream: str, origin: str) -> None:
        self._path = Path(os.path.realpath(path))
        self._stream, self._origin = stream, origin
        self._lock = _locked(self._path)
        try:
            self._read()
        except StampError:
            self.close()
            raise

    def reserve(self, count: int) -> int:
        """The first of `count` numbers, durably reserved."""
        with _turn:
            self._family(fcntl.LOCK_EX)
            try:
                first = self._read()
                self._write((first + count) % MODULUS)
            finally:
                self._family(fcntl.LOCK_UN)
        return first

    def give_back(self, first: int, count: int) -> None:
        """Return an unused end, unless a later block was reserved since."""
        with _turn:
            self._family(fcntl.LOCK_EX)
            try:
                if self._read() == (first + count) % MODULUS:
                    self._write(first)
            finally:
                self._family(fcntl.LOCK_UN)

    def after_fork(self) -> None:
        """The child shares the parent's lock."""

    def close(self) -> None:
        """Let another process use the file."""
        with _turn:
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    def _family(self, operation: int) -> None:
        if self._lock < 0:
            raise StampError("The stamper is closed.", where=str(self._path))
        fcntl.lockf(self._lock, operation)

    def _read(self) -> int:
        try:
            state = json.loads(self._path.read_bytes())
            if state["fidelity_state"] != _VERSION:
                raise ValueError
            owner, number = (state["stream"], state["origin"]), state["next"]
            if type(number) is not int or not 0 <= number < MODULUS:
                raise ValueError
        except FileNotFoundError:
            return random_start()
        except OSError as error:
            raise _refused(self._path, "read", error) from error
        except (ValueError, KeyError, TypeError):
            raise StampError(
                "This is not a stamper's state file, or it is damaged.",
                where=str(self._path),
                action="Delete it: the producer then starts at a random point.",
            ) from None
        if owner != (self._stream, self._origin):
            raise StampError(
                f"The state file belongs to stream {owner[0]!r} of origin {owner[1]!r}.",
                where=str(self._path),
                action="Give every producer its own state file.",
            )
        return number

    def _write(self, number: int) -> None:
        state = {
            "fidelity_state": _VERSION,
            "stream": self._stream,
            "origin": self._origin,
            "next": number,
        }
        try:
            durable.replace(self._path, json.dumps(state).encode() + b"\n")
        except OSError as error:
            raise _refused(self._path, "written", error) from error


def _locked(path: Path) -> int:
    lock = path.with_name(path.name + ".lock")
    with _turn:
        try:
            return durable.lock(lock, "state file")
        except durable.HeldError as error:
            raise StampError(
                str(error),
                where=str(path),
                action="Stop it, or give this producer its own origin and state file.",
            ) from None
        except OSError as error:
            raise _refused(lock, "opened", error) from error


def _refused(path: Path, verb: str, error: OSError) -> StampError:
    return StampError(
        f"The file cannot be {verb}: {error.strerror}.",
        where=str(path),
        action="Check the folder, its rights and the free space.",
    )
