"""Pipeline files and command lines that are wrong: one paragraph, status 2, and nothing is left."""

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from audits import LAKE, REPOSITORY, SOURCE, Folder, lines

HEAD = "pipeline: trial\nstore: store\n"
STAGES = f"stages:\n  {SOURCE}\n  {LAKE}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path).filled()


WRONG = {
    "an unknown key": (HEAD + STAGES + "windw: 3m\n", "windw: unknown key. Did you mean `window`?"),
    "an unknown kind": (
        HEAD + STAGES.replace("kind: files", "kind: file"), "Did you mean `files`?",
    ),
    "a cycle": (
        HEAD + STAGES.replace("after: source", "after: lake"), "a cycle: lake comes after lake",
    ),
    "a stage after nobody": (
        HEAD + STAGES.replace("after: source", "after: hosts"), "there is no stage `hosts`",
    ),
    "no stages": (HEAD + "stages: {}\n", "give at least one stage"),
    "a key twice": (HEAD + "store: b\n" + STAGES, "this key is given twice, first in line 2"),
    "no window": (HEAD + "window: 0s\n" + STAGES, "`0s` is not between 1s and 31d"),
    "a strange window": (HEAD + "window: 3 parsecs\n" + STAGES, "is not a duration"),
    "a broken pattern": (
        HEAD + 'record: {id: {regex: "(("}}\n' + STAGES, "is not a regular expression",
    ),
    "an unset variable": (
        HEAD.replace("store\n", "${NOT_SET_ANYWHERE}\n", 1) + STAGES, "",
    ),
    "a tab": (HEAD + STAGES.replace("  lake", "\tlake"), "not valid YAML"),
    "a list": ("- a\n- b\n", "it must be a mapping"),
    "a word": ("hello\n", "it must be a mapping"),
    "nothing": ("", "the pipeline file is empty. `fidelity init` writes one"),
    "only a remark": ("# soon\n", "the pipeline file is empty"),
    "NUL bytes": ("\0" * 99, "not valid YAML"),
    "no text": (b"\x93\xff\xfe" * 999, "not UTF-8 (byte 0x93). Save it as UTF-8."),
    "a log": (b"".join(lines(20_000)), "this is not a pipeline file"),
    "aliases without end": (
        "a: &a [x, x, x, x, x, x, x, x]\n"
        + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 8)}]\n" for a, b in pairwise("abcdefg")),
        "its aliases or its nesting go on for ever",
    ),
    "a nesting without end": ("[" * 20_000, "not a pipeline file"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "told"), WRONG.values(), ids=WRONG)
def test_a_wrong_pipeline_file_is_told_and_touches_nothing(
    folder: Folder, text: str | bytes, told: str
) -> None:
    folder.file.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = folder.run("audit")
    assert (found.status, found.out) == (2, "")
    assert found.err.startswith(f"fidelity: {folder.file}: ")
    assert told in found.err
    assert folder.left() == ["lake", "pipeline.yaml", "source"]


def test_a_long_or_broken_value_is_shown_on_one_line_and_not_whole(folder: Folder) -> None:
    for value in ("x" * 5000, '"a\\nb\\e[31m"'):
        folder.file.write_text(HEAD.replace("trial", value) + STAGES)
        found = folder.run("audit")
        assert "is not a name: letters, digits" in found.err
        assert len(found.err) < 500
        assert found.err.count("\n") == 1
        assert "\x1b" not in found.err


def test_a_pipeline_file_that_is_missing_or_a_folder_is_told(folder: Folder) -> None:
    folder.file.unlink()
    assert "`fidelity init` writes one." in folder.run("audit").err
    folder.file.mkdir()
    assert folder.run("audit").status == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--windw", "3"], "No such option: --windw"),
        (["--window", "2026-13-01"], "`2026-13-01` is not a time."),
        (["--window", "2026-01-02/2026-01-01"], "ends before it begins"),
        (["--stage", "lak"], "Did you mean `lake`?"),
        (["--as-of", "yesterday"], "is not a time"),
        (["--workers", "-1"], "--workers"),
        (["--output", "no/such/folder/x"], "its folder is not there. Give --output another file."),
        (["--output", "/"], "is a folder. Give --output another file."),
    ],
)
def test_a_wrong_option_is_told_before_anything_is_done(
    folder: Folder, options: list[str], told: str
) -> None:
    found = folder.run("audit", *options)
    assert (found.status, found.out) == (2, "")
    assert told in found.err
    assert folder.left() == ["lake", "pipeline.yaml", "source"]


@pytest.mark.parametrize(
    "options",
    [
        ["--as-of", "0001-01-01"], ["--as-of", "9999-12-31T23:59:59.999999"],
        ["--workers", "100000"], ["--window", "0001-01-01/9999-12-31"], ["--top", "1000000"],
    ],
)  # fmt: skip
def test_an_extreme_option_is_understood(folder: Folder, options: list[str]) -> None:
    assert folder.audit(0, *options).verdict in ("pass", "pending")


# Where the answer goes


@pytest.mark.parametrize(
    ("redirected", "status", "told"),
    [
        ("| head -c 1 >/dev/null", 0, ""),
        (">&-", 0, ""),
        (">/dev/full", 2, "the answer cannot be written: No space left on device."),
        ("--output /dev/full", 2, "cannot be written: No space left on device."),
        ("--output /dev/null", 0, ""),
    ],
)
def test_an_answer_that_nobody_takes_changes_no_status_but_one_that_is_cut_does(
    folder: Folder, redirected: str, status: int, told: str
) -> None:
    before = os.stat("/dev/full").st_rdev, os.stat("/dev/null").st_rdev
    folder.audit(0)
    command = f"set -o pipefail; '{sys.executable}' -m fidelity report '{folder.file}' {redirected}"
    done = subprocess.run(["bash", "-c", command], cwd=REPOSITORY, capture_output=True, check=False)
    assert done.returncode == status, done.stderr
    assert told in done.stderr.decode()
    assert done.stderr.count(b"\n") == bool(told)
    assert (os.stat("/dev/full").st_rdev, os.stat("/dev/null").st_rdev) == before


def test_an_answer_in_a_file_is_whole_and_a_link_stays_a_link(folder: Folder) -> None:
    (folder.path / "link").symlink_to("real.json")
    assert folder.run("audit", "--json", "--output", str(folder.path / "link")).status == 0
    assert (folder.path / "link").is_symlink()
    assert (folder.path / "real.json").read_text().endswith("}\n")
    assert folder.left() == ["lake", "link", "pipeline.yaml", "real.json", "source", "store"]


def test_an_interrupted_scan_ends_with_130_and_leaves_nothing_that_counts(folder: Folder) -> None:
    whole = b"".join(lines(100_000))
    for number in range(10):
        folder.put(f"source/{number}", whole.replace(b'"h1"', b'"h%d"' % number))
    audit = folder.start("audit", str(folder.file), start_new_session=True)
    log = folder.path / "store/units/_delta_log"
    while not log.exists() and audit.poll() is None:
        time.sleep(0.01)
    os.killpg(audit.pid, signal.SIGINT)
    out, err = audit.communicate()
    assert (audit.returncode, out) == (130, b"")
    assert err.decode() == "fidelity: interrupted. What was committed is kept.\n"
    assert not list((folder.path / "store/observations").glob("*.parquet"))
    for number in range(10):
        (folder.path / f"source/{number}").unlink()
    assert folder.audit(0).counts() == (60, 60, 0, 0, 0, 0)
