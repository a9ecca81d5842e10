"""The state folder of a Deduplicator: the last two states that were saved, and a lock.

Invariant: each file is whole, or was never there; a save replaces the older of the two. So whatever
is killed when, the last state that was saved is there, and the one before it. A state and the
positions it belongs to are one file: they cannot come apart.
"""

import json
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xxhash

from fidelity import durable
from fidelity.dedup.runs import Runs
from fidelity.errors import DedupError, UsageError

Positions = Mapping[tuple[str, int], int]
"""(topic, partition) -> the offset to read next."""

_MAGIC = b"fidelity dedup 1\n"
_SLOTS = ("state-0", "state-1")
_SUM_BYTES = 8


def checked(positions: Positions) -> dict[tuple[str, int], int]:
    """Positions as they can be kept and read again. Raises UsageError."""
    try:
        return {_place(*key): operator.index(offset) for key, offset in positions.items()}
    except (TypeError, AttributeError):
        raise UsageError(
            f"{positions!r} are no positions.",
            where="Deduplicator",
            action='Say (topic, partition): next offset, for instance {("logs", 0): 1200}.',
        ) from None


def _place(topic: str, partition: int) -> tuple[str, int]:
    if not isinstance(topic, str):
        raise TypeError
    return topic, operator.index(partition)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one producer: the runs of the page being filled, and of the page before."""

    stream: str
    origin: str
    page: Runs
    before: Runs


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was saved at one time. `number` counts the saves."""

    number: int = 0
    positions: dict[tuple[str, int], int] = field(default_factory=dict)
    seen: tuple[Seen, ...] = ()


class Checkpoints:
    """A state folder, held by this process.

    current: the state to go on from.

    Raises:
        DedupError: see Deduplicator.
    """

    def __init__(self, folder: Path, at: Positions | None) -> None:
        self._folder = Path(os.path.realpath(folder))
        self._handle = _held(self._folder)
        try:
            self.current = _chosen(self._folder, at)
        except BaseException:
            self.close()
            raise

    def save(self, positions: Positions, seen: Sequence[Seen]) -> None:
        """Keep a state. Raises DedupError; what was there before is then still there."""
        number = self.current.number + 1
        path = self._folder / _SLOTS[number % 2]
        try:
            durable.replace(path, _written(number, positions, seen))
        except OSError as error:
            raise _refused(path, "written", error) from error
        self.current = Checkpoint(number, dict(positions))

    def close(self) -> None:
        """Let another process use the folder."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _held(folder: Path) -> int:
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            durable.sync_folder(folder.parent)
        return durable.lock(folder / "lock", "state")
    except durable.HeldError as error:
        raise DedupError(
            str(error),
            where=str(folder),
            action="Stop it, or give every consumer a state of its own.",
        ) from None
    except OSError as error:
        raise _refused(folder, "used", error) from error


def _chosen(folder: Path, at: Positions | None) -> Checkpoint:
    """The last state, or the last that was saved with these positions."""
    found = [each for each in map(_read, _paths(folder)) if each is not None]
    if len(found) < len(_SLOTS) and all(each.number == 1 for each in found):
        found.append(Checkpoint())  # before the first save nothing was seen
    newest_first = sorted(found, key=lambda each: -each.number)
    for each in newest_first:
        if at is None or all(max(each.positions.get(key, 0), 0) == max(at[key], 0) for key in at):
            return each
    saved = " and at ".join(_shown(each.positions) for each in newest_first)
    raise DedupError(
        f"No state was saved at {_shown(at or {})}, only at {saved}.",
        where=str(folder),
        action="Records in between would be lost or doubled: set the positions back to one of"
        " these, or begin with another folder.",
    )


def _paths(folder: Path) -> Iterable[Path]:
    return (folder / name for name in _SLOTS)


def _shown(positions: Positions) -> str:
    told = (f"{topic}/{number}:{offset}" for (topic, number), offset in sorted(positions.items()))
    return ", ".join(told) or "the beginning"


def _written(number: int, positions: Positions, seen: Sequence[Seen]) -> bytes:
    head = {
        "number": number,
        "positions": [[*key, offset] for key, offset in positions.items()],
        "producers": [
            [each.stream, each.origin, *_sizes(each.page), *_sizes(each.before)] for each in seen
        ],
    }
    parts = [_MAGIC, json.dumps(head).encode(), b"\n"]
    for each in seen:
        parts += [runs.runs.astype("<u4").tobytes() for runs in (each.page, each.before)]
    content = b"".join(parts)
    return content + xxhash.xxh3_64_digest(content)


def _sizes(runs: Runs) -> tuple[int, int]:
    return len(runs), runs.taken


def _read(path: Path) -> Checkpoint | None:
    """None: nothing was saved there."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refused(path, "read", error) from error
    whole, check = content[:-_SUM_BYTES], content[-_SUM_BYTES:]
    if not whole.startswith(_MAGIC) or xxhash.xxh3_64_digest(whole) != check:
        raise DedupError(
            "This is not a deduplicator's state, or it is damaged.",
            where=str(path),
            action="Remove this one file: the state that was saved before or after it is beside it,"
            " with the positions to read on from.",
        )
    return _parsed(whole)


def _parsed(content: bytes) -> Checkpoint:
    end = content.index(b"\n", len(_MAGIC))
    head = json.loads(content[len(_MAGIC) : end])
    at = end + 1
    seen = []
    for stream, origin, *sizes in head["producers"]:
        pages = []
        for count, taken in zip(sizes[::2], sizes[1::2], strict=True):
            numbers = np.frombuffer(content, "<u4", 2 * count, at).astype(np.uint32)
            pages.append(Runs(numbers.reshape(2, count), taken))
            at += 8 * count
        seen.append(Seen(stream, origin, *pages))
    positions = {(topic, number): offset for topic, number, offset in head["positions"]}
    return Checkpoint(head["number"], positions, tuple(seen))


def _refused(path: Path, verb: str, error: OSError) -> DedupError:
    return DedupError(
        f"The state cannot be {verb}: {error.strerror}.",
        where=str(path),
        action="Check the folder, its rights and the free space.",
    )
