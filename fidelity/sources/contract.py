"""What planning and reading hand over, for every kind of source.

plan(stage, ledger) -> Plan -> read(unit) -> Reader of Lines or Tables
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from fidelity.records import Lines, Table
from fidelity.units import LedgerRow, Unit


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader must deliver of a record; the rest it may leave out."""

    columns: tuple[str, ...] = ()  # Parquet
    headers: tuple[str, ...] = ()  # Kafka
    key: bool = False  # Kafka
    value: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """What one scan of a stage is to do.

    units are to be read; rows are notes for the ledger that need no reading (trimmed, truncated,
    vanished). Their `scan` and `spec` are empty: the scan fills them in.
    """

    units: list[Unit] = field(default_factory=list)
    rows: list[LedgerRow] = field(default_factory=list)


class Reader(Protocol):
    """The batches of one unit. Raises UnreadableError midway: then nothing of the unit counts."""

    @property
    def end(self) -> int:
        """The position that was reached, for the ledger. Valid once the batches are exhausted."""
        ...

    def __iter__(self) -> Iterator[Lines | Table]: ...

    def __next__(self) -> Lines | Table: ...
