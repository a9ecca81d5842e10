"""What a text file is known by, whatever its name: a digest of its first bytes, and one of the last
bytes that were there when it was looked at (bytes that an append-only file never changes).

As text, for the ledger: `<head>`, then `+<place>:<tail>` (or `+z<place>:<tail>`, of the stored
bytes of a compressed file), then `=<place>:<tail>` if the reader has to check, before it trusts
that a compressed file is one that was read before.
"""

from dataclasses import dataclass, replace

import pyarrow as pa
import xxhash

from fidelity.sources.compression import HEAD, head_of, skip, text_of

TAIL = 256
"""Bytes of the tail digest."""

MISTAKEN = "is not the file it was taken for"
"""Reason of a unit whose file turned out, while it was read, to be another than planned."""


def digest(content: bytes) -> str:
    """16 hex digits; stable across versions and machines, since it is stored."""
    return xxhash.xxh3_64_hexdigest(content)


@dataclass(frozen=True, slots=True)
class Tail:
    """The digest of up to TAIL bytes that end at byte `place`."""

    place: int
    digest: str

    @property
    def start(self) -> int:
        """Where these bytes begin."""
        return max(self.place - TAIL, 0)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What was seen of a file at one time."""

    head: str
    head_bytes: int  # after decompression; 0: nothing could be seen
    compressed: bool = False
    tail: Tail | None = None
    check: Tail | None = None  # of the text, for the reader

    def __str__(self) -> str:
        tail = f"+{'z' * self.compressed}{self.tail.place}:{self.tail.digest}" if self.tail else ""
        check = f"={self.check.place}:{self.check.digest}" if self.check else ""
        return self.head + tail + check

    def expecting(self, tail: Tail | None) -> "Fingerprint":
        """The same, with a tail of the text that the reader has to find."""
        return replace(self, check=tail)


def parse(text: str, head_bytes: int) -> Fingerprint:
    """The fingerprint that a ledger row carries."""
    rest, _, check = text.partition("=")
    head, _, tail = rest.partition("+")
    return Fingerprint(
        head, head_bytes, tail.startswith("z"), _tail(tail.removeprefix("z")), _tail(check)
    )


def _tail(text: str) -> Tail | None:
    place, _, found = text.partition(":")
    return Tail(int(place), found) if found else None


def tail_of(raw: pa.NativeFile, place: int) -> Tail:
    """The digest of the stored bytes that end at `place`."""
    start = max(place - TAIL, 0)
    return Tail(place, digest(raw.read_at(place - start, start)))


def still_the_same(raw: pa.NativeFile, codec: str, known: Fingerprint, size: int) -> bool:
    """Whether a file's text begins as it did, and ends its known part as was expected."""
    if digest(head_of(raw, codec, size, known.head_bytes)) != known.head:
        return False
    if known.check is None:
        return True
    text, wanted = text_of(raw, codec, size), known.check
    if skip(text, wanted.start) < wanted.start:
        return False
    return digest(text.read(wanted.place - wanted.start)) == wanted.digest


def taken(head: bytes, raw: pa.NativeFile, codec: str, size: int) -> Fingerprint:
    """The fingerprint of a file of `size` stored bytes whose text begins with `head`."""
    # A plain file that is not longer than its head needs no tail.
    tail = tail_of(raw, size) if codec or size > HEAD else None
    return Fingerprint(digest(head), len(head), bool(codec), tail)
