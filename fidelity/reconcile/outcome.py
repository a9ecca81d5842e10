"""Outcome: a scope that does not balance, what differs in it, and what numbers alone prove."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fidelity.edges import Edge
from fidelity.reconcile.sides import Counts, Ids, Side, same
from fidelity.report import Evidence, Kind


@dataclass(frozen=True, slots=True)
class Line:
    """One producer's books in one scope: the reference, what of it is due, the stage."""

    origin: str
    reference: Side
    due: Side
    here: Side

    @property
    def differs(self) -> bool:
        """What is due and what is here are not the same multiset."""
        return not same(self.due, self.here)


@dataclass(frozen=True, slots=True)
class Scope:
    """A scope of an edge that does not balance."""

    row: int  # where it stands among all scopes
    edge: Edge
    window: int
    stream: str
    lines: tuple[Line, ...]
    may_peel: bool  # what is due of it is known from observations
    may_trace: bool  # its records may be read again if need be


@dataclass(slots=True)
class Part:
    """Some ids of one producer, and how many copies of each differ. uint32[n], int64[n] > 0."""

    origin: str
    kind: Kind
    ids: Ids
    copies: Counts


@dataclass(slots=True)
class Outcome:
    """What differs in a scope. `excused` came through although the contract did not ask for it."""

    missing: int = 0  # due and not here
    excused: int = 0  # not due, but in the reference and here: delivered all the same
    duplicates: int = 0
    unexpected: int = 0
    evidence: Evidence = "peeled"
    doubt: str = ""  # why the figures are lower bounds
    parts: list[Part] = field(default_factory=list)

    def add(self, origin: str, kind: Kind, ids: Ids, copies: Counts) -> None:
        """Book differing ids of one producer."""
        if len(ids) == 0:
            return
        self.parts.append(Part(origin, kind, ids, copies))
        total = int(copies.sum())
        if kind == "lost":
            self.missing += total
        elif kind == "duplicate":
            self.duplicates += total
        else:
            self.unexpected += total


def passes(edge: Edge, stream: str, origin: str, ids: Ids) -> NDArray[np.bool_]:
    """Which ids are due by the edge's contract."""
    kept = edge.keep_streams is None or stream in edge.keep_streams
    kept = kept and (edge.keep_origins is None or origin in edge.keep_origins)
    if not kept:
        return np.zeros(len(ids), np.bool_)
    found: NDArray[np.bool_] = ids % np.uint64(edge.sample) == 0
    return found


def counted(scope: Scope, doubt: str) -> Outcome:
    """What numbers alone prove, producer by producer: lower bounds."""
    outcome = Outcome(evidence="counts", doubt=doubt)
    for line in scope.lines:
        due, here, reference = line.due.records, line.here.records, line.reference.records
        swapped = int(due == here and line.differs)  # as many, but not the same
        excused = min(max(here - due, 0), reference - due)
        outcome.excused += excused
        outcome.missing += max(due - here, 0) + swapped
        surplus = max(here - due, 0) - excused + swapped
        if reference:
            outcome.duplicates += surplus
        else:
            outcome.unexpected += surplus
    return outcome
