"""The terminal report: what a person sees at 80 columns, on a pipe, without colour or Unicode."""

import io
from dataclasses import replace

import pyarrow as pa
import pytest
from rich.console import Console

from fidelity.report import (
    BALANCES,
    DIFFERENCES,
    Books,
    Collisions,
    Finding,
    Report,
    figures,
    from_iso,
    terminal,
)

WINDOW = from_iso("2026-03-01T10:00:00Z")


def a_balance(stage: str, after: str, against: str, lost: int, verdict: str) -> dict[str, object]:
    figures = {"observed": 1000 - lost, "expected": 1000, "delivered": 1000 - lost, "lost": lost}
    nothing = dict.fromkeys(("in_flight", "filtered", "unaudited", "duplicates", "unexpected"), 0)
    return {
        "stage": stage, "after": after, "against": against, "window": WINDOW, "stream": "access",
        **figures, **nothing, "completeness": 1 - lost / 1000, "measurable": True,
        "evidence": "peeled", "verdict": verdict, "settled": True, "reasons": [],
    }  # fmt: skip


def a_report() -> Report:
    def books(stage: str, after: str, against: str, lost: int = 0, **more: object) -> Books:
        verdict = "fail" if lost else "pass"
        return Books(
            stage, after, against, 541_234 - lost, 541_234, 541_234 - lost, lost=lost,
            completeness=1 - lost / 541_234, nines=3.25 if lost else None, nines_low=3.19,
            nines_high=3.31 if lost else None, measurable=True, verdict=verdict,
            windows={"pass": 4, "fail": 2} if lost else {"pass": 6}, **more,
        )  # fmt: skip

    rows = [
        a_balance("local", "source", "source", 334, "fail"),
        a_balance("lake", "local", "local", 3, "fail"),
        a_balance("lake", "local", "source", 337, "fail"),
        a_balance("mirror", "local", "local", 0, "pass"),
    ]
    return Report(
        pipeline="app-logs",
        run="r1",
        as_of=WINDOW + 7_200_000_000,
        known_at=None,
        verdict="fail",
        watermark=WINDOW,
        window=600_000_000,
        settle=1_800_000_000,
        collision_budget=Collisions(0.25, 0.0, "pairs / 2^32"),
        stages=(
            Books("source", None, None, 541_234, None, None, verdict="pass",
                  flaws={"malformed": 1}),
            books("local", "source", "source", 334),
            books("lake", "local", "local", 3),
            books("lake", "local", "source", 337, duplicates=1),
            books("mirror", "local", "local"),
            books("mirror", "local", "source", 334),
        ),
        coverage=(),
        balances=pa.Table.from_pylist(rows, schema=BALANCES),
        differences=DIFFERENCES.empty_table(),
        findings=(
            Finding(
                "lost", "error", "local", "334 records of host-3 are lost in 1 run.", {},
                "Read the file's head again: the shipper began at its end.",
            ),
            Finding("silent", "warning", "source", "host-5 \x1b[31mfell silent.", {}, ""),
        ),
    )  # fmt: skip


def printed(report: Report, width: int = 80, **console: object) -> str:
    out = io.StringIO()
    terminal.render(report, Console(file=out, width=width, **console))
    return out.getvalue()


class Ascii(io.StringIO):
    encoding = "ascii"


def test_every_stage_has_its_books_and_its_place_in_the_tree() -> None:
    text = printed(a_report())
    for part in ("source  541,234 records", "├── ✗ lake", "lost 334",
                 "from local: 541,231 of 541,234", "✓ mirror", "end to end",
                 "duplicates 1", "1 malformed",
                 "3.2 nines (3.1 to 3.3)", "at least 3.1 nines"):  # fmt: skip
        assert part in text, part


def test_no_line_is_wider_than_the_terminal() -> None:
    assert max(map(len, printed(a_report()).splitlines())) <= 80
    assert max(map(len, printed(a_report(), width=60).splitlines())) <= 60


def test_where_the_hop_is_the_whole_way_it_is_told_once() -> None:
    report = a_report()
    hosts = replace(report.stages[0], stage="hosts")
    hop = replace(report.stages[1], after="hosts", against="hosts")
    whole = replace(report.stages[1], after="hosts")
    text = printed(replace(report, stages=(hosts, hop, whole)))
    assert "from hosts" in text
    assert "end to end" not in text


def test_the_worst_windows_are_those_of_the_hop_where_it_happened() -> None:
    worst = printed(a_report()).split("Worst windows")[1].split("Findings")[0]
    assert worst.index("334") < worst.index("3 ")
    assert "337" not in worst
    assert "2026-03-01T10:00Z" in worst


@pytest.mark.parametrize("name", ["connection", "x" * 60])
def test_a_window_is_told_in_one_piece_whatever_the_names_beside_it(name: str) -> None:
    rows = [
        a_balance(stage, "local", "local", 3, "fail") | {"stream": name} for stage in ("lake", name)
    ]
    report = replace(a_report(), balances=pa.Table.from_pylist(rows, schema=BALANCES))
    worst = printed(report).split("Worst windows")[1].split("Findings")[0]
    assert worst.count("2026-03-01T10:00Z") == 2
    assert max(map(len, worst.splitlines())) <= 80


def test_findings_say_what_to_do() -> None:
    text = printed(a_report())
    assert "lost at local" in text
    assert "→ Read the file's head again" in text


def test_it_ends_with_the_watermark_and_the_verdict() -> None:
    *_, watermark, verdict = printed(a_report()).rstrip().splitlines()
    assert verdict.startswith("✗ FAIL")
    assert "before 2026-03-01T10:00:00Z passed" in watermark
    assert "Watermark: none" in printed(replace(a_report(), watermark=None))


def test_control_characters_of_the_data_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in printed(a_report())
    assert "\\x1b[31mfell" in printed(a_report())


def test_markup_in_a_name_is_shown_as_it_is() -> None:
    report = a_report()
    odd = replace(report.stages[0], stage="[red]x[/red]")
    assert "[red]x[/red]" in printed(replace(report, stages=(odd,)))


def test_verdicts_are_symbols_and_words_where_there_is_no_unicode() -> None:
    out = Ascii()
    terminal.render(a_report(), Console(file=out, width=80))
    assert "x fail" in out.getvalue()
    assert not set("✗✓→") & set(out.getvalue())


def test_a_report_that_saw_nothing_is_still_readable() -> None:
    empty = replace(
        a_report(), stages=(), findings=(), balances=BALANCES.empty_table(), verdict="unknown"
    )
    assert "UNKNOWN" in printed(empty)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1.0, "100 %"),
        (0.0, "0.00 %"),
        (0.5, "50.00 %"),
        (0.99938, "99.938 %"),
        (0.999999999, "99.9999999 %"),
        (0.99999999999, "99.999999999 %"),
        (0.998999, "99.89 %"),
    ],
)
def test_a_share_is_never_rounded_up_to_everything(share: float, text: str) -> None:
    assert figures.percent(share) == text


def test_nines_are_rounded_down_and_never_infinite() -> None:
    books = replace(a_report().stages[1], nines=None, nines_low=6.58, measurable=True)
    assert figures.nines(books) == "at least 6.5 nines"
    assert "not measurable" in figures.nines(replace(books, measurable=False))
