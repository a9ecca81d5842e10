"""Stores that are full, closed, damaged, another's or no stores: told, and nothing is lost."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from audits import LAKE, SOURCE, Folder, lines

from fidelity.store import snapshot

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
ALL = (60, 60, 0, 0, 0, 0)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path).filled()


@pytest.fixture
def audited(folder: Folder) -> Folder:
    assert folder.audit(0).counts() == ALL
    return folder


@contextmanager
def mounted(place: Path, *options: str) -> Iterator[None]:
    """A mount, if this machine lets us."""
    place.mkdir(exist_ok=True)
    if subprocess.run(["mount", *options, str(place)], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let us mount")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


# What is there instead


@pytest.mark.parametrize(
    ("store", "told"),
    [
        ("source/a", "this is a file, and a store is a folder. Name a new or empty folder"),
        ("source/a/b", "there is a file where a folder should be."),
        ("source", "this folder holds other things than a store. Name a new or empty folder"),
        (".", "this folder holds other things than a store."),
    ],
)
def test_a_store_does_not_settle_among_other_things(folder: Folder, store: str, told: str) -> None:
    folder.file.write_text(folder.file.read_text().replace("store: store", f"store: {store}"))
    found = folder.run("audit")
    assert (found.status, found.out) == (2, "")
    assert told in found.err
    assert folder.left() == ["lake", "pipeline.yaml", "source"]


def test_a_store_of_another_pipeline_is_refused(audited: Folder) -> None:
    audited.file.write_text(audited.file.read_text().replace("trial", "other"))
    for command in ("audit", "reconcile", "report"):
        found = audited.run(command)
        assert found.status == 2
        assert "this store belongs to the pipeline `trial`, not to `other`." in found.err


@pytest.mark.parametrize("command", ["reconcile", "report", "show"])
def test_a_question_to_a_store_that_is_not_there_yet_makes_none(
    folder: Folder, command: str
) -> None:
    found = folder.run(command, *(["--id", "00000000"] if command == "show" else []))
    assert found.status == 2
    assert "there is no store here yet." in found.err
    assert folder.left() == ["lake", "pipeline.yaml", "source"]


@pytest.mark.parametrize("change", ["window: 5m\n", "record: {id: n, time: ts}\n"])
def test_a_store_of_another_window_or_record_is_not_added_to_nor_reckoned_with(
    audited: Folder, change: str
) -> None:
    text = audited.file.read_text()
    text = "".join(each for each in text.splitlines(keepends=True) if change[:6] not in each[:6])
    audited.file.write_text(change + text)
    for command in ("audit", "scan", "reconcile"):
        found = audited.run(command)
        assert (found.status, found.out) == (2, "")
        assert "Take the change back, or name a new `store:`" in found.err
    assert audited.run("report").status == 0  # what was answered stays answered
    audited.configure(SOURCE, LAKE)
    assert audited.audit(0).counts() == ALL


# Damage


def _junk(pattern: str) -> Callable[[Path], None]:
    def damage(store: Path) -> None:
        for path in store.glob(pattern):
            path.write_bytes(b"junk")

    return damage


def _gone(pattern: str) -> Callable[[Path], None]:
    def damage(store: Path) -> None:
        for path in store.glob(pattern):
            path.unlink()

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        _junk("units/*.parquet"), _gone("units/*.parquet"), _junk("units/_delta_log/*"),
        _junk("observations/*.parquet"), _gone("observations/*.parquet"),
        _junk("observations/_delta_log/*"), _gone("observations/_delta_log/*"),
    ],
)  # fmt: skip
def test_a_damaged_store_is_told_and_nothing_is_reckoned_with_it(
    audited: Folder, damage: Callable[[Path], None]
) -> None:
    damage(audited.path / "store")
    found = audited.run("audit")
    assert (found.status, found.out) == (2, "")
    assert "Restore it from a copy, or name a new `store:` and scan everything again." in found.err


@pytest.mark.parametrize(
    "damage", [_junk("observations/*.parquet"), _gone("observations/*.parquet")]
)
def test_damage_among_observations_too_many_for_memory_is_told_without_our_calls(
    audited: Folder, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(snapshot, "_FEW", 0)
    damage(audited.path / "store")
    found = audited.run("reconcile")
    assert (found.status, found.out) == (2, "")
    assert "the store cannot be read" in found.err
    assert "Restore it from a copy" in found.err
    assert "Traceback" not in found.err


def test_a_damaged_run_is_told_and_the_store_goes_on(audited: Folder) -> None:
    _junk("runs/*")(audited.path / "store")
    found = audited.run("report")
    assert found.status == 2
    assert "this is not a run's report. Remove it" in found.err
    assert audited.audit(0).counts() == ALL


# Disks


@ROOT
def test_a_read_only_store_answers_and_does_not_scan(audited: Folder) -> None:
    store = audited.path / "store"
    audited.put("lake/b", lines(5, "h2"))
    with mounted(store, "--bind", str(store)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(store)], check=True)
        found = audited.run("audit", "--json")
        assert (found.status, found.out) == (2, "")
        assert "the store lies on a read-only file system." in found.err
        assert audited.run("report").status == 0
        answered = audited.run("reconcile", "--json")
        assert answered.status == 2  # the run could not be kept
        assert answered.counts() == ALL
    assert audited.audit(1).counts() == (60, 60, 0, 0, 0, 5)


@ROOT
@pytest.mark.parametrize("size", ["4k", "24k", "200k"])
def test_a_full_disk_is_told_and_what_was_committed_still_counts(folder: Folder, size: str) -> None:
    for number in range(12):
        folder.put(f"source/{number}", lines(3000, f"h{number}", f"s{number}"))
    with mounted(folder.path / "store", "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        found = folder.run("audit")
        assert found.status == 2
        assert "the disk is full. Free some space and run again" in found.err
        after = folder.run("reconcile", "--json")
        assert after.status in (1, 2)
        if after.out:
            assert after.verdict == "unknown"
        subprocess.run(["mount", "-o", "remount,size=64m", str(folder.path / "store")], check=True)
        assert folder.audit(1).counts() == (36060, 60, 36000, 0, 0, 0)
