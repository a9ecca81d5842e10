"""Checks: targets and the user's own expectations, judged as the report judges."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from reconcile_model import LATER, START, WINDOW, Copy, World, chain, run_of
from test_reconcile_law import worlds

from fidelity.check import Checked, check
from fidelity.check.columns import COLUMNS
from fidelity.check.page import files_of
from fidelity.config import Expectation, LagTarget, Pipeline, Targets
from fidelity.errors import ConfigError
from fidelity.observe import groups
from fidelity.report import BALANCES, LAG_BUCKETS, LAGS, Report, from_iso, with_plain_window
from fidelity.report.json import parse, render
from fidelity.report.narrow import narrowed
from fidelity.units import Flaw, LedgerRow, Tally, Unit

MINUTE = 60_000_000
HOUR = 60 * MINUTE
DUE = run_of(0, "audit", "h1", range(1_000)) + run_of(1, "access", "h2", range(1_000))


def without(copies: Counter[Copy], lost: int) -> Counter[Copy]:
    return copies - Counter(sorted(copies, reverse=True)[:lost])


def world(lake: Counter[Copy] = DUE, **more: Any) -> World:
    return World(chain("logs", "queue", "lake"), {"logs": DUE, "queue": DUE, "lake": lake}, **more)


def targeted(world: World, streams: dict[str, Targets] | None = None, **targets: Any) -> Pipeline:
    """The world's pipeline, and the world's own, with these targets."""
    update = {"targets": Targets(**targets), "stream_targets": streams or {}}
    world.pipeline = world.pipeline.model_copy(update=update)
    return world.pipeline


def checked(world: World, as_of: int = LATER) -> Checked:
    return check(world.pipeline, world.reconcile(as_of))


def tally(found: Checked, name: str) -> tuple[int, ...]:
    """(pass, fail, unknown, pending, not measurable) of one expectation."""
    (counts,) = (each.counts for each in found.expectations if each.name == name)
    return counts


def rows(found: Checked, name: str) -> list[tuple[Any, ...]]:
    return [
        (row.stage, row.against, row.stream, row.verdict)
        for row in found.rows
        if row.expectation == name
    ]


# One kernel of judgement


def scope_verdicts(report: Report, found: Checked) -> dict[tuple[Any, ...], str]:
    """What the check says of each scope, from what it lists: all others pass or are pending."""
    verdicts = {}
    for row in with_plain_window(report.balances).to_pylist():
        key = (row["stage"], row["against"], row["window"], row["stream"])
        verdicts[key] = "pass" if row["settled"] else "pending"
    order = ("fail", "unknown")
    for row in reversed(found.rows):  # the worst last, so that it stays
        if row.window is not None and row.verdict in order:
            verdicts[row.stage, row.against, row.window, row.stream] = row.verdict
    return verdicts


TARGETS = st.builds(
    Targets,
    completeness=st.sampled_from([1.0, 0.99, 0.9, 0.5, 0.0]),
    duplicates=st.sampled_from([0.0, 0.001, 0.1, 1.0]),
    unexpected=st.sampled_from([0.0, 0.01, 1.0]),
)


@given(
    worlds(), TARGETS, TARGETS, st.sampled_from([LATER, START + 2 * WINDOW, START - 1]), st.data()
)
@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
def test_a_check_and_the_report_agree_on_every_scope_and_as_a_whole(
    world: World, targets: Targets, of_stream: Targets, looked_at: int, data: st.DataObject
) -> None:
    update = {"targets": targets, "stream_targets": {"audit": of_stream}}
    world.pipeline = world.pipeline.model_copy(update=update)
    world.looked_at = looked_at
    report = world.reconcile(data.draw(st.sampled_from([LATER, START + 2 * WINDOW])))
    window = data.draw(st.sampled_from([None, (START, START + WINDOW), (0, START)]))
    stages = data.draw(st.sampled_from([(), ("lake",)]))
    part = narrowed(report, stages, window)
    found = check(world.pipeline, part)
    assert found.verdict == part.verdict
    told = {
        (row["stage"], row["against"], row["window"], row["stream"]): row["verdict"]
        for row in with_plain_window(part.balances).to_pylist()
    }
    assert scope_verdicts(part, found) == told
    assert check(world.pipeline, parse(render(part))) == found


def test_a_run_that_was_kept_is_judged_by_the_targets_of_today() -> None:
    report = world(without(DUE, 2)).reconcile()
    lenient = world()
    assert report.verdict == "fail"
    assert check(targeted(lenient, completeness=0.998), report).verdict == "pass"
    assert check(targeted(lenient, completeness=0.9981), report).verdict == "fail"


def test_a_target_that_is_met_exactly_is_met() -> None:
    exact = world(without(DUE, 10))
    targeted(exact, completeness=0.99)
    assert checked(exact).verdict == "pass"
    assert checked(world()).verdict == "pass"  # 100 % can be


# Each kind of target


def test_what_is_lost_is_told_where_it_was_lost_before_where_it_is_missed_again() -> None:
    lossy = world(without(DUE, 7))
    found = checked(lossy)
    assert found.verdict == "fail"
    first, second = found.rows
    assert (first.stage, first.against, first.stream) == ("lake", "queue", "access")
    assert first.window == START + WINDOW
    assert (first.observed, first.target, first.records) == (0.993, 1.0, 7)
    assert first.message == ("7 of 1,000 records are lost: 99.30 % came, at least 100 % wanted.")
    assert "from queue" in first.action
    assert (second.against, second.action) == (
        "source", "It came about on the way, at lake: look there."
    )  # fmt: skip
    assert tally(found, "completeness") == (6, 2, 0, 0, 0)


@pytest.mark.parametrize(("most", "verdict"), [(0.0, "fail"), (0.01, "pass")])
def test_duplicates_and_unexpected_records_are_held_against_their_shares(
    most: float, verdict: str
) -> None:
    doubled = Counter(sorted(DUE)[-5:])
    strange = run_of(1, "access", "h3", range(5))
    surplus = world(DUE + doubled + strange)
    targeted(surplus, duplicates=most, unexpected=most)
    found = checked(surplus)
    assert found.verdict == verdict
    if verdict == "fail":
        assert rows(found, "duplicates")[0] == ("lake", "queue", "access", "fail")
        assert rows(found, "unexpected")[0] == ("lake", "queue", "access", "fail")


def test_streams_have_targets_of_their_own() -> None:
    lossy = world(without(DUE, 20))  # of access
    targeted(lossy, {"access": Targets(completeness=0.9)})
    assert checked(lossy).verdict == "pass"
    targeted(lossy, {"audit": Targets()}, completeness=0.9)
    assert checked(lossy).verdict == "pass"
    targeted(lossy, {"access": Targets()}, completeness=0.9)
    assert rows(checked(lossy), "completeness")[0] == ("lake", "queue", "access", "fail")


def flawed(flaws: int, records: int = 1_000) -> World:
    tally = Tally(records=records, flaws=(Flaw("malformed", flaws, (5,)),))
    row = LedgerRow(Unit("lake", "x", "text", "x.log", 0, 1), "read", "scan-1", LATER, "", tally)
    return world(rows=[row])


@pytest.mark.parametrize(("flaws", "verdict"), [(10, "pass"), (11, "fail")])
def test_flaws_are_held_against_what_was_read_at_the_stage(flaws: int, verdict: str) -> None:
    broken = flawed(flaws)
    targeted(broken, flaws=0.01)
    found = checked(broken)
    assert found.verdict == verdict == broken.reconcile().verdict
    told = [("lake", None, "", "fail")] if verdict == "fail" else []
    assert [row for row in rows(found, "flaws") if row[3] == "fail"] == told


def test_flaws_are_not_judged_in_a_report_of_some_windows() -> None:
    broken = flawed(500)
    pipeline = targeted(broken, flaws=0.01)
    part = narrowed(broken.reconcile(), (), (START, START + 9 * WINDOW))
    assert tally(check(pipeline, part), "flaws") == (0, 0, 0, 0, 0)


def late(lags: Sequence[int], records: int = 0, **more: Any) -> Report:
    """A report of one stage and window with these lags, and perhaps records of unknown arrival."""
    buckets, counts = np.unique([int(groups.lag_bucket(lag)) for lag in lags], return_counts=True)
    pairs = zip(buckets.tolist(), counts.tolist(), strict=True)
    row = {
        "stage": "lake", "window": START, "stream": "audit", "settled": True, "seen": True,
        "records": records or len(lags), "measured": len(lags),
        "buckets": [{"bucket": int(bucket), "records": count} for bucket, count in pairs],
        **dict.fromkeys(("p50_us", "p90_us", "p99_us", "max_us")),
    }  # fmt: skip
    return replace(world().reconcile(), lags=pa.Table.from_pylist([row | more], LAGS))


SECOND = 1_000_000


@pytest.mark.parametrize(
    ("report", "quantile", "most", "verdict"),
    [
        (late([SECOND] * 99 + [HOUR]), "p99", 2 * SECOND, "pass"),
        (late([SECOND] * 98 + [HOUR] * 2), "p99", 2 * SECOND, "fail"),
        (late([SECOND] * 99 + [HOUR]), "max", 2 * SECOND, "fail"),
        (late([SECOND] * 50 + [HOUR] * 50), "p50", 2 * SECOND, "pass"),
        (late([-HOUR] * 50), "max", 0, "pass"),
        (late([HOUR]), "max", HOUR + MINUTE, "unknown"),  # it lies in the bucket of the target
        (late([HOUR], settled=False), "max", MINUTE, "pending"),
        (late([SECOND], seen=False), "p99", MINUTE, "unknown"),
        (late([HOUR], seen=False), "p99", MINUTE, "fail"),  # late all the same
        (late([], records=9), "p99", MINUTE, "unknown"),
        (late([SECOND] * 99, records=100), "p99", MINUTE, "pass"),  # whenever the last one came
        (late([SECOND] * 98, records=100), "p99", MINUTE, "unknown"),
        (late([HOUR] * 98, records=100), "p90", MINUTE, "fail"),
    ],
)
def test_a_lag_is_held_against_its_target(
    report: Report, quantile: str, most: int, verdict: str
) -> None:
    pipeline = targeted(world(), lag=(LagTarget(quantile=quantile, most=most),))
    found = check(pipeline, report)
    expected = ("pass", "fail", "unknown", "pending")
    counts = dict(zip(expected, tally(found, f"lag {quantile}"), strict=False))
    assert counts == dict.fromkeys(expected, 0) | {verdict: 1}
    told = [] if verdict in ("pass", "pending") else [("lake", None, "audit", verdict)]
    assert rows(found, f"lag {quantile}") == told
    assert found.verdict == ("pass" if verdict == "pending" else verdict)


def test_a_target_between_the_bounds_of_a_bucket_is_told_with_one_that_can_be_judged() -> None:
    pipeline = targeted(world(), lag=(LagTarget(quantile="max", most=HOUR + MINUTE),))
    (row,) = check(pipeline, late([HOUR])).rows
    assert "no finer" in row.message
    bound = row.observed
    met = targeted(world(), lag=(LagTarget(quantile="max", most=bound),))
    assert check(met, late([HOUR])).verdict == "pass"


def test_lag_may_be_wanted_at_some_stages_and_of_some_streams() -> None:
    def asked(*lag: LagTarget, stream: tuple[LagTarget, ...] | None = None) -> tuple[int, ...]:
        streams = {} if stream is None else {"audit": Targets(lag=stream)}
        found = check(targeted(world(), streams, lag=lag), report)
        return tally(found, "lag p99") if lag or stream else ()

    report = world().reconcile()  # all records came years late, two windows at each stage
    early, ever = LagTarget(most=SECOND), LagTarget(most=10**17)
    assert asked(early) == (0, 4, 0, 0, 0)  # not at the source
    assert asked(LagTarget(most=SECOND, stage="logs")) == (0, 2, 0, 0, 0)
    assert asked(early, LagTarget(most=10**17, stage="lake")) == (2, 2, 0, 0, 0)
    assert asked(early, stream=(ever,)) == (2, 2, 0, 0, 0)
    assert asked(stream=(early,)) == (0, 2, 0, 0, 0)


@pytest.mark.parametrize(
    ("watermark", "as_of", "verdict"),
    [
        (START + WINDOW, START + WINDOW + HOUR, "pass"),
        (START + WINDOW, START + WINDOW + HOUR + 1, "fail"),
        (None, START + HOUR + 1, "fail"),  # no window passed since the first one
        (None, START + HOUR, "unknown"),
    ],
)
def test_the_watermark_may_grow_old(watermark: int | None, as_of: int, verdict: str) -> None:
    pipeline = targeted(world(), watermark_age=HOUR)
    report = replace(world().reconcile(), watermark=watermark, as_of=as_of)
    found = check(pipeline, report)
    assert found.verdict == verdict
    told = [] if verdict == "pass" else [("", None, "", verdict)]
    assert rows(found, "watermark_age") == told


# What is not judged


def test_what_has_not_settled_is_pending_and_nothing_else() -> None:
    young = world(without(DUE, 500))
    targeted(young, watermark_age=HOUR, lag=(LagTarget(most=SECOND),))
    found = checked(young, as_of=START + WINDOW)
    assert (found.verdict, found.rows) == ("pending", ())
    assert {each.verdict for each in found.expectations} == {"pending"}


def test_what_was_not_seen_is_unknown_and_never_passes() -> None:
    unseen = world(without(DUE, 500), looked_at=START)
    found = checked(unseen)
    assert found.verdict == "unknown" == unseen.reconcile().verdict
    assert {row.verdict for row in found.rows} == {"unknown"}
    assert tally(found, "completeness")[:2] == (0, 0)
    assert "not looked at since the window settled" in found.rows[0].message


def test_a_report_of_nothing_is_unknown() -> None:
    empty = replace(
        world().reconcile(), balances=BALANCES.empty_table(), lags=LAGS.empty_table(), stages=()
    )
    assert check(world().pipeline, empty).verdict == "unknown"


def test_seven_nines_of_a_thousand_records_are_not_measurable_and_say_how_many_it_takes() -> None:
    few = world()
    targeted(few, completeness=0.9999999)
    found = checked(few)
    assert tally(found, "completeness") == (0, 0, 0, 0, 8)
    assert found.verdict == few.reconcile().verdict == "pass"
    assert {row.verdict for row in found.rows} == {"not measurable"}
    assert found.rows[0].message == (
        "1,000 records cannot prove completeness of 99.99999 %: it takes 30,000,000 records."
    )
    assert not any(
        each["expectation_config"]["meta"]["name"] == "completeness"
        for each in json.loads(files_of(found)["result.json"])["results"]
    )


def test_a_miss_is_a_miss_however_few_the_records() -> None:
    few = world(without(DUE, 1))
    targeted(few, completeness=0.9999999)
    assert checked(few).verdict == "fail"
    assert tally(checked(few), "completeness") == (0, 2, 0, 0, 6)


# The user's own


def own(name: str, over: str = "balances", **more: Any) -> Expectation:
    arguments = {key: value for key, value in more.items() if key not in ("stages", "streams")}
    where = {key: value for key, value in more.items() if key in ("stages", "streams")}
    return Expectation(name=name, over=over, arguments=arguments, **where)  # type: ignore[arg-type]


def asked(*expectations: Expectation, of: World | None = None) -> Checked:
    here = of or world(without(DUE, 20))
    targets = {"targets": Targets(completeness=0.9), "expectations": expectations}
    return check(here.pipeline.model_copy(update=targets), here.reconcile())


BETWEEN = "expect_column_values_to_be_between"


def test_an_expectation_of_the_users_own_is_judged_by_its_scope() -> None:
    found = asked(
        own(BETWEEN, column="lost", max_value="19", stages=("lake",)),
        own(BETWEEN, column="lost", max_value="0", streams=("audit",)),
        own("expect_column_sum_to_be_between", column="lost", max_value="39"),
        own("expect_column_values_to_be_in_set", column="verdict", value_set=["pass"]),
        own(BETWEEN, column="completeness", min_value="98%"),
    )
    assert [(each.verdict, *each.counts[:2]) for each in found.expectations[4:9]] == [
        ("fail", 6, 2),
        ("pass", 10, 0),
        ("fail", 0, 1),
        ("fail", 18, 2),  # the report was made by other targets
        ("pass", 8, 0),
    ]
    first = found.rows[0]
    assert (first.stage, first.stream, first.window) == ("lake", "access", START + WINDOW)
    assert first.message == "lost is 20. Wanted: max_value 19."
    assert [row.message for row in found.rows if row.stage == ""] == [
        "over `balances` it came to 40. Wanted: max_value 39."
    ]


def test_lags_stages_and_the_pipeline_can_be_asked_too() -> None:
    found = asked(
        own(BETWEEN, "lags", column="p50_us", max_value="10s"),
        own(BETWEEN, "stages", column="lost", max_value="10"),
        own("expect_table_row_count_to_equal", "pipeline", value="1"),
    )
    assert [each.verdict for each in found.expectations if each.name.startswith("expect")] == [
        "fail", "fail", "pass",
    ]  # fmt: skip


def test_an_expectation_about_a_stream_that_nobody_saw_is_unknown() -> None:
    found = asked(own(BETWEEN, column="lost", max_value="0", streams=("audti",)))
    assert found.verdict == "unknown"
    assert found.rows[0].message == "no stream `audti` was seen."
    assert found.rows[0].action == "Did you mean `audit`?"


def test_an_expectation_is_not_judged_on_windows_that_have_not_settled() -> None:
    young = world(without(DUE, 20))
    pipeline = young.pipeline.model_copy(
        update={"expectations": (own(BETWEEN, column="in_flight", max_value="0"),)}
    )
    found = check(pipeline, young.reconcile(as_of=START + WINDOW))
    assert (found.verdict, found.rows) == ("pending", ())


def test_every_expectation_that_cannot_be_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        asked(
            own("expect_column_values_to_be_betwen", column="lost"),
            own(BETWEEN, column="losst", max_value="1"),
            own(BETWEEN, column="lost", max_valu="1"),
            own(BETWEEN, "lags", column="lost", max_value="1"),
        )
    told = str(caught.value)
    assert "4 problems" in told
    for part in (
        "expectations.0.expect_column_values_to_be_betwen: there is no such expectation. Did you "
        "mean `expect_column_values_to_be_between`?",
        "`balances` has no column `losst`. Did you mean `lost`?",
        "it has no argument `max_valu`. Did you mean `max_value`?",
        "`lags` has no column `lost`.",
    ):
        assert part in told


def test_an_expectation_that_does_not_fit_its_column_is_a_mistake_not_a_failure() -> None:
    with pytest.raises(ConfigError, match="cannot be judged"):
        asked(own("expect_column_mean_to_be_between", column="stream", max_value="1"))


@pytest.mark.parametrize("over", COLUMNS)
def test_every_column_that_is_documented_can_be_asked_about(over: str) -> None:
    found = asked(
        *(own("expect_column_to_exist", over, column=name) for name in COLUMNS[over]), of=world()
    )
    told = [each for each in found.expectations if each.kind == "expect_column_to_exist"]
    assert [each.verdict for each in told] == ["pass"] * len(COLUMNS[over])


# What is kept

EVIL = "<script>alert(1)</script>'\"\x1b[31m\u202e&amp;"


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_from_elsewhere_and_names_in_it_can_do_nothing() -> None:
    copies = run_of(0, EVIL, "h1", range(10))
    evil = World(chain("logs", "lake"), {"logs": copies, "lake": without(copies, 3)})
    expectations = (own("expect_column_values_to_be_in_set", column="stream", value_set=["a<b>"]),)
    evil.pipeline = evil.pipeline.model_copy(update={"expectations": expectations})
    found = checked(evil)
    page = files_of(found)["index.html"].decode()
    seen = Tags(page)
    assert "<script>alert(1)</script>" in seen.text  # as text
    assert not seen.tags & {"script", "link", "img", "iframe", "object", "a", "form", "svg"}
    assert seen.attributes <= {
        "class", "id", "colspan", "rowspan", "hidden", "lang", "charset", "http-equiv", "content",
    }  # fmt: skip
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page
    assert not set(page) & {"\x1b", "\u202e"}
    assert "default-src 'none'" in page
    assert "3 of 10 records are lost" in seen.text


def test_a_result_names_the_first_scopes_only_however_many_miss() -> None:
    lossy = World(
        chain("logs", "lake"),
        {"logs": run_of(0, "audit", "h1", range(2)), "lake": run_of(0, "audit", "h1", range(1))},
    )
    report = lossy.reconcile()
    row = report.balances.slice(len(report.balances) - 1, 1)
    count = 3_000
    windows = pa.array(START + np.arange(count) * WINDOW).cast(BALANCES.field("window").type)
    many = pa.concat_tables([row] * count).set_column(3, "window", windows)
    found = check(lossy.pipeline, replace(report, balances=many))
    assert tally(found, "completeness") == (0, count, 0, 0, 0)
    assert sum(row.window is not None for row in found.rows) == count
    assert sum(len(content) for content in files_of(found).values()) < 100_000
    (result,) = (
        each["result"]
        for each in json.loads(files_of(found)["result.json"])["results"]
        if each["expectation_config"]["meta"]["name"] == "completeness"
    )
    assert result["unexpected_count"] == count
    assert len(result["partial_unexpected_index_list"]) == 20
    assert from_iso(result["partial_unexpected_index_list"][0]["window"]) == START


def test_the_answer_as_json_has_every_figure() -> None:
    document = checked(world(without(DUE, 7))).document()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["within"] is None
    assert list(document) == [
        "pipeline", "run", "as_of", "within", "verdict", "page", "expectations", "rows",
    ]  # fmt: skip
    assert document["rows"][0] == {
        "expectation": "completeness", "stage": "lake", "against": "queue", "stream": "access",
        "window": "2026-03-01T10:10:00Z", "observed": 0.993, "target": 1.0, "verdict": "fail",
        "records": 7, "message": document["rows"][0]["message"],
        "action": document["rows"][0]["action"],
    }  # fmt: skip
    assert LAGS.field("buckets").type == LAG_BUCKETS
