"""What every kind of source hands over: a plan, what to read, a reader."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from fidelity.records import Lines, Table
from fidelity.units import LOOKED, LedgerRow, Tally, Unit

YEAR_2000 = 946_684_800_000_000
"""Microseconds; a file that claims to be older carries no modification time worth believing."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one look at a stage found.

    units: to be read. rows: what needs no reading and still belongs in the ledger (a file that
    vanished, was truncated, moved; offsets that retention trimmed). Their `scan` and `spec` are
    empty: the scan that commits them fills these in.
    """

    units: list[Unit] = field(default_factory=list)
    rows: list[LedgerRow] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the decoder needs of a record; a reader may leave out the rest."""

    columns: list[str] = field(default_factory=list)  # Parquet
    names: list[str] = field(default_factory=list)  # those of them with few values, many times each
    headers: list[str] = field(default_factory=list)  # Kafka
    key: bool = True  # Kafka
    value: bool = True


class Reader(Protocol):
    """An iterator of batches, each valid until the next is asked for."""

    @property
    def end(self) -> int:
        """The position reached, for the ledger; valid after exhaustion."""
        ...

    def __iter__(self) -> Iterator[Lines | Table]: ...

    def __next__(self) -> Lines | Table: ...


def unseen(unit: Unit, ledger: list[LedgerRow], settle: int) -> tuple[int, int]:
    """The event times [from, to) that a file's unread records may have; -1 is unbounded.

    A record is not written after its file was last modified, and a file's later records are not
    older than its earlier ones by more than `settle`. Kafka's units give (-1, -1).
    """
    if unit.kind not in ("text", "parquet"):
        return -1, -1
    seen = [
        row.tally.last_event
        for row in ledger
        if unit.file and row.unit.file == unit.file and row.unit.start < unit.start
    ]
    last_seen = max(seen, default=-1)
    modified = modified_at(unit.version)
    lower = last_seen - settle if last_seen >= 0 else -1
    upper = modified + 1 if modified > max(YEAR_2000, last_seen) else -1
    return max(lower, -1), upper


def rest_of(
    row: LedgerRow, planned: Unit, ledger: list[LedgerRow], settle: int
) -> LedgerRow | None:
    """The beginning of a last line that reading a file left for later, as a row of its own.

    It has the key of the unit that will read it, and the event times [from, to) that it may have:
    not before what was seen of the file or, if nothing was, before the stage was last looked at.
    """
    unit = row.unit
    if unit.kind != "text" or row.status != "read" or not 0 <= unit.end < planned.end:
        return None
    rest = replace(unit, key=f"{unit.file}:{unit.end}", start=unit.end, size=0)
    first, last = unseen(rest, [*ledger, row], settle)
    if first == -1:
        looks = (r.scanned_at for r in ledger if r.unit.key == LOOKED and r.status == "read")
        first = max(max(looks, default=settle) - settle, 0)
    return replace(row, unit=rest, tally=Tally(), unseen_from=first, unseen_to=last)


def modified_at(version: str) -> int:
    """The modification time in a file's version `size:mtime`, microseconds; -1 if it has none."""
    parts = version.split(":")
    return int(parts[1]) if len(parts) > 1 and parts[1].lstrip("-").isdigit() else -1


def size_at(version: str) -> int:
    """The size in a file's version `size:mtime`, bytes; -1 if it has none."""
    size = version.partition(":")[0]
    return int(size) if size.isdigit() else -1
