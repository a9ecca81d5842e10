"""Units: what is read once and never again; and the ledger rows that tell what became of them.

A ledger is append-only. For each (stage, key) the row with the highest commit is the one in force.
All times are int64 microseconds since the epoch, UTC. -1 in a time means "not known".
"""

from dataclasses import dataclass, field
from typing import Literal

UnitKind = Literal["text", "parquet", "kafka", "stage"]
Status = Literal["read", "unreadable", "trimmed", "truncated", "vanished"]
FLAWS = ("malformed", "unstamped", "untimed", "unattributed", "future")
"""Kinds of flaw; a record's flaw code is its index here plus one, 0 is none."""

LOOKED = "looked"
"""Key of the one row a scan adds to say that it looked at the whole stage (kind `stage`)."""

MERGED = "merged:"
"""Scans that compaction made begin with this; their observations stand under the unit `merged`."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What one read covers.

    text: the lines that start in bytes [start, end) after decompression; end -1 means to the end
    of a compressed file. parquet: row groups [start, end). kafka: offsets [start, end).
    """

    stage: str
    key: str  # unique within the stage; a later row with the same key supersedes
    kind: UnitKind
    path: str  # as listed, or the topic
    start: int
    end: int
    partition: int = -1
    file: str = ""  # a text file's identity, which survives rename, rotation and gzip
    version: str = ""  # size:mtime or etag (files), topic id (Kafka)
    fingerprint: str = ""
    fingerprint_bytes: int = 0
    size: int = 0  # bytes to read, estimated: balances tasks, nothing else
    closed: bool = False  # text: a last line without a newline is a record


@dataclass(frozen=True, slots=True)
class Flaw:
    """How many records of a unit had one kind of flaw, and where the first (at most 5) are."""

    kind: str
    records: int
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tally:
    """What reading one unit added up to. Merges by sum; first by min, last by max."""

    records: int = 0
    bytes: int = 0
    first_event: int = -1
    last_event: int = -1
    first_arrival: int = -1
    last_arrival: int = -1
    flaws: tuple[Flaw, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One row of the `units` table: a unit, and what became of it in one scan."""

    unit: Unit  # with `end` as it was really reached
    status: Status
    scan: str
    scanned_at: int
    spec: str  # digest of the record spec and window that the observations were made with
    tally: Tally = field(default=Tally())
    reason: str = ""
    unseen_from: int = -1  # event times that unseen records may have: [from, to), -1 is unbounded
    unseen_to: int = -1
    commit: int = -1  # assigned by the store: counts this stage's commits
