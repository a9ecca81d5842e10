"""What files a stage's paths mean."""

import os
from pathlib import Path

import pytest

from fidelity.config import Stage
from fidelity.errors import ConfigError, SourceError
from fidelity.sources import Wanted, read
from fidelity.sources.globs import files_of
from fidelity.units import Unit

TREE = [
    *("a.jsonl", "b.jsonl", "c.txt", ".hidden.jsonl", "_SUCCESS", "x1.log", "x2.log", "x3.log"),
    *("sub/a.jsonl", "sub/deep/a.jsonl", "_delta_log/0.json", ".git/a.jsonl"),
    *("date=2024-01-01/p.parquet", "date=2024-01-02/p.parquet", "_date=1/p.parquet"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x\n")
    return tmp_path


def names(folder: Path, *patterns: str) -> list[str]:
    found = files_of([str(folder / pattern) for pattern in patterns], {}, "source")
    return [os.path.relpath(entry.path, folder) for entry in found]


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("*.jsonl", ["a.jsonl", "b.jsonl"]),
        ("?.jsonl", ["a.jsonl", "b.jsonl"]),
        ("[!a].jsonl", ["b.jsonl"]),
        ("x[1-2].log", ["x1.log", "x2.log"]),
        ("{a,c}.{jsonl,txt}", ["a.jsonl", "c.txt"]),
        ("{x{1,3}.log,c.txt}", ["c.txt", "x1.log", "x3.log"]),
        ("**/a.jsonl", ["a.jsonl", "sub/a.jsonl", "sub/deep/a.jsonl"]),
        ("sub/**", ["sub/a.jsonl", "sub/deep/a.jsonl"]),
        ("{sub,none}/*", ["sub/a.jsonl"]),
        ("sub/*/a.jsonl", ["sub/deep/a.jsonl"]),
        ("*/p.parquet", [f"{day}/p.parquet" for day in ("_date=1", "date=2024-01-01")]),
        (".hidden*", [".hidden.jsonl"]),
        ("_delta_log/*", ["_delta_log/0.json"]),
        ("_*/*.json", ["_delta_log/0.json"]),
        ("a.jsonl", ["a.jsonl"]),
        ("sub", ["sub/a.jsonl", "sub/deep/a.jsonl"]),
        ("none*", []),
        ("x1.log{", []),
    ],
)
def test_a_pattern_means_these_files(tree: Path, pattern: str, wanted: list[str]) -> None:
    found = names(tree, pattern)
    if pattern == "*/p.parquet":
        wanted = [*wanted, "date=2024-01-02/p.parquet"]
    assert found == wanted


def test_several_patterns_name_a_file_once(tree: Path) -> None:
    assert names(tree, "*.jsonl", "a.*", "./a.jsonl") == ["a.jsonl", "b.jsonl"]


@pytest.mark.parametrize(
    "pattern", ["none/*.log", "none/a.log", "a.jsonl/*.log", "none/**", "no.log"]
)
def test_a_folder_that_is_not_there_is_an_error_of_the_stage(tree: Path, pattern: str) -> None:
    with pytest.raises(SourceError) as error:
        names(tree, pattern)
    assert "stage source" in str(error.value)
    assert "folder" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_folder_is_an_empty_stage(tmp_path: Path) -> None:
    assert names(tmp_path, "*.log") == []


def test_links_are_followed_but_a_file_counts_once(tree: Path) -> None:
    (tree / "current.log").symlink_to(tree / "x2.log")
    (tree / "again").symlink_to(tree / "sub")
    (tree / "sub" / "up").symlink_to(tree)
    assert names(tree, "*.log") == ["x1.log", "x2.log", "x3.log"]
    assert names(tree, "current*") == ["current.log"]
    assert names(tree, "**/a.jsonl") == ["a.jsonl", "sub/a.jsonl", "sub/deep/a.jsonl"]
    assert names(tree, "again/*.jsonl") == ["again/a.jsonl"]


def test_what_is_named_like_a_file_but_is_none_is_told(tree: Path) -> None:
    (tree / "gone.log").symlink_to(tree / "nowhere")
    (tree / "folder.log").mkdir()
    os.mkfifo(tree / "pipe.log")
    found = {
        os.path.basename(entry.path): entry.problem
        for entry in files_of([str(tree / "*.log")], {}, "source")
    }
    assert found["x1.log"] == ""
    assert "leads nowhere" in found["gone.log"]
    assert "folder" in found["folder.log"]
    assert "regular" in found["pipe.log"]


def test_relative_paths_stay_relative(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert [e.path for e in files_of(["./x*.log"], {}, "s")] == ["x1.log", "x2.log", "x3.log"]
    assert [e.path for e in files_of(["file://sub/*.jsonl"], {}, "s")] == ["sub/a.jsonl"]


def test_an_unknown_kind_of_path_or_option_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="ftp"):
        files_of(["ftp://host/a.log"], {}, "s")
    with pytest.raises(ConfigError, match="regoin"):
        files_of(["s3://bucket/a*.log"], {"regoin": "x"}, "s")


def test_secrets_are_not_in_errors() -> None:
    secret = "s3cr3tvalue"
    options = {"access_key": "AKIDVALUE", "secret_key": secret, "endpoint": "http://127.0.0.1:9"}
    with pytest.raises(SourceError, match="cannot be reached") as error:
        files_of(["s3://bucket/logs/*.log"], {**options, "region": "us-east-1"}, "s")
    assert secret not in str(error.value)
    assert "AKIDVALUE" not in str(error.value)


def test_a_store_that_goes_away_while_units_are_read_ends_the_whole_stage() -> None:
    stage = Stage(
        name="lake", kind="files", options={"endpoint": "http://127.0.0.1:9", "region": "x"}
    )
    unit = Unit("lake", "k", "text", "s3://b/a.log", 0, 9, version="9:1", fingerprint_bytes=9)
    with pytest.raises(SourceError, match="cannot be reached"):
        next(read(unit, stage, Wanted()))
