"""Which files a clean copy is made of, what they are called in it, and where it must not lie."""

import gzip
import os
from pathlib import Path

import pyarrow as pa
import pytest
from audits import SOURCE, Folder, lines
from test_dedup_copy import DEEP, HIVE, copy, parquet

from fidelity.sources.globs import reaches


def staged(path: Path, *globs: str) -> Folder:
    """A stage of these paths, and no files."""
    told = ", ".join(f'"{glob}"' for glob in globs)
    return Folder(path, SOURCE, f"lake: {{kind: files, path: [{told}], after: source}}")


def copied(folder: Folder, to: str = "clean") -> list[str]:
    """The names of the copy's files."""
    top = folder.path / to
    return sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("path", "output", "reached"),
    [
        ("data/*", "data/clean", True),
        ("data/*.jsonl", "data/clean", False),
        ("data/*.jsonl", "data/clean.jsonl", True),
        ("data/date=*/*.jsonl", "data/clean", False),
        ("data/date=*/*.jsonl", "data/date=x", True),
        ("data/date=*/*.jsonl", "data/date=x/clean", False),
        ("data/*/*.jsonl", "data/clean", True),
        ("data/{a,b}/*.jsonl", "data/clean", False),
        ("data/{a,clean}/*.jsonl", "data/clean", True),
        ("data/**/*.jsonl", "data/clean/deep", True),
        ("data/**/x/*.jsonl", "data/clean", True),
        ("data/**", "data/_clean", False),
        ("data/[[]1]/*", "data/[1]", True),
        ("data/[[]1]/*", "data/1", False),
        ("data", "data/clean", True),
        ("data", "data2", False),
        ("data/a.jsonl", "data", True),
        ("data/x/*.jsonl", "data", True),
        ("env=prod/lake/*.jsonl", "clean", False),
        ("*.jsonl", "clean", False),
        ("s3://b/data/**", "s3://b/data/clean", True),
        ("s3://b/data/day=*/*", "s3://b/data/clean", False),
        ("s3://b/data/**", "data/clean", False),
    ],
)
def test_a_path_reaches_a_folder_if_files_of_it_may_match(
    path: str, output: str, reached: bool
) -> None:
    assert reaches(path, output) == reached


def test_a_copy_may_lie_beside_the_partitions_that_the_path_names(tmp_path: Path) -> None:
    folder = staged(tmp_path, "data/date=*/*.jsonl")
    folder.put("data/date=1/a.jsonl", lines(5))
    assert copy(folder, to="data/clean")["kept"] == 5
    assert copied(folder, "data/clean") == ["date=1/a.jsonl"]
    assert copy(folder, to="data/again")["read"] == 5


def test_a_name_with_brackets_is_copied_under_it(tmp_path: Path) -> None:
    folder = staged(tmp_path, "lake/a[[]1].jsonl")
    folder.put("lake/a[1].jsonl", lines(5))
    assert copy(folder)["kept"] == 5
    assert copied(folder) == ["a[1].jsonl"]


def test_of_overlapping_paths_the_outer_folder_names_the_files(tmp_path: Path) -> None:
    folder = staged(tmp_path, "lake/sub/*.jsonl", "lake/*.jsonl")
    for name in ("a", "sub/a", "sub/b"):
        folder.put(f"lake/{name}.jsonl", lines(5, origin=name))
    assert copy(folder)["kept"] == 15
    assert copied(folder) == ["a.jsonl", "sub/a.jsonl", "sub/b.jsonl"]


def test_equal_names_are_told_before_anything_is_read(tmp_path: Path) -> None:
    folder = staged(tmp_path, "lake/one", "lake/two")
    folder.put("lake/one/a", lines(5))
    folder.put("lake/two/a", gzip.compress(b"".join(lines(50)))[:-20])
    assert "two files would both be `a`" in copy(folder, status=2)
    assert copy(folder, "--path", str(tmp_path / "lake/one/*"))["read"] == 5
    assert copied(folder) == ["a"]


