"""Peel: which ids differ in the scopes that do not balance, from observations alone.

A scope's sketches are subtracted and peeled, each id is given to the producer whose totals it
explains, and a surplus id is told to be a duplicate (its reference has it) or unexpected (it has
not). Invariant: what is returned explains every producer's records, id_sum and id_xor exactly.
Where that cannot be had the answer says so, and the trace counts the records instead.

Counts are signed: positive is due and missing here, negative is here and not due.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fidelity import sketch
from fidelity.identity import producer_seed, sequences_of
from fidelity.reconcile.outcome import Line, Outcome, Scope, passes
from fidelity.reconcile.sides import Counts, Ids, between_runs, is_run, meets, run_ids, within


@dataclass(frozen=True, slots=True)
class Cells:
    """The sketches of one scope: uint64[3, 128, 3] each."""

    reference: sketch.Cells
    due: sketch.Cells  # of the edge's sample, before any other contract
    here: sketch.Cells


@dataclass(frozen=True, slots=True)
class Peeled:
    """Signed counts by line, and the surplus ids whose count in the reference is still open."""

    scope: Scope
    signed: list[tuple[Line, Ids, Counts]]
    known: list[NDArray[np.int64]]  # r of each surplus id of each line, -1 where it is open
    surplus: list[tuple[Line, Ids, Counts]]  # counts > 0

    @property
    def open(self) -> Ids:
        """Surplus ids that must be looked up in the reference."""
        asked = [ids[r < 0] for (_, ids, _), r in zip(self.surplus, self.known, strict=True)]
        return np.concatenate(asked) if asked else np.empty(0, np.uint32)


def peel(scope: Scope, cells: Cells) -> Peeled | None:
    """The differences of a scope by producer, or None: undecodable, or not to be attributed."""
    due = _due_cells(scope, cells) if scope.may_peel else None
    if due is None:
        return None
    lines = [line for line in scope.lines if line.differs]
    signed = _decoded(scope, lines, sketch.subtract(due, cells.here))
    if signed is None:
        return None
    surplus = [(line, ids[counts < 0], -counts[counts < 0]) for line, ids, counts in signed]
    surplus = [each for each in surplus if len(each[1])]
    holders = sum(line.reference.records > 0 for line in scope.lines)
    whole = sketch.decode(cells.reference) if surplus and holders == 1 else None
    known = [_in_reference(scope, line, ids, cells, whole) for line, ids, _ in surplus]
    return Peeled(scope, signed, known, surplus)


def outcome_of(peeled: Peeled) -> Outcome:
    """The outcome, once the reference count of every surplus id is known."""
    outcome, edge = Outcome(), peeled.scope.edge
    for line, ids, counts in peeled.signed:
        lost = counts > 0
        outcome.add(line.origin, "lost", ids[lost], counts[lost])
    for (line, ids, copies), r in zip(peeled.surplus, peeled.known, strict=True):
        # Of ids that are not due, the reference's copies were not subtracted yet.
        due = passes(edge, peeled.scope.stream, line.origin, ids)
        excused = np.where(due, 0, np.minimum(r, copies))
        outcome.excused += int(excused.sum())
        rest = copies - excused
        again, never = (r > 0) & (rest > 0), r == 0
        outcome.add(line.origin, "duplicate", ids[again], rest[again])
        outcome.add(line.origin, "unexpected", ids[never], rest[never])
    return outcome


def _due_cells(scope: Scope, cells: Cells) -> sketch.Cells | None:
    """The sketch of what is due. None if a producer that is not kept cannot be taken out of it."""
    edge = scope.edge
    if edge.keep_streams is not None and scope.stream not in edge.keep_streams:
        return sketch.empty()
    if edge.keep_origins is None:
        return cells.due
    due = cells.due.copy()
    for line in scope.lines:
        if line.origin in edge.keep_origins:
            continue
        seed = producer_seed(scope.stream, line.origin)
        if edge.opaque or not is_run(line.reference, seed):
            return None
        for ids in run_ids(line.reference, seed):
            sampled = ids[ids % np.uint64(edge.sample) == 0]
            sketch.add(due, sampled, np.full(len(sampled), -1, np.int64))
    return due


def _decoded(
    scope: Scope, lines: Sequence[Line], cells: sketch.Cells
) -> list[tuple[Line, Ids, Counts]] | None:
    mixed = _mixed(lines)
    decoded = sketch.decode(cells, mixed)
    if decoded is not None:
        found = _attributed(scope, lines, *decoded)
        if found is not None:
            return found
    return _with_runs(scope, lines, cells)


def _with_runs(
    scope: Scope, lines: Sequence[Line], cells: sketch.Cells
) -> list[tuple[Line, Ids, Counts]] | None:
    """Producers whose two sides are whole runs differ by runs, however long; the rest is peeled."""
    if scope.edge.opaque or scope.edge.sample != 1:
        return None
    known: list[tuple[Line, Ids, Counts]] = []
    rest: list[Line] = []
    left = cells.copy()
    for line in lines:
        seed = producer_seed(scope.stream, line.origin)
        if not (is_run(line.due, seed) and is_run(line.here, seed)):
            rest.append(line)
            continue
        ids, counts = between_runs(line.due, line.here, seed)
        known.append((line, ids, counts))
        sketch.add(left, ids, -counts)
    if not known:
        return None
    decoded = sketch.decode(left, _mixed(rest))
    if decoded is None:
        return None
    found = _attributed(scope, rest, *decoded)
    return None if found is None else known + found


def _mixed(lines: Sequence[Line]) -> int:
    mixed = 0
    for line in lines:
        mixed ^= line.due.id_xor ^ line.here.id_xor
    return mixed


def _attributed(
    scope: Scope, lines: Sequence[Line], ids: Ids, counts: Counts
) -> list[tuple[Line, Ids, Counts]] | None:
    """Each id given to one producer so that every producer's totals are met exactly, or None."""
    owner = np.zeros(len(ids), np.int64)
    if len(lines) > 1:
        found = _owners(scope, lines, ids, counts)
        if found is None:
            return None
        owner = found
    answer = []
    for at, line in enumerate(lines):
        mine = owner == at
        if not meets(line.due, line.here, ids[mine], counts[mine]):
            return None
        answer.append((line, ids[mine], counts[mine]))
    return answer if lines or len(ids) == 0 else None


