"""Parquet columns of every type that can hold an id, a time, a stream or an origin."""

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from decode_lines import said, spec

from fidelity.config import Place, RecordSpec, Stage
from fidelity.decode import Names, decoder
from fidelity.decode.columns import column
from fidelity.errors import UnreadableError
from fidelity.identity import content_id, ids_of, producer_seed
from fidelity.records import Table
from fidelity.units import Unit

MIDNIGHT = 1_704_067_200_000_000
WHEN = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
PARQUET = spec("parquet")


def meaning(record: RecordSpec = PARQUET, **columns: Any) -> list[tuple[object, ...]]:
    """Each row's (flaw, id, time, stream, origin); columns left out are good ones."""
    count = len(next(iter(columns.values())))
    good = {
        "fid": pa.array([42] * count, pa.uint32()),
        "ts": pa.array([WHEN] * count),
        "stream": pa.array(["app"] * count),
        "origin": pa.array(["h1"] * count),
    }
    batch = pa.record_batch(good | columns)
    names = Names()
    stage = Stage(name="lake", kind="files", record=record)
    decoding = decoder(stage, Unit("lake", "k", "parquet", "a/b.parquet", 0, 1), names)
    rows = np.arange(count, dtype=np.int64)
    return said(decoding.decode(Table(batch, rows, np.full(count, -1, np.int64))), names)


def ids(array: pa.Array, encoding: str = "auto") -> list[object]:
    place = Place.model_validate({"field": "fid", "encoding": encoding})
    told = meaning(spec("parquet", id=place), fid=array)
    return [row[1] if len(row) > 1 else None for row in told]


def times(array: pa.Array, unit: str = "auto") -> list[object]:
    place = Place.model_validate({"field": "ts", "unit": unit})
    told = meaning(spec("parquet", time=place), ts=array)
    return [row[2] if len(row) > 1 else None for row in told]


BIG = 4_000_000_000


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([0, BIG, None], pa.uint32()), [0, BIG, None]),
        (pa.array([7, -1, None], pa.int32()), [7, 2**32 - 1, None]),
        (pa.array([BIG, 2**32, -1], pa.int64()), [BIG, None, None]),
        (pa.array([BIG, 2**63], pa.uint64()), [BIG, None]),
        (pa.array([7, 200], pa.uint8()), [7, 200]),
        (pa.array([Decimal(7), Decimal(BIG)], pa.decimal128(20, 0)), [7, BIG]),
        (pa.array(["0000002a", "0000002A", "2a", None, "abcd"]), [42, 42, None, None, None]),
        (pa.array(["0000002a", None], pa.large_string()), [42, None]),
        (pa.array(["0000002a", None], pa.string_view()), [42, None]),
        (pa.array(["0000002a", None, "0000002a"]).dictionary_encode(), [42, None, 42]),
        (pa.array([b"\0\0\0\x2a", None, b"\0\0\0"], pa.binary()), [42, None, None]),
        (pa.array([b"0000002a", b"abcd"], pa.large_binary()), [42, 0x61626364]),
        (pa.array([b"\0\0\0\x2a", None], pa.binary(4)), [42, None]),
        (pa.nulls(2), [None, None]),
        (pa.array(["x", "0000002a", "0000002b"]).slice(1), [42, 43]),
        (pa.array([1, None, 3], pa.int32()).slice(1), [None, 3]),
    ],
)
def test_an_id_column_may_be_of_any_sensible_type(array: pa.Array, expected: list[object]) -> None:
    assert ids(array) == expected


def test_sequence_columns_become_the_producers_ids() -> None:
    expected = [int(one) for one in ids_of(np.array([7, 8], np.uint32), producer_seed("app", "h1"))]
    for kind in (pa.int64(), pa.uint32(), pa.decimal128(20, 0)):
        assert ids(pa.array([7, 8], kind), "sequence") == expected
    assert ids(pa.array(["7", "8", "x"]), "sequence") == [*expected, None]
    assert ids(pa.array([7 + 2**32, -7], pa.int64()), "sequence") == [expected[0], None]


