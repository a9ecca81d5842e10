"""Parquet files: planned by path and version, read by row groups and columns."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fidelity.config import RecordSpec, Stage
from fidelity.decode import Names
from fidelity.errors import SourceError, UnreadableError
from fidelity.reading import Reading
from fidelity.records import Table
from fidelity.sources import Wanted, columnar, plan, read, unseen
from fidelity.units import LedgerRow, Unit

NOW, SETTLE = 1_800_000_000_000_000, 1_800_000_000


def lake(*paths: object, after: str | None = "source") -> Stage:
    return Stage(
        name="lake",
        kind="files",
        after=after,
        paths=tuple(str(path) for path in paths),
        record=RecordSpec(format="parquet"),
    )


def write(path: Path, rows: int, first: int = 0, groups: int = 1000, **extra: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = np.arange(first, first + rows)
    columns: dict[str, object] = {
        "fid": numbers.astype(np.uint32),
        "payload": [f"text {n}" for n in numbers],
        "about": [{"host": f"h{n % 3}", "in": {"depth": int(n)}} for n in numbers],
    }
    schema = pa.schema(
        [
            ("fid", pa.uint32()),
            ("payload", pa.string()),
            (
                "about",
                pa.struct([("host", pa.string()), ("in", pa.struct([("depth", pa.int64())]))]),
            ),
        ]
    )
    pq.write_table(pa.table(columns, schema=schema), path, row_group_size=groups)
    return path


def rows_of(units: list[Unit], commit: int = 1) -> list[LedgerRow]:
    return [LedgerRow(unit, "read", "s", NOW, "d", commit=commit) for unit in units]


def numbers(reader: object) -> list[int]:
    return [int(n) for table in reader for n in table.batch.column("fid").to_pylist()]  # type: ignore[attr-defined]


def test_a_file_is_read_once_by_path_and_version(tmp_path: Path) -> None:
    path = write(tmp_path / "date=1" / "a.parquet", 10)
    stage = lake(tmp_path / "**" / "*.parquet")
    first = plan(stage, [], NOW, SETTLE)
    (unit,) = first.units
    about = path.stat()
    assert unit.key == f"{path}@{about.st_size}:{about.st_mtime_ns // 1000}#0"
    reader = read(unit, stage, Wanted(columns=["fid"]))
    assert numbers(reader) == list(range(10))
    assert reader.end == 1
    again = plan(stage, rows_of(first.units), NOW, SETTLE)
    assert again.units == again.rows == []


def test_only_the_wanted_columns_are_read(tmp_path: Path) -> None:
    write(tmp_path / "date=2024-01-01" / "a.parquet", 10)
    stage = lake(tmp_path)
    (unit,) = plan(stage, [], NOW, SETTLE).units
    (table,) = read(unit, stage, Wanted(columns=["fid", "about.in.depth", "date", "none"]))
    assert isinstance(table, Table)
    assert table.batch.schema.names == ["fid", "about", "date"]
    assert table.batch.column("about").to_pylist()[3] == {"in": {"depth": 3}}
    assert table.batch.column("date").to_pylist() == ["2024-01-01"] * 10
    assert set(table.arrivals) == {int(unit.version.split(":")[1])}
    (table,) = read(unit, stage, Wanted())
    assert len(table) == table.batch.num_rows == 10


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 300), st.integers(1, 100), st.integers(1, 400), st.integers(1, 90))
def test_rows_and_positions_do_not_depend_on_units_or_batches(
    tmp_path_factory: pytest.TempPathFactory, rows: int, groups: int, most: int, batch: int
) -> None:
    folder = tmp_path_factory.mktemp("lake")
    write(folder / "a.parquet", rows, first=7, groups=groups)
    stage = lake(folder / "*.parquet")
    usual, columnar.UNIT_ROWS = columnar.UNIT_ROWS, most
    try:
        units = columnar.plan(stage, [], NOW, small=0).units
    finally:
        columnar.UNIT_ROWS = usual
    found, places = list[int](), list[int]()
    for unit in units:
        reader = columnar.read(unit, stage, Wanted(columns=["fid"]), batch)
        for table in reader:
            found += table.batch.column("fid").to_pylist()
            places += table.positions.tolist()
        assert unit.end in (reader.end, -1)
    assert found == list(range(7, 7 + rows))
    assert places == list(range(rows))
    assert len({unit.key for unit in units}) == len(units)


def test_compaction_takes_the_old_files_out_of_the_books(tmp_path: Path) -> None:
    old = [write(tmp_path / f"{n}.parquet", 5, first=5 * n) for n in range(3)]
    stage = lake(tmp_path / "*.parquet")
    before = plan(stage, [], NOW, SETTLE)
    ledger = rows_of(before.units)
    for path in old[:2]:
        path.unlink()
    write(tmp_path / "compacted.parquet", 10)
    after = plan(stage, ledger, NOW, SETTLE)
    assert [Path(unit.path).name for unit in after.units] == ["compacted.parquet"]
    assert [(row.unit.key, row.status) for row in after.rows] == [
        (unit.key, "vanished") for unit in before.units[:2]
    ]
    ledger = [*after.rows, ledger[2], *rows_of(after.units)]
    again = plan(stage, ledger, NOW, SETTLE)
    assert again.units == again.rows == []


@pytest.mark.parametrize("after", [None, "source"])
def test_a_file_that_was_replaced_leaves_and_its_successor_enters(
    tmp_path: Path, after: str | None
) -> None:
    path = write(tmp_path / "a.parquet", 5)
    stage = lake(path, after=after)
    ledger = rows_of(plan(stage, [], NOW, SETTLE).units)
    write(path, 6)
    now = plan(stage, ledger, NOW, SETTLE)
    assert [row.status for row in now.rows] == ["vanished"]
    assert numbers(read(now.units[0], stage, Wanted(columns=["fid"]))) == list(range(6))


def test_a_file_that_comes_back_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", 5)
    stage = lake(tmp_path / "*")
    (unit,) = plan(stage, [], NOW, SETTLE).units
    gone = [replace(row, status="vanished") for row in rows_of([unit])]
    assert plan(stage, gone, NOW, SETTLE).units == [unit]
    path.unlink()
    assert plan(stage, gone, NOW, SETTLE).rows == []


@pytest.mark.parametrize("damage", ["cut", "footer", "page", "empty", "text"])
@pytest.mark.parametrize("small", [0, columnar.SMALL])
def test_a_corrupt_file_is_unreadable_and_the_others_are_read(
    tmp_path: Path, damage: str, small: int
) -> None:
    path = write(tmp_path / "bad.parquet", 2000)
    write(tmp_path / "good.parquet", 5)
    content = path.read_bytes()
    spoilt = {
        "cut": content[:-100],
        "footer": content[:-30] + b"\xff" * 22 + content[-8:],
        "page": content[:20] + b"\xff" * 200 + content[220:],
        "empty": b"",
        "text": b"no parquet at all\n" * 10,
    }
    path.write_bytes(spoilt[damage])
    stage = lake(tmp_path / "*.parquet")
    units = columnar.plan(stage, [], NOW, small).units
    bad = [unit for unit in units if unit.path == str(path)]
    assert bad[0].key.endswith("#0")
    with pytest.raises(UnreadableError) as error:
        _ = [numbers(read(unit, stage, Wanted(columns=["fid", "payload"]))) for unit in bad]
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert numbers(read(units[-1], stage, Wanted(columns=["fid"]))) == list(range(5))


@pytest.mark.parametrize("small", [0, columnar.SMALL])
def test_a_footer_that_contradicts_itself_is_unreadable(tmp_path: Path, small: int) -> None:
    path = write(tmp_path / "a.parquet", 60, groups=20)
    head, rows, tail = path.read_bytes().rpartition(b"\x16\x28\x26")  # 20 rows; 0x27: -20
    assert rows
    path.write_bytes(head + b"\x16\x27\x26" + tail)
    stage = lake(path)
    (unit,) = columnar.plan(stage, [], NOW, small).units
    with pytest.raises(UnreadableError, match="row groups do not add up to its rows"):
        numbers(read(unit, stage, Wanted(columns=["fid"])))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([{}, {"compression": "none"}, {"data_page_version": "2.0"}]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
    st.booleans(),
)
def test_a_file_with_a_few_bytes_changed_has_all_its_rows_or_is_unreadable(
    tmp_path_factory: pytest.TempPathFactory,
    how: dict[str, str],
    changes: list[tuple[float, int]],
    footer: bool,
) -> None:
    sink = pa.BufferOutputStream()
    names = pa.array([f"h{n % 3}" for n in range(300)])
    columns = {
        "fid": pa.array(range(300), pa.uint32()),
        "ts": pa.array(range(300)),
        "origin": names,
    }
    pq.write_table(pa.table(columns | {"stream": names}), sink, row_group_size=100, **how)
    content = bytearray(sink.getvalue())
    first = len(content) - 8 - int.from_bytes(content[-8:-4], "little") if footer else 0
    for place, byte in changes:
        content[first + int(place * (len(content) - first))] = byte
    path = tmp_path_factory.mktemp("lake") / "a.parquet"
    path.write_bytes(content)
    stage, rows = lake(path), 0
    try:
        for unit in columnar.plan(stage, [], NOW, small=0).units:
            rows += sum(len(records) for records in Reading(unit, stage, Names(), SETTLE))
    except UnreadableError:
        return
    assert rows == 300


def test_old_96_bit_times_are_exact_and_do_not_wrap_around(tmp_path: Path) -> None:
    when = ["2610-09-21", "1600-01-01", "2026-03-01T01:02:03.000004", None]
    times = pa.array(when).cast(pa.timestamp("us"))
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"ts": times}), path, use_deprecated_int96_timestamps=True)
    stage = lake(path)
    (table,) = read(plan(stage, [], NOW, SETTLE).units[0], stage, Wanted(columns=["ts"]))
    assert table.batch.column("ts").equals(times)


def test_of_a_96_bit_time_what_is_less_than_a_microsecond_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    times = pa.array([1_772_000_000_123_456_789], pa.timestamp("ns", "UTC"))
    pq.write_table(pa.table({"ts": times}), path, use_deprecated_int96_timestamps=True)
    stage = lake(path)
    (table,) = read(plan(stage, [], NOW, SETTLE).units[0], stage, Wanted(columns=["ts"]))
    assert table.batch.column("ts").cast(pa.int64()).to_pylist() == [1_772_000_000_123_456]


def test_the_folder_of_rows_without_a_value_is_null_and_no_name(tmp_path: Path) -> None:
    write(tmp_path / "type=__HIVE_DEFAULT_PARTITION__" / "host=a%2Fb" / "a.parquet", 3)
    stage = lake(tmp_path)
    (unit,) = plan(stage, [], NOW, SETTLE).units
    (table,) = read(unit, stage, Wanted(columns=["fid", "type", "host"]))
    assert table.batch.column("type").to_pylist() == [None] * 3
    assert table.batch.column("host").to_pylist() == ["a/b"] * 3


def test_an_unreadable_unit_is_planned_again_and_its_records_are_no_newer_than_its_file(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "a.parquet", 5)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    stage = lake(tmp_path / "*.parquet")
    (unit,) = plan(stage, [], NOW, SETTLE).units
    ledger = [LedgerRow(unit, "unreadable", "s", NOW, "d", commit=1)]
    assert plan(stage, ledger, NOW, SETTLE).units == [unit]
    assert unseen(unit, ledger, SETTLE) == (-1, 1_700_000_000_000_001)


def test_a_file_changed_between_plan_and_read_is_unreadable(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", 5)
    stage = lake(tmp_path / "*.parquet")
    (unit,) = plan(stage, [], NOW, SETTLE).units
    write(path, 500)
    with pytest.raises(UnreadableError, match="replaced"):
        numbers(read(unit, stage, Wanted(columns=["fid"])))
    path.unlink()
    with pytest.raises(UnreadableError, match="is not there"):
        numbers(read(unit, stage, Wanted(columns=["fid"])))


def test_files_that_lakes_keep_for_themselves_are_no_data(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", 5)
    write(tmp_path / "_temporary" / "b.parquet", 5)
    write(tmp_path / ".staging" / "c.parquet", 5)
    write(tmp_path / "_delta_log" / "00.checkpoint.parquet", 5)
    (tmp_path / "_SUCCESS").touch()
    (unit,) = plan(lake(tmp_path), [], NOW, SETTLE).units
    assert Path(unit.path).name == "a.parquet"


def test_a_lake_that_is_not_there_is_an_error_of_the_stage(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file or folder"):
        plan(lake(tmp_path / "none" / "*.parquet"), [], NOW, SETTLE)
