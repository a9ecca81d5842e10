"""Files and folders that are odd, closed, moving or not there."""

import os
import socket
import subprocess
from pathlib import Path

import pytest
from audits import LAKE, SOURCE, Folder, lines

from fidelity.audit import audit
from fidelity.config import load

ALL = (60, 60, 0, 0, 0, 0)
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs the rights to give rights up")
WITHOUT_RIGHTS = (
    "setpriv", "--bounding-set=-dac_override,-dac_read_search",
    "--inh-caps=-dac_override,-dac_read_search",
)  # fmt: skip
"""Root that must ask like anybody else."""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path).filled()


NAMES = (
    "a b", "ünï日本", "a\nb.log", "a*b", "a[b]", "a?b", "{a,b}", "a#b", "a@b:c", "a%20b", "-a",
    "~a", "a\"b'c", "\\x41", "a\x1fb", "$HOME", "a=b.log", "x" * 250, ".hidden",
)  # fmt: skip


def test_any_name_is_a_name(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for number, name in enumerate(NAMES):
        folder.put(f"source/{number}", lines(5, f"h{number}"))
        folder.put(f"lake/{name}", lines(5, f"h{number}"))
    seen = 5 * len(NAMES)
    assert folder.audit(1).counts() == (seen, seen - 5, 5, 0, 0, 0)  # `*` hides `.hidden`
    assert folder.audit(1).counts() == (seen, seen - 5, 5, 0, 0, 0)


def test_a_name_that_is_no_utf_8_is_read_and_shown(tmp_path: Path) -> None:
    folder = Folder(tmp_path, SOURCE, LAKE.replace("lake/*", "lake/**")).filled()
    deep = os.fsencode(folder.path) + b"/lake/\xe4"
    os.mkdir(deep)
    for name, content in ((b"/\xff\xfe.log", lines(5, "h2")), (b"/b", [b"\x1f\x8b\x08cut"])):
        with open(deep + name, "wb") as file:
            file.write(b"".join(content))
    folder.put("source/b", lines(5, "h2"))
    found = folder.audit(1)
    assert found.counts() == (65, 65, 0, 0, 0, 0)
    assert "/lake/\\xe4/b" in found.told("unreadable")


def test_a_folder_whose_name_is_a_pattern_is_that_folder(tmp_path: Path) -> None:
    for lake in ("lake/*", "lake/a"):
        folder = Folder(
            tmp_path / "a [b] {c,d} *?" / lake[-1:], SOURCE, LAKE.replace("lake/*", lake)
        )
        assert folder.filled().audit(0).counts() == ALL


@pytest.mark.parametrize(
    ("pattern", "status"),
    [
        ("[z-a]", 1), ("[!]", 1), ("[]", 1), ("{a", 1), ("[a", 1), ("[a&&b]", 0), ("[]a]", 0),
        ("[!b]", 0), ("[^b]", 0), ("{a,{b,c}}", 0), ("***", 0), ("**/a", 0), ("../lake/a", 0),
    ],
)  # fmt: skip
def test_a_pattern_means_what_it_says_or_nothing(folder: Folder, pattern: str, status: int) -> None:
    folder.configure(SOURCE, LAKE.replace("lake/*", f"lake/{pattern}"))
    found = folder.audit(status)
    assert found.books()["delivered"] == (0 if status else 60)
    if status:
        assert f"lake/{pattern}" in found.told("empty")


# What is no file


def test_a_pipe_a_socket_and_links_to_nowhere_are_unknown_and_hang_nothing(folder: Folder) -> None:
    lake = folder.path / "lake"
    os.mkfifo(lake / "fifo")
    (lake / "nowhere").symlink_to("gone")
    (lake / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as end:
        before = Path.cwd()
        os.chdir(lake)  # a socket's path must be short
        try:
            end.bind("socket")
        finally:
            os.chdir(before)
        found = folder.audit(1)
    assert found.verdict == "unknown"
    assert found.counts() == ALL
    evidence = next(f["evidence"] for f in found.report["findings"] if f["kind"] == "unreadable")
    assert [Path(path).name for path in evidence["paths"]] == ["fifo", "loop", "nowhere", "socket"]
    assert "is not a regular file." in evidence["reasons"]
    assert "is a link that leads nowhere." in evidence["reasons"]


def test_a_folder_is_passed_over_unless_the_pattern_asks_for_files(folder: Folder) -> None:
    (folder.path / "lake/old").mkdir()
    (folder.path / "lake/old.log").mkdir()
    assert folder.audit(0).counts() == ALL
    folder.configure(SOURCE, LAKE.replace("lake/*", "lake/{a,*.log}"))
    assert "it is a folder, not a file." in folder.audit(1).told("unreadable")


def test_links_that_lead_in_circles_and_second_names_count_once(folder: Folder) -> None:
    lake = folder.path / "lake"
    (lake / "again").symlink_to(".")
    (lake / "up").symlink_to("..")
    (lake / "b").symlink_to("a")
    os.link(lake / "a", lake / "c")
    folder.configure(SOURCE, LAKE.replace("lake/*", "lake/again/**"))
    found = folder.audit(1)  # up/source/a is another file with the same records
    assert found.books()["observed"] == 120
    folder.configure(SOURCE, LAKE)
    assert folder.audit(0).counts() == ALL


def test_a_file_full_of_holes_is_read_and_is_one_line(folder: Folder) -> None:
    path = folder.put("lake/sparse", b"")
    os.truncate(path, 30 << 20)
    assert folder.audit(1).verdict == "unknown"  # may be written yet
    os.utime(path, (1, 1_700_000_000))
    assert folder.audit(0).flaws("lake") == {"malformed": 1}


# What is not there


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("lakes/*", "there is no such file or folder"),
        ("lake/b.jsonl", "there is no such file or folder"),
        ("lake/a/*", "a file where a folder should be"),
        ("s3://", "the address names no bucket"),
    ],
)
def test_a_stage_that_is_not_there_is_unknown_and_the_status_2(
    folder: Folder, path: str, told: str
) -> None:
    folder.configure(SOURCE, LAKE.replace("lake/*", path))
    found = folder.audit(2)
    assert found.verdict == "unknown"
    assert found.counts() == (60, 0, 0, 60, 0, 0)
    assert found.err.startswith("fidelity: stage lake: ")
    assert told in found.err
    assert "Check the path, that it may be read, and the stage's `options`." in found.err


