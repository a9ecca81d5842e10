"""Which file is which: a file keeps its identity while it grows, is renamed, or is compressed.

Law: of the files that are there and those that the ledger knows, each is matched with at most one
of the other side, and the result does not depend on the order of either.
"""

import posixpath
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property

import pyarrow as pa

from fidelity.sources.compression import codec_of, head_of
from fidelity.sources.filesystem import Entry, Filesystem
from fidelity.sources.fingerprint import (
    MISTAKEN,
    Fingerprint,
    Tail,
    digest,
    parse,
    still_the_same,
    tail_of,
    taken,
)
from fidelity.sources.planning import modified_at
from fidelity.units import LedgerRow, Unit

CLOCK_GRAIN = 2_000_000
"""Microseconds that a compressor may lose when it hands on a modification time."""

_CONSUMED = ("read", "trimmed")


class Likeness(IntEnum):
    """How sure it is that a file is one that the ledger knows."""

    NONE = 0
    NAME = 1  # begins alike, and is named as rotation does; more cannot be compared
    HEAD = 2  # begins alike, and the reader will compare the known last bytes
    SURE = 3  # begins alike, and has the known last bytes where they were


@dataclass
class Known:
    """A text file as the ledger knows it."""

    file: str
    rows: list[LedgerRow] = field(default_factory=list)

    @cached_property
    def last(self) -> LedgerRow:
        """The newest row: where the file was and what it was known by."""
        sound = [row for row in self.rows if row not in self.mistaken] or self.rows
        return max(sound, key=lambda row: (row.commit, row.scanned_at, row.unit.start))

    @cached_property
    def mistaken(self) -> list[LedgerRow]:
        """The rows of files that turned out, while they were read, not to be this one."""
        return [row for row in self.unreadable if MISTAKEN in row.reason]

    @cached_property
    def path(self) -> str:
        """Where it was last seen."""
        return self.last.unit.path

    @cached_property
    def folder(self) -> str:
        """The folder it was last seen in."""
        return posixpath.dirname(self.path)

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What it was last known by."""
        return parse(self.last.unit.fingerprint, self.last.unit.fingerprint_bytes)

    @cached_property
    def consumed(self) -> list[tuple[int, int]]:
        """The byte ranges that were read, merged, in order."""
        merged: list[tuple[int, int]] = []
        for row in sorted(self.rows, key=lambda row: row.unit.start):
            start, end = row.unit.start, row.unit.end
            if row.status not in _CONSUMED or end <= start:
                continue
            if merged and start <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            else:
                merged.append((start, end))
        return merged

    @property
    def end(self) -> int:
        """Up to where it was read."""
        return self.consumed[-1][1] if self.consumed else 0

    @cached_property
    def unreadable(self) -> list[LedgerRow]:
        """The rows that have to be read again."""
        return [row for row in self.rows if row.status == "unreadable"]

    @cached_property
    def lost(self) -> bool:
        """Whether it was found before that unread bytes of it may be gone."""
        return any(row.status == "truncated" for row in self.rows)


def known_files(ledger: Iterable[LedgerRow]) -> list[Known]:
    """The text files that count in the ledger, in order of identity."""
    by_file: dict[str, Known] = {}
    for row in ledger:
        if row.unit.kind == "text" and row.status != "vanished":
            by_file.setdefault(row.unit.file, Known(row.unit.file)).rows.append(row)
    return [by_file[file] for file in sorted(by_file)]


class Probe:
    """A file that is there, opened to see what it is."""

    def __init__(self, entry: Entry, store: Filesystem) -> None:
        self.entry, self.store, self.error = entry, store, entry.problem
        self.codec, self.head = "", b""
        self.fingerprint = Fingerprint("", 0)
        self._tails: dict[int, Tail] = {}
        self._heads: dict[int, str] = {}
        if not self.error:
            self._look()

    def _look(self) -> None:
        size = self.entry.size
        try:
            with self.store.open(self.entry.path) as raw:
                if raw.size() < size:
                    raise OSError(None, "became shorter while it was looked at")
                self.codec = codec_of(raw.read_at(6, 0))
                self.head = head_of(raw, self.codec, size)
                self.fingerprint = taken(self.head, raw, self.codec, size)
        except OSError as error:
            self.error = str(error)

    @property
    def empty(self) -> bool:
        """Whether it is readable and holds nothing yet."""
        return not self.error and not self.head

    def begins(self, head_bytes: int) -> str:
        """The digest of its first bytes; "" if it has fewer."""
        if not 0 < head_bytes <= len(self.head):
            return ""
        if head_bytes not in self._heads:
            self._heads[head_bytes] = digest(self.head[:head_bytes])
        return self._heads[head_bytes]

    def has(self, tail: Tail) -> bool:
        """Whether its stored bytes have that tail in that place."""
        if tail.place > self.entry.size:
            return False
        if tail.place not in self._tails:
            try:
                with self.store.open(self.entry.path) as raw:
                    self._tails[tail.place] = tail_of(raw, tail.place)
            except (OSError, pa.ArrowInvalid):
                return False
        return self._tails[tail.place] == tail

    def likeness(self, known: Known) -> Likeness:
        """How sure it is that this file is the known one, perhaps grown."""
        print_ = known.fingerprint
        if not print_.head or self.begins(print_.head_bytes) != print_.head:
            return Likeness.NONE
        alike_stored = print_.compressed == bool(self.codec)
        if alike_stored and (print_.tail is None or self.has(print_.tail)):
            return Likeness.SURE
        if (alike_stored and not self.codec) or not self._plausible(known):
            return Likeness.NONE
        if not print_.compressed:
            return Likeness.HEAD
        # It was compressed before, and is compressed anew, or not any more.
        return Likeness.NAME if are_kin(self.entry.path, known.path) else Likeness.NONE

    def proves(self, known: Known) -> bool:
        """Whether its text has the known last bytes where they were; unpacks the file that far."""
        print_ = known.fingerprint
        try:
            with self.store.open(self.entry.path) as raw:
                wanted = print_.expecting(print_.tail)
                return still_the_same(raw, self.codec, wanted, self.entry.size)
        except OSError:
            return False

    def _plausible(self, known: Known) -> bool:
        modified = modified_at(known.last.unit.version)
        long_enough = bool(self.codec) or self.entry.size >= known.end
        return long_enough and self.entry.modified >= modified - CLOCK_GRAIN


def matched(
    probes: list[Probe], known: list[Known], least: Likeness = Likeness.NAME
) -> dict[str, Known]:
    """Which known file each file is, by path; a path that is missing here is a new file.

    Args:
        least: how sure it has to be.

    What is surest comes first, then files whose path did not change, then those renamed as
    rotation does, within their folder, and then by how much of the path is the same.
    """
    index = _index(known)
    lengths = sorted(n for n in {n for n, _ in index} if n > 0)
    pairs = [
        (_rank(probe.entry.path, likeness, one), likeness, probe, one)
        for probe in probes
        for n in lengths
        for likeness, one in _likely(probe, index.get((n, probe.begins(n)), {}))
        if likeness >= least
    ]
    guesses = Counter(
        name
        for _, likeness, probe, one in pairs
        if likeness is Likeness.HEAD
        for name in (probe.entry.path, one.file)
    )
    found: dict[str, Known] = {}
    given: set[str] = set()
    for _, likeness, probe, one in sorted(pairs, key=lambda pair: pair[0]):
        path = probe.entry.path
        if path in found or one.file in given:
            continue
        # One guess is left to the reader; of several, a wrong one would leave the right one over.
        several = guesses[path] > 1 or guesses[one.file] > 1
        if likeness is Likeness.HEAD and several and not probe.proves(one):
            continue
        found[path] = one
        given.add(one.file)
    return found


_Index = dict[tuple[int, str], dict[str, list[Known]]]


def _index(known: list[Known]) -> _Index:
    """The known files by the length and digest of their head, and then by folder."""
    index: _Index = {}
    for one in known:
        head = one.fingerprint.head_bytes, one.fingerprint.head
        index.setdefault(head, {}).setdefault(one.folder, []).append(one)
    return index


def _likely(probe: Probe, alike: dict[str, list[Known]]) -> list[tuple[Likeness, Known]]:
    """The known files that this may be; those of other folders only if its own has none for sure.

    So many hosts whose files begin alike are not all compared with each other.
    """
    folder = posixpath.dirname(probe.entry.path)
    near = _comparable(probe, alike.get(folder, []))
    if any(likeness is Likeness.SURE for likeness, _ in near):
        return near
    far = [one for other, files in alike.items() if other != folder for one in files]
    return near + _comparable(probe, far)


def _comparable(probe: Probe, candidates: list[Known]) -> list[tuple[Likeness, Known]]:
    found = ((probe.likeness(one), one) for one in candidates if not _refuted(probe, one))
    return [(likeness, one) for likeness, one in found if likeness is not Likeness.NONE]


def _refuted(probe: Probe, one: Known) -> bool:
    """Whether an earlier scan read this very file and found that it is another one."""
    there = probe.entry.path, probe.entry.version
    return any((row.unit.path, row.unit.version) == there for row in one.mistaken)


def _rank(path: str, likeness: Likeness, one: Known) -> tuple[object, ...]:
    """Sorts the likelier pair first."""
    return (
        not one.consumed,
        -likeness,
        path != one.path,
        not are_kin(path, one.path),
        posixpath.dirname(path) != one.folder,
        -len(posixpath.commonprefix([path, one.path])),
        -len(posixpath.commonprefix([path[::-1], one.path[::-1]])),
        path,
        one.file,
    )


_COMPRESSED = re.compile(r"\.(gz|gzip|zst|zstd)$")
_NUMBER = r"[.\-_]\d[\d\-_T:.]*"
_AT_END = re.compile(rf"{_NUMBER}$")
_BEFORE_KIND = re.compile(rf"{_NUMBER}(?=\.[A-Za-z]\w*$)")


def _family(path: str) -> str:
    """The name that a rotated file had at first: of a.log, a.log.1, a.log.2.gz, a-20240101.log."""
    name = _COMPRESSED.sub("", posixpath.basename(path))
    return _AT_END.sub("", _BEFORE_KIND.sub("", name)) or name


def are_kin(path: str, other: str) -> bool:
    """Whether rotation may have made one of these names of the other."""
    same_folder = posixpath.dirname(path) == posixpath.dirname(other)
    return same_folder and _family(path) == _family(other)


def originals(path: str) -> set[str]:
    """The paths that rotation may be copying or compressing when it writes this one."""
    folder, name = posixpath.split(path)
    plain = _COMPRESSED.sub("", name)
    names = {plain, _AT_END.sub("", plain), _BEFORE_KIND.sub("", plain)} - {name, ""}
    return {posixpath.join(folder, one) for one in names}


def new_identity(path: str, head: Fingerprint, others: Iterable[str]) -> str:
    """An identity for a file seen for the first time; two scans at once choose the same."""
    given, number = set(others), 0
    while True:
        seed = f"{path}\0{head.head}\0{head.head_bytes}" + (f"\0{number}" if number else "")
        identity = digest(seed.encode())
        if identity not in given:
            return identity
        number += 1


def found_again(unit: Unit, entries: Iterable[Entry], store: Filesystem) -> Unit | None:
    """The unit at its file's new place, if the file was renamed or compressed since the plan.

    Only names that rotation gives are looked at. What is compressed is checked by the reader.
    """
    known = Known(unit.file, [LedgerRow(unit, "read", "", -1, "")])
    if known.fingerprint.check:
        return None  # it was a guess that this is the file, and the guess was wrong
    for entry in entries:
        if entry.path == unit.path or entry.problem or not are_kin(entry.path, unit.path):
            continue
        probe = Probe(entry, store)
        likeness = probe.likeness(known)
        if likeness is Likeness.SURE:
            return replace(unit, path=entry.path)
        if likeness is Likeness.HEAD:
            print_ = probe.fingerprint.expecting(known.fingerprint.tail)
            return replace(
                unit,
                path=entry.path,
                version=entry.version,
                fingerprint=str(print_),
                fingerprint_bytes=print_.head_bytes,
            )
    return None
