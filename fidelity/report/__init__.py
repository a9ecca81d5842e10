"""The report: one frozen value, made by reconcile and only rendered elsewhere.

Totals and findings are few and are dataclasses. Balances and differences may be millions and are
Arrow tables, one row each, sorted, whose columns are named as in the JSON report. Invariants of
each row that has an `expected`: expected = delivered + lost + in_flight + filtered + unaudited, and
observed = delivered + duplicates + unexpected.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

Verdict = Literal["pass", "fail", "pending", "unknown"]
Evidence = Literal["digest", "peeled", "traced", "counts"]
Severity = Literal["error", "warning", "info"]
Kind = Literal["lost", "duplicate", "unexpected"]

EVIDENCE: tuple[Evidence, ...] = ("digest", "peeled", "traced", "counts")
"""From nothing to explain to the weakest: a total rests on the last one that its rows have."""

COUNTS = (
    "observed", "expected", "delivered", "lost", "in_flight", "filtered", "unaudited",
    "duplicates", "unexpected",
)  # fmt: skip
"""The columns of balances that add up."""

TIME = pa.timestamp("us", "UTC")

BALANCES = pa.schema(
    [
        ("stage", pa.string()),
        ("after", pa.string()),
        ("against", pa.string()),  # "source", the stage before, or null at the source itself
        ("window", TIME),
        ("stream", pa.string()),
        ("observed", pa.int64()),
        ("expected", pa.int64()),  # null at the source
        ("delivered", pa.int64()),  # null at the source
        ("lost", pa.int64()),
        ("in_flight", pa.int64()),
        ("filtered", pa.int64()),
        ("unaudited", pa.int64()),
        ("duplicates", pa.int64()),
        ("unexpected", pa.int64()),
        ("completeness", pa.float64()),  # null when nothing was due
        ("nines", pa.float64()),  # null when nothing is missing: see nines_low
        ("nines_low", pa.float64()),
        ("nines_high", pa.float64()),
        ("measurable", pa.bool_()),
        ("evidence", pa.string()),
        ("verdict", pa.string()),
        ("settled", pa.bool_()),
        ("reasons", pa.list_(pa.string())),  # why the verdict is not pass, as kinds of finding
        ("surplus_shown", pa.bool_()),  # duplicates and unexpected are established, not just seen
    ]
)
"""One row for each stage, against, window and stream, in the order of the stages, then of time."""

DIFFERENCES = pa.schema(
    [
        ("stage", pa.string()),
        ("against", pa.string()),
        ("window", TIME),
        ("stream", pa.string()),
        ("origin", pa.string()),
        ("sequence", pa.int64()),  # null for opaque ids
        ("id", pa.uint32()),
        ("kind", pa.string()),
        ("copies", pa.int64()),  # how many copies are lost, duplicated or unexpected
        (
            "position",
            pa.struct([("path", pa.string()), ("partition", pa.int32()), ("offset", pa.int64())]),
        ),
    ]
)
"""One row for each id of an origin whose count differs, sorted by the columns up to id."""


LAG_BUCKETS = pa.list_(pa.struct([("bucket", pa.int32()), ("records", pa.int64())]))
"""A histogram: `observations.lag_lower` and `lag_upper` tell the bounds of a bucket. Adds up."""

LAGS = pa.schema(
    [
        ("stage", pa.string()),
        ("window", TIME),
        ("stream", pa.string()),
        ("records", pa.int64()),  # observed
        ("measured", pa.int64()),  # ... with a known arrival; the histogram holds these
        ("settled", pa.bool_()),
        ("seen", pa.bool_()),  # looked at since it settled, and no unseen record may belong to it
        ("p50_us", pa.int64()),  # upper bound of the bucket, microseconds; null: nothing measured
        ("p90_us", pa.int64()),
        ("p99_us", pa.int64()),
        ("max_us", pa.int64()),
        ("buckets", LAG_BUCKETS),
    ]
)
"""Arrival - event time at a stage: one row for each stage, window and stream with records, in the
order of the stages, then of time. Quantiles do not add up; the buckets do."""


@dataclass(frozen=True, slots=True)
class Books:
    """The totals of one stage against one reference; for the source, against nothing."""

    stage: str
    after: str | None
    against: str | None  # "source", the stage before, or None at the source itself
    observed: int
    expected: int | None  # None at the source
    delivered: int | None  # None at the source
    lost: int = 0
    in_flight: int = 0
    filtered: int = 0
    unaudited: int = 0
    duplicates: int = 0
    unexpected: int = 0
    flaws: Mapping[str, int] = field(default_factory=dict)
    completeness: float | None = None  # delivered / (expected - filtered); None: nothing was due
    nines: float | None = None  # None when nothing is missing (nines_low is the bound then)
    nines_low: float | None = None
    nines_high: float | None = None  # None when nothing is missing
    measurable: bool = False  # enough records for the target to be told from a miss
    evidence: Evidence | None = None  # None at the source
    verdict: Verdict = "unknown"
    reasons: tuple[str, ...] = ()
    windows: Mapping[str, int] = field(default_factory=dict)  # verdict -> windows, all streams pass


@dataclass(frozen=True, slots=True)
class Coverage:
    """What was seen of one stage. Counts and bytes are of the units in force that were read."""

    stage: str
    units: int
    records: int
    bytes: int
    unreadable: int  # units with unseen records, by status
    trimmed: int
    truncated: int
    looked_at: int  # microseconds, -1 if it never was
    first_event: int  # microseconds, -1 if nothing was seen
    last_event: int
    bytes_per_record: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """Anything a person should know: what it rests on and what to do."""

    kind: str
    severity: Severity
    stage: str
    message: str
    evidence: Mapping[str, Any]  # JSON values
    action: str


@dataclass(frozen=True, slots=True)
class Collisions:
    """What equal ids may hide, as expected numbers over the whole report."""

    coincident_ids: float  # pairs of records of different producers that share an id in one scope
    hidden_losses: float  # losses that an equal id may hide: 0 unless ids are opaque
    basis: str  # the formula, in words


@dataclass(frozen=True, slots=True)
class Report:
    """One answer. Times are microseconds UTC; -1 unknown."""

    pipeline: str
    run: str
    as_of: int
    known_at: str | None  # the version of the ledger that was asked for; None: the newest
    verdict: Verdict
    watermark: int | None  # end of the last window before which every window passed
    window: int  # length, microseconds
    settle: int
    collision_budget: Collisions
    stages: tuple[Books, ...]  # the source first; hop and end to end of each stage after it
    coverage: tuple[Coverage, ...]
    balances: pa.Table  # BALANCES
    differences: pa.Table  # DIFFERENCES
    findings: tuple[Finding, ...]  # worst first
    lags: pa.Table = field(default_factory=LAGS.empty_table)  # LAGS
    within: tuple[int, int] | None = None  # narrowed to windows that start in [from, to)
    only: tuple[str, ...] = ()  # narrowed to these stages; none: all

    def worst(self, at_most: int) -> list[dict[str, Any]]:
        """The balances that are not pass, failed ones first, then those that miss most."""
        order = {"fail": 0, "unknown": 1, "pending": 2}
        rows = rows_of(self.balances, "verdict", tuple(order))
        rows.sort(
            key=lambda row: (
                order[row["verdict"]],
                -(row["lost"] + row["duplicates"] + row["unexpected"] + row["unaudited"]),
            )
        )
        return rows[:at_most]


def worst_verdict(verdicts: Collection[Verdict]) -> Verdict:
    """Any fail, else any unknown, else any pass, else pending; unknown of none."""
    order: tuple[Verdict, ...] = ("fail", "unknown", "pass", "pending")
    return next((verdict for verdict in order if verdict in verdicts), "unknown")


def rows_of(table: pa.Table, column: str, values: Sequence[Any]) -> list[dict[str, Any]]:
    """The rows of a table whose column has one of the values; `window` in microseconds."""
    mask = pc.is_in(table[column], value_set=pa.array(list(values), table[column].type))
    found: list[dict[str, Any]] = with_plain_window(table.filter(mask)).to_pylist()
    return found


def with_plain_window(table: pa.Table) -> pa.Table:
    """The table with `window` as int64 microseconds: Python's datetime ends at year 9999."""
    at = table.schema.get_field_index("window")
    return table.set_column(at, "window", pc.cast(table["window"], pa.int64()))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso(microseconds: int) -> str:
    """2026-01-31T10:20:00Z, with a fraction only if there is one."""
    try:
        text = (_EPOCH + timedelta(microseconds=microseconds)).isoformat()
    except OverflowError:  # event times beyond year 9999 are flaws of data, not reasons to stop
        return f"{microseconds}us"
    return text.replace("+00:00", "Z")


def from_iso(text: str) -> int:
    """The inverse of `iso`."""
    if text.endswith("us"):
        return int(text[:-2])
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return (moment - _EPOCH) // timedelta(microseconds=1)