def _owners(scope: Scope, lines: Sequence[Line], ids: Ids, counts: Counts) -> Counts | None:
    """The one producer whose runs can hold each id. None if that stays open for any."""
    if scope.edge.opaque:
        return None
    possible = np.zeros((len(lines), len(ids)), np.bool_)
    for at, line in enumerate(lines):
        sequences = sequences_of(ids, producer_seed(scope.stream, line.origin))
        possible[at] = np.where(
            counts > 0, within(line.due, sequences), within(line.here, sequences)
        )
    if len(ids) and not possible.any(axis=0).all():
        return None
    while True:
        certain = possible.sum(axis=0) == 1
        if certain.all():
            return np.asarray(possible.argmax(axis=0), np.int64)
        before = possible.sum()
        for at, line in enumerate(lines):
            mine = certain & possible[at]
            if meets(line.due, line.here, ids[mine], counts[mine]):
                possible[at] &= certain  # explained already: the open ids are not its
        if possible.sum() == before or not possible.any(axis=0).all():
            return None


def _in_reference(
    scope: Scope,
    line: Line,
    ids: Ids,
    cells: Cells,
    whole: tuple[Ids, Counts] | None,
) -> NDArray[np.int64]:
    """How often the reference has each id of one producer: int64[n], -1 where it is open."""
    if line.reference.records == 0:
        return np.zeros(len(ids), np.int64)
    if whole is not None:  # the reference holds this producer alone, and its sketch tells all
        return _looked_up(whole, ids)
    found = np.full(len(ids), -1, np.int64)
    if not scope.edge.opaque and line.reference.seq_first is not None:
        seed = producer_seed(scope.stream, line.origin)
        inside = within(line.reference, sequences_of(ids, seed))
        found[~inside] = 0
        if inside.any() and is_run(line.reference, seed):
            found[inside] = 1
    for at in np.flatnonzero(found < 0):
        if not sketch.may_hold(cells.reference, int(ids[at])):
            found[at] = 0
    return found


def _looked_up(whole: tuple[Ids, Counts], ids: Ids) -> NDArray[np.int64]:
    held, counts = whole
    if len(held) == 0:
        return np.zeros(len(ids), np.int64)
    at = np.minimum(np.searchsorted(held, ids), len(held) - 1)
    return np.where(held[at] == ids, counts[at], 0)
