"""The store: what was committed counts, whole and once; whatever else happens, it can be read."""

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing.synchronize import Event
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

from fidelity.errors import ConfigError, StoreError
from fidelity.observe.observations import OBSERVATIONS
from fidelity.questions import connect
from fidelity.sources.filesystem import filesystem
from fidelity.store import Conflict, Store, check_spec
from fidelity.store.ledger import UNITS, rows_of, table_of
from fidelity.store.storage import storage_options
from fidelity.units import LOOKED, Flaw, LedgerRow, Tally, Unit

MINUTE = 60_000_000


def row(
    key: str, scan: str = "s1", stage: str = "a", status: str = "read", records: int = 1
) -> LedgerRow:
    unit = Unit(stage, key, "text", f"{key}.log", 0, 10)
    return LedgerRow(unit, status, scan, 5, "spec", Tally(records=records))  # type: ignore[arg-type]


def batch(
    key: str, scan: str = "s1", stage: str = "a", records: int = 1, window: int = 0
) -> pa.Table:
    cell = {"band": 0, "cell": 1, "records": records, "id_sum": -records, "id_check": records}
    line = {
        "scan": scan, "unit": key, "stage": stage, "sample": 1, "window": window, "stream": "x",
        "records": records, "bytes": 10 * records, "origins": [], "lag": [], "cells": [cell],
    }  # fmt: skip
    return pa.RecordBatch.from_pylist([line], schema=OBSERVATIONS)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"), "p")


def put(store: Store, keys: list[str], scan: str, stage: str = "a") -> None:
    """One scan that read these units."""
    file = store.write_observations(scan, [batch(key, scan, stage) for key in keys])
    rows = [row(key, scan, stage) for key in keys]
    store.commit(scan, stage, rows, [file] if file else [], store.frontier(stage))


def counted(store: Store, known_at: int | None = None) -> int:
    """Records in force."""
    snapshot = store.at(known_at)
    with connect() as connection:
        connection.register("observations", snapshot.observations())
        connection.register("in_force", snapshot.in_force())
        question = (
            "SELECT coalesce(sum(records), 0) FROM observations AS o SEMI JOIN in_force AS f "
            "ON o.stage = f.stage AND o.scan = f.scan AND o.unit = f.unit"
        )
        return int(connection.execute(question).fetchall()[0][0])


def files_of(store: Store, table: str = "observations") -> set[str]:
    return {path.name for path in Path(store.uri, table).iterdir() if path.is_file()}


times = st.one_of(st.just(-1), st.integers(0, 253_402_300_799_999_999))
flaws = st.builds(
    Flaw,
    st.sampled_from(["malformed", "future"]),
    st.integers(1, 9),
    st.lists(st.integers(0, 2**60), max_size=5).map(tuple),
)
ledger_rows = st.builds(
    LedgerRow,
    st.builds(
        Unit, st.just("a"), st.text(), st.just("kafka"), st.text(), st.integers(0, 2**62), times
    ),
    st.sampled_from(["read", "unreadable", "trimmed"]),
    st.text(),
    times,
    st.text(),
    st.builds(
        Tally,
        st.integers(0, 2**62),
        st.integers(0, 2**62),
        times,
        times,
        times,
        times,
        st.lists(flaws, max_size=2).map(tuple),
    ),
    st.text(),
    times,
    times,
    st.just(7),
)


@given(st.lists(ledger_rows, max_size=5))
def test_a_ledger_row_comes_back_as_it_went(rows: list[LedgerRow]) -> None:
    table = table_of(rows, 7, 3)
    assert table.schema == UNITS
    assert rows_of(table) == rows


def test_the_row_of_the_last_commit_is_in_force(store: Store) -> None:
    put(store, ["u1", "u2"], "s1")
    put(store, ["u2"], "s2")
    assert {(each.unit.key, each.scan, each.commit) for each in store.ledger("a")} == {
        ("u1", "s1", 1),
        ("u2", "s2", 2),
    }
    assert counted(store) == 2


def test_what_was_superseded_counts_no_more_and_vanished_counts_for_nothing(store: Store) -> None:
    put(store, ["u1", "u2"], "s1")
    store.commit("s2", "a", [row("u1", "s2", status="vanished")], [], 1)
    assert counted(store) == 1
    assert counted(store, known_at=1) == 2


def test_observations_without_a_ledger_entry_count_for_nothing(store: Store) -> None:
    put(store, ["u1"], "s1")
    file = store.write_observations("s2", [batch("u2", "s2")])
    assert file is not None
    table = store.observations_table
    table.commit(table.open(), [file])
    assert counted(store) == 1


