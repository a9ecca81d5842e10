"""`jobs/scan.py`: what spark-submit runs, with the session that it sets up."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from audits import REPOSITORY, Folder

from examples.cluster.standalone import spark_home

JOB = REPOSITORY / "jobs" / "scan.py"


def parameters() -> list[Any]:
    spec = importlib.util.spec_from_file_location("job", JOB)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(typer.main.get_command(module.app).params)


def test_every_option_of_the_job_is_documented() -> None:
    text = (REPOSITORY / "docs" / "spark.md").read_text("utf-8").partition("## `jobs/scan.py`")[2]
    options = {option for each in parameters() for option in each.opts if option[:2] == "--"}
    assert {"--pipeline", "--stage", "--as-of"} <= options
    assert [option for option in options - {"--help"} if f"| `{option}" not in text] == []


def test_the_job_says_what_workers_are_on_spark() -> None:
    (workers,) = (each for each in parameters() if "--workers" in each.opts)
    assert "of Spark, cores to make tasks for" in workers.help


def submitted(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """What spark-submit ended with."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [spark_home() / "bin" / "spark-submit", "--master", "local[1]", JOB, *arguments],
        env={**os.environ, "PATH": path, "SPARK_LOCAL_IP": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


@pytest.mark.servers
def test_a_submitted_job_scans_what_is_new(tmp_path: Path) -> None:
    folder = Folder(tmp_path).filled()
    answer = tmp_path / "answer.json"
    done = submitted(
        "--pipeline", str(folder.file), "--stage", "lake", "--json", "--output", str(answer)
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    (stage,) = json.loads(answer.read_text())["stages"]
    assert (stage["stage"], stage["units"], stage["records"]) == ("lake", 1, 60)
    report = folder.audit(0, "--as-of", "2026-03-02").report
    assert {row["stage"]: row["observed"] for row in report["stages"]} == {"source": 60, "lake": 60}


@pytest.mark.servers
def test_a_mistake_is_told_in_one_paragraph(tmp_path: Path) -> None:
    done = submitted("--pipeline", str(tmp_path / "none.yaml"))
    assert done.returncode == 2
    told = done.stdout  # spark-submit has a job's stderr there as well
    assert told.startswith(f"fidelity: {tmp_path}/none.yaml: the pipeline file cannot be read")
    assert len(told.splitlines()) == 1
