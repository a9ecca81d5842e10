"""A source that lacks records cannot be missed downstream: silence and holes say so."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from reconcile_model import LATER, START, WINDOW, Copy, World, chain, run_of
from test_reconcile_coverage import kinds, unseen, verdicts

from fidelity.questions import ask, connect
from fidelity.reconcile import grid
from fidelity.report import Finding, Report, from_iso, iso


def producer(
    origin: str, windows: Iterable[int], each: int = 20, stream: str = "audit", skip: int = 0
) -> Counter[Copy]:
    """`each` records in each of the windows; `skip` sequence numbers are passed over between."""
    held: Counter[Copy] = Counter()
    number = 100
    for window in windows:
        held += run_of(window, stream, origin, range(number, number + each))
        number += each + skip
    return held


def audited(held: Counter[Copy], **changes: Any) -> Report:
    return World(chain("logs", "lake"), {"logs": held, "lake": held}, **changes).reconcile()


def silent(report: Report) -> list[Finding]:
    return [finding for finding in report.findings if finding.kind == "silent"]


def gaps(report: Report) -> list[Finding]:
    return [finding for finding in report.findings if finding.kind == "source-gap"]


def test_a_producer_that_falls_silent_makes_the_rest_unknown() -> None:
    report = audited(producer("h1", range(6)) + producer("h2", range(3)))
    (finding,) = silent(report)
    assert finding.severity == "warning"
    assert finding.evidence["origin"] == "h2"
    assert finding.evidence["windows"] == 3
    assert finding.evidence["last_seen"].startswith("2026-03-01T10:20:")
    expected = ["pass"] * 3 + ["unknown"] * 3
    assert verdicts(report, "logs", None) == expected
    assert verdicts(report, "lake", "source") == expected
    assert report.watermark == START + 3 * WINDOW
    assert report.verdict == "unknown"


def test_silence_leaves_other_streams_and_hops_alone() -> None:
    held = producer("h1", range(6), stream="access") + producer("h2", range(3))
    world = World(chain("logs", "queue", "lake"), {"logs": held, "queue": held, "lake": held})
    report = world.reconcile()
    rows = report.balances.to_pylist()
    unknown = {(r["stage"], r["against"], r["stream"]) for r in rows if r["verdict"] == "unknown"}
    assert unknown == {
        ("logs", None, "audit"),
        ("queue", "source", "audit"),
        ("queue", "logs", "audit"),
        ("lake", "source", "audit"),
    }


def test_a_loss_in_a_silent_window_is_still_a_failure() -> None:
    held = producer("h1", range(6)) + producer("h2", range(3))
    lake = Counter({copy: n for copy, n in held.items() if copy[0] != 4})
    report = World(chain("logs", "lake"), {"logs": held, "lake": lake}).reconcile()
    assert verdicts(report, "lake", "source")[4] == "fail"


def test_a_producer_of_few_records_is_told_and_changes_no_verdict() -> None:
    report = audited(producer("h1", range(6)) + producer("h2", range(3), each=2))
    (finding,) = silent(report)
    assert finding.severity == "info"
    assert report.verdict == "pass"


def test_a_producer_that_was_seen_in_one_window_only_proves_nothing() -> None:
    report = audited(producer("h1", range(6)) + producer("h2", range(1), each=500))
    assert [finding.severity for finding in silent(report)] == ["info"]
    assert report.verdict == "pass"


def test_a_pause_no_longer_than_an_earlier_one_is_no_surprise() -> None:
    held = producer("h1", range(12)) + producer("h2", [0, 1, 5, 6, 7, 8, 9], skip=1)
    report = audited(held)
    assert all(finding.severity == "info" for finding in silent(report)[1:])


def test_a_pause_over_which_the_sequence_goes_on_is_no_finding() -> None:
    report = audited(producer("h1", range(8)) + producer("h2", [0, 1, 2, 6, 7]))
    assert silent(report) == []
    assert report.verdict == "pass"


def test_a_pause_over_which_numbers_are_missing_is_unknown() -> None:
    held = producer("h1", range(8)) + producer("h2", [0, 1, 2])
    held += run_of(6, "audit", "h2", range(220, 240)) + run_of(7, "audit", "h2", range(240, 260))
    report = audited(held)
    (finding,) = silent(report)
    assert finding.evidence["ended"]
    assert finding.evidence["windows"] == 3
    assert verdicts(report, "lake", "source") == ["pass"] * 3 + ["unknown"] * 3 + ["pass"] * 2
    assert [finding.evidence["records"] for finding in gaps(report)] == [60]


def test_silence_of_the_whole_source_adds_the_windows_that_nobody_saw() -> None:
    held = producer("h1", [0, 1, 2]) + run_of(6, "audit", "h1", range(220, 240))
    report = audited(held)
    assert len(silent(report)) == 1
    assert verdicts(report, "logs", None) == ["pass"] * 3 + ["unknown"] * 3 + ["pass"]
    assert report.watermark == START + 3 * WINDOW


def test_many_quiet_producers_that_stop_together_are_told_as_their_stream() -> None:
    held = producer("h1", range(9), stream="access")
    for at in range(40):
        held += producer(f"pod-{at}", [0, 1, 2], each=1)
    report = audited(held)
    found = [finding for finding in silent(report) if finding.severity == "warning"]
    assert [finding.evidence["level"] for finding in found] == ["stream"]
    assert report.watermark == START + 3 * WINDOW


def test_silence_in_windows_that_have_not_settled_is_no_silence() -> None:
    held = producer("h1", range(6)) + producer("h2", range(4))
    world = World(chain("logs", "lake"), {"logs": held, "lake": held})
    assert silent(world.reconcile(as_of=START + 4 * WINDOW + 3 * WINDOW)) == []


def test_silence_where_the_source_was_not_seen_is_no_silence() -> None:
    held = producer("h1", range(6)) + producer("h2", range(3))
    world = World(chain("logs", "lake"), {"logs": held, "lake": held})
    world.rows = [unseen("logs", "unreadable", START + 3 * WINDOW, -1)]
    report = world.reconcile()
    assert silent(report) == []
    assert report.verdict == "unknown"


def test_holes_in_the_sequence_are_a_finding_and_no_failure() -> None:
    held = producer("h1", range(6), skip=3)
    report = audited(held)
    (finding,) = gaps(report)
    assert finding.severity == "warning"
    assert finding.evidence["records"] == 15
    assert finding.evidence["windows"] == 5
    assert report.verdict == "pass"


def test_one_hole_may_be_a_crash_of_the_stamper() -> None:
    held = producer("h1", range(3)) + run_of(3, "audit", "h1", range(4_000, 4_020))
    (finding,) = gaps(audited(held))
    assert finding.severity == "info"


def test_a_producer_that_began_anew_at_random_has_no_hole() -> None:
    held = producer("h1", range(3)) + run_of(3, "audit", "h1", range(3_000_000_000, 3_000_000_020))
    report = audited(held)
    assert gaps(report) == []
    assert report.verdict == "pass"


def test_records_that_come_late_into_the_next_window_leave_no_hole() -> None:
    held = run_of(0, "audit", "h1", [0, 1, 2, 4, 6]) + run_of(1, "audit", "h1", [3, 5, 7, 8])
    report = audited(held)
    assert gaps(report) == []
    assert "source-gap" not in kinds(report)


def test_a_hole_after_duplicates_is_a_hole() -> None:
    held = producer("h1", range(6)) - run_of(4, "audit", "h1", [185, 186])
    held += run_of(2, "audit", "h1", [141, 142, 143])
    (finding,) = gaps(audited(held))
    assert (finding.evidence["records"], finding.evidence["windows"]) == (2, 1)


def skewed(last: int) -> Counter[Copy]:
    """The last but one record of each window has its time just after the boundary."""
    held: Counter[Copy] = Counter()
    for window in range(last):
        numbers = {*range(100 * window, 100 * window + 100)} - {100 * window + 98}
        held += run_of(window, "audit", "h1", numbers | ({100 * window - 2} if window else set()))
    return held


def test_what_the_next_window_will_fill_is_no_hole() -> None:
    held = skewed(12)
    world = World(chain("logs", "lake"), {"logs": held, "lake": held})
    for settled in range(6, 13):
        as_of = START + settled * WINDOW + world.pipeline.settle
        expected = [1] if settled == 12 else []  # nothing came after the last one
        told = gaps(world.reconcile(as_of=as_of))
        assert [finding.evidence["records"] for finding in told] == expected


def begun_anew(at: int, number: int, first: int = 5_000) -> Counter[Copy]:
    """Ten windows of a producer that goes on from another number after some windows."""
    held: Counter[Copy] = Counter()
    for window in range(10):
        base = first if window < at else number
        numbers = range(base + 20 * window, base + 20 * window + 20)
        held += run_of(window, "audit", "h1", numbers)
    return held


@pytest.mark.parametrize("number", [0, 1_000, 90_000, 3_000_000_000])
def test_a_hole_is_seen_before_and_after_a_producer_began_anew(number: int) -> None:
    held = begun_anew(5, number)
    missing = run_of(2, "audit", "h1", range(5_045, 5_048))
    missing += run_of(8, "audit", "h1", range(number + 165, number + 170))
    (finding,) = gaps(audited(held - missing))
    told = [
        finding.evidence[name] for name in ("records", "windows", "first_window", "last_window")
    ]
    assert told == [8, 2, iso(START + 2 * WINDOW), iso(START + 8 * WINDOW)]


def test_a_producer_that_began_anew_within_a_window_has_its_holes_before_and_after() -> None:
    held = begun_anew(5, 1_000) + run_of(5, "audit", "h1", range(5_100, 5_110))
    missing = run_of(2, "audit", "h1", range(5_045, 5_048))
    missing += run_of(8, "audit", "h1", range(1_165, 1_170))
    (finding,) = gaps(audited(held - missing))
    assert (finding.evidence["records"], finding.evidence["windows"]) == (8, 2)


def test_a_pause_that_ends_with_other_numbers_is_unknown() -> None:
    """The same whether they are higher or lower: a state that was lost gives either."""
    for number in (0, 90_000, 2_000_000_000):
        held = producer("h1", range(20)) + producer("h2", range(10))
        for window in range(16, 20):
            numbers = range(number + 20 * window, number + 20 * window + 20)
            held += run_of(window, "audit", "h2", numbers)
        report = audited(held)
        (finding,) = silent(report)
        assert (finding.evidence["origin"], finding.evidence["windows"]) == ("h2", 6)
        assert report.verdict == "unknown"


def test_a_pause_with_some_late_records_is_none() -> None:
    held = producer("h1", range(12)) + producer("h2", [0, 1, 2, 8, 9, 10, 11])
    late = run_of(2, "audit", "h2", [158])
    assert silent(audited(held - late + run_of(8, "audit", "h2", [158]))) == []


def test_numbers_of_a_great_producer_may_begin_anew_or_wrap() -> None:
    """Told by the SQL alone: so many records are not made for a test."""
    each = 300_000
    for first in (3_000_000_000, 2**32 - 3 * each - 100):
        begins = 150 * each + 100_000_000 if first == 3_000_000_000 else first
        numbers = [(begins if n < 150 else first) + each * n for n in range(160)]
        rows = [(n * WINDOW, at % 2**32, (at + each - 1) % 2**32) for n, at in enumerate(numbers)]
        rows = [(at, *((0, 2**32 - 1) if low > high else (low, high))) for at, low, high in rows]
        assert holes_of(rows, each) == []


def holes_of(rows: list[tuple[int, int, int]], each: int) -> list[tuple[object, ...]]:
    """What the question answers, of windows with their first and last number."""
    with connect() as connection:
        connection.execute(
            "CREATE TEMP TABLE seen AS SELECT 'logs' AS stage, 1 AS sample, 'a' AS stream, "
            "'h' AS origin, r[1] AS \"window\", $each AS records, r[2] AS seq_first, "
            "r[3] AS seq_last FROM (SELECT unnest($rows) AS r)",
            {"rows": [list(row) for row in rows], "each": each},
        )
        values = {"source": "logs", "window": WINDOW, "latest": 2**62, "horizon": 2**62}
        return ask(connection, "reconcile_holes", **values).fetchall()


def test_silent_windows_are_unknown_where_not_all_pairs_can_be_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with a year of many streams; garbage in a stream's place is not to fill the grid."""
    held = producer("h1", range(20), stream="access") + producer("h2", range(10))
    held += sum((run_of(n, f"x{n}", "h1", [n]) for n in range(20)), Counter())
    monkeypatch.setattr(grid, "_PAIRS_LIMIT", 100)
    report = audited(held)
    rows = report.balances.to_pylist()
    unknown = [row["window"] for row in rows if row["verdict"] == "unknown" and not row["against"]]
    assert len(unknown) == 10
    assert report.watermark == START + 10 * WINDOW
    assert len(rows) < 20 * 22


