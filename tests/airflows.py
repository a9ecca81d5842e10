"""A real Airflow, and the pipelines that it audits. For `conftest.py`."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import warm_steps
from audits import line

from examples.airflow import Airflow, fetched

DAY = datetime(2026, 3, 1, tzinfo=UTC)
HOURS = 24
EVERY = 30  # seconds between records of a stream
STREAMS = ("access", "audit")
DONE = ("success", "failed")
STAGES = ("source", "queue", "lake")

FAULTY = (3, 11, 17)
"""The hours with faults."""
LOST_AT_LAKE = {("access", FAULTY[0], n) for n in range(40, 47)}
DOUBLED_AT_LAKE = {("audit", FAULTY[1], n) for n in range(5, 10)}
LOST_AT_QUEUE = {
    (stream, FAULTY[2], number)
    for stream, number in (("access", 0), ("access", 119), ("audit", 60))
}
"""The faults: (stream, hour, which of the hour's records)."""

NOTIFIER = """
import json
def note(text, context):
    with open({file!r}, "a") as file:
        file.write(json.dumps([context["ti"].dag_id, context["ti"].task_id, text]) + "\\n")
"""


def record(stream: str, hour: int, number: int, begin: datetime = DAY) -> bytes:
    """The n-th record of a stream in an hour."""
    per_hour = 3600 // EVERY
    time = begin + timedelta(hours=hour, seconds=EVERY * number)
    return line(hour * per_hour + number, stream=stream, ts=time.isoformat())


def hour_of(hour: int, begin: datetime = DAY) -> dict[tuple[str, int, int], bytes]:
    """All records of an hour."""
    numbers = range(3600 // EVERY)
    return {(s, hour, n): record(s, hour, n, begin) for s in STREAMS for n in numbers}


def write_day(folder: Path) -> None:
    """A day of three stages, a file an hour, with the faults."""
    for stage in STAGES:
        (folder / stage).mkdir(parents=True)
    for hour in range(HOURS):
        source = hour_of(hour)
        queue = {key: made for key, made in source.items() if key not in LOST_AT_QUEUE}
        lake = [made for key, made in queue.items() if key not in LOST_AT_LAKE]
        lake += [made for key, made in queue.items() if key in DOUBLED_AT_LAKE]
        for stage, lines in zip(STAGES, (source.values(), queue.values(), lake), strict=True):
            (folder / stage / f"{hour:02}").write_bytes(b"".join(lines))


def pipeline(folder: Path, settle: str = "5m", more: str = "", window: str = "20m") -> str:
    """A pipeline file's text: three stages of JSON lines below a folder."""
    stages = ""
    for before, stage in zip((None, *STAGES), STAGES, strict=False):
        after = f", after: {before}" if before else ""
        stages += f"  {stage}: {{kind: files, path: '{folder}/{stage}/*'{after}}}\n"
    return (
        f"pipeline: {folder.name}\nstore: {folder}/store\nsettle: {settle}\nwindow: {window}\n"
        f"record: {{id: fid, time: ts, stream: type, origin: host}}\n{more}stages:\n{stages}"
    )


@dataclass
class Scheduled:
    """A running Airflow and what its DAGs audit."""

    airflow: Airflow
    data: Path
    notes: Path

    def unpause(self, dag: str) -> None:
        self.airflow.send("PATCH", f"dags/{dag}", is_paused=False)

    def runs(self, dag: str, kind: str) -> list[dict[str, Any]]:
        """The runs of a DAG of a kind: backfill, scheduled or manual; oldest first."""
        found = self.airflow.get(f"dags/{dag}/dagRuns?limit=100&order_by=logical_date")["dag_runs"]
        return [run for run in found if run["run_type"] == kind]

    def done(self, dag: str, kind: str, count: int, seconds: float = 600) -> list[dict[str, Any]]:
        """So many runs, once all have ended."""

        def ended() -> list[dict[str, Any]]:
            runs = self.runs(dag, kind)
            over = len(runs) == count and all(run["state"] in DONE for run in runs)
            return runs if over else []

        found: list[dict[str, Any]] = self.airflow.until(ended, f"{count} runs of {dag}", seconds)
        return found

    def tasks(self, dag: str, run: str = "~") -> list[dict[str, Any]]:
        """The task instances of a run, or of all."""
        path = f"dags/{dag}/dagRuns/{run}/taskInstances?limit=500"
        found: list[dict[str, Any]] = self.airflow.get(path)["task_instances"]
        return found

    def log(self, dag: str, run: str, task: str, index: int = -1) -> str:
        """All that a task's tries logged."""
        folder = self.airflow.folder / "logs" / f"dag_id={dag}" / f"run_id={run}"
        named = f"task_id={task}" if index < 0 else f"task_id={task}/map_index={index}"
        return "".join(file.read_text() for file in sorted((folder / named).glob("attempt=*.log")))


@pytest.fixture(scope="module")
def scheduled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scheduled]:
    """An Airflow that is auditing a day by a backfill, and whose other DAGs wait to be begun."""
    home = tmp_path_factory.mktemp("airflow")
    data, notes = home / "data", home / "notes"
    (home / "told.py").write_text(NOTIFIER.format(file=str(notes)))
    python = fetched()
    airflow = Airflow(
        home,
        FIDELITY_PYTHON=str(warm_steps.program(home, python, "day", "waits")),
        FIDELITY_RETRY_SECONDS="0",
        FIDELITY_ON_FAILURE="told.note",
    )
    write_day(data / "day")
    publish = f"publish: {{star: {data}/star, openmetrics: {{file: {data}/day.prom}}}}\n"
    (airflow.pipelines / "day.yaml").write_text(pipeline(data / "day", more=publish))
    for name in ("waits", "killed", "tested"):
        (airflow.pipelines / f"{name}.yaml").write_text(pipeline(data / name))
    (airflow.pipelines / "broken.yaml").write_text("pipeline: broken\n  stages: [\n")
    airflow.prepare()
    # Made before the scheduler runs: on SQLite a backfill cannot be made while others write
    # (apache/airflow#66726).
    airflow.command("dags", "reserialize")
    backfill = ["backfill", "create", "--dag-id", "day", "--max-active-runs", "1"]
    last = DAY + timedelta(hours=HOURS - 1)
    airflow.command(*backfill, "--from-date", f"{DAY:%FT%T}", "--to-date", f"{last:%FT%T}")
    with warm_steps.running(home, python), airflow:
        told = Scheduled(airflow, data, notes)
        told.unpause("day")
        yield told
