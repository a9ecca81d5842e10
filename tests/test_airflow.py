"""A real Airflow 3 audits a day hour by hour: what is wrong in an hour fails that hour's run."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import zstandard
from airflows import (
    DAY,
    DOUBLED_AT_LAKE,
    FAULTY,
    HOURS,
    LOST_AT_LAKE,
    LOST_AT_QUEUE,
    STAGES,
    Scheduled,
    hour_of,
    pipeline,
)
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from rich.console import Console
from scans import in_force, opened

from examples.airflow import environment, family
from examples.processes import ROOT
from fidelity import audit
from fidelity.config import load
from fidelity.identity import id_of, producer_seed
from fidelity.report import Report
from fidelity.report.json import render
from fidelity.report.narrow import narrowed
from fidelity.report.opentsdb import points
from fidelity.report.terminal import render as print_report
from fidelity.steps import Interval

pytestmark = pytest.mark.timeout(900)

HEAVY = ("pyarrow", "duckdb", "numba", "pandas", "pyspark", "great_expectations", "deltalake")
PARSE = f"""
import json, sys
before = set(sys.modules)
import fidelity_dags
new = set(sys.modules) - before
heavy = [name for name in {HEAVY!r} if name in sys.modules]
dags = {{d.dag_id: d for d in vars(fidelity_dags).values() if isinstance(d, fidelity_dags.DAG)}}
print(json.dumps({{
    "heavy": heavy,
    "fidelity": sorted(name for name in new if name.split(".")[0] == "fidelity"),
    "dags": {{
        name: {{
            "tasks": {{task.task_id: sorted(task.upstream_task_ids) for task in dag.tasks}},
            "tags": sorted(dag.tags), "page": dag.doc_md, "at_once": dag.max_active_runs,
            "catchup": dag.catchup, "description": dag.description,
        }}
        for name, dag in dags.items()
    }},
}}))
"""


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Airflow's own Python makes of the DAG file, for a folder of good and bad files."""
    folder = tmp_path_factory.mktemp("pipelines")
    (folder / "good.yaml").write_text(pipeline(folder / "good"))
    (folder / "good.yml").write_text(pipeline(folder / "good"))
    (folder / "no yaml.yaml").write_text("pipeline: [\n")
    (folder / "other.yaml").write_text("{a: 1}\n")
    (folder / "latin.yaml").write_bytes(b"pipeline: \xe9\n")
    (folder / "note.txt").write_text("not a pipeline")
    (folder / "gone.yaml").symlink_to(folder / "nowhere")
    told = subprocess.run(
        [environment.fetched(), "-c", PARSE],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "airflow_dags"),
            "FIDELITY_PIPELINES": str(folder),
            "AIRFLOW_HOME": str(folder / "home"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    found: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    return found


def test_the_dag_file_is_parsed_without_any_heavy_library_or_fidelity_itself(
    parsed: dict[str, Any],
) -> None:
    assert parsed["heavy"] == []
    assert parsed["fidelity"] == []


def test_each_pipeline_file_has_a_dag_whatever_the_others_are(parsed: dict[str, Any]) -> None:
    names = {"good", "good.yml", "no_yaml", "other", "latin", "gone"}
    assert set(parsed["dags"]) == names
    broken = {name for name, dag in parsed["dags"].items() if "broken" in dag["tags"]}
    assert broken == names - {"good", "good.yml"}
    for name in broken:
        assert "Every run fails until it is mended" in parsed["dags"][name]["page"]


def test_a_dag_closes_the_books_after_every_scan_and_one_run_at_a_time(
    parsed: dict[str, Any],
) -> None:
    dag = parsed["dags"]["good"]
    assert dag["at_once"] == 1
    assert dag["catchup"] is False
    assert dag["tasks"] == {
        "plan": [],
        "scan": ["plan"],
        "reconcile": ["plan", "scan"],
        "check": ["reconcile"],
        "publish": ["reconcile"],
    }


def test_no_file_takes_another_s_dag_away(scheduled: Scheduled) -> None:
    assert scheduled.airflow.get("importErrors")["import_errors"] == []
    dag = scheduled.airflow.get("dags/broken")
    assert "broken" in {tag["name"] for tag in dag["tags"]}
    assert "broken.yaml cannot be read" in dag["description"]


def test_the_scheduler_waits_for_settle_without_a_slot_and_then_audits(
    scheduled: Scheduled,
) -> None:
    folder, now = scheduled.data / "waits", datetime.now(UTC)
    end = now.replace(minute=0, second=0, microsecond=0)
    for stage in STAGES:
        (folder / stage).mkdir(parents=True)
        (folder / stage / "a").write_bytes(b"".join(hour_of(0, end - timedelta(hours=1)).values()))
    enough = 20 + 2 * scheduled.airflow.start_seconds  # for a busy machine to begin the run
    settle = now - end + timedelta(seconds=enough)
    file = scheduled.airflow.pipelines / "waits.yaml"
    file.write_text(pipeline(folder, settle=f"{settle.total_seconds():.0f}s"))
    scheduled.unpause("waits")

    def deferred() -> bool:
        return any(task["state"] == "deferred" for task in scheduled.tasks("waits"))

    scheduled.airflow.until(deferred, "a deferred task", 300)
    (run,) = scheduled.done("waits", "scheduled", 1)
    assert run["state"] == "success"
    assert run["data_interval_end"] == f"{end:%FT%TZ}"
    tasks = {task["task_id"]: task for task in scheduled.tasks("waits", run["dag_run_id"])}
    begun = datetime.fromisoformat(tasks["reconcile"]["start_date"])
    assert begun >= end + settle
    assert tasks["publish"]["state"] == "skipped"  # nothing is named to publish to
    assert "every window" in scheduled.log("waits", run["dag_run_id"], "reconcile")


def test_a_scan_that_is_killed_half_way_is_retried_and_the_rows_are_the_same(
    scheduled: Scheduled,
) -> None:
    folder = scheduled.data / "killed"
    for stage in STAGES:
        (folder / stage).mkdir(parents=True)
        (folder / stage / "a").write_bytes(b"".join(hour_of(0).values()))
    long = folder / "source" / "long"
    block = b"".join(line for hour in range(HOURS) for line in hour_of(hour).values())
    long.write_bytes(zstandard.compress(block * 300, 1))  # read by one worker, for a while
    scheduled.unpause("killed")
    step = scheduled.airflow.until(lambda: reader_of("killed", long), "a scan", 300, 0.01)
    os.kill(parent(step), signal.SIGKILL)
    scheduled.airflow.until(lambda: not command(step), "the end of the step", 60)
    (run,) = scheduled.done("killed", "scheduled", 1)
    scans = [t for t in scheduled.tasks("killed", run["dag_run_id"]) if t["task_id"] == "scan"]
    assert sorted(scan["try_number"] for scan in scans) == [1, 1, 2]
    assert {scan["state"] for scan in scans} == {"success"}
    audited = load(scheduled.airflow.pipelines / "killed.yaml")
    undisturbed = audited.model_copy(update={"store": f"{folder}/other"})
    audit.scan(undisturbed)
    assert in_force(opened(audited)) == in_force(opened(undisturbed))


def reader_of(dag: str, file: Path) -> int:
    """The process of the step `scan` of a DAG that has a file open, itself or a worker; or 0."""
    for step in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        said = command(step)
        mine = "fidelity.steps scan" in said and f"fidelity-{dag}-" in said
        if mine and any(opens(process, file) for process in (step, *family(step))):
            return step
    return 0


def opens(process: int, file: Path) -> bool:
    with contextlib.suppress(OSError):  # it has just ended, or closed what it had open
        return any(os.readlink(link) == str(file) for link in Path(f"/proc/{process}/fd").iterdir())
    return False


def command(process: int) -> str:
    """How a process was called; "" once it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
    return ""


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture(scope="module")
def day(scheduled: Scheduled) -> list[dict[str, Any]]:
    """The runs of the day, hour by hour, after the backfill."""
    return scheduled.done("day", "backfill", HOURS, 1200)


def test_just_the_hours_with_planted_faults_fail(
    scheduled: Scheduled, day: list[dict[str, Any]]
) -> None:
    assert [run["data_interval_start"] for run in day] == [
        f"{DAY + timedelta(hours=hour):%FT%TZ}" for hour in range(HOURS)
    ]
    assert [hour for hour, run in enumerate(day) if run["state"] != "success"] == list(FAULTY)
    states = {(task["dag_run_id"], task["task_id"]): task["state"]
              for task in scheduled.tasks("day")}  # fmt: skip
    for hour, run in enumerate(day):
        name = run["dag_run_id"]
        assert states[name, "publish"] == "success"
        assert states[name, "check"] == ("failed" if hour in FAULTY else "success")


def notes(scheduled: Scheduled) -> Iterator[tuple[str, str, str]]:
    for line in scheduled.notes.read_text().splitlines():
        dag, task, text = json.loads(line)
        yield dag, task, text


def test_who_is_called_is_told_stage_stream_window_and_count(
    scheduled: Scheduled, day: list[dict[str, Any]]
) -> None:
    told = [text for dag, task, text in notes(scheduled) if (dag, task) == ("day", "check")]
    assert len(day) == HOURS
    lost = next(text for text in told if "03:00Z to 2026-03-01T04:00Z" in text)
    assert lost.startswith("day: check failed for 2026-03-01T03:00Z to 2026-03-01T04:00Z\nFAIL day")
    assert "lake against queue, access, 2026-03-01T03:20Z: fail, 7 records" in lost
    doubled = next(text for text in told if "11:00Z to 2026-03-01T12:00Z" in text)
    assert "lake against queue, audit, 2026-03-01T11:00Z: fail, 5 records" in doubled
    upstream = next(text for text in told if "17:00Z to 2026-03-01T18:00Z" in text)
    assert "queue against source, access, 2026-03-01T17:00Z: fail, 1 record" in upstream
    assert "queue against source, audit, 2026-03-01T17:20Z: fail, 1 record" in upstream


def test_an_hour_of_which_nothing_was_seen_is_unknown_and_told_apart(
    scheduled: Scheduled, day: list[dict[str, Any]]
) -> None:
    (run,) = scheduled.done("day", "scheduled", 1)  # of the hour before now
    assert run["state"] == "failed"
    log = scheduled.log("day", run["dag_run_id"], "check")
    assert "AuditUnknown" in log
    assert "AuditFailed" in scheduled.log("day", day[3]["dag_run_id"], "check")
    assert "AuditUnknown" not in scheduled.log("day", day[3]["dag_run_id"], "check")


def test_the_report_is_told_in_the_log_and_is_a_link(
    scheduled: Scheduled, day: list[dict[str, Any]]
) -> None:
    name = day[3]["dag_run_id"]
    (link,) = scheduled.airflow.get(f"dags/day/dagRuns/{name}/taskInstances/check/links")[
        "extra_links"
    ].values()
    assert Path(link.removeprefix("file://")).read_text("utf-8").startswith("<")
    assert link in scheduled.log("day", name, "check")


# The same numbers everywhere

COUNTS = ("observed", "expected", "delivered", "lost", "duplicates", "unexpected", "unaudited")
IN_THE_DAY = 'SELECT * FROM balance WHERE "window" < $1 + INTERVAL 1 DAY'
NAMED = ("stage", "against", "stream", "kind", "id", "sequence")
Counts = dict[tuple[str, str | None, str, int], tuple[int | None, ...]]
"""(stage, against, stream, hour) -> COUNTS"""


def planted() -> Counts:
    """What must be told, from what was written."""
    found: Counts = {}
    per_hour = len(hour_of(0)) // 2
    for hour in range(HOURS):
        for stream in ("access", "audit"):
            here = lambda faults: sum(s == stream and h == hour for s, h, _ in faults)  # noqa: B023, E731
            upstream, lost, doubled = map(here, (LOST_AT_QUEUE, LOST_AT_LAKE, DOUBLED_AT_LAKE))
            queue = per_hour - upstream
            lake = queue - lost
            seen, end_to_end = lake + doubled, lost + upstream
            found["source", None, stream, hour] = (per_hour, None, None, 0, 0, 0, 0)
            found["queue", "source", stream, hour] = (queue, per_hour, queue, upstream, 0, 0, 0)
            more = (doubled, 0, 0)
            found["lake", "source", stream, hour] = (
                lake + doubled,
                per_hour,
                lake,
                end_to_end,
                *more,
            )
            found["lake", "queue", stream, hour] = (seen, queue, lake, lost, *more)
    return found


def by_hour(rows: list[dict[str, Any]]) -> Counts:
    """Rows by window, added up."""
    found: dict[Any, list[Any]] = {}
    for row in rows:
        window = row["window"]
        time = window if isinstance(window, datetime) else datetime.fromisoformat(window)
        key = (row["stage"], row["against"], row["stream"], (time - DAY) // timedelta(hours=1))
        sums = found.setdefault(key, [None] * len(COUNTS))
        for at, name in enumerate(COUNTS):
            if row[name] is not None:
                sums[at] = (sums[at] or 0) + row[name]
    return {key: tuple(sums) for key, sums in found.items()}


def totals(counts: Counts) -> dict[tuple[str, str | None, str], tuple[int, ...]]:
    """Over all hours, what is known of them."""
    found: dict[tuple[str, str | None, str], list[int]] = {}
    for (stage, against, stream, _), row in counts.items():
        sums = found.setdefault((stage, against, stream), [0] * len(COUNTS))
        for at, number in enumerate(row):
            sums[at] += number or 0
    return {key: tuple(sums) for key, sums in found.items()}


def kept(scheduled: Scheduled, hour: int) -> Report:
    """The run of an hour of the day."""
    file, begin = scheduled.airflow.pipelines / "day.yaml", DAY + timedelta(hours=hour)
    asked = Interval(str(file), "day", begin, begin + timedelta(hours=1))
    return audit.kept(asked.pipeline, run=asked.run).report


def test_all_renderings_tell_the_planted_numbers_to_the_last_record(
    scheduled: Scheduled, day: list[dict[str, Any]]
) -> None:
    assert len(day) == HOURS
    report = kept(scheduled, HOURS - 1)  # the last that the backfill made
    wanted, document = planted(), json.loads(render(report))
    assert by_hour(document["balances"]) == wanted

    catalogue = duckdb.connect(str(scheduled.data / "star" / "catalog.duckdb"), read_only=True)
    with catalogue:
        rows = catalogue.execute(IN_THE_DAY, [DAY]).to_arrow_table()
        assert by_hour(rows.to_pylist()) == wanted
        named = catalogue.execute(
            "SELECT stage, against, stream, kind, id, sequence FROM difference"
        )
        assert sorted(named.fetchall()) == sorted(differences())
    assert sorted(
        (
            row["stage"],
            row["against"],
            row["stream"],
            row["kind"],
            int(row["id"], 16),
            row["sequence"],
        )
        for row in document["differences"]
    ) == sorted(differences())

    assert by_stream(openmetrics((scheduled.data / "day.prom").read_text())) == totals(wanted)
    opentsdb = [(p.metric.partition(".")[2], dict(p.tags), p.value) for p in points(report)]
    assert by_stream(opentsdb) == totals(wanted)

    assert printed(report) == lost_and_doubled(wanted)
    for hour in range(HOURS):
        begin = int((DAY + timedelta(hours=hour)).timestamp()) * 1_000_000
        part = narrowed(report, (), (begin, begin + 3_600_000_000))
        of_hour = {key: row for key, row in wanted.items() if key[3] == hour}
        assert printed(part) == lost_and_doubled(of_hour)
        assert (part.verdict == "fail") == (hour in FAULTY)


def differences() -> Iterator[tuple[str, str, str, str, int, int]]:
    """(stage, against, stream, kind, id, sequence) of each record that was lost or doubled."""
    for faults, kind, edges in (
        (LOST_AT_QUEUE, "lost", (("queue", "source"), ("lake", "source"))),
        (LOST_AT_LAKE, "lost", (("lake", "source"), ("lake", "queue"))),
        (DOUBLED_AT_LAKE, "duplicate", (("lake", "source"), ("lake", "queue"))),
    ):
        for stream, hour, number in faults:
            sequence = hour * 120 + number
            id = id_of(sequence, producer_seed(stream, "h1"))
            for stage, against in edges:
                yield stage, against, stream, kind, id, sequence


Samples = list[tuple[str, dict[str, str], float]]


def openmetrics(text: str) -> Samples:
    return [
        (sample.name.removeprefix("fidelity_"), sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def by_stream(samples: Samples) -> dict[tuple[str, str | None, str], tuple[int, ...]]:
    """The counts of streams among the metrics of a run."""
    named = {f"{'duplicate' if name == 'duplicates' else name}_records": at
             for at, name in enumerate(COUNTS)}  # fmt: skip
    found: dict[tuple[str, str | None, str], list[int]] = {}
    for name, labels, value in samples:
        if name in named:
            key = (labels["stage"], labels.get("against") or None, labels["stream"])
            found.setdefault(key, [0] * len(COUNTS))[named[name]] = int(value)
    return {key: tuple(counts) for key, counts in found.items()}


def printed(report: Report) -> dict[tuple[str, str], tuple[int, int]]:
    """(stage, against) -> (lost, duplicates), as the terminal's tree has them."""
    out = io.StringIO()
    print_report(report, Console(file=out, width=200))
    found, stage, against = {}, "", ""
    for line in out.getvalue().partition("Worst windows")[0].partition("Findings")[0].splitlines():
        if head := re.search(r"[✓✗?…] (source|queue|lake)  [\d,]+ record", line):
            stage = head[1]
        elif edge := re.search(r"(end to end|from (\w+)): [\d,]+ of", line):
            against = edge[2] or "source"
        elif counts := re.search(r"lost ([\d,]+)  duplicates ([\d,]+)", line):
            found[stage, against] = (number(counts[1]), number(counts[2]))
    return found


def number(text: str) -> int:
    return int(text.replace(",", ""))


def lost_and_doubled(counts: Counts) -> dict[tuple[str, str], tuple[int, int]]:
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for (stage, against, _), row in totals(counts).items():
        if against is not None:
            lost, doubled = found.get((stage, against), (0, 0))
            found[stage, against] = (lost + row[3], doubled + row[4])
    return found


# Twice


def rows_of_hour(scheduled: Scheduled, hour: int) -> dict[str, list[Any]]:
    """All that is told of an hour, in the star and by the run that is kept."""
    begin = DAY + timedelta(hours=hour)
    catalogue = duckdb.connect(str(scheduled.data / "star" / "catalog.duckdb"), read_only=True)
    told: dict[str, list[Any]] = {}
    with catalogue:
        for view in ("balance", "difference"):
            question = f'SELECT * FROM {view} WHERE "window" >= $1 AND "window" < $2 ORDER BY ALL'
            told[view] = catalogue.execute(question, [begin, begin + timedelta(hours=1)]).fetchall()
    report = kept(scheduled, hour)
    document = json.loads(render(report))
    return told | {"kept": document["balances"], "named": document["differences"]}


def test_a_whole_run_again_gives_the_same_rows(
    scheduled: Scheduled, day: list[dict[str, Any]]
) -> None:
    hour = FAULTY[1]
    name = day[hour]["dag_run_id"]
    before = rows_of_hour(scheduled, hour)
    assert before["difference"]
    scheduled.airflow.send("POST", f"dags/day/dagRuns/{name}/clear", dry_run=False)
    scheduled.done("day", "backfill", HOURS)
    tries = {task["task_id"]: task["try_number"] for task in scheduled.tasks("day", name)}
    assert {task: tries[task] for task in ("plan", "reconcile", "check", "publish")} == {
        "plan": 2, "reconcile": 2, "check": 2, "publish": 2,
    }  # fmt: skip
    assert rows_of_hour(scheduled, hour) == before


def test_airflow_dags_test_audits_by_the_python_that_is_named(scheduled: Scheduled) -> None:
    folder, file = scheduled.data / "tested", scheduled.airflow.pipelines / "tested.yaml"
    for stage in STAGES:
        (folder / stage).mkdir(parents=True)
        (folder / stage / "a").write_bytes(b"".join(hour_of(0).values()))
    asked = Interval(str(file), "tested", DAY, DAY + timedelta(hours=1))
    told = scheduled.airflow.command(
        "dags", "test", "tested", asked.end.isoformat(), FIDELITY_PYTHON=sys.executable
    )
    assert "state=success" in told
    assert audit.kept(asked.pipeline, run=asked.run).report.verdict == "pass"
