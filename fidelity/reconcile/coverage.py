"""Coverage: what of each stage was really looked at. What was not seen is unknown, never lost.

A window is seen at a stage if it had settled when the stage was last looked at, and no unit in
force may hold records of it that nobody could read.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fidelity.report import Coverage
from fidelity.units import LOOKED, LedgerRow

UNSEEN = ("unreadable", "trimmed", "truncated")
_MOST_ADDED = 1_000


@dataclass(frozen=True, slots=True)
class View:
    """What the ledger says of one stage: rows in force, without those of the stage itself."""

    stage: str
    rows: tuple[LedgerRow, ...]
    unseen: tuple[LedgerRow, ...]  # with records that may exist and were not read, or not all
    looked_at: int  # -1: never
    failed: LedgerRow | None = None  # the last look, if it failed

    def audited(self, starts: NDArray[np.int64], window: int, settle: int) -> NDArray[np.bool_]:
        """Windows that had settled when the stage was last looked at."""
        found: NDArray[np.bool_] = starts + window + settle <= self.looked_at
        return found if self.looked_at != -1 else np.zeros(len(starts), np.bool_)

    def touched(self, starts: NDArray[np.int64], window: int) -> NDArray[np.bool_]:
        """Windows that unseen records may belong to."""
        found = np.zeros(len(starts), np.bool_)
        for row in self.unseen:
            if row.unit.key == LOOKED and row.unseen_from == -1 and self.looked_at != -1:
                continue  # what had settled when it was last looked at stays seen: see audited
            after = (row.unseen_from == -1) | (starts + window > row.unseen_from)
            before = (row.unseen_to == -1) | (starts < row.unseen_to)
            found |= after & before
        return found


def in_force(rows: Iterable[LedgerRow]) -> list[LedgerRow]:
    """The last committed row of each unit."""
    last: dict[tuple[str, str], LedgerRow] = {}
    for row in rows:
        key = (row.unit.stage, row.unit.key)
        if key not in last or row.commit >= last[key].commit:
            last[key] = row
    return list(last.values())


def views(stages: Sequence[str], ledger: Sequence[LedgerRow]) -> dict[str, View]:
    """One view for each stage, also of those that the ledger does not know."""
    units: dict[str, list[LedgerRow]] = {stage: [] for stage in stages}
    looked = dict.fromkeys(stages, -1)
    for row in ledger:
        stage = row.unit.stage
        if stage in looked and row.unit.key == LOOKED and row.status == "read":
            looked[stage] = max(looked[stage], row.scanned_at)
    for row in in_force(ledger):
        if row.unit.stage in units:
            units[row.unit.stage].append(row)
    return {
        stage: View(
            stage,
            tuple(row for row in rows if row.unit.key != LOOKED),
            tuple(row for row in rows if row.status in UNSEEN or row.unseen_from != -1),
            looked[stage],
            next((row for row in rows if row.unit.key == LOOKED and row.status != "read"), None),
        )
        for stage, rows in units.items()
    }


def summary(view: View) -> Coverage:
    """The figures of one stage."""
    read = [row for row in view.rows if row.status == "read"]
    first = [row.tally.first_event for row in read if row.tally.first_event != -1]
    last = [row.tally.last_event for row in read if row.tally.last_event != -1]
    records, size = sum(row.tally.records for row in read), sum(row.tally.bytes for row in read)
    count = {status: sum(row.status == status for row in view.rows) for status in UNSEEN}
    return Coverage(
        stage=view.stage,
        units=len(read),
        records=records,
        bytes=size,
        unreadable=count["unreadable"],
        trimmed=count["trimmed"],
        truncated=count["truncated"],
        looked_at=view.looked_at,
        first_event=min(first, default=-1),
        last_event=max(last, default=-1),
        bytes_per_record=size / records if records else None,
    )


def flaws(view: View) -> dict[str, int]:
    """Flawed records of the units that were read, by kind."""
    found: dict[str, int] = {}
    for row in view.rows:
        if row.status == "read":
            for flaw in row.tally.flaws:
                found[flaw.kind] = found.get(flaw.kind, 0) + flaw.records
    return found


def unseen_windows(view: View, first: int, last: int, window: int) -> list[int]:
    """Windows that bounded unseen records may belong to, between two windows.

    Nothing may have been seen in them at any stage, and yet they are not known to be empty. A long
    interval adds its first windows only: they stop the watermark as well as all would.
    """
    found: set[int] = set()
    for row in view.unseen:
        if row.unit.key == LOOKED:
            continue
        start = first if row.unseen_from == -1 else max(first, row.unseen_from // window * window)
        end = last + window if row.unseen_to == -1 else min(last + window, row.unseen_to)
        found.update(range(start, end, window)[:_MOST_ADDED])
    return sorted(found)