def test_files_without_records_are_copied_too(tmp_path: Path) -> None:
    folder = Folder(tmp_path, SOURCE, DEEP)
    folder.put("lake/a", lines(5))
    folder.put("lake/b/empty", b"")
    folder.put("lake/b/empty.gz", gzip.compress(b""))
    folder.put("lake/b/empty.zst", pa.compress(b"", "zstd", asbytes=True))
    folder.put("lake/blank", b"\n")
    books = copy(folder)
    assert (books["kept"], books["files"]) == (5 + books["flaws"].get("malformed", 0), 5)
    assert copied(folder) == ["a", "b/empty", "b/empty.gz", "b/empty.zst", "blank"]
    assert (tmp_path / "clean/b/empty").read_bytes() == b""
    assert gzip.decompress((tmp_path / "clean/b/empty.gz").read_bytes()) == b""
    with pa.CompressedInputStream(str(tmp_path / "clean/b/empty.zst"), "zstd") as text:
        assert text.read() == b""


def test_a_rotated_copy_beside_its_file_is_copied_though_a_clock_is_ahead(tmp_path: Path) -> None:
    folder = Folder(tmp_path, SOURCE, DEEP)
    folder.put("lake/a.log", lines(5))
    folder.put("lake/a.log.1.gz", gzip.compress(b"".join(lines(5))))
    os.utime(tmp_path / "lake/a.log.1.gz", (1 << 32, 1 << 32))
    books = copy(folder)
    assert (books["kept"], books["dropped"]) == (5, 5)
    assert copied(folder) == ["a.log", "a.log.1.gz"]


def test_a_name_that_is_no_text_stays_the_same(tmp_path: Path) -> None:
    folder = Folder(tmp_path, SOURCE, DEEP)
    names = [b"caf\xe9/\xff.jsonl", rb"caf\xe9.jsonl"]
    for name in names:
        folder.put(os.fsdecode(b"lake/" + name), lines(5, origin=repr(name)))
    assert copy(folder)["kept"] == 10
    assert {os.fsencode(name) for name in copied(folder)} == set(names)


def test_only_the_stages_own_files_are_taken_from_the_working_directory_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path, SOURCE, HIVE)
    monkeypatch.chdir(tmp_path / "lake")
    parquet(folder, "lake/day=1/a.parquet", [0, 1, 0])
    parquet(folder, "lake/day=2/a.parquet", [0, 1, 2])
    folder.put("lake/day=1/notes.txt", b"no Parquet")
    folder.put("other/a.parquet", b"not of the stage")
    assert copy(folder, "--path", "day=1/*")["read"] == 3
    assert copied(folder) == ["day=1/a.parquet"]
    for typo in ("day=1/*.parkett", "../other/*", "day=1/notes.txt"):
        said = copy(folder, "--path", "day=2/*", "--path", typo, to="second", status=2)
        assert "none of the files of stage `lake`" in said
        assert str((tmp_path / "lake" / typo).resolve()) in said


def test_a_stage_without_files_is_an_empty_copy(tmp_path: Path) -> None:
    folder = staged(tmp_path, "lake/*.none")
    assert copy(folder)["read"] == 0
    assert copied(folder) == []


def test_a_mistake_is_told_before_spark_starts(tmp_path: Path) -> None:
    folder = Folder(tmp_path).filled()
    to = ["--output", str(tmp_path / "clean"), "--engine", "spark", "--master", "spark://nowhere:1"]
    for options, says in (
        (["--stage", "lakes"], "no stage `lakes`"),
        (["--stage", "lake", "--at", "lakes"], "no stage `lakes`"),
        (["--stage", "lake", "--offsets", "0:1-2"], "files have no offsets"),
    ):
        assert says in folder.run("dedup", *options, *to).err


def test_the_home_folder_and_links_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path).filled()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("home", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "home/nowhere").symlink_to(tmp_path / "not there yet")
    for to in ("~/clean", str(tmp_path / "link"), "~/nowhere"):
        outcome = folder.run("dedup", "--stage", "lake", f"--output={to}")
        assert outcome.status == 0, outcome.err
    for name in ("home/clean", "link", "empty", "not there yet"):
        assert (tmp_path / name / "a").read_bytes() == b"".join(lines())
    assert (tmp_path / "link").is_symlink()
    (tmp_path / "into").symlink_to(tmp_path / "lake")
    assert "among the stage's own files" in copy(folder, to="into", status=2)