def test_a_failed_look_does_not_take_back_an_earlier_one(store: Store) -> None:
    looked = LedgerRow(Unit("a", LOOKED, "stage", "", 0, 0), "read", "s1", 5, "spec")
    store.commit("s1", "a", [looked], [], 0)
    store.commit("s2", "a", [replace(looked, status="unreadable", scanned_at=9)], [], 1)
    assert [(each.status, each.scanned_at) for each in store.ledger("a")] == [
        ("read", 5),
        ("unreadable", 9),
    ]


def test_a_commit_that_is_based_on_an_older_ledger_conflicts(store: Store) -> None:
    put(store, ["u1"], "s1")
    file = store.write_observations("s2", [batch("u1", "s2")])
    assert file is not None
    with pytest.raises(Conflict):
        store.commit("s2", "a", [row("u1", "s2")], [file], 0)
    assert counted(store) == 1
    store.commit("s2", "b", [row("u1", "s2", "b")], [], 0)


def _commit_many(uri: str, stage: str, name: str, times: int, start: Event) -> None:
    store = Store.open(uri, "p")
    start.wait(30)
    for number in range(times):
        scan = f"{name}-{number}"
        file = store.write_observations(scan, [batch(scan, scan, stage)])
        assert file is not None
        while True:  # the same file again: it may be in the table already, and counts once
            with suppress(Conflict):
                store.commit(scan, stage, [row(scan, scan, stage)], [file], store.frontier(stage))
                break


@pytest.mark.parametrize("stages", [("a", "a", "a"), ("a", "b", "c")])
def test_commits_of_many_processes_at_once_all_count_once(
    store: Store, stages: tuple[str, ...]
) -> None:
    context = multiprocessing.get_context("spawn")
    start, times = context.Event(), 8
    processes = [
        context.Process(target=_commit_many, args=(store.uri, stage, f"p{n}", times, start))
        for n, stage in enumerate(stages)
    ]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    commits = {stage: store.frontier(stage) for stage in set(stages)}
    assert commits == {stage: times * stages.count(stage) for stage in set(stages)}
    for stage in set(stages):
        found = [each.commit for each in store.ledger(stage)]
        assert sorted(found) == list(range(1, commits[stage] + 1))
    assert counted(store) == times * len(stages)


def test_two_first_scans_at_once_make_one_store(tmp_path: Path) -> None:
    uri = str(tmp_path / "store")
    code = f"from fidelity.store import Store; Store.open({uri!r}, 'p')"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(4)
    ]
    assert [process.communicate()[1] for process in processes] == [b""] * 4
    assert Store.open(uri, "p").version() == 0


def test_a_version_and_a_moment_show_what_was_known_then(store: Store) -> None:
    put(store, ["u1"], "s1")
    time.sleep(0.01)  # Delta tells moments by the millisecond
    between = datetime.now(UTC)
    time.sleep(0.01)
    put(store, ["u2"], "s2")
    assert [len(store.ledger("a", version)) for version in (0, 1, 2)] == [0, 1, 2]
    assert len(store.ledger("a", between)) == 1
    with pytest.raises(StoreError, match="known at 99"):
        store.at(99)


def test_files_without_the_asked_windows_are_not_read(store: Store) -> None:
    for n in range(3):
        file = store.write_observations(f"s{n}", [batch("u", f"s{n}", window=n * MINUTE)])
        assert file is not None
        store.commit(f"s{n}", "a", [row("u", f"s{n}")], [file], n)
    window = ds.field("window") == pa.scalar(MINUTE, pa.timestamp("us", "UTC"))
    found = store.observations()
    assert len(list(found.get_fragments(filter=window))) == 1
    assert found.to_table(filter=window)["scan"].to_pylist() == ["s1"]
    # A column without statistics must not look like a column of nulls.
    assert found.to_table(filter=ds.field("records") == 1).num_rows == 3


def test_deltas_own_reader_sees_the_same_rows(store: Store) -> None:
    put(store, ["u1", "u2"], "s1")
    own = DeltaTable(store.observations_table.uri).to_pyarrow_dataset()
    assert own.to_table(filter=pc.field("unit") == "u2").num_rows == 1
    assert own.to_table(filter=pc.field("records") == 1).num_rows == 2


def test_no_data_file_is_made_for_no_observations(store: Store) -> None:
    assert store.write_observations("s1", []) is None
    assert store.write_observations("s1", [batch("u").slice(1)]) is None
    assert files_of(store) == set()


def test_small_batches_become_few_row_groups(store: Store) -> None:
    file = store.write_observations("s1", [batch(f"u{n}") for n in range(500)])
    assert file is not None
    path = Path(store.observations_table.uri, file.name)
    assert ds.dataset(path).count_rows() == file.records == 500
    assert pq.ParquetFile(path).num_row_groups == 1


def failing(error: Exception) -> Iterator[pa.RecordBatch]:
    yield batch("u1")
    raise error


