"""Contracts: what is meant not to pass is filtered, and never lost; along a path they compose."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reconcile_model import SETTLE, START, WINDOW, Copy, World, chain, run_of
from test_reconcile_law import ORIGINS, STREAMS, changed, sources, told_differences

from fidelity.config import Pipeline, Stage
from fidelity.edges import Edge, edges_of, samples_of
from fidelity.report import with_plain_window


def passes(edge: Edge, copy: Copy) -> bool:
    _, stream, origin, each = copy
    return (
        (edge.keep_streams is None or stream in edge.keep_streams)
        and (edge.keep_origins is None or origin in edge.keep_origins)
        and each % edge.sample == 0
    )


@st.composite
def contracts(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "keep_streams": draw(st.sampled_from([None, None, STREAMS[:1]])),
        "keep_origins": draw(st.sampled_from([None, None, ORIGINS[:1], ORIGINS[1:]])),
        "sample": draw(st.sampled_from([1, 1, 2, 3, 10])),
    }


@st.composite
def worlds(draw: st.DrawFn) -> World:
    source = draw(sources())
    terms = {"queue": draw(contracts()), "lake": draw(contracts())}
    stages = (
        Stage(name="logs", kind="files"),
        Stage(name="queue", kind="files", after="logs", **terms["queue"]),
        Stage(name="lake", kind="files", after="queue", **terms["lake"]),
    )
    pipeline = Pipeline(name="test", store="none", stages=stages, window=WINDOW, settle=SETTLE)
    held, before = {"logs": source}, source
    for edge in (edge for edge in edges_of(pipeline) if edge.hop):
        passed = Counter({c: n for c, n in before.items() if passes(edge, c)})
        leaked = draw(st.sampled_from([passed, passed, before]))
        before = held[edge.stage] = draw(changed(leaked))
    return World(pipeline, held, units=draw(st.integers(1, 2)), samples=draw(st.booleans()))


@given(worlds())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_books_under_contracts_equal_the_model(world: World) -> None:
    report = world.reconcile()
    rows = {
        (row["stage"], row["against"], row["window"], row["stream"]): row
        for row in with_plain_window(report.balances).to_pylist()
    }
    for edge in edges_of(world.pipeline):
        r, d = world.stages[edge.reference], world.stages[edge.stage]
        lost = {(*c, "lost"): n for c, n in (r - d).items() if passes(edge, c)}
        more = {(*c, "duplicate" if r[c] else "unexpected"): n for c, n in (d - r).items()}
        told = told_differences(report, edge.stage, edge.labels[0])
        assert told == Counter(lost) + Counter(more)
        for window, stream in {copy[:2] for copy in set(r) | set(d)}:
            row = rows[edge.stage, edge.labels[0], START + window * WINDOW, stream]
            here = [c for c in set(r) | set(d) if c[:2] == (window, stream)]
            assert row["expected"] == sum(r[c] for c in here)
            assert row["delivered"] == sum(min(r[c], d[c]) for c in here)
            missing = {c: max(0, r[c] - d[c]) for c in here}
            assert row["filtered"] == sum(n for c, n in missing.items() if not passes(edge, c))
            assert row["lost"] == sum(n for c, n in missing.items() if passes(edge, c))
            assert row["verdict"] != "fail" or any(key[:2] == (window, stream) for key in told)


def test_a_filtered_stream_passes_with_nothing_lost_and_full_completeness() -> None:
    source = run_of(0, "audit", "h1", range(50)) + run_of(0, "debug", "h1", range(5_000))
    lake = run_of(0, "audit", "h1", range(50))
    world = World(chain("logs", "lake", keep_streams=("audit",)), {"logs": source, "lake": lake})
    report = world.reconcile(tracer=None)
    total = report.stages[1]
    assert (total.lost, total.filtered, total.verdict) == (0, 5_000, "pass")
    assert total.completeness == 1.0
    assert len(report.differences) == 0


def test_a_sampled_edge_loses_only_ids_that_were_sampled() -> None:
    source = run_of(0, "audit", "h1", range(20_000))
    sampled = sorted(copy for copy in source if copy[3] % 100 == 0)
    lake = Counter(sampled[5:])
    world = World(chain("logs", "lake", sample=100), {"logs": source, "lake": lake})
    report = world.reconcile(tracer=None)
    assert report.stages[1].lost == 5
    assert report.stages[1].evidence == "peeled"
    assert set(report.differences["id"].to_pylist()) == {copy[3] for copy in sampled[:5]}


def test_observations_without_the_sample_are_never_mistaken_for_a_sample_of_nothing() -> None:
    source = run_of(0, "audit", "h1", range(5_000))
    world = World(
        chain("logs", "lake", sample=10), {"logs": source, "lake": Counter()}, samples=False
    )
    report = world.reconcile()
    assert report.stages[1].lost == sum(copy[3] % 10 == 0 for copy in source)
    blind = world.reconcile(tracer=None)
    assert blind.verdict in ("fail", "unknown")


def test_a_scope_of_which_no_id_is_sampled_is_known_to_be_due_nothing() -> None:
    source = run_of(0, "audit", "h1", range(3))
    assert all(copy[3] % 100_003 for copy in source)
    world = World(chain("logs", "lake", sample=100_003), {"logs": source, "lake": Counter()})
    report = world.reconcile(tracer=None)
    assert (report.stages[1].filtered, report.verdict) == (3, "pass")


@pytest.mark.parametrize(("first", "second", "both"), [(2, 3, 6), (10, 100, 100), (4, 6, 12)])
def test_samples_compose_by_their_least_common_multiple(first: int, second: int, both: int) -> None:
    stages = (
        Stage(name="logs", kind="files"),
        Stage(name="queue", kind="files", after="logs", sample=first),
        Stage(name="lake", kind="files", after="queue", sample=second),
    )
    pipeline = Pipeline(name="test", store="none", stages=stages)
    assert [edge.sample for edge in edges_of(pipeline)] == [first, both, second]
    assert samples_of(pipeline, "logs") == (1, *sorted({first, both}))
    assert samples_of(pipeline, "queue") == (1, second)
    assert samples_of(pipeline, "lake") == (1,)