def test_a_kind_of_address_that_nobody_knows_is_refused(folder: Folder) -> None:
    folder.configure(SOURCE, LAKE.replace("lake/*", "ftp://host/x"))
    assert "ftp:// are not known. Use a local path" in folder.run("audit").err


def test_a_file_that_goes_while_a_scan_runs_is_unknown_until_the_next(folder: Folder) -> None:
    folder.put("source/b", lines(9, "h2"))
    gone = folder.put("lake/b", lines(9, "h2"))

    def planned(stage: str, done: int, total: int) -> None:
        if stage == "lake":
            gone.unlink(missing_ok=True)

    report = audit(load(folder.file), progress=planned).report
    assert report.verdict == "unknown"
    (row,) = (each for each in report.stages if each.stage == "lake")
    assert (row.delivered, row.lost, row.unaudited) == (60, 0, 9)
    assert folder.audit(1).counts() == (69, 60, 9, 0, 0, 0)  # by now it is known to be gone


# What is closed


@ROOT
def test_closed_files_and_folders_are_unknown(folder: Folder) -> None:
    closed = folder.put("lake/b", lines(9, "h2"))
    closed.chmod(0)
    with folder.start("audit", str(folder.file), before=WITHOUT_RIGHTS) as done:
        out, err = done.communicate()
    assert (done.returncode, err) == (1, b"")
    told = "".join(out.decode().split())  # a long path is broken anywhere
    assert "/lake/b)couldnotberead:Permissiondenied." in told
    (folder.path / "lake").chmod(0)
    with folder.start("audit", str(folder.file), "--json", before=WITHOUT_RIGHTS) as done:
        out, err = done.communicate()
    (folder.path / "lake").chmod(0o755)
    assert done.returncode == 2
    assert b'"verdict": "unknown"' in out
    assert err.decode().startswith(f"fidelity: stage lake: {folder.path}/lake/*: not allowed")
    assert err.count(b"\n") == 1


@ROOT
def test_a_store_that_is_closed_is_told(folder: Folder) -> None:
    assert folder.audit(0).verdict == "pass"
    subprocess.run(["chmod", "-R", "a-w", str(folder.path / "store")], check=True)
    with folder.start("scan", str(folder.file), before=WITHOUT_RIGHTS) as scan:
        out, err = scan.communicate()
    assert (scan.returncode, out) == (2, b"")
    assert "access to the store is denied. Check its permissions" in err.decode()
    assert err.count(b"\n") == 1
