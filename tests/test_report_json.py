"""The JSON report keeps its shape, and nothing is lost on the way through it."""

import json
from dataclasses import replace

import pyarrow as pa

from fidelity.report import (
    BALANCES,
    DIFFERENCES,
    Books,
    Collisions,
    Coverage,
    Finding,
    Report,
    from_iso,
    iso,
)
from fidelity.report.json import document, parse, render

WINDOW = from_iso("2026-03-01T10:00:00Z")
WORDS = """stage after against observed expected delivered lost in_flight filtered unaudited
duplicates unexpected flaws completeness nines nines_low nines_high measurable evidence verdict"""
STAGE_KEYS = set(WORDS.split())
DIFFERENCE_KEYS = ["stage", "against", "window", "stream", "origin", "sequence", "id", "kind"]
DIFFERENCE_KEYS += ["copies", "position"]


def a_report() -> Report:
    balance = {
        "stage": "lake",
        "after": "logs",
        "against": "source",
        "window": WINDOW,
        "stream": "audit",
        "observed": 9,
        "expected": 10,
        "delivered": 9,
        "lost": 1,
        "in_flight": 0,
        "filtered": 0,
        "unaudited": 0,
        "duplicates": 0,
        "unexpected": 0,
        "completeness": 0.9,
        "nines": 1.0,
        "nines_low": 0.35,
        "nines_high": 2.6,
        "measurable": False,
        "evidence": "peeled",
        "verdict": "fail",
        "settled": True,
        "reasons": ["lost"],
    }
    difference = {
        "stage": "lake",
        "against": "source",
        "window": WINDOW,
        "stream": "audit",
        "origin": "hôst-1",
        "sequence": 4_294_967_295,
        "id": 0x0000BEEF,
        "kind": "lost",
        "copies": 1,
        "position": None,
    }
    return Report(
        pipeline="logs",
        run="r1",
        as_of=WINDOW + 7_200_000_001,
        known_at=None,
        verdict="fail",
        watermark=None,
        window=600_000_000,
        settle=1_800_000_000,
        collision_budget=Collisions(0.25, 0.0, "pairs / 2^32"),
        stages=(
            Books("logs", None, None, 10, None, None, verdict="pass"),
            Books(
                "lake",
                "logs",
                "source",
                9,
                10,
                9,
                lost=1,
                flaws={"malformed": 2},
                reasons=("lost",),
            ),
        ),
        coverage=(Coverage("logs", 1, 10, 1700, 0, 0, 0, WINDOW, WINDOW, -1, 170.0),),
        balances=pa.Table.from_pylist([balance], schema=BALANCES),
        differences=pa.Table.from_pylist([difference], schema=DIFFERENCES),
        findings=(Finding("lost", "error", "lake", "1 record is lost", {"records": 1}, "replay"),),
    )


def test_what_is_rendered_can_be_read_back_whole() -> None:
    assert parse(render(a_report())) == a_report()


def test_the_text_is_the_document() -> None:
    assert json.loads(render(a_report())) == document(a_report())


def test_an_empty_report_is_valid_json_too() -> None:
    empty = replace(
        a_report(), balances=BALANCES.empty_table(), differences=DIFFERENCES.empty_table()
    )
    assert parse(render(empty)) == empty


def test_the_members_that_were_promised_are_there() -> None:
    doc = document(a_report())
    promised = {"pipeline", "run", "as_of", "verdict", "watermark", "collision_budget"}
    assert promised | {"stages", "balances", "differences", "findings"} <= set(doc)
    assert set(doc["stages"][0]) >= STAGE_KEYS
    assert {*STAGE_KEYS, "window", "stream"} <= set(doc["balances"][0])
    assert list(doc["differences"][0]) == DIFFERENCE_KEYS
    assert set(doc["findings"][0]) == {"kind", "severity", "stage", "message", "evidence", "action"}


def test_windows_are_iso_and_ids_are_eight_hex_digits() -> None:
    difference = document(a_report())["differences"][0]
    assert difference["window"] == "2026-03-01T10:00:00Z"
    assert difference["id"] == "0000beef"
    assert document(a_report())["stages"][0]["against"] is None


def test_times_go_through_text_unchanged() -> None:
    for moment in (0, -600_000_000, WINDOW, WINDOW + 1, 253_402_300_799_999_999, 2**62):
        assert from_iso(iso(moment)) == moment
