"""The command line around the audit: preparing, stamping, help, mistakes, pipes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fidelity.cli import run

HEAVY = ("duckdb", "numba", "pyarrow", "deltalake", "numpy", "yaml", "rich", "aiokafka")
FIDELITY = (sys.executable, "-c", "from fidelity.cli import main; main()")


def fidelity(*arguments: object, **more: object) -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own."""
    return subprocess.run(
        [*FIDELITY, *map(str, arguments)], capture_output=True, check=False, **more
    )


def a_pipeline(folder: Path, text: str = "") -> Path:
    file = folder / "pipeline.yaml"
    file.write_text(
        text
        or "pipeline: p\nstore: s\nstages:\n  source: {kind: files, path: a}\n"
        "  lake: {kind: files, path: b, after: source, keep: {stream: [x]}, sample: 1/7,\n"
        "         options: {secret_key: hunter-5, region: eu}}\n"
    )
    return file


# Preparing


def test_init_writes_a_file_that_check_config_understands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pipeline.yaml"
    assert run(["init", str(file)]) == 0
    out, told = capsys.readouterr()
    assert out == ""
    assert f"fidelity check-config {file}" in told
    assert run(["check-config", str(file)]) == 0
    out, _ = capsys.readouterr()
    assert "my-logs" in out
    assert "queue  (kafka)" in out
    assert "└── lake" in out.replace("    ", "")