def test_opaque_columns_are_hashed_as_text_whatever_their_type() -> None:
    assert ids(pa.array(["12", ""]), "opaque") == [content_id(b"12"), None]
    assert ids(pa.array([12], pa.int64()), "opaque") == [content_id(b"12")]
    uuid = bytes(range(16))
    array = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([uuid, None], pa.binary(16)))
    text = b"00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert ids(array, "opaque") == [content_id(text), None]


@pytest.mark.parametrize(
    "array",
    [
        pa.array([WHEN, None], pa.timestamp("s", "UTC")),
        pa.array([WHEN, None], pa.timestamp("ms", "Europe/Berlin")),
        pa.array([WHEN.replace(tzinfo=None), None], pa.timestamp("us")),
        pa.array([WHEN, None], pa.timestamp("ns", "UTC")),
        pa.array([WHEN.date(), None], pa.date32()),
        pa.array([WHEN.date(), None], pa.date64()),
        pa.array(["2024-01-01T00:00:00Z", None]),
        pa.array(["2024-01-01 01:00:00 +0100", "x"]).dictionary_encode(),
        pa.array(["1704067200", ""], pa.string_view()),
        pa.array([b"1704067200", b"\xff"], pa.binary()),
        pa.array([1704067200, None], pa.int64()),
        pa.array([1704067200, 0], pa.uint32()).filter(pa.array([True, False])),
        pa.array([1704067200000, -1], pa.int64()),
        pa.array([1704067200000000000, 2**63], pa.uint64()),
        pa.array([1704067200.0, float("nan")], pa.float64()),
        pa.array([Decimal("1704067200.000"), None], pa.decimal128(20, 3)),
    ],
)
def test_a_time_column_may_be_of_any_sensible_type(array: pa.Array) -> None:
    assert times(array) == [MIDNIGHT, None][: len(array)]


def test_parts_of_a_microsecond_are_cut_off_and_parts_of_a_second_kept() -> None:
    nanoseconds = pa.array([1704067200123456789], pa.timestamp("ns"))
    assert times(nanoseconds) == [MIDNIGHT + 123_456]
    assert times(pa.array([1704067200.25])) == [MIDNIGHT + 250_000]
    assert times(pa.array([1704067200.1234567])) == [MIDNIGHT + 123_456]
    assert times(pa.array([Decimal("1704067200.1234569")])) == [MIDNIGHT + 123_456]


@pytest.mark.parametrize(("unit", "time"), [("s", None), ("ms", 5 * 10**15), ("ns", 5 * 10**9)])
def test_a_unit_that_is_given_counts_for_integers(unit: str, time: int | None) -> None:
    assert times(pa.array([5 * 10**12]), unit) == [time]


def test_times_that_no_clock_shows_are_none() -> None:
    longest = [253402300799, 253402300800, -1, None]
    assert times(pa.array(longest, pa.timestamp("s"))) == [253402300799000000, None, None, None]
    assert times(pa.array([2**62, -(2**62)], pa.timestamp("s"))) == [None, None]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary()]
)
def test_a_name_column_may_be_strings_or_bytes(kind: pa.DataType) -> None:
    array = pa.array(["h1", "größe", "", None, "h1"], kind)
    expected = ["h1", "größe", None, None, "h1"]
    told = meaning(origin=array)
    assert [row[4] if len(row) > 1 else None for row in told] == expected
    if not pa.types.is_string_view(kind):
        told = meaning(origin=array.dictionary_encode())
        assert [row[4] if len(row) > 1 else None for row in told] == expected


def test_names_that_are_no_utf_8_are_none_and_numbers_are_written_out() -> None:
    broken = pa.array([b"\xff", b"ok"], pa.binary())
    assert [row[0] for row in meaning(stream=broken)] == ["unattributed", ""]
    assert [row[0] for row in meaning(stream=broken.dictionary_encode())] == ["unattributed", ""]
    assert [row[3] for row in meaning(stream=pa.array([7, 8], pa.int16()))] == ["7", "8"]
    assert [row[3] for row in meaning(stream=pa.array([7, 8]).dictionary_encode())] == ["7", "8"]


