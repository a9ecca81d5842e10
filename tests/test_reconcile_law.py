"""Reconcile equals a plain multiset model: books and differences, whatever went wrong."""

from collections import Counter
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reconcile_model import START, WINDOW, Copy, World, chain, fid, run_of

from fidelity.config import Pipeline, Stage
from fidelity.edges import edges_of
from fidelity.observe.observations import OBSERVATIONS
from fidelity.report import Report, with_plain_window
from fidelity.report.json import render

STREAMS, ORIGINS = ("audit", "access"), ("h1", "h2", "h3")

Row = dict[str, Any]


@st.composite
def changed(draw: st.DrawFn, before: Counter[Copy]) -> Counter[Copy]:
    """A stage after another: copies lost, doubled, and some that came from nowhere."""
    after = Counter(before)
    held = sorted(before)
    if held:
        for _ in range(draw(st.integers(0, 12))):
            copy = held[draw(st.integers(0, len(held) - 1))]
            after[copy] = max(0, after[copy] + draw(st.sampled_from([-1, -1, 1, 2])))
        if draw(st.booleans()):  # a stretch is lost, sometimes all
            start = draw(st.integers(0, len(held) - 1))
            for copy in held[start : start + draw(st.sampled_from([3, 40, 5000]))]:
                after[copy] = 0
    for _ in range(draw(st.integers(0, 3))):
        stream, origin = draw(st.sampled_from(STREAMS)), draw(st.sampled_from(ORIGINS))
        number = draw(st.integers(0, 2**32 - 1))
        after[draw(st.integers(0, 2)), stream, origin, fid(stream, origin, number)] += 1
    return +after


@st.composite
def sources(draw: st.DrawFn) -> Counter[Copy]:
    """Runs of a few producers over a few windows, some repeated or with holes at the source."""
    held: Counter[Copy] = Counter()
    for stream in STREAMS:
        for origin in ORIGINS[: draw(st.integers(0, 3))]:
            number = draw(st.integers(0, 1_000))
            for window in range(3):
                count = draw(st.sampled_from([0, 1, 7, 60, 400]))
                held += run_of(window, stream, origin, range(number, number + count))
                number += count + draw(st.sampled_from([0, 0, 3]))
    for copy in sorted(held)[: draw(st.integers(0, 3))]:
        held[copy] += 1
    return held


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A source, two stages in a row and a second sink, in units of any number."""
    source = draw(sources())
    queue = draw(changed(source))
    stages = {
        "logs": source,
        "queue": queue,
        "lake": draw(changed(queue)),
        "copy": draw(changed(source)),
    }
    after = {"logs": None, "queue": "logs", "lake": "queue", "copy": "logs"}
    pipeline = Pipeline(
        name="test",
        store="none",
        window=WINDOW,
        settle=0,
        stages=tuple(Stage(name=name, kind="files", after=after[name]) for name in stages),
    )
    return World(pipeline, stages, units=draw(st.integers(1, 3)))


def expected_books(r: Counter[Copy], d: Counter[Copy], window: int, stream: str) -> Row:
    def of(copies: Counter[Copy]) -> Counter[Copy]:
        return Counter({c: n for c, n in copies.items() if c[:2] == (window, stream)})

    r, d = of(r), of(d)
    surplus = d - r
    return {
        "expected": r.total(),
        "observed": d.total(),
        "delivered": (r & d).total(),
        "lost": (r - d).total(),
        "duplicates": sum(n for c, n in surplus.items() if r[c] > 0),
        "unexpected": sum(n for c, n in surplus.items() if r[c] == 0),
    }


def expected_differences(r: Counter[Copy], d: Counter[Copy]) -> Counter[tuple[Any, ...]]:
    found = Counter({(*c, "lost"): n for c, n in (r - d).items()})
    found += Counter({(*c, "duplicate" if r[c] else "unexpected"): n for c, n in (d - r).items()})
    return found


def told_differences(report: Report, stage: str, against: str) -> Counter[tuple[Any, ...]]:
    found: Counter[tuple[Any, ...]] = Counter()
    for row in with_plain_window(report.differences).to_pylist():
        if (row["stage"], row["against"]) == (stage, against):
            number = (row["window"] - START) // WINDOW
            key = (number, row["stream"], row["origin"], row["id"], row["kind"])
            assert key not in found
            assert fid(row["stream"], row["origin"], row["sequence"]) == row["id"]
            found[key] = row["copies"]
    return found


def assert_equals_the_model(world: World, report: Report) -> None:
    rows = {
        (row["stage"], row["against"], row["window"], row["stream"]): row
        for row in with_plain_window(report.balances).to_pylist()
    }
    for edge in edges_of(world.pipeline):
        r, d = world.stages[edge.reference], world.stages[edge.stage]
        for label in edge.labels:
            assert told_differences(report, edge.stage, label) == expected_differences(r, d)
        for window, stream in {copy[:2] for copy in set(r) | set(d)}:
            row = rows[edge.stage, edge.labels[0], START + window * WINDOW, stream]
            wanted = expected_books(r, d, window, stream)
            assert {name: row[name] for name in wanted} == wanted
            wrong = wanted["lost"] + wanted["duplicates"] + wanted["unexpected"]
            assert row["verdict"] == ("fail" if wrong else "pass") or "silent" in row["reasons"]
            if wrong:
                assert row["verdict"] == "fail"


@given(worlds())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_books_and_differences_equal_the_model(world: World) -> None:
    assert_equals_the_model(world, world.reconcile())


@given(worlds())
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_observations_in_files_give_the_report_of_those_in_memory(world: World) -> None:
    rows = world.observations()
    with TemporaryDirectory() as folder:
        for number, part in enumerate((rows[: len(rows) // 2], rows[len(rows) // 2 :])):
            pq.write_table(part, f"{folder}/{number}.parquet", row_group_size=2)
        found = world.reconcile(observations=ds.dataset(folder, schema=OBSERVATIONS))
    assert render(found) == render(world.reconcile())


def test_a_large_world_in_which_everything_differs_is_still_exact() -> None:
    source = run_of(0, "audit", "h1", range(20_000)) + run_of(0, "audit", "h2", range(20_000))
    held = sorted(source)
    lake = Counter({copy: 2 if at % 3 else 0 for at, copy in enumerate(held)})
    world = World(chain("logs", "lake"), {"logs": source, "lake": +lake})
    report = world.reconcile()
    assert_equals_the_model(world, report)
    assert {books.evidence for books in report.stages[1:]} == {"traced"}


def test_a_loss_and_a_duplicate_of_one_id_by_two_producers_do_not_cancel() -> None:
    source = Counter({(0, "audit", "h1", 7): 1, (0, "audit", "h2", 7): 1, (0, "audit", "h2", 9): 1})
    lake = Counter({(0, "audit", "h2", 7): 2, (0, "audit", "h2", 9): 1})
    report = World(chain("logs", "lake"), {"logs": source, "lake": lake}).reconcile()
    assert (report.stages[1].lost, report.stages[1].duplicates) == (1, 1)


@pytest.mark.parametrize("lost", [1, 30, 200, 5_000])
def test_a_head_that_was_skipped_is_named_without_reading_a_record(lost: int) -> None:
    source = run_of(0, "audit", "h1", range(100, 10_100)) + run_of(0, "audit", "h2", range(50))
    lake = source - run_of(0, "audit", "h1", range(100, 100 + lost))
    world = World(chain("logs", "lake"), {"logs": source, "lake": lake})
    report = world.reconcile(tracer=None)
    assert_equals_the_model(world, report)
    assert report.stages[1].evidence == "peeled"
