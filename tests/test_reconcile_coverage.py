"""What was not seen is unknown: never lost, and never passed."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from reconcile_model import LATER, SETTLE, START, WINDOW, World, chain, looked, read, run_of

from fidelity.report import Report, with_plain_window
from fidelity.units import LOOKED, Flaw, LedgerRow, Tally, Unit


def source_of(windows: int = 4, each: int = 20) -> Counter[Any]:
    held: Counter[Any] = Counter()
    for window in range(windows):
        held += run_of(window, "audit", "h1", range(window * each, window * each + each))
    return held


def unseen(stage: str, status: str, start: int = -1, end: int = -1) -> LedgerRow:
    unit = Unit(stage, f"{stage}-bad", "text", "bad.log.gz", 0, -1)
    return LedgerRow(
        unit,
        status,
        "scan-1",
        LATER,
        "",
        reason="truncated gzip",
        unseen_from=start,
        unseen_to=end,  # type: ignore[arg-type]
    )


def verdicts(report: Report, stage: str, against: str | None) -> list[str]:
    rows = with_plain_window(report.balances).to_pylist()
    return [r["verdict"] for r in rows if (r["stage"], r["against"]) == (stage, against)]


def kinds(report: Report) -> set[str]:
    return {finding.kind for finding in report.findings}


def test_all_arrived_is_pass_up_to_the_watermark() -> None:
    held = source_of()
    report = World(chain("logs", "lake"), {"logs": held, "lake": held}).reconcile()
    assert report.verdict == "pass"
    assert report.watermark == START + 4 * WINDOW
    assert report.findings == ()
    assert {books.evidence for books in report.stages[1:]} == {"digest"}


def test_a_missing_record_is_in_flight_until_its_window_has_settled() -> None:
    held = source_of()
    lake = held - run_of(3, "audit", "h1", [60])
    world = World(chain("logs", "lake"), {"logs": held, "lake": lake})
    early = world.reconcile(as_of=START + 4 * WINDOW + SETTLE - 1)
    assert (early.stages[1].in_flight, early.stages[1].lost) == (1, 0)
    assert early.verdict == "pass"
    assert early.watermark == START + 3 * WINDOW
    assert len(early.differences) == 0
    later = world.reconcile(as_of=START + 4 * WINDOW + SETTLE)
    assert (later.stages[1].in_flight, later.stages[1].lost) == (0, 1)
    assert later.verdict == "fail"


def test_nothing_settled_is_pending_and_nothing_seen_is_unknown() -> None:
    held = source_of()
    assert World(chain("logs", "lake"), {"logs": held, "lake": held}).reconcile(START).verdict == (
        "pending"
    )
    empty = World(chain("logs", "lake"), {"logs": Counter(), "lake": Counter()}).reconcile()
    assert (empty.verdict, empty.watermark) == ("unknown", None)
    assert len(empty.balances) == 0


def test_a_stage_that_was_never_scanned_is_unknown_and_has_lost_nothing() -> None:
    held = source_of()
    world = World(chain("logs", "lake"), {"logs": held, "lake": Counter()})
    world.ledger = lambda: [looked("logs", LATER), read("logs", "logs-0")]  # type: ignore[method-assign]
    report = world.reconcile()
    assert report.stages[1].unaudited == 80
    assert report.stages[1].lost == 0
    assert report.verdict == "unknown"
    assert "unaudited" in kinds(report)


def test_an_empty_stage_that_was_looked_at_has_lost_everything() -> None:
    held = source_of()
    report = World(chain("logs", "lake"), {"logs": held, "lake": Counter()}).reconcile()
    assert report.stages[1].lost == 80
    assert verdicts(report, "lake", "source") == ["fail"] * 4
    assert report.watermark is None


def test_windows_that_settled_after_the_last_look_are_unaudited() -> None:
    held = source_of()
    lake = Counter({copy: n for copy, n in held.items() if copy[0] < 2})
    world = World(chain("logs", "lake"), {"logs": held, "lake": lake})
    world.ledger = lambda: [  # type: ignore[method-assign]
        looked("logs", LATER),
        read("logs", "logs-0"),
        looked("lake", START + 3 * WINDOW + SETTLE),
        read("lake", "lake-0"),
    ]
    report = world.reconcile()
    assert verdicts(report, "lake", "source") == ["pass", "pass", "fail", "unknown"]
    assert (report.stages[1].lost, report.stages[1].unaudited) == (20, 20)


@pytest.mark.parametrize("status", ["unreadable", "trimmed", "truncated"])
def test_missing_records_of_a_stage_with_unseen_units_are_unaudited(status: str) -> None:
    held = source_of()
    lake = held - run_of(1, "audit", "h1", [20])
    world = World(chain("logs", "lake"), {"logs": held, "lake": lake})
    world.rows = [unseen("lake", status, START + WINDOW, START + 2 * WINDOW)]
    report = world.reconcile()
    assert verdicts(report, "lake", "source") == ["pass", "unknown", "pass", "pass"]
    assert (report.stages[1].lost, report.stages[1].unaudited) == (0, 1)
    assert report.watermark == START + WINDOW
    assert status in kinds(report)
    world.rows = [unseen("lake", status)]
    assert verdicts(world.reconcile(), "lake", "source") == ["unknown"] * 4


def test_a_duplicate_at_a_stage_with_unseen_units_is_still_a_failure() -> None:
    held = source_of()
    lake = held + run_of(1, "audit", "h1", [20])
    world = World(chain("logs", "lake"), {"logs": held, "lake": lake})
    world.rows = [unseen("lake", "unreadable")]
    assert verdicts(world.reconcile(), "lake", "source") == ["unknown", "fail"] + ["unknown"] * 2


def test_records_that_an_unseen_reference_may_have_are_not_established() -> None:
    held = source_of()
    logs = held - run_of(1, "audit", "h1", [20, 21])
    world = World(chain("logs", "lake"), {"logs": logs, "lake": held})
    world.rows = [unseen("logs", "unreadable", START + WINDOW, START + WINDOW + 1)]
    report = world.reconcile()
    assert report.stages[1].unexpected == 2
    assert verdicts(report, "lake", "source") == ["pass", "unknown", "pass", "pass"]
    assert verdicts(report, "logs", None) == ["pass", "unknown", "pass", "pass"]
    assert len(report.differences) == 0


def test_a_record_lost_after_an_unseen_source_is_still_lost() -> None:
    held = source_of()
    world = World(
        chain("logs", "lake"), {"logs": held, "lake": held - run_of(1, "audit", "h1", [20])}
    )
    world.rows = [unseen("logs", "trimmed")]
    report = world.reconcile()
    assert verdicts(report, "lake", "source") == ["unknown", "fail", "unknown", "unknown"]


def test_unseen_records_between_the_windows_stop_the_watermark() -> None:
    held = Counter({copy: n for copy, n in source_of().items() if copy[0] != 1})
    world = World(chain("logs", "lake"), {"logs": held, "lake": held})
    world.rows = [unseen("logs", "unreadable", START + WINDOW, START + 2 * WINDOW)]
    report = world.reconcile()
    assert report.watermark == START + WINDOW
    assert report.verdict == "unknown"


def test_unseen_records_after_all_windows_still_forbid_a_pass() -> None:
    held = source_of()
    world = World(chain("logs", "lake"), {"logs": held, "lake": held})
    world.rows = [unseen("logs", "unreadable", START + 40 * WINDOW, -1)]
    report = world.reconcile()
    assert report.verdict == "unknown"
    assert report.watermark is None or report.watermark <= START + 4 * WINDOW


def test_units_that_the_ledger_does_not_have_count_for_nothing() -> None:
    held = source_of()
    world = World(chain("logs", "lake"), {"logs": held, "lake": held}, units=2)
    rows = [row for row in world.ledger() if row.unit.key != "lake-1"]
    world.ledger = lambda: rows  # type: ignore[method-assign]
    report = world.reconcile()
    assert report.stages[1].lost == 40


def test_a_unit_that_vanished_leaves_the_books() -> None:
    held = source_of()
    world = World(chain("logs", "lake"), {"logs": held, "lake": held}, units=2)
    gone = replace(read("lake", "lake-1"), status="vanished", commit=5)
    world.rows = [gone]
    report = world.reconcile()
    assert report.stages[1].lost == 40
    assert "vanished" in kinds(report)


def test_a_stage_that_could_not_be_listed_is_unknown_from_then_on() -> None:
    held = source_of()
    world = World(chain("logs", "lake"), {"logs": held, "lake": Counter()})
    unit = Unit("lake", LOOKED, "stage", "", 0, 0)
    bad = LedgerRow(unit, "unreadable", "scan-1", LATER, "", reason="broker down")
    world.ledger = lambda: [looked("logs", LATER), read("logs", "logs-0"), bad]  # type: ignore[method-assign]
    report = world.reconcile()
    assert report.stages[1].lost == 0
    assert report.verdict == "unknown"
    assert {"unreadable", "unaudited"} <= kinds(report)


def test_a_look_that_failed_leaves_settled_windows_as_they_were_and_forbids_a_pass() -> None:
    held = source_of()
    world = World(chain("logs", "lake"), {"logs": held, "lake": held})
    unit = Unit("lake", LOOKED, "stage", "", 0, 0)
    world.rows = [
        LedgerRow(unit, "unreadable", "scan-2", LATER, "", reason="broker down", commit=9)
    ]
    report = world.reconcile()
    assert verdicts(report, "lake", "source") == ["pass"] * 4
    assert report.verdict == "unknown"
    assert report.watermark == START + 4 * WINDOW
    assert "broker down" in report.findings[0].message


def test_without_a_tracer_undecodable_scopes_are_lower_bounds_and_say_so() -> None:
    source = run_of(0, "audit", "h1", range(4_000))
    lake = Counter({copy: 1 for at, copy in enumerate(sorted(source)) if at % 2})
    report = World(chain("logs", "lake"), {"logs": source, "lake": lake}).reconcile(tracer=None)
    assert report.stages[1].evidence == "counts"
    assert report.stages[1].lost == 2_000
    assert report.verdict == "fail"
    assert "lower-bound" in kinds(report)


def test_flaws_are_findings_with_their_positions() -> None:
    held = source_of()
    world = World(chain("logs", "lake"), {"logs": held, "lake": held})
    unit = Unit("lake", "lake-flawed", "text", "lake/1.jsonl", 0, 9)
    tally = Tally(records=10, flaws=(Flaw("malformed", 3, (5, 70, 99)),))
    world.rows = [LedgerRow(unit, "read", "scan-1", LATER, "", tally)]
    report = world.reconcile()
    (finding,) = [each for each in report.findings if each.kind == "flaws"]
    assert finding.stage == "lake"
    assert finding.severity == "warning"
    assert [each["offset"] for each in finding.evidence["positions"]] == [5, 70, 99]
    assert report.stages[1].flaws == {"malformed": 3}
    assert report.verdict == "pass"
    strict = world.pipeline.model_copy(
        update={"targets": world.pipeline.targets.model_copy(update={"flaws": 0.1})}
    )
    assert replace(world, pipeline=strict).reconcile().verdict == "fail"


def test_targets_are_met_by_equality_and_missed_by_one_record() -> None:
    held = source_of(windows=1, each=1_000)
    pipeline = chain("logs", "lake")
    targets = pipeline.targets.model_copy(update={"completeness": 0.999})
    pipeline = pipeline.model_copy(update={"targets": targets})
    for lost, verdict in ((1, "pass"), (2, "fail")):
        lake = held - run_of(0, "audit", "h1", range(lost))
        report = World(pipeline, {"logs": held, "lake": lake}).reconcile()
        assert report.verdict == verdict
        assert len(report.differences) == 2 * lost  # against source, and against logs
    assert report.stages[1].nines == pytest.approx(2.699, abs=1e-3)


def test_the_row_against_source_and_the_hop_are_one_if_the_first_stage_is_source() -> None:
    held = source_of()
    named = World(chain("source", "lake"), {"source": held, "lake": held}).reconcile()
    assert [(b.stage, b.against) for b in named.stages] == [("source", None), ("lake", "source")]
    other = World(chain("logs", "lake"), {"logs": held, "lake": held}).reconcile()
    assert [b.against for b in other.stages] == [None, "source", "logs"]
