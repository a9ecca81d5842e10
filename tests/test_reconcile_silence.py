"""A source that lacks records cannot be missed downstream: silence and holes say so."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from reconcile_model import LATER, START, WINDOW, Copy, World, chain, run_of
from test_reconcile_coverage import kinds, unseen, verdicts

from fidelity.report import Finding, Report, from_iso


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
