"""The targets for lag: so many of a scope's records came so soon after they happened.

A histogram tells bounds of a quantile. What lies on one side of the target with both is judged; a
target between them, or records of unknown arrival that may tip it, leave it unknown.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fidelity.check import words
from fidelity.check.checked import Row
from fidelity.check.questions import (
    JUDGED,
    NOT_ASKED,
    PENDING,
    UNKNOWN,
    Question,
    States,
    Table,
    at_most,
    iso_column,
    judged,
    known,
)
from fidelity.config import LagTarget, Pipeline
from fidelity.observe.observations import LARGEST_LAG, lag_lower
from fidelity.report import Report, with_plain_window
from fidelity.report.lag import bounds, measured, rank_of, ranked_buckets

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def lags(pipeline: Pipeline, report: Report) -> Table:
    """The table of lags with its questions: one, and whether it is known, for each quantile."""
    rows = with_plain_window(report.lags).combine_chunks()
    windows = iso_column(rows["window"].to_pylist())
    shown = ("records", "measured", "p50_us", "p90_us", "p99_us", "max_us")
    columns = {name: rows[name] for name in ("stage", "window", "stream", *shown)}
    settled = np.asarray(rows["settled"].to_numpy(), np.bool_)
    table = Table("lags", pa.table(columns | {"window": windows}), settled)
    for quantile in _quantiles(pipeline):
        asked = _Asked(pipeline, rows, quantile)
        if (asked.target >= 0).any():
            table.add(**asked.columns())
            table.questions += asked.questions()
    return table


def lags_untold(pipeline: Pipeline, report: Report) -> list[Row]:
    """One row for each quantile, if the run was kept before reports told lags."""
    if len(report.lags) or not any(books.observed for books in report.stages):
        return []
    return [
        Row(
            f"lag {quantile}",
            stage="",
            against=None,
            stream="",
            window=None,
            observed=None,
            target=None,
            verdict="unknown",
            message="the run tells no lags: it was kept by an earlier version.",
            action="Audit again, and check that run.",
        )
        for quantile in _quantiles(pipeline)
    ]


def _quantiles(pipeline: Pipeline) -> list[str]:
    targets = (pipeline.targets, *pipeline.stream_targets.values())
    found = {each.quantile: each.share for target in targets for each in target.lag}
    return sorted(found, key=lambda name: found[name])


class _Asked:
    """One quantile over all rows."""

    def __init__(self, pipeline: Pipeline, rows: pa.Table, quantile: str) -> None:
        self.rows, self.quantile = rows, quantile
        self.target = _targets(pipeline, rows, quantile)
        share = LagTarget(quantile=quantile, most=0).share
        buckets = rows["buckets"].combine_chunks() if len(rows) else pa.array([], _LIST)
        records = np.asarray(rows["records"].to_numpy(), np.int64)
        unmeasured = records - measured(buckets)
        rank = rank_of(share, records)
        # Records of unknown arrival may all have come at once, or may all have come last.
        self.upper = bounds(ranked_buckets(buckets, rank))
        self.lower = bounds(ranked_buckets(buckets, rank - unmeasured), lag_lower)
        self.unknown = np.zeros(len(rows), np.bool_)
        self.states = self.judge(np.asarray(rows["settled"].to_numpy(), np.bool_))

    def judge(self, settled: Bools) -> States:
        most = np.asarray(self.upper.fill_null(LARGEST_LAG))
        least = np.asarray(self.lower.fill_null(-LARGEST_LAG))
        missed, met = least > self.target, most <= self.target
        seen = np.asarray(self.rows["seen"].to_numpy(), np.bool_)
        asked = self.target >= 0
        self.unknown = asked & settled & ~missed & ~(met & seen)
        states = np.full(len(settled), JUDGED, np.int8)
        states[self.unknown] = UNKNOWN
        states[~settled] = PENDING
        states[~asked] = NOT_ASKED
        return states

    def columns(self) -> dict[str, pa.Array]:
        """What Great Expectations compares."""
        name = self.name
        most = np.asarray(self.upper.fill_null(LARGEST_LAG))
        told = [
            "the target lies within what is known of it" if each else None
            for each in self.unknown.tolist()
        ]
        return {
            f"{name}_lag_us": judged(most, self.states),
            f"{name}_target_us": pa.array(self.target.astype(np.float64), mask=self.target < 0),
            f"{name}_unknown": pa.array(told, pa.string()),
        }

    @property
    def name(self) -> str:
        """As part of a column's name."""
        return self.quantile.replace(".", "_")

    def questions(self) -> list[Question]:
        """That the lag is at most its target, and that it is known."""
        settled = np.where(self.states == UNKNOWN, JUDGED, self.states).astype(np.int8)
        notes = f"{self.quantile} of arrival - event time, microseconds, is at most its target."
        columns = (f"{self.name}_lag_us", f"{self.name}_target_us")
        put = at_most(*columns, self.states, notes=notes)
        known_notes = "The lag can be told from its target."
        knowing = known(f"{self.name}_unknown", settled, notes=known_notes)
        name = f"lag {self.quantile}"
        return [Question(name=name, over="lags", tell=self.tell, **each) for each in (put, knowing)]

    def tell(self, at: int, state: int) -> Row:  # noqa: ARG002 - the row itself tells
        row = self.rows.slice(at, 1).to_pylist()[0]
        upper, lower = self.upper[at].as_py(), self.lower[at].as_py()
        most, fails = int(self.target[at]), not self.unknown[at]
        if fails:
            message = words.late(self.quantile, row["records"], upper, lower, most)
        else:
            message = words.lag_unknown(row, upper, lower, most)
        return Row(
            f"lag {self.quantile}",
            stage=row["stage"],
            against=None,
            stream=row["stream"],
            window=row["window"],
            observed=upper,
            target=most,
            verdict="fail" if fails else "unknown",
            message=message,
            action=words.lag_advice(row["stage"]) if fails else words.lag_action(row, upper),
            records=self.late(at) if fails else 0,
        )

    def late(self, at: int) -> int:
        """How many records came later than the target, for certain."""
        most = int(self.target[at])
        return sum(
            part["records"]
            for part in self.rows["buckets"][at].as_py()
            if lag_lower(part["bucket"]) > most
        )


_LIST = pa.list_(pa.struct([("bucket", pa.int32()), ("records", pa.int64())]))


def _targets(pipeline: Pipeline, rows: pa.Table, quantile: str) -> Ints:
    """The target of each row, microseconds; -1 where there is none."""
    found: dict[tuple[str, str], int] = {}
    pairs = list(zip(rows["stage"].to_pylist(), rows["stream"].to_pylist(), strict=True))
    for stage, stream in set(pairs):
        targets = pipeline.targets_for(stream).lag_at(stage, stage == pipeline.source.name)
        most = [each.most for each in targets if each.quantile == quantile]
        found[stage, stream] = most[0] if most else -1
    return np.array([found[pair] for pair in pairs], np.int64)
