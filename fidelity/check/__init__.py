"""Check: a report is held against the targets, and against the user's own expectations.

The report's figures become small tables, targets become expectations over them, Great Expectations
answers. Law: where the report and this judge the same, they agree, since both ask
`report.judging`; what was not seen is never passed, and what has not settled is not judged.
"""

from collections.abc import Sequence

from fidelity.check import great
from fidelity.check.balances import TARGETS, balances, streams_unseen
from fidelity.check.checked import Checked, Expected, Judgement, Row
from fidelity.check.lags import lags, lags_untold
from fidelity.check.own import add_own, refuse_unknown
from fidelity.check.questions import JUDGED, PENDING, UNKNOWN, UNPROVEN, Question, Table
from fidelity.check.totals import stages, watermark
from fidelity.config import Pipeline
from fidelity.report import Report, Verdict

__all__ = ["Checked", "Expected", "Row", "check"]

_ORDER = {"fail": 0, "unknown": 1, "not measurable": 2, "not judged": 3}


def check(pipeline: Pipeline, report: Report) -> Checked:
    """Hold a report, all of it or narrowed, against the pipeline's targets and expectations.

    Raises:
        ConfigError: an expectation of the user's is not one of Great Expectations', or cannot be
            judged.
        UsageError: Great Expectations is not installed.
    """
    refuse_unknown(pipeline)
    tables = [
        balances(pipeline, report),
        lags(pipeline, report),
        stages(pipeline, report),
        watermark(pipeline, report),
    ]
    named = {table.name: table for table in tables}
    unanswered = add_own(pipeline, named)
    answers, results = great.answer(tables)
    unanswered += lags_untold(pipeline, report)
    unseen = streams_unseen(pipeline, report)
    rows = [*unanswered, *unseen, *(row for each in answers for row in _rows(each))]
    rows += [row for table in tables for each in table.questions for row in _unproven(each)]
    expected = _expected(tables, answers, unanswered)
    expected += (Expected(TARGETS, "balances", "", "not judged"),) if unseen else ()
    verdict = _verdict([each.verdict for each in expected])
    return Checked(
        report.pipeline,
        report.run,
        report.as_of,
        report.within,
        verdict,
        expected,
        _sorted(rows),
        tuple(results),
    )


def _rows(answer: great.Answer) -> list[Row]:
    if answer.success:
        return []
    if not answer.about_rows:
        return [answer.question.tell(-1, answer.observed)]
    return [answer.question.tell(at, JUDGED) for at in answer.rows]


def _unproven(question: Question) -> list[Row]:
    return [
        question.tell(at, UNPROVEN) for at, state in enumerate(question.states) if state == UNPROVEN
    ]


def _sorted(rows: list[Row]) -> tuple[Row, ...]:
    """Worst first: failed before unknown, where it came about before where it is seen again."""
    return tuple(sorted(rows, key=lambda row: (_ORDER[row.verdict], row.elsewhere, -row.records)))


def _expected(
    tables: Sequence[Table], answers: Sequence[great.Answer], unanswered: Sequence[Row]
) -> tuple[Expected, ...]:
    by_question = {id(each.question): each for each in answers}
    found = []
    names: set[str] = set()
    for table in tables:
        for question in table.questions:
            if question.own or question.name not in names:
                names.add(question.name)
                found.append(_tally(question, by_question.get(id(question))))
    nothing = [
        Expected(row.expectation, "", row.expectation, "unknown", unknown=1) for row in unanswered
    ]
    return (*found, *nothing)


def _tally(question: Question, answer: great.Answer | None) -> Expected:
    """Counts of rows; of an expectation about a whole table, of that one."""
    count = {state: int((question.states == state).sum()) for state in range(5)}
    missed, tolerated, judged = 0, 0, count[JUDGED]
    if answer is not None:
        missed, tolerated = answer.missed, answer.tolerated
        judged = answer.judged if question.own else judged
        judged = judged if answer.about_rows else 1
    warns = question.severity == "warning"
    failed, unknown = (0, missed) if warns else (missed, count[UNKNOWN])
    return Expected(
        question.name,
        question.over,
        question.kind,
        _of(failed, unknown, judged - missed, count[PENDING], count[UNPROVEN]),
        passed=judged - missed - tolerated,
        failed=failed,
        unknown=unknown,
        pending=count[PENDING],
        not_measurable=count[UNPROVEN],
        tolerated=tolerated,
        observed=None if answer is None else answer.observed,
    )


def _of(failed: int, unknown: int, passed: int, pending: int, unproven: int) -> Judgement:
    """Any fail, else any unknown, else what could not be proven, else any pass, else pending.

    Not judged: no row is about it, as of flaws in a report of some windows.
    """
    counts: dict[Judgement, int] = {
        "fail": failed,
        "unknown": unknown,
        "not measurable": unproven,
        "pass": passed,
        "pending": pending,
    }
    return next((verdict for verdict, count in counts.items() if count), "not judged")


def _verdict(verdicts: Sequence[str]) -> Verdict:
    order: tuple[Verdict, ...] = ("fail", "unknown", "pass", "pending")
    return next((verdict for verdict in order if verdict in verdicts), "unknown")
