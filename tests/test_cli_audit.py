"""Auditing from the command line, end to end, on small files."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fidelity.cli import run
from fidelity.identity import id_of, producer_seed

pytestmark = pytest.mark.usefixtures("engine")

START = datetime(2026, 3, 1, 10, tzinfo=UTC)
WINDOW = "2026-03-01T10:10:00Z"
PIPELINE = """
pipeline: trial
store: store
settle: 5m
record: {id: fid, time: ts, stream: type, origin: host}
stages:
  source: {kind: files, path: "logs/*.jsonl"}
  queue: {kind: files, path: "queue/*.jsonl", after: source}
  lake: {kind: files, path: "lake/*.jsonl", after: queue}
"""
DEAD = """
  mirror: {kind: kafka, after: source, brokers: "127.0.0.1:1", topic: t,
           options: {default.api.timeout.ms: 300, sasl.username: u, sasl.password: hunter-9,
                     security.protocol: SASL_PLAINTEXT}}
"""


def lines(minutes: range = range(30)) -> list[str]:
    """One record a minute of two hosts."""
    written = []
    for host in ("h1", "h2"):
        seed = producer_seed("access", host)
        for n in minutes:
            time = (START + timedelta(minutes=n)).isoformat()
            record = {"ts": time, "type": "access", "host": host, "fid": f"{id_of(n, seed):08x}"}
            written.append(json.dumps(record) + "\n")
    return written


class Trial:
    """A pipeline in a folder, and its command line."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str] | None = None) -> None:
        self.folder, self.capsys = folder, capsys
        self.file = folder / "pipeline.yaml"
        self.err = ""

    def write(self, stage: str, written: list[str], name: str = "a") -> None:
        folder = self.folder / stage
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.jsonl").write_text("".join(written))

    def __call__(self, status: int, command: str, *options: str) -> str:
        """What a command prints, which must end with this status."""
        assert self.capsys is not None
        self.capsys.readouterr()
        assert run([*command.split(), str(self.file), *options]) == status
        out, self.err = self.capsys.readouterr()
        return out

    def json(self, status: int, command: str, *options: str) -> Any:
        return json.loads(self(status, command, *options, "--json"))


