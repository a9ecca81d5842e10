"""Reports made by hand, for the tests of renderings: any stage, stream and origin, any figures."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from fidelity.observe import groups
from fidelity.report import (
    BALANCES,
    COUNTS,
    DIFFERENCES,
    LAGS,
    Books,
    Collisions,
    Coverage,
    Report,
    Verdict,
    worst_verdict,
)
from fidelity.report.nines import nines

START = 1_772_359_200_000_000  # 2026-03-01T10:00:00Z
WINDOW = 600_000_000


@dataclass(frozen=True)
class Row:
    """A balance: copies of the reference that are delivered, lost ..., and those beyond it."""

    stage: str = "lake"
    against: str | None = "source"
    window: int = 0  # its number
    stream: str = "access"
    delivered: int = 10
    lost: int = 0
    in_flight: int = 0
    filtered: int = 0
    unaudited: int = 0
    duplicates: int = 0
    unexpected: int = 0
    verdict: Verdict = "pass"

    @property
    def counts(self) -> dict[str, int]:
        given = {name: getattr(self, name) for name in COUNTS if hasattr(self, name)}
        missing = self.lost + self.in_flight + self.filtered + self.unaudited
        observed = self.delivered + self.duplicates + self.unexpected
        return given | {"observed": observed, "expected": self.delivered + missing}

    def balance(self) -> dict[str, Any]:
        source = {"expected": None, "delivered": None} if self.against is None else {}
        return {
            "stage": self.stage,
            "against": self.against,
            "window": START + self.window * WINDOW,
            "stream": self.stream,
            **self.counts,
            **source,
            "measurable": True,
            "verdict": self.verdict,
            "settled": True,
            "reasons": [],
            "surplus_shown": True,
        }


@dataclass(frozen=True)
class Differing:
    """A difference of so many copies."""

    stage: str = "lake"
    against: str = "source"
    stream: str = "access"
    origin: str = "h1"
    kind: str = "lost"
    copies: int = 1

    def difference(self) -> dict[str, Any]:
        where = {name: getattr(self, name) for name in ("stage", "against", "stream", "origin")}
        more = {"window": START, "id": 1, "kind": self.kind, "copies": self.copies}
        return where | more


def books_of(rows: Sequence[Row]) -> Books:
    """The books that rows of one stage and reference add up to."""
    first = rows[0]
    counts = {name: sum(row.counts[name] for row in rows) for name in COUNTS}
    due = counts["expected"] - counts["filtered"]
    told = {}
    if first.against is not None:
        told["nines_low"] = nines(due - counts["delivered"], due).low
        told["completeness"] = counts["delivered"] / due if due else None
    else:
        counts = {**dict.fromkeys(counts, 0), "observed": counts["observed"]}
    verdict = worst_verdict([row.verdict for row in rows])
    return Books(first.stage, None, first.against, **counts, **told, verdict=verdict)  # type: ignore[arg-type]


def report_of(
    rows: Sequence[Row] = (Row(),),
    differences: Sequence[Differing] = (),
    coverage: Sequence[Coverage] = (),
    as_of: int = START + 7_200_000_000,
    watermark: int | None = None,
    pipeline: str = "logs",
) -> Report:
    """A report of these balances and differences."""
    edges = dict.fromkeys((row.stage, row.against) for row in rows)
    by_edge = [[row for row in rows if (row.stage, row.against) == edge] for edge in edges]
    stages = tuple(books_of(each) for each in by_edge)
    return Report(
        pipeline=pipeline,
        run="r1",
        as_of=as_of,
        known_at=None,
        verdict=worst_verdict([books.verdict for books in stages]),
        watermark=watermark,
        window=WINDOW,
        settle=1_800_000_000,
        collision_budget=Collisions(0.0, 0.0, ""),
        stages=stages,
        coverage=tuple(coverage),
        balances=pa.Table.from_pylist([row.balance() for row in rows], schema=BALANCES),
        differences=pa.Table.from_pylist([d.difference() for d in differences], schema=DIFFERENCES),
        findings=(),
    )


LagRow = tuple[str, int, str, bool, bool, list[int]]
"""Stage, number of the window, stream, settled, seen, and the lags in microseconds."""


def lags_of(rows: Sequence[LagRow]) -> pa.Table:
    """The lags of a report (LAGS) as histograms. Quantiles of a row are of no use here."""
    table = []
    for stage, window, stream, settled, seen, lags in rows:
        counts = Counter(int(groups.lag_bucket(lag)) for lag in lags)
        buckets = [{"bucket": b, "records": counts[b]} for b in sorted(counts)]
        where = {"stage": stage, "window": START + window * WINDOW, "stream": stream}
        table.append(where | {"settled": settled, "seen": seen, "buckets": buckets})
    return pa.Table.from_pylist(table, schema=LAGS)


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=300) | st.sampled_from(
    ["", "/", "//", "~", "_other", "__other", "other", "\0", "\r", "\n", '\\n"', "a b", "\u2028"]
)
"""All that Arrow can hold as text, names that mean something elsewhere more often."""

VERDICTS: tuple[Verdict, ...] = ("pass", "fail", "pending", "unknown")
_COUNT = st.integers(0, 10**9)
ROWS = st.lists(
    st.builds(
        Row,
        stage=st.sampled_from(["logs", "queue", "läke\n"]),
        against=st.sampled_from(["source", 'b"ef\\ore', None]),
        window=st.integers(0, 3),
        stream=NAMES,
        delivered=_COUNT,
        lost=_COUNT,
        in_flight=_COUNT,
        filtered=_COUNT,
        unaudited=_COUNT,
        duplicates=_COUNT,
        unexpected=_COUNT,
        verdict=st.sampled_from(VERDICTS),
    ),
    max_size=12,
)
DIFFERING = st.lists(
    st.builds(
        Differing,
        stream=NAMES,
        origin=NAMES,
        kind=st.sampled_from(["lost", "duplicate", "unexpected"]),
        copies=st.integers(1, 10**6),
    ),
    max_size=8,
)