def test_nested_columns_are_reached_by_their_path() -> None:
    nested = pa.array([{"b": {"c": "h7"}}, {"b": None}, None])
    record = spec("parquet", origin=Place(field="a.b.c"))
    told = meaning(record, a=nested)
    assert [row[-1] for row in told] == ["h7", "unattributed", "unattributed"]
    told = meaning(record, **{"a.b.c": pa.array(["flat"])})
    assert told[0][4] == "flat"


def test_constants_and_paths_stand_in_for_columns() -> None:
    record = spec("parquet", stream=Place(constant="fixed"), origin=Place(path=r"(\w+)\.parquet$"))
    assert meaning(record, fid=pa.array([1, 2]))[1][3:] == ("fixed", "b")


def test_flaws_come_in_their_order_and_rows_keep_their_places() -> None:
    told = meaning(
        fid=pa.array([None, 1, 2, 3]),
        ts=pa.array(["x", "x", "2024-01-01", "2024-01-01"]),
        stream=pa.array([None, None, None, "app"]),
    )
    flaws = ["unstamped", "untimed", "unattributed", ""]
    assert [row[0] for row in told] == flaws


@pytest.mark.parametrize(
    ("missing", "there"), [("x", "fid, ts"), ("x.y", "fid, ts"), ("a.z", "is b"), ("fid.z", "none")]
)
def test_a_missing_column_is_named_with_those_that_are_there(missing: str, there: str) -> None:
    with pytest.raises(UnreadableError, match=f"no column `{missing}`; .*{there}"):
        meaning(spec("parquet", id=Place(field=missing)), a=pa.array([{"b": 1}]))


@pytest.mark.parametrize(
    ("part", "array"),
    [
        ("fid", pa.array([1.5])),
        ("fid", pa.array([[1]])),
        ("fid", pa.array([True])),
        ("fid", pa.array([WHEN])),
        ("ts", pa.array([True])),
        ("ts", pa.array([dt.time(1)])),
        ("stream", pa.array([1.5])),
        ("origin", pa.array([{"a": 1}])),
        ("origin", pa.array([[1]])),
    ],
)
def test_a_column_of_a_wrong_type_is_a_clear_error(part: str, array: pa.Array) -> None:
    with pytest.raises(UnreadableError, match=f"`{part}` is of type") as error:
        meaning(**{part: array})
    assert "lake" in str(error.value)


@pytest.mark.parametrize("name", ["origin", "about.host"])
def test_a_column_that_is_there_twice_is_a_clear_error(name: str) -> None:
    twice = pa.StructArray.from_arrays([pa.array(["a"]), pa.array(["b"])], ["host", "host"])
    columns = [pa.array([42]), pa.array([WHEN]), *[pa.array(["a"])] * 3, twice]
    batch = pa.record_batch(columns, ["fid", "ts", "stream", "origin", "origin", "about"])
    with pytest.raises(UnreadableError, match=f"The column `{name}` is there twice."):
        column(batch, name, "a.parquet")
    assert column(batch, "stream", "a.parquet").to_pylist() == ["a"]


@pytest.mark.parametrize("code", [2, -1])
@pytest.mark.parametrize("part", ["fid", "ts", "stream", "origin"])
def test_codes_that_their_dictionary_lacks_are_a_clear_error(part: str, code: int) -> None:
    codes = pa.array([0, None, code], pa.int32())
    damaged = pa.DictionaryArray.from_arrays(codes, pa.array(["a", "b"]), safe=False)
    with pytest.raises(UnreadableError, match=f"The column `{part}` is damaged"):
        meaning(**{part: damaged})


def test_a_dictionary_that_no_row_points_at_may_be_empty() -> None:
    nothing = pa.DictionaryArray.from_arrays(
        pa.array([None], pa.int32()), pa.array([], pa.string())
    )
    assert meaning(stream=nothing)[0][0] == "unattributed"


def test_a_table_without_rows_has_no_records() -> None:
    assert meaning(fid=pa.array([], pa.uint32()), ts=pa.array([], pa.string())) == []
