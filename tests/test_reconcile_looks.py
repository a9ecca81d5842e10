"""What one stage was read for after the last look at the other proves neither loss nor surplus."""

from pathlib import Path

import numpy as np
import pytest
from scans import LATER, START, append, lines, opened, pipeline

from fidelity.audit import audit, reconcile
from fidelity.config import Pipeline
from fidelity.reconcile.looks import began, looks_of
from fidelity.report import Books, Report
from fidelity.scan import scan
from fidelity.store.compact import compact
from fidelity.units import LOOKED, LedgerRow, Tally, Unit

WINDOW = 600_000_000


@pytest.fixture
def made(tmp_path: Path) -> Pipeline:
    """A source and a sink that both hold 3 windows of 200 records, and were audited."""
    for stage in ("source", "sink"):
        append(tmp_path / stage / "a.jsonl", lines("h1", 0, 600))
    made = pipeline(tmp_path, source="", sink="")
    assert audit(made, as_of=LATER).report.verdict == "pass"
    return made


def report(made: Pipeline) -> Report:
    return reconcile(made, as_of=LATER).report


def sink(made: Pipeline) -> Books:
    return report(made).stages[1]


def test_what_the_source_got_after_the_look_at_the_sink_is_not_lost(
    made: Pipeline, tmp_path: Path
) -> None:
    append(tmp_path / "source" / "a.jsonl", lines("h1", 600, 600))
    scan(made, opened(made), ["source"], as_of=LATER)
    found = report(made)
    assert (found.stages[1].lost, found.stages[1].unaudited) == (0, 600)
    assert found.verdict == "unknown"
    assert found.stages[1].reasons == ("unaudited",)
    assert len(found.differences) == 0
    (finding,) = [each for each in found.findings if each.kind == "unaudited"]
    assert (finding.stage, finding.evidence["windows"]) == ("sink", 3)
    assert audit(made, as_of=LATER).report.stages[1].lost == 600


def test_a_later_clock_is_not_a_later_look(made: Pipeline, tmp_path: Path) -> None:
    append(tmp_path / "source" / "a.jsonl", lines("h1", 600, 600))
    scan(made, opened(made), ["source"], as_of=START * 1_000_000)
    assert sink(made).unaudited == 600
    scan(made, opened(made), ["sink"], as_of=LATER // 2 + START * 500_000)
    assert sink(made).lost == 600


def test_a_loss_in_windows_that_did_not_grow_stays_a_loss(made: Pipeline, tmp_path: Path) -> None:
    append(tmp_path / "source" / "b.jsonl", lines("h2", 0, 10))
    assert audit(made, as_of=LATER).report.stages[1].lost == 10
    append(tmp_path / "source" / "a.jsonl", lines("h1", 600, 600))
    scan(made, opened(made), ["source"], as_of=LATER)
    books = sink(made)
    assert (books.lost, books.unaudited, books.verdict) == (10, 600, "fail")


def test_what_the_sink_got_after_the_look_at_the_source_is_not_unexpected(
    made: Pipeline, tmp_path: Path
) -> None:
    append(tmp_path / "sink" / "b.jsonl", lines("h1", 500, 400))  # 100 copies, 300 new ones
    scan(made, opened(made), ["sink"], as_of=LATER)
    found = report(made)
    books = found.stages[1]
    assert (books.duplicates, books.unexpected, books.verdict) == (100, 300, "unknown")
    assert len(found.differences) == 0
    assert [each.stage for each in found.findings if each.kind == "unaudited"] == ["source"]
    assert "Scan source again." in [each.action for each in found.findings]
    scan(made, opened(made), ["source"], as_of=LATER)
    assert sink(made).verdict == "fail"


def test_compaction_makes_no_look_older(tmp_path: Path) -> None:
    made = pipeline(tmp_path, source="", sink="")
    for part in range(2):
        append(tmp_path / "source" / "a.jsonl", lines("h1", 300 * part, 300))
        append(tmp_path / "sink" / "a.jsonl", lines("h1", 300 * part, 299))
        audit(made, as_of=LATER)
    assert sink(made).lost == 2
    compact(made.model_copy(update={"settle": -(2**62)}), opened(made))
    assert all(
        row.scan.startswith("merged:")
        for row in opened(made).ledger("source")
        if row.unit.kind == "text"
    )
    assert sink(made).lost == 2


def test_stages_are_looked_at_from_the_source_on_whatever_the_order_they_are_named_in(
    made: Pipeline, tmp_path: Path
) -> None:
    append(tmp_path / "source" / "a.jsonl", lines("h1", 600, 600))
    result = scan(made, opened(made), ["sink", "source"], as_of=LATER)
    assert [stage.stage for stage in result.stages] == ["source", "sink"]
    assert sink(made).lost == 600


def read(scan: str, first: int, last: int, at: int = 0) -> LedgerRow:
    tally = Tally(records=1, first_event=first, last_event=last)
    return LedgerRow(
        Unit("a", f"{scan}{first}", "text", "a.log", 0, 1), "read", scan, at, "", tally
    )


def looked(scan: str, at: int = 0) -> LedgerRow:
    return LedgerRow(Unit("b", LOOKED, "stage", "", 0, 0), "read", scan, at, "")


def test_a_scan_says_when_it_began_also_as_part_of_another() -> None:
    name = "20261121T053031.000123-00c0ffee"
    for each in (name, f"{name}-1", f"merged:{name}", f"merged:compact-{name}"):
        assert began(each) == "20261121T053031.000123"
    assert began("s1") == ""


def test_only_windows_that_a_later_unit_touches_are_open() -> None:
    starts = np.arange(6, dtype=np.int64).repeat(2) * WINDOW
    early, late = "20260101T000000.000001-a", "20260101T000000.000002-b"
    rows = [looked(early), read(early, 0, 0), read(late, 2 * WINDOW - 1, 3 * WINDOW)]
    grown = looks_of(rows).grown("a", "b", starts, WINDOW)
    assert grown[::2].tolist() == [False, True, True, True, False, False]
    assert (grown[::2] == grown[1::2]).all()
    assert looks_of([looked(early), read(late, -1, -1)]).grown("a", "b", starts, WINDOW).all()
    assert not looks_of([looked(late), *rows[1:]]).grown("a", "b", starts, WINDOW).any()
    assert not looks_of(rows[1:]).grown("a", "b", starts, WINDOW).any()


def test_scans_whose_names_say_nothing_are_told_apart_by_their_clocks() -> None:
    starts = np.zeros(1, np.int64)
    assert looks_of([looked("s1", 5), read("s2", 0, 0, 6)]).grown("a", "b", starts, WINDOW).all()
    assert not looks_of([looked("s1", 5), read("s1", 0, 0, 6)]).grown("a", "b", starts, 1).any()