def test_as_of_and_known_at_are_told() -> None:
    report = audited(producer("h1", range(2)))
    assert (report.as_of, report.known_at, report.run) == (LATER, None, "r")


def test_a_producer_that_is_silent_for_long_counts_as_retired() -> None:
    held = producer("h1", range(6)) + producer("h2", range(3))
    world = World(chain("logs", "lake"), {"logs": held, "lake": held})
    (finding,) = silent(world.reconcile())
    waited = LATER - from_iso(finding.evidence["last_seen"])
    for retire_after, expected in ((waited, "unknown"), (waited - 1, "pass")):
        world.pipeline = world.pipeline.model_copy(update={"retire_after": retire_after})
        report = world.reconcile()
        assert report.verdict == expected
        assert verdicts(report, "lake", "source") == ["pass"] * 3 + [expected] * 3
    (finding,) = silent(report)
    assert (finding.severity, finding.evidence["origins"]) == ("info", ["h2"])
    assert "retired" in finding.message


def test_a_producer_that_came_back_was_retired_meanwhile() -> None:
    held = producer("h1", range(8)) + producer("h2", [0, 1, 2])
    held += run_of(6, "audit", "h2", range(220, 240)) + run_of(7, "audit", "h2", range(240, 260))
    world = World(chain("logs", "lake"), {"logs": held, "lake": held})
    for windows, expected in ((5, "unknown"), (3, "pass")):
        world.pipeline = world.pipeline.model_copy(update={"retire_after": windows * WINDOW})
        assert world.reconcile().verdict == expected


def test_a_stream_whose_producers_are_all_retired_is_not_silent() -> None:
    held = producer("h1", range(9), stream="access")
    for at in range(40):
        held += producer(f"pod-{at}", [0, 1, 2], each=1)
    world = World(chain("logs", "lake"), {"logs": held, "lake": held})
    world.pipeline = world.pipeline.model_copy(update={"retire_after": WINDOW})
    report = world.reconcile()
    assert report.verdict == "pass"
    (finding,) = silent(report)
    assert finding.evidence["retired"] == 40
    lake = held - run_of(2, "audit", "pod-1", [102])
    assert World(world.pipeline, {"logs": held, "lake": lake}).reconcile().verdict == "fail"
