"""Findings say once, at the right stage, what happened; figures say how sure they are."""

from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pytest
from reconcile_model import START, WINDOW, World, chain, fid, run_of

from fidelity.config import Pipeline, Place, RecordSpec
from fidelity.report import Finding, Report, with_plain_window
from fidelity.report.json import parse, render
from fidelity.units import MERGED


def findings(report: Report, kind: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.kind == kind]


def opaque(pipeline: Pipeline) -> Pipeline:
    spec = RecordSpec(id=Place(field="uuid", encoding="opaque"))
    stages = tuple(stage.model_copy(update={"record": spec}) for stage in pipeline.stages)
    return pipeline.model_copy(update={"stages": stages})


def three(
    source: Counter[tuple[int, str, str, int]],
    queue: Counter[tuple[int, str, str, int]],
    lake: Counter[tuple[int, str, str, int]],
) -> World:
    return World(chain("logs", "queue", "lake"), {"logs": source, "queue": queue, "lake": lake})


def test_a_loss_is_told_at_the_hop_where_it_happened_and_nowhere_else() -> None:
    source = run_of(0, "audit", "h1", range(100))
    queue = source - run_of(0, "audit", "h1", range(40, 50))
    report = three(source, queue, queue).reconcile()
    (finding,) = findings(report, "lost")
    assert finding.stage == "queue"
    assert finding.evidence["records"] == 10
    assert (finding.evidence["runs"], finding.evidence["longest_run"]) == (1, 10)
    assert "one run of 10" in finding.message
    lost = {(books.stage, books.against): books.lost for books in report.stages}
    assert lost["lake", "source"] == 10
    assert lost["lake", "queue"] == 0


def test_a_loss_that_no_hop_could_see_is_told_end_to_end() -> None:
    source = run_of(0, "audit", "h1", range(100))
    world = three(source, source, source - run_of(0, "audit", "h1", [7]))
    ledger = [row for row in world.ledger() if row.unit.stage != "queue"]
    world.ledger = lambda: ledger  # type: ignore[method-assign]
    report = world.reconcile()
    (finding,) = findings(report, "lost")
    assert (finding.stage, finding.evidence["against"]) == ("lake", "logs")


def test_a_run_that_crosses_windows_is_one_run() -> None:
    source = run_of(0, "audit", "h1", range(50)) + run_of(1, "audit", "h1", range(50, 100))
    lake = source - run_of(0, "audit", "h1", range(45, 50)) - run_of(1, "audit", "h1", [50, 51])
    report = World(chain("logs", "lake"), {"logs": source, "lake": lake}).reconcile()
    (finding,) = findings(report, "lost")
    assert (finding.evidence["runs"], finding.evidence["longest_run"]) == (1, 7)
    assert finding.evidence["windows"] == 2


def test_duplicates_and_unexpected_ids_are_told_apart_without_reading_a_record() -> None:
    source = run_of(0, "audit", "h1", range(1_000))
    lake = source + run_of(0, "audit", "h1", [3, 4]) + run_of(0, "audit", "h1", [1_000, 77_777])
    report = World(chain("logs", "lake"), {"logs": source, "lake": lake}).reconcile(tracer=None)
    books = report.stages[1]
    assert (books.duplicates, books.unexpected, books.evidence) == (2, 2, "peeled")


def test_opaque_ids_have_no_sequence_and_the_books_are_as_exact() -> None:
    source = Counter({(0, "audit", "h1", at * 2_654_435_761 % 2**32): 1 for at in range(3_000)})
    held = sorted(source)
    lake = Counter(source)
    lake[held[5]] += 1
    del lake[held[9]]
    world = World(opaque(chain("logs", "lake")), {"logs": source, "lake": lake})
    report = world.reconcile()
    books = report.stages[1]
    assert (books.lost, books.duplicates, books.evidence) == (1, 1, "traced")
    assert report.differences["sequence"].null_count == len(report.differences)
    assert report.collision_budget.coincident_ids > 0
    assert report.collision_budget.hidden_losses == pytest.approx(1 / 2**32)