def test_init_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text("mine")
    assert run(["init", str(file)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert file.read_text() == "mine"
    assert run(["init", str(tmp_path / "no" / "such" / "folder.yaml")]) == 2
    assert "cannot be written: No such file" in capsys.readouterr().err


def test_check_config_tells_contracts_and_masks_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check-config", str(a_pipeline(tmp_path))]) == 0
    out, _ = capsys.readouterr()
    for part in ("keeps only stream x", "1/7, by id", "region = eu", "secret_key = ********"):
        assert part in out
    assert "hunter-5" not in out


def test_check_config_as_json_is_json_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check-config", str(a_pipeline(tmp_path)), "--json"]) == 0
    out, told = capsys.readouterr()
    assert json.loads(out)["stages"]["lake"]["options"]["secret_key"] == "********"
    assert told == ""


def test_an_answer_can_go_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline, file = str(a_pipeline(tmp_path)), tmp_path / "out.json"
    assert run(["check-config", pipeline, "--json", "--output", str(file)]) == 0
    assert json.loads(file.read_text())["pipeline"] == "p"
    assert capsys.readouterr().out == ""
    assert run(["check-config", pipeline, "-o", str(tmp_path / "no" / "file")]) == 2
    assert "its folder is not there" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "pipeline.yaml"]


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["audti"], "No such command 'audti'"),
        (["audit"], "Missing argument 'PIPELINE'"),
        (["audit", "p", "--nope"], "No such option"),
        (["audit", "none.yaml"], "cannot be read: No such file"),
        (["audit", "pipeline.yaml", "--stage", "lak"], "Did you mean `lake`?"),
        (["audit", "pipeline.yaml", "--as-of", "yesterday"], "`yesterday` is not a time"),
        (["audit", "pipeline.yaml", "--workers", "0"], "--workers"),
        (["report", "pipeline.yaml", "--window", "2026-01-02/2026-01-01"], "ends before it begins"),
        (["reconcile", "pipeline.yaml", "--known-at", "then"], "`then` is not a time"),
        (["show", "pipeline.yaml"], "--window or --id"),
        (["show", "pipeline.yaml", "--id", "xyz"], "`xyz` is not an id"),
        *(
            ([command, "pipeline.yaml", "--run", "r", "--as-of", "2026-01-01"], "both choose a run")
            for command in ("report", "check", "publish")
        ),
        *(
            ([*command, "pipeline.yaml", "-o", "./pipeline.yaml"], "is the pipeline file")
            for command in (
                ["audit"],
                ["report"],
                ["check"],
                ["publish"],
                ["catalog"],
                ["check-config"],
                ["store", "runs"],
            )
        ),
        (["stamp"], "Missing option '--stream'"),
        (["stamp", "--stream", "a", "--format", "xml"], "'xml'"),
        (["stamp", "--stream", "a", "--manifest-window", "1"], "not a duration"),
        (["stamp", "--stream", ""], "stream"),
        (["store"], "Usage"),
    ],
)
def test_a_mistake_is_told_in_a_few_lines_and_ends_with_2(
    arguments: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    a_pipeline(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert told in captured.out + captured.err
    assert "Traceback" not in captured.err
    assert (tmp_path / "pipeline.yaml").read_text().startswith("pipeline:")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipeline.yaml"]


def test_every_problem_of_a_pipeline_file_is_told_without_a_traceback(tmp_path: Path) -> None:
    file = a_pipeline(tmp_path, "pipelin: p\nstages: {a: {kind: file}}\n")
    done = fidelity("audit", file)
    assert done.returncode == 2
    assert done.stdout == b""
    told = done.stderr.decode()
    assert told.startswith(f"fidelity: {file}: 4 problems:")
    assert "Traceback" not in told


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = (
        "import fidelity.config as c; c.load = lambda path: 1 / 0\n"
        "from fidelity.cli import main; import sys; sys.argv = ['fidelity', 'audit', 'x']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"Traceback" in done.stderr
    assert b"ZeroDivisionError" in done.stderr


# Help, completion


@pytest.mark.parametrize("arguments", [["--help"], ["audit", "--help"], ["store", "-h"], []])
def test_help_loads_no_heavy_library(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom fidelity.cli import run\n"
        f"status = run({arguments!r})\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
        "sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.stderr.splitlines()[-1] == b"[]"
    assert done.returncode == (0 if arguments else 2)
    assert max(len(line) for line in done.stdout.decode().splitlines() or [""]) <= 80


@pytest.mark.parametrize("command", ["report", "check", "publish"])
def test_a_time_chooses_among_the_runs_that_were_kept_and_help_says_so(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([command, "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "--as-of TIME The last kept run up to this time." in told


def test_stages_are_completed_from_the_pipeline_file(tmp_path: Path) -> None:
    file = a_pipeline(tmp_path)

    def completed(words: str) -> list[str]:
        environment = {
            **os.environ,
            "_FIDELITY_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        }
        return fidelity(env=environment).stdout.decode().split()

    assert "audit" in completed("fidelity aud")
    assert completed(f"fidelity audit {file} --stage l") == ["lake"]
    assert completed(f"fidelity audit {file} --stage ") == ["source", "lake"]
    assert completed(f"fidelity audit {tmp_path / 'none'} --stage l") == []


# Stamping


def test_stamp_gives_each_line_its_id(tmp_path: Path) -> None:
    state, manifest = tmp_path / "state", tmp_path / "manifest"
    options = ("--stream", "a", "--origin", "h", "--state", state, "--manifest", manifest)
    lines = b'{"ts":"2026-01-01T00:00:00Z"}\n\nnot json\n{"ts":"2026-01-01T00:00:01Z","x":1}\n'
    done = fidelity("stamp", *options, input=lines)
    assert done.returncode == 0
    out = done.stdout.splitlines()
    assert [len(json.loads(out[n])["fid"]) for n in (0, 3)] == [8, 8]
    assert out[1:3] == [b"", b"not json"]
    assert b"2 lines stamped, 1 malformed, 1 blank" in done.stderr
    claimed = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [(line["stream"], line["origin"]) for line in claimed] == [("a", "h")]
    assert claimed[0]["start"].startswith("2026-01-01T00:00:00")


def test_stamped_text_ends_in_its_id_and_quiet_is_quiet() -> None:
    options = ("--stream", "a", "--format", "text", "--quiet")
    done = fidelity("stamp", *options, input=b"2026-01-01 hello\n")
    assert done.stdout.startswith(b"2026-01-01 hello fid=")
    assert done.stderr == b""


# Pipes


def test_a_pipe_that_closes_early_is_no_error(tmp_path: Path) -> None:
    stages = "".join(f"  s{n}: {{kind: files, path: b, after: source}}\n" for n in range(900))
    head = "pipeline: p\nstore: s\nstages:\n  source: {kind: files, path: a}\n"
    file = a_pipeline(tmp_path, head + stages)
    command = f"'{sys.executable}' -c 'from fidelity.cli import main; main()' check-config '{file}'"
    for option in ("", "--json"):
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command} {option} | head -n 1"],
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0
        assert done.stdout.count(b"\n") == 1
        assert done.stderr == b""


def test_what_goes_to_a_pipe_has_no_colour(tmp_path: Path) -> None:
    done = fidelity("check-config", a_pipeline(tmp_path))
    assert b"\x1b" not in done.stdout + done.stderr
    assert done.stdout


def test_an_old_locale_ends_no_report(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = fidelity("check-config", a_pipeline(tmp_path), env=environment)
    assert done.returncode == 0
    assert b"lake" in done.stdout


def test_an_interrupted_command_ends_with_130_and_tells_no_traceback() -> None:
    stamp = subprocess.Popen(
        [*FIDELITY, "stamp", "--stream", "a", "--origin", "h", "--format", "text"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert stamp.stdin is not None
    assert stamp.stdout is not None
    stamp.stdin.write(b"one\n")
    stamp.stdin.flush()
    assert stamp.stdout.readline().startswith(b"one fid=")  # it is at work now
    stamp.send_signal(signal.SIGINT)
    _, told = stamp.communicate()
    assert stamp.returncode == 130
    assert b"1 lines stamped" in told
    assert b"Traceback" not in told
