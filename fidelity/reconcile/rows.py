"""Rows: blocks of scopes become the report's balances, and add up to its totals."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fidelity.config import Pipeline
from fidelity.reconcile.books import REASONS, VERDICTS, Block, Head, verdict_of
from fidelity.report import BALANCES, EVIDENCE, TIME, Books, Evidence
from fidelity.report.judging import enough
from fidelity.report.nines import measurable, nines

Ints = NDArray[np.int64]


def table_of(
    heads: Sequence[Head], blocks: Sequence[Block], streams: pa.Array, pipeline: Pipeline
) -> pa.Table:
    """The balances of the report (BALANCES)."""
    tables = [
        _table(head, block, streams, pipeline) for head, block in zip(heads, blocks, strict=True)
    ]
    return pa.concat_tables(tables) if tables else BALANCES.empty_table()


def total_of(head: Head, block: Block, flaws: Mapping[str, int], target: float) -> Books:
    """A block added up. Its verdict is fail if any row fails, else unknown if any is."""
    sums = {
        name: int(getattr(block, name).sum())
        for name in ("lost", "in_flight", "filtered", "unaudited", "duplicates", "unexpected")
    }
    expected, delivered = int(block.expected.sum()), int(block.delivered.sum())
    due = expected - sums["filtered"]
    proof = nines(due - delivered, due)
    evidence: Evidence = EVIDENCE[int(block.evidence.max(initial=0))]
    source = head.against is None
    return Books(
        stage=head.stage,
        after=head.after,
        against=head.against,
        observed=int(block.observed.sum()),
        expected=None if source else expected,
        delivered=None if source else delivered,
        **sums,
        flaws=dict(flaws),
        completeness=None if source or due == 0 else delivered / due,
        nines=None if source else proof.nines,
        nines_low=None if source else proof.low,
        nines_high=None if source else proof.high,
        measurable=not source and measurable(due, target),
        evidence=None if source else evidence,
        verdict=verdict_of(block.verdict),
        reasons=_reason_names(int(np.bitwise_or.reduce(block.reasons, initial=0))),
        windows=_windows(block),
    )


def _reason_names(bits: int) -> tuple[str, ...]:
    return tuple(name for at, name in enumerate(REASONS) if bits >> at & 1)


def _windows(block: Block) -> dict[str, int]:
    windows, row = np.unique(block.window, return_inverse=True)
    heaviest = np.zeros(len(windows), np.int64)
    np.maximum.at(heaviest, row, block.verdict)
    return {name: int((heaviest == at).sum()) for at, name in enumerate(VERDICTS)}


def _table(head: Head, block: Block, streams: pa.Array, pipeline: Pipeline) -> pa.Table:
    rows, source = len(block), head.against is None
    due = block.expected - block.filtered
    proof = _nines_columns(due, due - block.delivered)
    names = [str(name) for name in streams.to_pylist()]
    wanted = np.array([pipeline.targets_for(name).completeness for name in names] or [1.0])
    target = wanted[block.stream] if rows else np.empty(0)
    whole = np.where(due > 0, block.delivered / np.maximum(due, 1), np.nan)
    nothing = pa.nulls(rows, pa.float64())
    bits, bit_row = np.unique(block.reasons, return_inverse=True)
    reasons = pa.array([list(_reason_names(int(each))) for each in bits], pa.list_(pa.string()))
    columns = {
        "stage": _constant(head.stage, rows),
        "after": _constant(head.after, rows),
        "against": _constant(head.against, rows),
        "window": pa.array(block.window).cast(TIME),
        "stream": streams.take(pa.array(block.stream)),
        "observed": pa.array(block.observed),
        "expected": pa.nulls(rows, pa.int64()) if source else pa.array(block.expected),
        "delivered": pa.nulls(rows, pa.int64()) if source else pa.array(block.delivered),
        **{
            name: pa.array(getattr(block, name))
            for name in ("lost", "in_flight", "filtered", "unaudited", "duplicates", "unexpected")
        },
        "completeness": nothing if source else pa.array(whole, from_pandas=True),
        "nines": nothing if source else proof["nines"],
        "nines_low": nothing if source else proof["low"],
        "nines_high": nothing if source else proof["high"],
        "measurable": pa.array(np.zeros(rows, np.bool_) if source else enough(due, target)),
        "evidence": pa.nulls(rows, pa.string())
        if source
        else pa.array(EVIDENCE).take(pa.array(block.evidence)),
        "verdict": pa.array(VERDICTS).take(pa.array(block.verdict)),
        "settled": pa.array(block.settled),
        "reasons": reasons.take(pa.array(bit_row)),
        "surplus_shown": pa.array(block.surplus_shown),
    }
    return pa.table(columns, schema=BALANCES)


def _constant(value: str | None, rows: int) -> pa.Array:
    return pa.nulls(rows, pa.string()) if value is None else pa.repeat(pa.scalar(value), rows)


def _nines_columns(due: Ints, missing: Ints) -> dict[str, pa.Array]:
    """nines, low and high of n rows; a Python step only for rows that miss something."""
    columns = {name: np.full(len(due), np.nan) for name in ("nines", "low", "high")}
    whole = (due > 0) & (missing == 0)
    columns["low"][whole] = np.maximum(0.0, np.log10(due[whole] / 3))
    for row in np.flatnonzero(missing > 0):
        proof = nines(int(missing[row]), int(due[row]))
        for name, value in (("nines", proof.nines), ("low", proof.low), ("high", proof.high)):
            columns[name][row] = np.nan if value is None else value
    return {name: pa.array(column, from_pandas=True) for name, column in columns.items()}