def test_a_small_opaque_scope_needs_no_second_reading() -> None:
    source = Counter({(0, "audit", "h1", at * 2_654_435_761 % 2**32): 1 for at in range(100)})
    lake = source + Counter([sorted(source)[5]])
    world = World(opaque(chain("logs", "lake")), {"logs": source, "lake": lake})
    books = world.reconcile(tracer=None).stages[1]
    assert (books.duplicates, books.evidence) == (1, "peeled")


def test_ids_of_others_that_are_no_sequence_numbers_are_exact_too() -> None:
    source = Counter(
        {(0, "audit", f"h{at % 3}", at * 2_654_435_761 % 2**32): 1 for at in range(3_000)}
    )
    held = sorted(source)
    lake = source - Counter(held[10:2_000:100])
    report = World(chain("logs", "lake"), {"logs": source, "lake": lake}).reconcile()
    assert report.stages[1].lost == 20
    assert report.verdict == "fail"


def test_a_trace_that_does_not_explain_the_scan_is_not_believed() -> None:
    source = run_of(0, "audit", "h1", range(3_000))
    lake = Counter({copy: 1 for at, copy in enumerate(sorted(source)) if at % 2})
    world = World(chain("logs", "lake"), {"logs": source, "lake": lake})
    observations, changed = world.observations(), Counter(dict(sorted(source.items())[:9]))
    world.observations = lambda: observations  # type: ignore[method-assign]
    world.stages = {"logs": source, "lake": changed}
    report = world.reconcile()
    assert report.stages[1].evidence == "counts"
    assert report.stages[1].lost == 1_500
    assert findings(report, "lower-bound")


def test_an_open_window_is_never_read_again() -> None:
    source = run_of(0, "audit", "h1", range(3_000))
    lake = Counter({copy: 1 for at, copy in enumerate(sorted(source)) if at % 2})
    world = World(chain("logs", "lake"), {"logs": source, "lake": lake})

    def never(*_: object) -> None:
        raise AssertionError

    world.trace = never  # type: ignore[method-assign, assignment]
    report = world.reconcile(as_of=START + WINDOW)
    assert (report.stages[1].in_flight, report.verdict) == (1_500, "pending")
    assert findings(report, "lower-bound") == []


def test_observations_that_compaction_merged_count() -> None:
    source = run_of(0, "audit", "h1", range(10))
    world = World(chain("logs", "lake"), {"logs": source, "lake": source})
    table, rows = world.observations(), world.ledger()
    scan = f"{MERGED}1"
    table = table.set_column(0, "scan", pa.array([scan] * len(table)))
    table = table.set_column(1, "unit", pa.array(["merged"] * len(table)))
    world.observations = lambda: table  # type: ignore[method-assign]
    world.ledger = lambda: [  # type: ignore[method-assign]
        row if row.unit.kind == "stage" else replace(row, scan=scan) for row in rows
    ]
    report = world.reconcile()
    assert [books.observed for books in report.stages] == [10, 10, 10]


def test_a_real_report_goes_through_json_unchanged() -> None:
    source = run_of(0, "audit", "h1", range(300)) + run_of(1, "access", "h2", range(9))
    lake = source - run_of(0, "audit", "h1", [3]) + run_of(1, "access", "h2", [4, 4, 900])
    report = World(chain("logs", "lake"), {"logs": source, "lake": lake}).reconcile()
    assert parse(render(report)) == report


