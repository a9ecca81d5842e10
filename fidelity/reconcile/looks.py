"""Looks: in which order stages were looked at. A look can miss only what was there before it.

The source is planned before the later stages of the same scan, so within one scan a record that a
stage lacks is lost. Where another scan read more of one stage after the last look at the other, a
difference between the two may only be the time between.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fidelity.reconcile.coverage import in_force
from fidelity.units import LOOKED, LedgerRow

_TIME = re.compile(r"\d{8}T[\d.]+")


@dataclass(frozen=True, slots=True)
class Looks:
    """Units read at each stage, by scan, and the last look at it."""

    read: dict[str, dict[tuple[str, int], list[LedgerRow]]]
    last: dict[str, LedgerRow]

    def grown(
        self, stage: str, since: str, starts: NDArray[np.int64], window: int
    ) -> NDArray[np.bool_]:
        """Windows of which records of one stage were read after the last look at another.

        Args:
            stage, since: names of stages.
            starts: int64[n], microseconds.
            window: length, microseconds.
        """
        look = self.last.get(since)
        scans = self.read.get(stage, {}).values()
        later = (
            []
            if look is None
            else [_times(row) for rows in scans if _after(rows[0], look) for row in rows]
        )
        windows, place = np.unique(starts, return_inverse=True)
        steps = np.zeros(len(windows) + 1, np.int64)
        np.add.at(
            steps, np.searchsorted(windows, [first - window for first, _ in later], "right"), 1
        )
        np.add.at(steps, np.searchsorted(windows, [last for _, last in later], "right"), -1)
        found: NDArray[np.bool_] = (np.cumsum(steps)[:-1] > 0)[place]
        return found


def looks_of(ledger: Sequence[LedgerRow]) -> Looks:
    """The looks of a ledger; of a stage's several the one committed last."""
    read: dict[str, dict[tuple[str, int], list[LedgerRow]]] = {}
    last: dict[str, LedgerRow] = {}
    for row in ledger:
        if row.unit.key == LOOKED and row.status == "read":
            known = last.get(row.unit.stage)
            last[row.unit.stage] = row if known is None or row.commit >= known.commit else known
    for row in in_force(ledger):
        if row.status == "read" and row.unit.key != LOOKED and row.tally.records:
            scans = read.setdefault(row.unit.stage, {})
            scans.setdefault((row.scan, row.scanned_at), []).append(row)
    return Looks(read, last)


def began(scan: str) -> str:
    """When a scan began, or began anew since another was first, as its name says it: such words
    sort by time. "" if it does not."""
    return max(_TIME.findall(scan), default="")


def _times(row: LedgerRow) -> tuple[int, int]:
    """First and last event time of a unit; all times if they are not known."""
    first, last = row.tally.first_event, row.tally.last_event
    return (-(2**62), 2**62) if first == -1 or last == -1 else (first, last)


def _after(row: LedgerRow, look: LedgerRow) -> bool:
    """Whether a unit's scan began after a look's. By the names of scans: `scanned_at` is the clock
    that the user gave, and of two scans the later one may be given the earlier clock."""
    unit, other = began(row.scan), began(look.scan)
    if not unit or not other:
        return row.scan != look.scan and row.scanned_at > look.scanned_at
    return unit > other
