"""The targets of whole stages and of the pipeline: flaws, and the age of the watermark."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fidelity.check import words
from fidelity.check.checked import Row
from fidelity.check.questions import (
    JUDGED,
    NOT_ASKED,
    PENDING,
    UNKNOWN,
    UNPROVEN,
    Question,
    Table,
    at_most,
    judged,
    known,
)
from fidelity.config import Pipeline
from fidelity.reconcile.books import BLIND
from fidelity.report import BALANCES, Books, Report, with_plain_window
from fidelity.report.judging import beyond, enough, needed, share_of

_FROM_BOOKS = (
    "stage", "after", "against", "observed", "expected", "delivered", "lost", "in_flight",
    "filtered", "unaudited", "duplicates", "unexpected", "completeness", "nines", "nines_low",
    "nines_high", "evidence", "verdict",
)  # fmt: skip


def stages(pipeline: Pipeline, report: Report) -> Table:
    """The table of stages: flaws, and what was not seen and has no window."""
    books = report.stages
    data = pa.table(
        {
            name: pa.array([getattr(each, name) for each in books], BALANCES.field(name).type)
            for name in _FROM_BOOKS
        }
    )
    settled = np.array([each.verdict != "pending" for each in books], np.bool_)
    table = Table("stages", data, settled)
    table.add(reasons=pa.array([",".join(each.reasons) for each in books], pa.string()))
    whole = {each.stage: each.records for each in report.coverage}
    records = np.array([whole.get(each.stage, 0) for each in books], np.int64)
    flawed = np.array([sum(each.flaws.values()) for each in books], np.int64)
    told = np.full(len(books), report.within is None)
    table.add(records=pa.array(records), flawed=pa.array(flawed, mask=~told))
    _ask_flaws(pipeline, report, table, flawed, records)
    _ask_seen(report, table)
    return table


def _ask_flaws(pipeline: Pipeline, report: Report, table: Table, flawed: Any, records: Any) -> None:
    books, most = report.stages, pipeline.targets.flaws
    target = np.full(len(books), 0.0 if most is None else most)
    states = np.full(len(books), JUDGED, np.int8)
    states[~enough(records, 1 - target) & ~beyond(flawed, records, target)] = UNPROVEN
    names = [each.stage for each in books]
    again = np.array([name in names[:at] for at, name in enumerate(names)], bool)
    # A flawed record has no window that could be trusted, so in some windows there are none.
    states[again | (records == 0) | (most is None) | (report.within is not None)] = NOT_ASKED
    table.add(
        flaws_share=judged(share_of(flawed, records), states),
        flaws_target=pa.array(target, mask=np.full(len(books), most is None)),
    )
    if most is None:
        return

    def tell(at: int, state: int) -> Row:
        part, total = int(flawed[at]), int(records[at])
        unproven = state == UNPROVEN
        stage = books[at].stage
        return _row(
            "flaws",
            stage,
            observed=part / total,
            target=most,
            verdict="not measurable" if unproven else "fail",
            message=words.unproven("flaws", total, most, needed(1 - most))
            if unproven
            else words.missed("flaws", part, total, most),
            action="Judge it over a longer time."
            if unproven
            else words.action("flaws", stage, "", []),
            records=part,
        )

    notes = "Records that cannot be used are at most this share of what was read."
    put = at_most("flaws_share", "flaws_target", states, notes=notes)
    table.questions.append(Question(name="flaws", over="stages", tell=tell, **put))


def _ask_seen(report: Report, table: Table) -> None:
    """What no window tells: a stage in which nothing was seen, unread units without a time."""
    why = [_unseen(report, books) for books in report.stages]
    states = np.array([_seen_state(report, books) for books in report.stages], np.int8)
    told = [
        ",".join(each) if each and state == JUDGED else None
        for each, state in zip(why, states.tolist(), strict=True)
    ]
    table.add(unknown=pa.array(told, pa.string()))

    def tell(at: int, state: int) -> Row:  # noqa: ARG001 - there is one state only
        books, reasons = report.stages[at], why[at]
        return _row(
            "seen",
            books.stage,
            against=books.against,
            observed=",".join(reasons),
            target=None,
            verdict="unknown",
            message=words.unknown(reasons),
            action=words.unknown_action(reasons),
        )

    notes = "Something was seen at the stage, and no unread unit may hold records of any time."
    put = known("unknown", states, notes=notes)
    table.questions.append(Question(name="stage seen", over="stages", tell=tell, **put))


def _seen_state(report: Report, books: Books) -> int:
    if report.within is not None and not books.windows:
        return NOT_ASKED  # nothing of it is among these windows
    return PENDING if books.verdict == "pending" else JUDGED


def _unseen(report: Report, books: Books) -> list[str]:
    against = pc.is_null(report.balances["against"])
    if books.against is not None:
        against = pc.equal(report.balances["against"], books.against)
    here = pc.and_(pc.equal(report.balances["stage"], books.stage), against)
    rows = report.balances.filter(here)
    if len(rows) == 0:
        return ["nothing"]
    told = {why for each in rows["reasons"].to_pylist() for why in each}
    return [why for why in books.reasons if why in BLIND and why not in told]


def watermark(pipeline: Pipeline, report: Report) -> Table:
    """The table of the pipeline: one row, how old the watermark is."""
    most = pipeline.targets.watermark_age
    age, state, why = _age(report, most)
    states = np.array([state], np.int8)
    names = {"pipeline": [report.pipeline], "run": [report.run]}
    table = Table("pipeline", pa.table(names), states != PENDING)
    asked = most is not None
    table.add(
        watermark_age_us=judged(np.array([age]), states),
        watermark_age_target_us=pa.array([None if most is None else float(most)], pa.float64()),
        unknown=pa.array([why if asked else None], pa.string()),
    )
    if most is None:
        return table

    def tell(at: int, state: int) -> Row:  # noqa: ARG001 - there is one row only
        return _row(
            "watermark_age",
            "",
            observed=None if why else age,
            target=most,
            verdict="unknown" if why else "fail",
            message=words.unknown([why]) if why else old,
            action=words.OLD_ACTION,
        )

    old = words.old(report.as_of, report.watermark, age, most)
    notes = "as_of - watermark, microseconds: all windows before the watermark passed."
    put = at_most("watermark_age_us", "watermark_age_target_us", states, notes=notes)
    table.questions.append(Question(name="watermark_age", over="pipeline", tell=tell, **put))
    if state != PENDING:
        judge = np.array([JUDGED], np.int8)
        put = known("unknown", judge, notes="The watermark's age is known.")
        table.questions.append(Question(name="watermark_age", over="pipeline", tell=tell, **put))
    return table


def _age(report: Report, most: int | None) -> tuple[int, int, str | None]:
    """The watermark's age or a lower bound of it, its state, and why it is unknown."""
    if most is None:
        return 0, NOT_ASKED, None
    if report.watermark is not None:
        return report.as_of - report.watermark, JUDGED, None
    first = pc.min(with_plain_window(report.balances)["window"]).as_py()
    if first is not None and report.as_of - first > most:
        return report.as_of - first, JUDGED, None  # it would be no later than the first window
    if set(report.balances["verdict"].to_pylist()) == {"pending"}:
        return 0, PENDING, None
    return 0, UNKNOWN, "no window has passed yet"


def _row(name: str, stage: str, *, against: str | None = None, **more: Any) -> Row:
    return Row(name, stage=stage, against=against, stream="", window=None, **more)
