"""Sides: what one stage saw of one producer in one scope, and what a digest of ids can prove.

Law: with ids made from sequence numbers, a side whose records, id_sum and id_xor are those of the
numbers first .. last is exactly that run, so whatever its length its ids are known.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fidelity.identity import ids_of, run_digest

Ids = NDArray[np.uint32]
Counts = NDArray[np.int64]

_WHOLE = 1 << 64
_CHUNK = 1 << 22
_LONGEST_RUN = 1 << 27  # a run of ids is made anew to be compared: about half a second at most


@dataclass(frozen=True, slots=True)
class Side:
    """What one stage saw of one producer in one scope. The sequence bounds are None if opaque."""

    records: int
    id_sum: int
    id_xor: int
    seq_first: int | None
    seq_last: int | None


def same(one: Side, other: Side) -> bool:
    """Whether two digests agree."""
    return (one.records, one.id_sum, one.id_xor) == (other.records, other.id_sum, other.id_xor)


def meets(due: Side, here: Side, ids: Ids, counts: Counts) -> bool:
    """Whether signed counts explain how two sides differ: records, sum and exclusive or."""
    total = int((ids.astype(np.uint64) * counts.astype(np.uint64)).sum(dtype=np.uint64))
    mixed = int(np.bitwise_xor.reduce(ids[counts % 2 != 0], initial=0))
    return (
        int(counts.sum()) == due.records - here.records
        and total == (due.id_sum - here.id_sum) % _WHOLE
        and mixed == due.id_xor ^ here.id_xor
    )


def is_run(side: Side, seed: int) -> bool:
    """Whether a side is exactly the records first, first + 1, ..., last, once each.

    Records, sum and exclusive or of their ids are those of the run. Another multiset within the
    same bounds would have to agree in all of these: 96 bits.
    """
    if side.records == 0:
        return True
    if side.seq_first is None or side.seq_last is None:
        return False
    if side.seq_last - side.seq_first + 1 != side.records or side.records > _LONGEST_RUN:
        return False
    return run_digest(side.seq_first, side.seq_last, seed) == (side.id_sum, side.id_xor)


def run_ids(side: Side, seed: int) -> Iterator[Ids]:
    """The ids of the numbers from a side's first to its last, some at a time."""
    if side.seq_first is None or side.seq_last is None:
        return
    for start in range(side.seq_first, side.seq_last + 1, _CHUNK):
        end = min(start + _CHUNK, side.seq_last + 1)
        yield ids_of(np.arange(start, end, dtype=np.int64), seed)


def within(side: Side, sequences: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Which sequence numbers lie between a side's first and last; none if those are not known."""
    if side.seq_first is None or side.seq_last is None:
        return np.zeros(len(sequences), np.bool_)
    found: NDArray[np.bool_] = (sequences >= side.seq_first) & (sequences <= side.seq_last)
    return found


def between_runs(due: Side, here: Side, seed: int) -> tuple[Ids, Counts]:
    """The signed difference of two sides that are runs: due and not here is positive."""
    due_run, here_run = _bounds(due), _bounds(here)
    lost, surplus = _outside(due_run, here_run), _outside(here_run, due_run)
    ids = ids_of(np.concatenate([lost, surplus]), seed)
    counts = np.concatenate([np.ones(len(lost), np.int64), np.full(len(surplus), -1, np.int64)])
    return ids, counts


def _bounds(side: Side) -> tuple[int, int]:
    if side.records == 0 or side.seq_first is None or side.seq_last is None:
        return 0, 0
    return side.seq_first, side.seq_last + 1


def _outside(run: tuple[int, int], other: tuple[int, int]) -> NDArray[np.int64]:
    """Numbers of a half-open run that are not in the other."""
    head = np.arange(run[0], min(run[1], max(other[0], run[0])), dtype=np.int64)
    tail = np.arange(max(run[0], min(other[1], run[1])), run[1], dtype=np.int64)
    if other[0] >= other[1] or other[1] <= run[0] or other[0] >= run[1]:
        return np.arange(*run, dtype=np.int64)
    return np.concatenate([head, tail])
