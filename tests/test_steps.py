"""The steps of a scheduled audit: repeatable, in any order of scans, with plain answers."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from audits import LAKE, SOURCE, START, Folder, lines

from fidelity import audit, steps
from fidelity.check.alarm import alarm
from fidelity.check.checked import Checked, Row
from fidelity.errors import SourceError, UsageError
from fidelity.report.json import render
from fidelity.steps import Interval

HOUR = timedelta(hours=1)
Between = Callable[..., Interval]


@pytest.fixture
def faulty(tmp_path: Path) -> Folder:
    """Two hours; in the first one 5 records are lost and 3 are doubled at the lake."""
    folder, made = Folder(tmp_path), lines(240)
    folder.put("source/a", made)
    folder.put("lake/a", made[:50] + made[55:] + made[60:63])
    return folder


def between(folder: Folder, start: datetime, end: datetime, **more: Any) -> Interval:
    return Interval(str(folder.file), "trial", start, end, **more)


def kept(asked: Interval) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(render(audit.kept(asked.pipeline, run=asked.run).report))
    return document


@pytest.mark.parametrize("order", [("source", "lake"), ("lake", "source")])
def test_scans_in_any_order_establish_what_is_lost_and_what_is_doubled(
    order: tuple[str, ...], faulty: Folder
) -> None:
    asked = between(faulty, START, START + HOUR)
    for stage in order:
        steps.scan(between(faulty, START, START + HOUR, stage=stage))
    apart = audit.reconcile(asked.pipeline, as_of=asked.as_of, keep=False).report.stages[1]
    assert "unaudited" in apart.reasons  # two scans alone cannot tell
    assert steps.reconcile(asked)["value"] == "fail"
    books = next(row for row in kept(asked)["stages"] if row["stage"] == "lake")
    assert (books["lost"], books["duplicates"], books["unaudited"]) == (5, 3, 0)


def test_what_is_new_is_named_and_then_nothing_is(faulty: Folder) -> None:
    asked = between(faulty, START, START + HOUR)
    assert steps.plan(asked) == {"value": ["source", "lake"]}
    steps.scan(between(faulty, START, START + HOUR, stage="source"))
    assert steps.plan(asked) == {"value": ["lake"]}
    steps.reconcile(asked)
    assert steps.plan(asked) == {"value": []}


def test_a_run_again_has_the_same_name_and_replaces_its_rows(faulty: Folder) -> None:
    asked = between(faulty, START, START + HOUR)
    steps.reconcile(asked)
    first = kept(asked)
    assert steps.reconcile(asked)["report"].endswith(f"/runs/{asked.run}.json.gz")
    for rows in ("stages", "balances", "differences"):
        assert kept(asked)[rows] == first[rows]
    faulty.put("lake/late", lines(60)[50:55])
    steps.reconcile(asked)
    assert kept(asked)["stages"][1]["lost"] == 0
    assert len(list((faulty.path / "store" / "runs").iterdir())) == 1


def test_a_run_is_judged_as_of_its_last_window_s_settling(faulty: Folder) -> None:
    asked = between(faulty, START, START + HOUR)  # windows of 10 minutes, settled after 5
    assert asked.settled == START + timedelta(minutes=65)
    steps.reconcile(asked)
    verdicts = {row["window"]: row["verdict"] for row in kept(asked)["balances"]}
    assert verdicts["2026-03-01T10:50:00Z"] == "pass"
    assert verdicts["2026-03-01T11:00:00Z"] == "pending"


@pytest.mark.parametrize(
    ("start", "end", "windows"), [(0, 60, 6), (5, 15, 1), (1, 9, 0), (0, 1, 1)]
)
def test_intervals_that_follow_each_other_audit_each_window_once(
    start: int, end: int, windows: int, faulty: Folder
) -> None:
    first, last = (START + timedelta(minutes=at) for at in (start, end))
    asked = between(faulty, first, last)
    of, to = asked.windows
    assert (to - of) // asked.pipeline.window == windows
    answer = steps.plan(asked)
    assert ("nothing" in answer) == (windows == 0)
    if windows == 0:
        assert steps.reconcile(asked) == answer


def test_before_its_windows_have_settled_a_run_waits_and_closes_no_books(faulty: Folder) -> None:
    now = datetime.now(UTC)
    asked = between(faulty, now - HOUR, now)
    assert steps.plan(asked) == {"wait": asked.settled.isoformat()}
    with pytest.raises(UsageError, match="settle at"):
        steps.reconcile(asked)


def test_hours_of_which_nothing_was_seen_are_unknown(faulty: Folder) -> None:
    asked = between(faulty, START - 5 * HOUR, START - 4 * HOUR)
    steps.reconcile(asked)
    answer = steps.check(asked)
    assert answer["verdict"] == "unknown"
    assert "nothing was seen of these windows at any stage" in answer["text"]


def test_a_check_is_of_the_interval_alone_and_says_where_its_page_is(faulty: Folder) -> None:
    for hour, verdict in ((0, "fail"), (1, "pass")):
        asked = between(faulty, START + hour * HOUR, START + (hour + 1) * HOUR)
        steps.reconcile(asked)
        answer = steps.check(asked)
        assert answer["verdict"] == verdict
        assert Path(answer["report"]).exists()
        assert ("lake against source, access, 2026-03-01T10:20Z: fail, 5 records" in
                answer["text"]) == (verdict == "fail")  # fmt: skip


def test_a_stage_out_of_reach_is_an_error_until_the_last_try(faulty: Folder) -> None:
    gone = 'lake: {kind: kafka, after: source, brokers: "127.0.0.1:1", topic: t}'
    faulty.configure(SOURCE, gone)
    with pytest.raises(SourceError):
        steps.reconcile(between(faulty, START, START + HOUR, last_try=False))
    assert steps.reconcile(between(faulty, START, START + HOUR))["value"] == "unknown"
    faulty.configure(SOURCE, LAKE)


def asked_of_a_process(step: str, folder: Folder, tmp_path: Path) -> tuple[int, Any, str]:
    question = {"file": str(folder.file), "dag": "trial"}
    question |= {"start": START.isoformat(), "end": (START + HOUR).isoformat()}
    answer = tmp_path / "answer.json"
    done = subprocess.run(
        [sys.executable, "-m", "fidelity.steps", step, str(answer)],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, json.loads(answer.read_text()), done.stdout + done.stderr


def test_a_process_answers_in_json_and_prints_for_people(faulty: Folder, tmp_path: Path) -> None:
    status, answer, told = asked_of_a_process("reconcile", faulty, tmp_path)
    assert (status, answer["value"]) == (0, "fail")
    assert "5 records are lost between source and lake" in told


def test_a_mistake_is_told_without_a_traceback_and_without_secrets(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.configure(SOURCE, 'lake: {kind: nfs, options: {"sasl.password": hush-hush}}')
    status, answer, told = asked_of_a_process("plan", folder, tmp_path)
    assert (status, answer["kind"]) == (2, "ConfigError")
    assert "nfs" in answer["error"]
    assert "Traceback" not in told
    assert "hush" not in told + json.dumps(answer)


def test_a_file_that_is_no_pipeline_says_what_is_wrong_and_where(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.file.write_text("pipeline: trial\n  stages: [\n")
    status, answer, told = asked_of_a_process("plan", folder, tmp_path)
    assert (status, answer["kind"]) == (2, "ConfigError")
    assert "pipeline.yaml" in told
    assert "line 2" in told


def row(number: int, **more: Any) -> Row:
    window = 1_772_359_200_000_000 + number * 600_000_000
    base: dict[str, Any] = {
        "expectation": "completeness", "stage": "lake", "against": "source", "stream": "app\x1b[1m",
        "window": window, "observed": 0.5, "target": 1.0, "verdict": "fail", "message": "half.",
        "action": "", "records": number,
    }  # fmt: skip
    return Row(**(base | more))


def test_an_alarm_says_stage_stream_window_and_count_and_stays_short() -> None:
    rows = tuple(row(number) for number in range(1, 15))
    elsewhere = (row(99, elsewhere=True),)
    text = alarm(Checked("p", "r", 0, (0, 600_000_000), "fail", (), rows + elsewhere))
    told = text.splitlines()
    assert told[0] == "FAIL p, windows from 1970-01-01T00:00Z to 1970-01-01T00:10Z"
    assert told[1] == (
        "lake against source, app\\x1b[1m, 2026-03-01T10:10Z: fail, 1 record, completeness: half."
    )
    assert told[-1] == "... and 4 more"
    assert len(told) == 12
    assert "99 records" not in text


def test_an_alarm_of_nothing_seen_says_so() -> None:
    text = alarm(Checked("p", "r", 0, None, "unknown", (), ()))
    assert text == "UNKNOWN p\nnothing was seen of these windows at any stage"