@pytest.fixture(scope="module")
def audited(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10:13 of h1 and 10:25 of h2 never reach the lake; 10:01 of h1 reaches the queue twice."""
    trial = Trial(tmp_path_factory.mktemp("audited"))
    trial.file.write_text(PIPELINE)
    whole = lines()
    trial.write("logs", whole)
    trial.write("queue", [*whole, whole[1]])
    trial.write("lake", [line for n, line in enumerate(whole) if n not in (13, 55)])
    assert run(["audit", str(trial.file), "--output", str(trial.folder / "first.txt")]) == 1
    return trial.folder


@pytest.fixture
def trial(audited: Path, capsys: pytest.CaptureFixture[str]) -> Trial:
    """The audited pipeline; tests must not change it."""
    return Trial(audited, capsys)


@pytest.fixture
def fresh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Trial:
    """A pipeline through which all came, not audited yet, in a folder with an awkward name."""
    folder = tmp_path / "a [1] *folder"
    folder.mkdir()
    trial = Trial(folder, capsys)
    trial.file.write_text(PIPELINE)
    for stage in ("logs", "queue", "lake"):
        trial.write(stage, lines())
    return trial


def books(report: Any, stage: str, against: str) -> Any:
    return next(b for b in report["stages"] if (b["stage"], b["against"]) == (stage, against))


# audit and report


def test_a_pipeline_that_lost_nothing_passes(fresh: Trial) -> None:
    report = fresh.json(0, "audit")
    assert report["verdict"] == "pass"
    assert report["watermark"] == "2026-03-01T10:30:00Z"
    assert fresh.err == ""
    text = fresh(0, "report")
    assert "60 of 60  100 %" in text
    assert text.rstrip().splitlines()[-1].startswith("✓ PASS")


def test_a_lossy_pipeline_fails_and_names_what_is_lost(trial: Trial) -> None:
    report = trial.json(1, "report")
    assert report["verdict"] == "fail"
    assert books(report, "queue", "source")["duplicates"] == 1
    assert books(report, "lake", "queue")["lost"] == 3  # the copy that the queue has twice, too
    assert books(report, "lake", "source")["lost"] == 2
    lost = {
        (row["origin"], row["sequence"])
        for row in report["differences"]
        if (row["stage"], row["against"], row["kind"]) == ("lake", "source", "lost")
    }
    assert lost == {("h1", 13), ("h2", 25)}


def test_the_report_that_audit_printed_is_the_one_that_was_kept(trial: Trial) -> None:
    assert trial(1, "report") == (trial.folder / "first.txt").read_text()


def test_a_second_audit_reads_nothing_and_says_the_same(fresh: Trial) -> None:
    first = fresh.json(0, "audit")
    again = fresh.json(0, "scan")
    assert [(stage["units"], stage["records"]) for stage in again["stages"]] == [(0, 0)] * 3
    second = fresh.json(0, "reconcile")
    assert second["stages"] == first["stages"]
    assert second["run"] != first["run"]


def test_json_is_all_there_is_on_stdout_also_when_a_stage_is_out_of_reach(fresh: Trial) -> None:
    fresh.file.write_text(PIPELINE + DEAD)
    report = fresh.json(2, "audit")
    assert {b["verdict"] for b in report["stages"] if b["stage"] == "mirror"} == {"unknown"}
    assert books(report, "lake", "source")["verdict"] == "pass"
    assert report["verdict"] == "unknown"
    assert fresh.err.startswith("fidelity: ")
    assert len(fresh.err.splitlines()) == 1
    assert "hunter-9" not in fresh.err + json.dumps(report)
    assert fresh.json(1, "report")["verdict"] == "unknown"


def test_open_windows_are_pending_and_that_is_no_failure(fresh: Trial) -> None:
    fresh.write("lake", lines(range(25)))
    report = fresh.json(0, "audit", "--as-of", "2026-03-01T10:34:59Z")
    assert books(report, "lake", "source")["in_flight"] == 10
    assert report["watermark"] == "2026-03-01T10:20:00Z"
    assert fresh.json(1, "reconcile", "--as-of", "2026-03-01T11:35+01:00")["verdict"] == "fail"


def test_an_answer_can_be_had_as_it_was_known_before(fresh: Trial) -> None:
    fresh.write("lake", lines(range(25)))
    fresh.json(1, "audit")
    version = fresh.json(0, "scan")["version"]
    fresh.write("lake", lines(range(25, 30)), name="late")
    assert fresh.json(0, "audit")["verdict"] == "pass"
    then = fresh.json(1, "reconcile", "--known-at", str(version))
    assert books(then, "lake", "source")["lost"] == 10
    assert then["known_at"] == str(version)
    assert fresh.json(0, "reconcile", "--known-at", "2099-01-01")["verdict"] == "pass"
    fresh(2, "reconcile", "--known-at", "12345")
    assert "what was known at 12345 cannot be told" in fresh.err


# Narrowing


def test_a_report_can_be_narrowed_to_a_stage(trial: Trial) -> None:
    report = trial.json(1, "report", "--stage", "queue")
    assert {row["stage"] for row in report["stages"] + report["balances"]} == {"queue"}
    assert {row["stage"] for row in report["differences"]} == {"queue"}
    assert trial.json(0, "report", "--stage", "source")["verdict"] == "pass"


def test_a_report_can_be_narrowed_to_windows(trial: Trial) -> None:
    report = trial.json(1, "report", "--window", "2026-03-01T10:15")
    assert {row["window"] for row in report["balances"] + report["differences"]} == {WINDOW}
    lake = books(report, "lake", "source")
    assert (lake["expected"], lake["delivered"], lake["lost"]) == (20, 19, 1)
    assert lake["completeness"] == 0.95
    assert lake["windows"] == {"fail": 1}
    queue = books(report, "queue", "source")
    assert (queue["verdict"], queue["duplicates"], queue["nines"]) == ("pass", 0, None)
    both = trial.json(1, "report", "--window", "2026-03-01T10:10/2026-03-01T10:20")
    assert both["balances"] == report["balances"]
    assert trial.json(1, "report", "--window", "2001-01-01")["verdict"] == "unknown"


def test_narrowing_to_everything_changes_no_figure(trial: Trial) -> None:
    whole = trial.json(1, "report")
    wide = trial.json(1, "report", "--window", "2026-01-01/2027-01-01")
    assert wide["balances"] == whole["balances"]
    for row, same in zip(whole["stages"], wide["stages"], strict=True):
        row["windows"] = {verdict: n for verdict, n in row["windows"].items() if n}
        row["reasons"] = sorted(row["reasons"])
        assert {**same, "flaws": row["flaws"]} == row


def test_an_audit_of_one_stage_looks_at_those_it_comes_from(fresh: Trial) -> None:
    report = fresh.json(0, "audit", "--stage", "queue")
    assert {row["stage"] for row in report["stages"]} == {"queue"}
    assert report["verdict"] == "pass"
    assert "60 records in 1 new unit" in fresh(0, "scan")  # the lake, and nothing else
    assert fresh.json(0, "audit")["verdict"] == "pass"


def test_only_the_stages_that_are_named_are_scanned(fresh: Trial) -> None:
    found = fresh.json(0, "scan", "--stage", "lake", "--stage", "source")
    assert [stage["stage"] for stage in found["stages"]] == ["source", "lake"]
    assert fresh.json(1, "reconcile")["verdict"] == "unknown"  # nobody looked at the queue
    assert "0 new units" in fresh(0, "scan", "--stage", "lake")


# show


def test_one_window_is_shown_at_every_stage(trial: Trial) -> None:
    text = trial(1, "show", "--window", WINDOW)
    assert f"Window {WINDOW}" in text
    assert [line.split()[3] for line in text.splitlines() if "access" in line] == [
        "source", "queue", "lake", "lake",
    ]  # fmt: skip
    assert max(map(len, text.splitlines())) <= 80


def test_one_id_is_shown_where_it_was_seen(trial: Trial) -> None:
    lost = f"{id_of(13, producer_seed('access', 'h1')):08x}"
    seen = trial.json(0, "show", "--id", lost)
    assert [(s["stage"], s["origin"], s["sequence"]) for s in seen["sightings"]] == [
        ("source", "h1", 13), ("queue", "h1", 13),
    ]  # fmt: skip
    position = seen["sightings"][0]["position"]
    line = Path(position["path"]).read_bytes()[position["offset"] :].splitlines()[0]
    assert json.loads(line)["fid"] == lost
    text = trial(0, "show", "--id", lost.upper())
    assert "lake    not seen" in text
    assert "logs/a.jsonl, at " in text
    twice = f"{id_of(1, producer_seed('access', 'h1')):08x}"
    stages = [s["stage"] for s in trial.json(0, "show", "--id", twice)["sightings"]]
    assert stages == ["source", "queue", "queue", "lake"]
    assert trial.json(1, "show", "--id", lost, "--stage", "lake")["sightings"] == []
    assert trial.json(1, "show", "--id", lost, "--window", "2026-03-01T10:00")["sightings"] == []
    assert len(trial.json(0, "show", "--id", lost, "--stage", "queue")["sightings"]) == 1


def test_what_cannot_be_read_again_is_not_said_to_be_absent(fresh: Trial) -> None:
    fresh(0, "audit")
    (fresh.folder / "lake" / "a.jsonl").unlink()
    seen = fresh.json(2, "show", "--id", f"{id_of(13, producer_seed('access', 'h1')):08x}")
    assert "lake" in seen["untold"]


# The store


def test_the_runs_are_listed_and_can_be_shown_again(fresh: Trial) -> None:
    fresh(2, "report")
    assert "there is no store here yet" in fresh.err
    fresh.write("lake", lines(range(29)))
    fresh(0, "scan")
    fresh(2, "report")
    assert "no run has been kept yet" in fresh.err
    old = fresh.json(0, "audit", "--as-of", "2026-03-01T10:30")
    new = fresh.json(1, "audit")
    listed = fresh.json(0, "store runs")
    assert [(row["run"], row["verdict"]) for row in listed] == [
        (new["run"], "fail"), (old["run"], "pass"),
    ]  # fmt: skip
    assert fresh.json(0, "report", "--run", old["run"]) == old
    assert fresh.json(0, "report", "--as-of", "2026-03-01T10:40") == old
    fresh(2, "report", "--run", "none")
    assert "there is no such run" in fresh.err
    assert new["run"] in fresh(0, "store runs")


def test_a_damaged_run_is_told(fresh: Trial) -> None:
    fresh(0, "audit")
    [file] = (fresh.folder / "store" / "runs").iterdir()
    file.write_bytes(file.read_bytes()[:40])
    fresh(2, "report")
    assert "Traceback" not in fresh.err
    assert file.name in fresh.err


def test_another_pipelines_store_is_refused(fresh: Trial) -> None:
    fresh(0, "scan")
    fresh.file.write_text(PIPELINE.replace("trial", "other"))
    fresh(2, "audit")
    assert "belongs to the pipeline `trial`" in fresh.err


def test_a_run_that_cannot_be_kept_is_still_printed(
    fresh: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh(0, "scan")
    (fresh.folder / "store" / "runs").write_text("a file where the folder should be")
    report = fresh.json(2, "reconcile")
    assert report["verdict"] == "pass"
    assert "runs" in fresh.err


def test_compacting_changes_no_answer(fresh: Trial) -> None:
    before = fresh.json(0, "audit")
    fresh.write("logs", lines(range(30, 40)), name="b")
    fresh.write("queue", lines(range(30, 40)), name="b")
    fresh.write("lake", lines(range(30, 40)), name="b")
    before = fresh.json(0, "audit")
    fresh(0, "store compact")
    after = fresh.json(0, "reconcile")
    assert after["stages"] == before["stages"]
    assert after["balances"] == before["balances"]


def test_paths_are_those_of_the_pipeline_file_wherever_the_command_is_started(
    fresh: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert fresh.json(0, "audit")["verdict"] == "pass"
    assert list(elsewhere.iterdir()) == []
    assert (fresh.folder / "store").is_dir()


def test_a_lake_that_is_empty_is_all_lost(fresh: Trial) -> None:
    shutil.rmtree(fresh.folder / "lake")
    (fresh.folder / "lake").mkdir()
    report = fresh.json(1, "audit")
    assert books(report, "lake", "source")["lost"] == 60
    assert "0 of 60  0.00 %" in fresh(1, "report")
