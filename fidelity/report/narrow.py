"""A report narrowed to some stages or windows: the same rows, fewer of them, added up again.

The watermark and the findings stay those of the whole: a hole elsewhere is still a hole.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fidelity.report import (
    COUNTS,
    EVIDENCE,
    Books,
    Report,
    Verdict,
    with_plain_window,
    worst_verdict,
)
from fidelity.report.nines import nines


def narrowed(report: Report, stages: Collection[str], window: tuple[int, int] | None) -> Report:
    """The report of these stages (none: all) in the windows that start in [from, to)."""
    if not stages and window is None:
        return report
    balances, differences, lags = report.balances, report.differences, report.lags
    books, coverage, findings = report.stages, report.coverage, report.findings
    if stages:
        balances, differences, lags = (_of(each, stages) for each in (balances, differences, lags))
        books = tuple(each for each in books if each.stage in stages)
        coverage = tuple(each for each in coverage if each.stage in stages)
        findings = tuple(each for each in findings if each.stage in stages)
    if window is not None:
        tables = (balances, differences, lags)
        balances, differences, lags = (_within(each, *window) for each in tables)
        books = tuple(_added_up(each, balances) for each in books)
    return replace(
        report,
        verdict=worst_verdict([each.verdict for each in books if each.windows or window is None]),
        stages=books,
        coverage=coverage,
        findings=findings,
        balances=balances,
        differences=differences,
        lags=lags,
        within=_both(report.within, window),
        only=tuple(stages) or report.only,
    )


def _both(before: tuple[int, int] | None, window: tuple[int, int] | None) -> tuple[int, int] | None:
    if before is None or window is None:
        return before if window is None else window
    return max(before[0], window[0]), min(before[1], window[1])


def _of(table: pa.Table, stages: Collection[str]) -> pa.Table:
    return table.filter(pc.is_in(table["stage"], value_set=pa.array(list(stages), pa.string())))


def _within(table: pa.Table, start: int, end: int) -> pa.Table:
    at = with_plain_window(table)["window"]
    return table.filter(pc.and_(pc.greater_equal(at, start), pc.less(at, end)))


def _added_up(books: Books, balances: pa.Table) -> Books:
    """The books of what is left in `balances` of their stage and reference."""
    against = pc.is_null(balances["against"])
    if books.against is not None:
        against = pc.equal(balances["against"], books.against)
    rows = balances.filter(pc.and_(pc.equal(balances["stage"], books.stage), against))
    sums: dict[str, Any] = {name: pc.sum(rows[name]).as_py() or 0 for name in COUNTS}
    source = books.against is None
    due = sums["expected"] - sums["filtered"]
    proof = nines(due - sums["delivered"], due) if not source else nines(0, 0)
    evidence = [each for each in EVIDENCE if each in set(rows["evidence"].to_pylist())]
    return replace(
        books,
        **sums | ({"expected": None, "delivered": None} if source else {}),
        flaws={},  # a flawed record has no window that could be trusted
        completeness=sums["delivered"] / due if due and not source else None,
        nines=proof.nines,
        nines_low=proof.low,
        nines_high=proof.high,
        measurable=bool(pc.all(rows["measurable"]).as_py()),
        evidence=evidence[-1] if evidence else None,
        verdict=worst_verdict(rows["verdict"].to_pylist()),
        reasons=tuple(sorted({why for each in rows["reasons"].to_pylist() for why in each})),
        windows=_windows(rows),
    )


def _windows(rows: pa.Table) -> dict[str, int]:
    verdicts: dict[Any, list[Verdict]] = {}
    windows = with_plain_window(rows)["window"].to_pylist()
    for window, verdict in zip(windows, rows["verdict"].to_pylist(), strict=True):
        verdicts.setdefault(window, []).append(verdict)
    # A window with one stream pending is pending, though another's part of it passed.
    told = ["pending" if "pending" in each else worst_verdict(each) for each in verdicts.values()]
    return {verdict: told.count(verdict) for verdict in sorted(set(told))}
