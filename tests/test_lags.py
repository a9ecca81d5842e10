"""How late records came: histograms add up, quantiles are never understated, the unseen is told."""

import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reconcile_model import LATER, START, WINDOW, World, chain, run_of

from fidelity.observe import groups
from fidelity.observe.observations import LARGEST_LAG, lag_lower, lag_upper
from fidelity.report import LAG_BUCKETS, Report, with_plain_window
from fidelity.report.json import document, parse, render
from fidelity.report.lag import QUANTILES, bounds, quantile_buckets, quantile_columns
from fidelity.report.narrow import narrowed
from fidelity.units import LedgerRow, Unit

SHARES = st.fractions(Fraction(1, 1000), 1, max_denominator=1000)


def histogram(lags: Sequence[int]) -> list[dict[str, int]]:
    buckets, counts = np.unique([int(groups.lag_bucket(lag)) for lag in lags], return_counts=True)
    pairs = zip(buckets.tolist(), counts.tolist(), strict=True)
    return [{"bucket": int(bucket), "records": count} for bucket, count in pairs]


def world(looked_at: int = LATER, **more: Any) -> World:
    copies = run_of(0, "audit", "h1", range(100)) + run_of(2, "access", "h1", range(5))
    return World(
        chain("logs", "lake"), {"logs": copies, "lake": copies}, looked_at=looked_at, **more
    )


def told(report: Report, stage: str = "lake") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = with_plain_window(report.lags).to_pylist()
    return [row for row in rows if row["stage"] == stage]


@given(st.lists(st.lists(st.integers(-(2**60), 2**60), max_size=30), max_size=5), SHARES)
def test_a_quantile_is_never_understated_and_its_bucket_holds_it(
    scopes: list[list[int]], share: Fraction
) -> None:
    found = quantile_buckets(pa.array([histogram(lags) for lags in scopes], LAG_BUCKETS), share)
    upper, lower = bounds(found).to_pylist(), bounds(found, lag_lower).to_pylist()
    for lags, most, least in zip(scopes, upper, lower, strict=True):
        if not lags:
            assert most is None
            continue
        rank = -(-len(lags) * share.numerator // share.denominator)
        exact = max(sorted(lags)[rank - 1], -groups.LAG_LIMIT - 1)
        assert least <= exact <= most


@pytest.mark.parametrize("bucket", [-20, -9, -1, 0, 1, 7, 8, 63, 398])
def test_the_upper_bound_of_a_bucket_is_its_last_lag(bucket: int) -> None:
    assert int(groups.lag_bucket(lag_upper(bucket))) == bucket
    assert int(groups.lag_bucket(lag_upper(bucket) + 1)) == bucket + 1


def test_the_last_bucket_has_no_bound_that_could_be_too_low() -> None:
    assert lag_upper(int(groups.lag_bucket(2**60))) == LARGEST_LAG


def test_a_report_tells_the_lag_of_every_stage_window_and_stream_with_records() -> None:
    rows = told(world(units=3).reconcile())
    assert [(row["window"], row["stream"], row["records"]) for row in rows] == [
        (START, "audit", 100),
        (START + 2 * WINDOW, "access", 5),
    ]
    for row in rows:
        assert row["measured"] == row["records"] == sum(b["records"] for b in row["buckets"])
        late = LATER - row["window"]  # every record arrived at one moment: see the model
        assert all(late <= row[name] <= late * 1.13 for name in QUANTILES)
        assert row["settled"]
        assert row["seen"]


def test_what_was_not_looked_at_or_could_not_be_read_is_not_seen() -> None:
    early = told(world(looked_at=START + 2 * WINDOW).reconcile())
    assert [row["seen"] for row in early] == [False, False]
    broken = LedgerRow(
        Unit("lake", "x", "text", "x.log", 0, 1), "unreadable", "scan-1", LATER, "",
        unseen_from=START, unseen_to=START + 1,
    )  # fmt: skip
    report = world(rows=[broken]).reconcile()
    assert [row["seen"] for row in told(report)] == [False, True]
    assert [row["seen"] for row in told(report, "logs")] == [True, True]


def test_lags_are_narrowed_with_the_report() -> None:
    report = world().reconcile()
    part = narrowed(report, ["lake"], (START, START + WINDOW))
    assert len(report.lags) == 4
    assert [row["stream"] for row in told(part)] == ["audit"]
    assert told(part, "logs") == []
    assert part.within == (START, START + WINDOW)
    assert narrowed(part, [], (START, START + 9 * WINDOW)).within == part.within


def test_lags_go_through_the_json_report_unchanged() -> None:
    report = narrowed(world().reconcile(), [], (START, START + WINDOW))
    assert parse(render(report)) == report
    assert document(report)["within"] == ["2026-03-01T10:00:00Z", "2026-03-01T10:10:00Z"]
    assert document(report)["lags"][0]["window"] == "2026-03-01T10:00:00Z"


def test_a_run_that_was_kept_before_there_were_lags_is_still_read() -> None:
    report = world().reconcile()
    old = json.loads(render(report))
    del old["lags"], old["within"]
    for row in old["balances"]:
        del row["surplus_shown"]
    read = parse(json.dumps(old))
    assert len(read.lags) == 0
    assert read.balances["surplus_shown"].null_count == len(read.balances)
    assert replace(read, balances=report.balances, lags=report.lags) == report


def test_quantiles_of_a_sum_of_histograms_are_those_of_all_records() -> None:
    columns = quantile_columns(pa.array([histogram([0] * 50 + [7] * 49 + [3])], LAG_BUCKETS))
    assert {name: column[0].as_py() for name, column in columns.items()} == {
        "p50_us": 0, "p90_us": 7, "p99_us": 7, "max_us": 7,
    }  # fmt: skip
