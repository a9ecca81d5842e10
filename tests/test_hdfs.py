"""HDFS with what goes wrong there: told in a paragraph, soon; nothing half-counted."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hdfs_native import Client, WriteOptions
from lakes import Lake
from scans import LATER, lines
from test_store import counted, put

from examples.lakes import Hdfs
from fidelity import sources
from fidelity.audit import audit
from fidelity.config import Pipeline, RecordSpec, Stage
from fidelity.errors import ConfigError, SourceError, StoreError, UnreadableError
from fidelity.report.json import render
from fidelity.scan import scan
from fidelity.sources.globs import files_of
from fidelity.store import Store

pytestmark = pytest.mark.servers

JSON = RecordSpec(format="json")
HASTY = {
    "ipc.client.rpc-timeout.ms": "1000",
    "dfs.client.socket-timeout": "2000",
    "dfs.client.failover.max.attempts": "1",
}
MANY = lines("g", 0, 1) * 200_000  # more than is read ahead, in many blocks


def lake_stage(uri: str, **options: str) -> Stage:
    return Stage(name="lake", kind="files", paths=(f"{uri}/lake/*.jsonl",), record=JSON,
                 options=options)  # fmt: skip


def made(folder: Path, lake: Lake) -> Pipeline:
    """A lake, and its store on the local disk."""
    return Pipeline(name="p", store=str(folder / "store"), stages=(lake_stage(lake.uri, **HASTY),))


def verdict_of(pipeline: Pipeline) -> tuple[int, str]:
    """What an audit counted, and what it said."""
    report = json.loads(render(audit(pipeline, as_of=LATER, workers=1).report))
    return report["stages"][0]["observed"], json.dumps(report["findings"])


@pytest.mark.parametrize("host", ["127.0.0.1:9", "no.such.host.invalid:8020"])
def test_a_name_node_that_is_down_is_told(host: str) -> None:
    began = time.monotonic()
    with pytest.raises(SourceError, match="cannot be reached") as error:
        files_of([f"hdfs://{host}/lake/*.jsonl"], HASTY, "lake")
    assert f"stage lake: hdfs://{host}/lake" in str(error.value)
    assert time.monotonic() - began < 10


def test_a_store_on_a_name_node_that_is_down_is_told() -> None:
    with pytest.raises(StoreError, match="nobody answers") as error:
        Store.open("hdfs://127.0.0.1:9/store", "p", HASTY)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("uri", ["hdfs://127.0.0.1/lake", "hdfs:///lake", "hdfs://prod/lake"])
def test_a_name_node_that_is_not_known_is_told_with_what_to_set(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HADOOP_CONF_DIR", "HADOOP_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="HADOOP_CONF_DIR"):
        files_of([f"{uri}/*.jsonl"], {}, "lake")
    with pytest.raises(ConfigError, match="HADOOP_CONF_DIR"):
        Store.open(f"{uri}/store", "p")


def test_a_name_node_that_hangs_is_given_up(hdfs: Hdfs, folder: Lake) -> None:
    folder.put("lake/a.jsonl", b"{}\n")
    Store.open(f"{folder.uri}/store", "p", HASTY)
    hdfs.freeze_name_node()
    try:
        began = time.monotonic()
        with pytest.raises(SourceError, match="has not answered for 1 s"):
            files_of([f"{folder.uri}/lake/*.jsonl"], HASTY, "lake")
        with pytest.raises(StoreError, match="does not answer"):
            Store.open(f"{folder.uri}/store", "p", HASTY)
        assert time.monotonic() - began < 20
    finally:
        hdfs.thaw_name_node()
    assert len(files_of([f"{folder.uri}/lake/*.jsonl"], HASTY, "lake")) == 1


@pytest.mark.usefixtures("engine")
def test_in_safe_mode_stages_are_read_and_stores_say_why_not(
    hdfs: Hdfs, folder: Lake, tmp_path: Path
) -> None:
    folder.put("lake/a.jsonl", lines("h", 0, 300))
    store = Store.open(f"{folder.uri}/store", "p")
    put(store, ["u1"], "s1")
    hdfs.safe_mode(True)
    try:
        assert verdict_of(made(tmp_path, folder))[0] == 300
        assert counted(store) == 1
        with pytest.raises(StoreError, match="safe mode") as error:
            put(store, ["u2"], "s2")
        assert "\n" not in str(error.value)
    finally:
        hdfs.safe_mode(False)
    put(store, ["u2"], "s2")
    assert counted(store) == 2


def test_a_data_node_that_hangs_is_given_up(hdfs: Hdfs, folder: Lake) -> None:
    folder.put("lake/a.jsonl", MANY)
    stage = lake_stage(folder.uri, **HASTY)
    (unit,) = sources.plan(stage, [], LATER, 0).units
    hdfs.freeze_data_node()
    try:
        began = time.monotonic()
        with pytest.raises(UnreadableError):
            list(sources.read(unit, stage, sources.Wanted()))
        assert time.monotonic() - began < 20
    finally:
        hdfs.thaw_data_node()


@pytest.mark.usefixtures("engine")
def test_a_file_with_a_lost_block_is_unknown_and_the_others_count(
    hdfs: Hdfs, folder: Lake, tmp_path: Path
) -> None:
    folder.put("lake/a.jsonl", lines("h", 0, 300))
    before = set(hdfs.blocks())
    folder.put("lake/b.jsonl", MANY)
    sorted(set(hdfs.blocks()) - before)[5].unlink()
    observed, findings = verdict_of(made(tmp_path, folder))
    assert observed == 300
    assert "b.jsonl" in findings


def test_of_a_file_that_is_open_only_whole_lines_count(folder: Lake, tmp_path: Path) -> None:
    pipeline = made(tmp_path, folder)
    store = Store.open(pipeline.store, "p")
    content = lines("h", 0, 20_000)
    address, _, name = folder.uri.removeprefix("hdfs://").partition("/")
    client = Client(f"hdfs://{address}")
    options = WriteOptions(block_size=1 << 20, create_parent=True)
    with client.create(f"/{name}/lake/a.jsonl", options) as file:
        file.write(content[:1_200_000])
        scan(pipeline, store, None, LATER, 1)
        # The name node tells of its full blocks, the last line of which is cut.
        assert counted(store) == content[: 1 << 20].count(b"\n")
        file.write(content[1_200_000:])
    scan(pipeline, store, None, LATER, 1)
    with client.append(f"/{name}/lake/a.jsonl") as file:
        file.write(lines("h", 20_000, 10))
    scan(pipeline, store, None, LATER, 1)
    assert counted(store) == 20_010
    assert not [flaw for row in store.ledger("lake") for flaw in row.tally.flaws]


def test_what_one_may_not_read_is_told(folder: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.put("lake/a.jsonl", b"{}\n")
    address, _, name = folder.uri.removeprefix("hdfs://").partition("/")
    Client(f"hdfs://{address}").set_permission(f"/{name}/lake", 0o700)
    monkeypatch.setenv("HADOOP_USER_NAME", "stranger")
    for path in ("lake/*.jsonl", "lake/a.jsonl"):
        with pytest.raises(SourceError, match="not allowed"):
            # Another option, another client: this one asks who we are.
            files_of([f"{folder.uri}/{path}"], {"dfs.replication": "1"}, "lake")


def test_the_hadoop_folder_says_where_the_name_node_is(
    hdfs: Hdfs, folder: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.put("lake/a.jsonl", b"{}\n")
    name = folder.uri.removeprefix(hdfs.uri)
    options = {"config_dir": str(hdfs.configuration)}
    assert len(files_of([f"hdfs://{name}/lake/*.jsonl"], options, "lake")) == 1
    monkeypatch.setenv("HADOOP_CONF_DIR", str(hdfs.configuration))
    options = {"dfs.replication": str(os.getpid())}  # a client that was not asked for before
    assert len(files_of([f"hdfs://{name}/lake/*.jsonl"], options, "lake")) == 1
    store = Store.open(f"hdfs://{name}/store", "p", options | {"dfs.replication": "1"})
    put(store, ["u1"], "s1")
    assert counted(store) == 1
    assert counted(Store.open(f"{folder.uri}/store", "p")) == 1


@pytest.fixture
def mortal(hdfs: Hdfs) -> Iterator[Hdfs]:
    """The same servers; the DataNode is there again afterwards."""
    yield hdfs
    if hdfs.data_node_pid is None:
        hdfs.launch_data_node()
        hdfs.wait()


@pytest.mark.usefixtures("engine")
def test_a_data_node_that_dies_during_a_read_leaves_nothing_half_counted(
    mortal: Hdfs, folder: Lake, tmp_path: Path
) -> None:
    folder.put("lake/a.jsonl", MANY)
    pipeline = made(tmp_path, folder)
    (unit,) = sources.plan(pipeline.source, [], LATER, 0).units
    reader = sources.read(unit, pipeline.source, sources.Wanted())
    next(reader)
    mortal.kill_data_node()
    began = time.monotonic()
    with pytest.raises(UnreadableError, match="no data node gives all of it") as error:
        list(reader)
    assert f"{folder.uri}/lake/a.jsonl" in str(error.value)
    observed, findings = verdict_of(pipeline)
    assert observed == 0
    assert "data node" in findings
    assert time.monotonic() - began < 40
    mortal.launch_data_node()
    mortal.wait()
    assert verdict_of(pipeline)[0] == 200_000
