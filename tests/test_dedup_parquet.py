"""Parquet that Arrow does not read and write alike by itself: what is kept stays what it was."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audits import SOURCE, Folder
from test_dedup_copy import HIVE, copy, parquet

from fidelity.dedup.int96 import unit_of

SECOND, DAY = 1_000_000, 86_400_000_000
# 9999-12-31T23:59:59.999999, 0001-01-01, the last day of the Julian calendar: microseconds.
FAR = [2_932_897 * DAY - 1, -719_162 * DAY, None, -141_428 * DAY]
NEAR = [-(1 << 63) + 1, (1 << 63) - 1, -1, 1, None, 999, 1_772_359_200_000_000_001]  # nanoseconds
SPARK = {"use_deprecated_int96_timestamps": True, "row_group_size": 3}


def nested(values: list[Any], unit: str) -> dict[str, pa.Array]:
    """The values as they are, and within a list, a struct, a map and lists of one length."""
    kind = pa.timestamp(unit)
    return {
        "end": pa.array(values, kind),
        "in list": pa.array([[value] for value in values], pa.list_(kind)),
        "in.struct": pa.array([{"k": {"v": value}} for value in values]).cast(
            pa.struct({"k": pa.struct({"v": kind})})
        ),
        "in map": pa.array([[("k", value)] for value in values], pa.map_(pa.string(), kind)),
        "in pair": pa.array([[value, value] for value in values], pa.list_(kind, 2)),
    }


def with_columns(folder: Folder, columns: dict[str, pa.Array], **how: Any) -> Path:
    """A file of the lake whose last row is a copy of its first, with these columns besides."""
    count = len(next(iter(columns.values())))
    path = parquet(folder, "lake/a.parquet", [*range(count - 1), 0])
    table = pq.read_table(path)
    for name, column in columns.items():
        table = table.append_column(name, column)
    pq.write_table(table, path, **how)
    return path


def both(folder: Folder, **how: Any) -> tuple[pq.ParquetFile, pq.ParquetFile]:
    """The file of the lake, and its copy."""
    before, after = (
        pq.ParquetFile(folder.path / name / "a.parquet", **how) for name in ("lake", "clean")
    )
    assert after.schema.equals(before.schema)
    assert after.schema_arrow.equals(before.schema_arrow, check_metadata=True)
    return before, after


@pytest.mark.parametrize(("values", "unit"), [(FAR, "us"), (NEAR, "ns")])
def test_int96_timestamps_far_from_today_and_finer_than_microseconds_stay_exact(
    tmp_path: Path, values: list[Any], unit: str
) -> None:
    folder = Folder(tmp_path, SOURCE, HIVE)
    columns = nested([*values, values[0]], unit)
    with_columns(folder, columns, **SPARK)
    assert copy(folder)["dropped"] == 1
    before, after = both(folder, coerce_int96_timestamp_unit=unit)
    assert after.read().equals(before.read().slice(0, len(values)))
    assert after.read()["end"].cast(pa.int64()).to_pylist() == values


def test_int96_timestamps_that_no_unit_holds_are_refused(tmp_path: Path) -> None:
    folder = Folder(tmp_path, SOURCE, HIVE)
    columns = {"end": nested(FAR, "us")["end"], "in map": nested(NEAR[:4], "ns")["in map"]}
    with_columns(folder, columns, **SPARK)
    before = folder.left()
    assert "INT96 timestamps reach farther" in copy(folder, status=2)
    assert folder.left() == before


def test_the_unit_of_int96_timestamps_is_microseconds_only_where_it_must(tmp_path: Path) -> None:
    for values, unit in (([None], "ns"), ([9_223_372_036 * SECOND], "ns"), (FAR, "us")):
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"t": pa.array(values, pa.timestamp("us"))}), path, **SPARK)
        with pa.OSFile(str(path)) as raw:
            assert unit_of(raw, pq.read_metadata(raw), str(path)) == unit


def test_columns_that_arrow_cannot_filter_are_copied(tmp_path: Path) -> None:
    folder = Folder(tmp_path, SOURCE, HIVE)
    views = pa.array(["a", None, "a long text that is not inlined", "d", "a"], pa.string_view())
    with_columns(folder, {"view": views})
    assert copy(folder)["dropped"] == 1
    before, after = both(folder)
    assert after.read().equals(before.read().slice(0, 4))


@pytest.mark.parametrize("stored", [True, False])
def test_a_file_has_arrows_schema_in_the_copy_if_it_had_it(tmp_path: Path, stored: bool) -> None:
    folder = Folder(tmp_path, SOURCE, HIVE)
    path = parquet(folder, "lake/a.parquet", [0, 1, 0])
    table = pq.read_table(path)
    with pq.ParquetWriter(path, table.schema, store_schema=stored) as writer:
        writer.add_key_value_metadata({"org.apache.spark.version": "3.5.0"})
        writer.write_table(table)
    assert copy(folder)["dropped"] == 1
    before, after = both(folder)
    assert after.metadata.metadata == before.metadata.metadata
    assert (b"ARROW:schema" in after.metadata.metadata) == stored