def test_differences_are_sorted_and_hold_each_copy_once() -> None:
    source = run_of(0, "audit", "h1", range(50)) + run_of(0, "audit", "h2", range(50))
    lake = source - run_of(0, "audit", "h2", [9, 3]) - run_of(0, "audit", "h1", [7])
    lake[0, "audit", "h1", fid("audit", "h1", 5)] = 4
    report = World(chain("logs", "lake"), {"logs": source, "lake": lake}).reconcile()
    rows = with_plain_window(report.differences).to_pylist()
    told = [(r["against"], r["origin"], r["sequence"], r["kind"], r["copies"]) for r in rows]
    once = [
        ("h1", 5, "duplicate", 3),
        ("h1", 7, "lost", 1),
        ("h2", 3, "lost", 1),
        ("h2", 9, "lost", 1),
    ]
    assert told == [(against, *each) for against in ("source", "logs") for each in once]


def test_a_target_that_so_few_records_cannot_prove_is_told() -> None:
    source = run_of(0, "audit", "h1", range(1_000))
    pipeline = chain("logs", "lake")
    targets = pipeline.targets.model_copy(update={"completeness": 0.9999})
    world = World(
        pipeline.model_copy(update={"targets": targets}), {"logs": source, "lake": source}
    )
    report = world.reconcile()
    assert not report.stages[1].measurable
    assert report.stages[1].nines is None
    assert report.stages[1].nines_low == pytest.approx(2.5229, abs=1e-4)
    assert findings(report, "unproven")[0].evidence["needed"] == 30_000


def test_what_hops_explain_is_not_told_again_end_to_end_whatever_the_source_is_called() -> None:
    source = run_of(0, "audit", "h1", range(100))
    queue = source - run_of(0, "audit", "h1", range(40, 50))
    lake = queue - run_of(0, "audit", "h1", [7]) + run_of(0, "audit", "h1", [3])
    for names in (("source", "queue", "lake"), ("logs", "queue", "lake")):
        stages = dict(zip(names, (source, queue, lake), strict=True))
        report = World(chain(*names), stages).reconcile()
        told = [(each.kind, each.stage, each.evidence["against"]) for each in report.findings]
        assert told == [
            ("lost", "queue", names[0]),
            ("lost", "lake", "queue"),
            ("duplicates", "lake", "queue"),
        ]


@pytest.mark.parametrize(("lost", "severity"), [(1, "warning"), (2, "error")])
def test_a_loss_within_the_targets_of_its_windows_is_a_warning(lost: int, severity: str) -> None:
    source = run_of(0, "audit", "h1", range(1_000)) + run_of(1, "audit", "h1", range(1_000, 2_000))
    pipeline = chain("logs", "lake")
    targets = pipeline.targets.model_copy(update={"completeness": 0.999, "duplicates": 0.001})
    pipeline = pipeline.model_copy(update={"targets": targets})
    lake = source - run_of(0, "audit", "h1", range(lost)) + run_of(1, "audit", "h1", [1_500])
    report = World(pipeline, {"logs": source, "lake": lake}).reconcile()
    (finding,) = findings(report, "lost")
    assert (finding.severity, finding.evidence["records"]) == (severity, lost)
    assert finding.message.startswith("1 record is lost" if lost == 1 else "2 records are lost")
    assert [each.severity for each in findings(report, "duplicates")] == ["warning"]
    assert report.verdict == ("pass" if lost == 1 else "fail")


def test_a_loss_that_was_only_counted_is_told_without_names() -> None:
    source = run_of(0, "audit", "h1", range(3_000)) + run_of(1, "audit", "h1", range(3_000, 3_100))
    lake = Counter({copy: 1 for at, copy in enumerate(sorted(source)) if copy[0] or at % 2})
    lake -= run_of(1, "audit", "h1", [3_007])
    world = World(chain("logs", "lake"), {"logs": source, "lake": lake})
    (finding,) = findings(world.reconcile(tracer=None), "lost")
    assert finding.severity == "error"
    assert finding.message.startswith("At least 1,501 records are lost between logs and lake: 2 ")
    assert (finding.evidence["records"], finding.evidence["ids"]) == (1_501, 1)
