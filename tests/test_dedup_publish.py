"""Where a clean copy goes: all of it appears under its name, or nothing, whatever happens."""

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest
from audits import SOURCE, Folder, lines
from lakes import Lake
from test_dedup_copy import copy

from fidelity.config import load
from fidelity.dedup import output
from fidelity.dedup.clean import clean_task
from fidelity.dedup.job import clean_copy
from fidelity.dedup.output import Draft
from fidelity.errors import DedupError
from fidelity.sources.filesystem import filesystem


def at_once(function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
    return [function(task) for task in tasks]


def raw_on(lake: Lake, path: Path) -> Folder:
    """A stage of three files in a bucket."""
    for number in range(3):
        lake.put(f"raw/day={number}/a.jsonl", b"".join(lines(20, first=10 * number)))
    options = json.dumps(lake.options)
    stage = f"lake: {{kind: files, path: {lake.uri}/raw/**, options: {options}, after: source}}"
    return Folder(path, SOURCE, stage)


def objects(lake: Lake) -> list[str]:
    """The names of all objects of a bucket but the stage's."""
    entries = filesystem(lake.uri, lake.options).tree(lake.uri) or []
    paths = [entry.path.removeprefix(f"{lake.uri}/") for entry in entries if not entry.folder]
    return sorted(path for path in paths if not path.startswith("raw/"))


@pytest.mark.servers
def test_on_s3_a_copy_that_gets_its_name_in_part_is_taken_back(
    bucket: Lake, tmp_path: Path
) -> None:
    folder = raw_on(bucket, tmp_path)

    def in_the_way(function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        results = at_once(function, tasks)
        if function is clean_task:
            bucket.put("clean/day=1", b"not a folder")  # so `clean/day=1/a.jsonl` cannot be made
        return results

    with pytest.raises(DedupError, match="nothing was published"):
        clean_copy(load(folder.file), "lake", f"{bucket.uri}/clean", in_the_way)
    assert objects(bucket) == ["clean/day=1"]
    bucket.remove("clean/day=1")
    assert copy(folder, to=f"{bucket.uri}/clean")["kept"] == 40
    assert objects(bucket) == ["clean/_SUCCESS", *(f"clean/day={n}/a.jsonl" for n in range(3))]


@pytest.mark.servers
def test_objects_that_s3_does_not_copy_by_itself_are_streamed(
    bucket: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = raw_on(bucket, tmp_path)
    monkeypatch.setattr(output, "LARGEST_COPY", 1000)
    assert copy(folder, to=f"{bucket.uri}/clean")["kept"] == 40
    assert copy(folder, "--by-window", to=str(tmp_path / "clean"))["kept"] == 40
    store = filesystem(bucket.uri, bucket.options)
    for local in (tmp_path / "clean").rglob("*.jsonl"):
        with store.open(f"{bucket.uri}/clean/{local.relative_to(tmp_path / 'clean')}") as there:
            assert there.read() == local.read_bytes()


@pytest.mark.servers
def test_the_draft_of_a_run_that_was_killed_is_named(bucket: Lake, tmp_path: Path) -> None:
    folder = raw_on(bucket, tmp_path)
    bucket.put("clean/_fidelity-0123456789ab/files/day=0/a.jsonl", b"")
    said = copy(folder, to=f"{bucket.uri}/clean", status=2)
    assert "holds the draft of another run, _fidelity-0123456789ab" in said
    assert "remove its draft" in said
    bucket.put("clean/a.jsonl", b"")
    assert "the output is not empty" in copy(folder, to=f"{bucket.uri}/clean", status=2)


class Ailing:
    """A store whose second copy fails, and that removes nothing but whole folders."""

    def __init__(self, root: Path) -> None:
        self._inner = pafs.SubTreeFileSystem(str(root), pafs.LocalFileSystem())
        self._copied = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def copy_file(self, source: str, target: str) -> None:
        self._copied += 1
        if self._copied == 2:
            raise OSError("the server is busy")
        self._inner.create_dir(os.path.dirname(target))
        self._inner.copy_file(source, target)

    def delete_file(self, path: str) -> None:  # noqa: ARG002
        raise OSError("the server is busy")


def test_what_can_neither_be_published_nor_removed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = "bucket/clean/_fidelity-0123456789ab"
    for name in "ab":
        path = tmp_path / ours / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    store = output._Objects(Ailing(tmp_path))  # type: ignore[arg-type]
    monkeypatch.setattr(output, "_door", lambda path, options: store)  # noqa: ARG005
    with pytest.raises(
        DedupError, match=r"nor can .* be removed: 2 of its objects .* without _SUCCESS"
    ):
        Draft("s3://bucket/clean", f"s3://{ours}", {}).publish()


def test_sigterm_ends_it_like_an_interrupt_and_leaves_nothing(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for number in range(400):
        folder.put(f"lake/{number}", lines(20, first=20 * number))
    process = folder.start(
        *("dedup", str(folder.file), "--stage", "lake", "--output", str(tmp_path / "clean"))
    )
    while process.poll() is None and not any("_fidelity" in name for name in folder.left()):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith(b"fidelity: interrupted")
    assert folder.left() == ["lake", "pipeline.yaml", "source"]
