"""Books: figures of scopes become rows, with a verdict each.

Invariants, checked for every row: expected = delivered + missing, observed = delivered + surplus.
A row that violates them is an error of ours and is raised, never reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from fidelity.report import Verdict
from fidelity.report.judging import beyond, short

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

VERDICTS: tuple[Verdict, ...] = ("pass", "pending", "unknown", "fail")
"""By weight: a window's verdict over several rows is the heaviest."""
PASS, PENDING, UNKNOWN, FAIL = range(4)

REASONS = (
    "lost",
    "duplicates",
    "unexpected",
    "unaudited",  # not looked at since the window settled, or since the other stage grew
    "unseen",  # records that could not be read may belong to it
    "silent",
    "lower-bound",
    "pending",
)
"""Why a row does not pass; a row's reasons are the bits of an integer."""

BLIND = ("unaudited", "unseen", "silent", "lower-bound")
"""Reasons that keep a row from passing although nothing wrong was found."""


class BooksError(AssertionError):
    """The books do not close: a bug."""


@dataclass(slots=True)
class Block:
    """The rows of one stage against one reference as columns, sorted by window and stream."""

    window: Ints  # microseconds
    stream: Ints  # code
    observed: Ints
    expected: Ints
    delivered: Ints
    lost: Ints
    in_flight: Ints
    filtered: Ints
    unaudited: Ints
    duplicates: Ints
    unexpected: Ints
    evidence: Ints  # index of EVIDENCE
    settled: Bools
    verdict: Ints  # index of VERDICTS
    reasons: Ints
    missing_open: Bools  # what is missing may have come to the reference after the stage's look
    surplus_open: Bools  # and the other way round
    surplus_shown: Bools  # duplicates and unexpected ones are established

    def take(self, rows: Ints) -> "Block":
        """Some of the rows."""
        return Block(*(getattr(self, each.name)[rows] for each in fields(self)))

    def __len__(self) -> int:
        return len(self.window)


@dataclass(frozen=True, slots=True)
class Head:
    """What all rows of a block say. `against` is None for the source: nothing is expected there."""

    stage: str
    after: str | None
    against: str | None


@dataclass(frozen=True, slots=True)
class Figures:
    """What reconciling found, for n scopes of one edge."""

    window: Ints
    stream: Ints
    observed: Ints
    expected: Ints
    due: Ints
    missing: Ints  # due and not here
    excused: Ints  # not due, in the reference, and here
    duplicates: Ints
    unexpected: Ints
    evidence: Ints


@dataclass(frozen=True, slots=True)
class Sight:
    """How much of n scopes could be seen."""

    settled: Bools
    stage_audited: Bools
    stage_touched: Bools  # by unseen records
    reference_audited: Bools
    reference_touched: Bools
    silent: Bools  # a producer of the reference fell silent
    reference_grew: Bools  # records of it were read after the stage's last look
    stage_grew: Bools  # and the other way round

    @property
    def loss_shown(self) -> Bools:
        """Where what is missing is lost."""
        found: Bools = self.stage_audited & ~self.stage_touched & ~self.reference_grew
        return found & self.settled

    @property
    def surplus_shown(self) -> Bools:
        """Where what is here and not due is a duplicate, or unexpected."""
        found: Bools = self.reference_audited & ~self.reference_touched & ~self.stage_grew
        return found & self.settled