@pytest.mark.parametrize("error", [ValueError("a bug of ours"), OSError("a broken source")])
def test_a_file_that_could_not_be_finished_is_removed(store: Store, error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):  # not a StoreError: the store is well
        store.write_observations("s1", failing(error))
    assert files_of(store) == set()


def test_another_pipelines_store_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match=r"belongs to the pipeline `p`, not to `q`"):
        Store.open(store.uri, "q")


def test_what_is_not_a_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.log").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="this is a file"):
        Store.open(str(tmp_path / "file"), "p")
    with pytest.raises(StoreError, match="a file where a folder should be"):
        Store.open(str(tmp_path / "file" / "store"), "p")
    with pytest.raises(StoreError, match="other things than a store"):
        Store.open(str(tmp_path / "logs"), "p")
    with pytest.raises(StoreError, match="no store here yet"):
        Store.open(str(tmp_path / "none"), "p", create=False)
    assert not (tmp_path / "none").exists()
    assert Store.open(str(tmp_path / "empty"), "p").version() == 0


def test_another_record_spec_is_refused_with_advice(store: Store) -> None:
    put(store, ["u1"], "s1")
    check_spec("a", "spec", store.ledger("a"), store)
    with pytest.raises(ConfigError, match="new `store:`"):
        check_spec("a", "other", store.ledger("a"), store)


def test_an_error_names_no_secret(tmp_path: Path) -> None:
    options = {"secret_key": "sesame-open", "access_key": "ali", "endpoint": "http://127.0.0.1:9"}
    with pytest.raises(StoreError) as caught:
        Store.open("s3://user:sesame-open@bucket/store", "p", options)
    assert "sesame" not in str(caught.value)
    assert "sesame" not in repr(Store("s3://b", "p", options))


FILL = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_store import batch, row
from fidelity.store import Store
from fidelity.errors import StoreError
store = Store({uri!r}, "p")
if {limit}:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
n = 0
try:
    while n < 3000:
        key = "k%d-" % n + "x" * 5000
        file = store.write_observations("s%d" % n, [batch(key, "s%d" % n)])
        store.commit("s%d" % n, "a", [row(key, "s%d" % n)], [file], n)
        n += 1
except StoreError as error:
    print(n, error, sep="|")
"""


def _fill(store: Store, limit: int) -> tuple[int, str]:
    """Commit, in a process apart, until it fails: how many came through, and what was said."""
    code = FILL.format(tests=str(Path(__file__).parent), uri=store.uri, limit=limit)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    number, _, message = done.stdout.strip().partition("|")
    return int(number), message


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told_and_the_store_stays_readable(small_disk: Path) -> None:
    store = Store.open(str(small_disk / "store"), "p")
    done, message = _fill(store, 0)
    assert "the disk is full" in message
    assert "\n" not in message
    assert counted(store) == done > 5
    known = {file.removesuffix(".parquet") for file in files_of(store)}
    assert len(known) <= done + 1  # at most the file of a commit that failed half-way
    # With room again it goes on as if nothing had been.
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    put(store, ["last"], "later")
    assert counted(store) == done + 1


def test_a_limit_on_file_size_is_told_and_the_store_stays_readable(store: Store) -> None:
    done, message = _fill(store, 4_000)
    assert "ulimit" in message
    assert "\n" not in message
    assert counted(store) == done


def test_a_read_only_store_can_be_read_and_says_that_it_cannot_be_written(
    small_disk: Path,
) -> None:
    store = Store.open(str(small_disk / "store"), "p")
    put(store, ["u1"], "s1")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert counted(Store.open(store.uri, "p")) == 1
    with pytest.raises(StoreError, match="read-only"):
        store.write_observations("s2", [batch("u2", "s2")])
    with pytest.raises(StoreError, match="read-only"):
        store.commit("s2", "a", [row("u2", "s2")], [], 1)
    with pytest.raises(StoreError, match="read-only"):
        Store.open(str(small_disk / "other"), "p")
    assert counted(store) == 1


def test_a_role_is_handed_on_by_the_name_that_the_store_s_client_knows() -> None:
    role = "arn:aws:iam::1:role/auditor"
    found = storage_options("s3://bucket/store", {"role_arn": role})
    assert found["AWS_IAM_ROLE_ARN"] == role
    assert "role_arn" not in found


def test_a_mistyped_option_of_s3_is_refused_and_those_of_a_store_s_client_are_not() -> None:
    filesystem("s3://bucket/a", {"AWS_S3_ALLOW_UNSAFE_RENAME": "true", "aws_region": "eu-1"})
    with pytest.raises(ConfigError, match="aws_acces_key_id"):
        filesystem("s3://bucket/a", {"aws_acces_key_id": "nobody"})