def block_of(
    found: Figures, sight: Sight, targets: Mapping[str, NDArray[np.float64]], doubtful: Bools
) -> Block:
    """Rows with verdicts. `targets` hold completeness, duplicates and unexpected of n rows.

    Raises BooksError.
    """
    filtered = found.expected - found.due - found.excused
    in_flight = np.where(sight.settled, 0, found.missing)
    lost = np.where(sight.loss_shown, found.missing, 0)
    unaudited = found.missing - in_flight - lost
    meant = found.expected - filtered
    bad_lost = short(meant, lost, targets["completeness"])
    bad_duplicates = beyond(found.duplicates, found.observed, targets["duplicates"])
    bad_unexpected = beyond(found.unexpected, found.observed, targets["unexpected"])
    surplus_open = sight.stage_grew & (bad_duplicates | bad_unexpected)
    missing_open = sight.reference_grew & (found.missing > 0)
    bad_duplicates &= sight.surplus_shown
    bad_unexpected &= sight.surplus_shown
    failed = bad_lost | bad_duplicates | bad_unexpected
    unseen = sight.stage_touched | sight.reference_touched
    unlooked = ~sight.stage_audited | ~sight.reference_audited | missing_open | surplus_open
    blind = unseen | unlooked | sight.silent | doubtful
    verdict = np.where(failed, FAIL, np.where(blind, UNKNOWN, PASS))
    verdict = np.where(sight.settled, verdict, PENDING)
    settled = sight.settled
    why = [bad_lost, bad_duplicates, bad_unexpected, unlooked, unseen, sight.silent, doubtful]
    masks = [*(settled & each for each in why), ~settled]
    block = Block(
        window=found.window,
        stream=found.stream,
        observed=found.observed,
        expected=found.expected,
        delivered=found.due - found.missing + found.excused,
        lost=lost,
        in_flight=in_flight,
        filtered=filtered,
        unaudited=unaudited,
        duplicates=found.duplicates,
        unexpected=found.unexpected,
        evidence=found.evidence,
        settled=settled,
        verdict=verdict.astype(np.int64),
        reasons=_bits(masks, len(verdict)),
        missing_open=settled & missing_open,
        surplus_open=settled & surplus_open,
        surplus_shown=sight.surplus_shown,
    )
    check(block)
    return block


def source_block(window: Ints, stream: Ints, observed: Ints, settled: Bools, sight: Sight) -> Block:
    """The source's own rows: nothing is expected, all that can be told is whether it was seen."""
    zero = np.zeros(len(window), np.int64)
    blind = ~sight.stage_audited | sight.stage_touched | sight.silent
    verdict = np.where(settled, np.where(blind, UNKNOWN, PASS), PENDING).astype(np.int64)
    none = np.zeros(len(window), np.bool_)
    why = [none, none, none, ~sight.stage_audited, sight.stage_touched, sight.silent, none]
    return Block(
        window=window,
        stream=stream,
        observed=observed,
        expected=observed,
        delivered=observed,
        lost=zero,
        in_flight=zero,
        filtered=zero,
        unaudited=zero,
        duplicates=zero,
        unexpected=zero,
        evidence=zero,
        settled=settled,
        verdict=verdict,
        reasons=_bits([*(settled & each for each in why), ~settled], len(window)),
        missing_open=none,
        surplus_open=none,
        surplus_shown=none,
    )


def check(block: Block) -> None:
    """Raise BooksError if a row's books do not close or a figure is negative."""
    missing = block.lost + block.in_flight + block.filtered + block.unaudited
    closes = block.expected == block.delivered + missing
    closes &= block.observed == block.delivered + block.duplicates + block.unexpected
    for name in ("delivered", "lost", "in_flight", "filtered", "unaudited", "duplicates"):
        closes &= getattr(block, name) >= 0
    closes &= block.unexpected >= 0
    if not closes.all():
        row = int(np.flatnonzero(~closes)[0])
        figures = {each.name: int(getattr(block, each.name)[row]) for each in fields(block)}
        raise BooksError(f"the books do not close, an error of ours: {figures}")


def verdict_of(codes: Ints) -> Verdict:
    """Of many rows: any fail, else any unknown, else any pass, else pending; unknown of none."""
    for code in (FAIL, UNKNOWN, PASS, PENDING):
        if (codes == code).any():
            return VERDICTS[code]
    return "unknown"


def watermark(blocks: Sequence[Block], window: int) -> int | None:
    """End of the last window before which all windows of all blocks passed; None if none did."""
    starts = np.concatenate([block.window for block in blocks])
    worst = np.concatenate([block.verdict for block in blocks])
    if len(starts) == 0:
        return None
    windows, row = np.unique(starts, return_inverse=True)
    heaviest = np.zeros(len(windows), np.int64)
    np.maximum.at(heaviest, row, worst)
    stopped = np.flatnonzero(heaviest != PASS)
    passed = int(stopped[0]) if len(stopped) else len(windows)
    return int(windows[passed - 1]) + window if passed else None


def _bits(masks: Sequence[Bools], rows: int) -> Ints:
    bits = np.zeros(rows, np.int64)
    for at, mask in enumerate(masks):
        bits |= mask.astype(np.int64) << at
    return bits
