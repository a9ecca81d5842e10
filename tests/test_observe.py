"""Observing: what rows hold, and that they merge by their laws."""

import io
from collections import Counter
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fidelity import sketch
from fidelity.decode.names import Names
from fidelity.identity import ids_of, producer_seed, sequences_of
from fidelity.observe import LAWS, OBSERVATIONS, Observer, groups, merge, write_options
from fidelity.observe.observations import lag_lower
from fidelity.records import Records
from fidelity.units import FLAWS, Flaw, Tally

MINUTE = 60_000_000
WINDOW = 10 * MINUTE
YEAR_9999 = 253_370_764_800_000_000
UNTIMED, FUTURE = 1 + FLAWS.index("untimed"), 1 + FLAWS.index("future")
NAMES = ("access", "audit", "Ünï", "x" * 300)


@dataclass(frozen=True)
class One:
    """A record, as a person would write it down."""

    id: int
    time: int = 0
    stream: str = "access"
    origin: str = "audit"
    size: int = 100
    arrival: int = -1
    position: int = 0
    flaw: int = 0


def batch(names: Names, ones: list[One]) -> Records:
    return Records(
        np.array([one.id for one in ones], np.uint32),
        np.array([one.time for one in ones], np.int64),
        np.array([names.code(one.stream) for one in ones], np.int32),
        np.array([names.code(one.origin) for one in ones], np.int32),
        np.array([one.size for one in ones], np.int64),
        np.array([one.arrival for one in ones], np.int64),
        np.array([one.position for one in ones], np.int64),
        np.array([one.flaw for one in ones], np.uint8),
    )


def observe(
    *batches: list[One], samples: tuple[int, ...] = (1,), unit: str = "u", **options: Any
) -> pa.Table:
    names = Names()
    observer = Observer(WINDOW, names, samples, **options)
    for ones in batches:
        observer.add(batch(names, ones))
    return pa.Table.from_batches(observer.rows(unit, "scan", "lake"), OBSERVATIONS)


def numbers(kind: pa.DataType) -> pa.DataType:
    """The same type with microseconds in place of times, so that any year fits Python's values."""
    if pa.types.is_timestamp(kind):
        return pa.int64()
    if pa.types.is_list(kind):
        return pa.list_(numbers(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, numbers(field.type)) for field in kind])
    return kind


def plain(rows: pa.Table) -> list[dict[str, Any]]:
    schema = pa.schema([(field.name, numbers(field.type)) for field in rows.schema])
    values: list[dict[str, Any]] = rows.cast(schema).to_pylist()
    return values


def bucket_of(lag: int) -> int:
    lag = max(-groups.LAG_LIMIT - 1, min(lag, groups.LAG_LIMIT))
    bucket = 0
    while lag_lower(bucket + 1) <= lag:
        bucket += 1
    while lag_lower(bucket) > lag:
        bucket -= 1
    return bucket


def counted(ones: list[One], sample: int = 1) -> list[dict[str, Any]]:
    """The rows of these records, counted one by one."""
    scopes: dict[tuple[int, str], list[One]] = {}
    for one in ones:
        if one.flaw in (0, FUTURE):
            scope = scopes.setdefault((one.time // WINDOW * WINDOW, one.stream), [])
            if one.id % sample == 0:
                scope.append(one)
    return [
        row(window, stream, scopes[window, stream], sample) for window, stream in sorted(scopes)
    ]


def row(window: int, stream: str, ones: list[One], sample: int) -> dict[str, Any]:
    lags = Counter(bucket_of(one.arrival - one.time) for one in ones if one.arrival >= 0)
    cells = sketch.empty()
    sketch.add(cells, np.array([one.id for one in ones], np.uint32))
    _, *columns = sketch.sparse(cells[np.newaxis])
    return {
        "scan": "scan",
        "unit": "u",
        "stage": "lake",
        "sample": sample,
        "window": window,
        "stream": stream,
        "records": len(ones),
        "bytes": sum(one.size for one in ones),
        "origins": [
            origin_totals(stream, name, [one for one in ones if one.origin == name])
            for name in sorted({one.origin for one in ones})
        ],
        "lag": [{"bucket": bucket, "records": lags[bucket]} for bucket in sorted(lags)],
        "cells": [
            dict(zip(("band", "cell", "records", "id_sum", "id_check"), cell, strict=True))
            for cell in zip(*(column.tolist() for column in columns), strict=True)
        ],
    }


def origin_totals(stream: str, origin: str, ones: list[One]) -> dict[str, Any]:
    seed = producer_seed(stream, origin)
    sequences = sequences_of([one.id for one in ones], seed).tolist()
    xor = 0
    for one in ones:
        xor ^= one.id
    return {
        "origin": origin,
        "records": len(ones),
        "bytes": sum(one.size for one in ones),
        "id_sum": sum(one.id for one in ones),
        "id_xor": xor,
        "first": min(one.time for one in ones),
        "last": max(one.time for one in ones),
        "seq_first": min(sequences),
        "seq_last": max(sequences),
    }


times = st.integers(-3 * WINDOW, 3 * WINDOW) | st.sampled_from(
    [0, -1, WINDOW - 1, WINDOW, YEAR_9999, -(10**15)]
)
some_records = st.lists(
    st.builds(
        One,
        id=st.integers(0, 2**32 - 1) | st.integers(0, 5),
        time=times,
        stream=st.sampled_from(NAMES),
        origin=st.sampled_from(NAMES),
        size=st.integers(0, 10**6),
        arrival=st.integers(-1, 4 * WINDOW) | st.just(YEAR_9999),
        flaw=st.sampled_from([0, 0, 0, 0, UNTIMED, FUTURE]),
    ),
    max_size=30,
)


@given(some_records)
def test_rows_say_what_counting_one_by_one_says(ones: list[One]) -> None:
    assert plain(observe(ones)) == counted(ones)


@given(st.lists(some_records, max_size=4))
def test_how_records_are_split_into_batches_does_not_matter(batches: list[list[One]]) -> None:
    together = [one for ones in batches for one in ones]
    assert plain(observe(*batches)) == plain(observe(together))
    assert plain(observe(together[::-1])) == plain(observe(together))


@given(st.lists(some_records, max_size=4), st.randoms(use_true_random=False))
def test_merging_rows_in_any_order_and_grouping_equals_observing_at_once(
    parts: list[list[One]], random: Any
) -> None:
    at_once = observe([one for ones in parts for one in ones], samples=(1, 3))
    tables = [observe(ones, samples=(1, 3)) for ones in parts]
    random.shuffle(tables)
    cut = random.randint(0, len(tables))
    halves = [
        merge(pa.concat_tables([OBSERVATIONS.empty_table(), *half]))
        for half in (tables[:cut], tables[cut:])
    ]
    merged = plain(merge(pa.concat_tables(halves[:: random.choice((1, -1))])))
    assert merged == plain(merge(at_once))
    key = ("sample", "window", "stream")
    assert merged == sorted(plain(at_once), key=lambda row: [row[name] for name in key])


@given(some_records, st.integers(1, 3), st.integers(1, 3))
def test_bounded_memory_gives_more_rows_that_add_up_to_the_same(
    ones: list[One], most_groups: int, most_scopes: int
) -> None:
    rows = observe(ones, most_groups=most_groups, most_scopes=most_scopes)
    assert plain(merge(rows)) == counted(ones)
    assert sum(rows["records"].to_pylist()) == sum(one.flaw in (0, FUTURE) for one in ones)


@given(some_records, st.integers(2, 7))
def test_a_sample_has_just_the_ids_that_are_divisible_and_a_row_even_of_none(
    ones: list[One], k: int
) -> None:
    rows = observe(ones, samples=(1, k))
    assert plain(rows) == counted(ones) + counted(ones, k)


@given(some_records)
def test_the_tally_counts_flawed_records_too(ones: list[One]) -> None:
    ones = [One(**{**vars(one), "position": i}) for i, one in enumerate(ones)]
    names = Names()
    observer = Observer(WINDOW, names)
    for start in range(0, len(ones), 7):
        observer.add(batch(names, ones[start : start + 7]))
    events = [one.time for one in ones if one.flaw in (0, FUTURE)]
    arrivals = [one.arrival for one in ones if one.arrival >= 0]
    flaws = [
        Flaw(FLAWS[code - 1], len(found), tuple(one.position for one in found[:5]))
        for code in (UNTIMED, FUTURE)
        if (found := [one for one in ones if one.flaw == code])
    ]
    assert observer.tally() == Tally(
        records=len(ones),
        bytes=sum(one.size for one in ones),
        first_event=min(events, default=-1),
        last_event=max(events, default=-1),
        first_arrival=min(arrivals, default=-1),
        last_arrival=max(arrivals, default=-1),
        flaws=tuple(flaws),
    )
    assert observer.tally() == Tally()


def test_a_future_record_counts_in_the_books_and_as_a_flaw() -> None:
    assert observe([One(1, flaw=FUTURE)])["records"].to_pylist() == [1]
    assert len(observe([One(1, flaw=UNTIMED)])) == 0


def test_units_do_not_leak_into_each_other() -> None:
    names = Names()
    observer = Observer(WINDOW, names)
    observer.add(batch(names, [One(7), One(8, stream="audit")]))
    first = pa.Table.from_batches(observer.rows("a", "scan", "lake"))
    observer.add(batch(names, [One(9)]))
    observer.discard()
    assert list(observer.rows("b", "scan", "lake")) == []
    assert observer.tally() == Tally()
    observer.add(batch(names, [One(7), One(8, stream="audit")]))
    again = pa.Table.from_batches(observer.rows("a", "scan", "lake"))
    assert plain(again) == plain(first)
    assert observer.tally().records == 2


def test_opaque_ids_have_no_sequence() -> None:
    rows = plain(observe([One(1)], stamped=False))
    assert [origin["seq_first"] for origin in rows[0]["origins"]] == [None]
    merged = plain(merge(observe([One(1), One(2)], stamped=False)))
    assert merged[0]["origins"][0]["seq_last"] is None


def test_a_producers_run_of_records_is_told_by_its_first_and_last_sequence() -> None:
    ids = ids_of(np.arange(500, 1500), producer_seed("audit", "host"))
    ones = [One(int(id), stream="audit", origin="host") for id in ids]
    (origin,) = plain(observe(ones))[0]["origins"]
    assert (origin["seq_first"], origin["seq_last"], origin["records"]) == (500, 1499, 1000)


@pytest.mark.parametrize("per_batch", [1_000, 70_000, 200_000])
def test_one_id_may_fill_a_cell_beyond_its_packed_words(per_batch: int) -> None:
    names = Names()
    observer = Observer(WINDOW, names)
    n, id = 200_000, 2**32 - 1
    for _ in range(n // per_batch):
        observer.add(many(names, per_batch))
    n = n // per_batch * per_batch
    (row,) = plain(pa.Table.from_batches(observer.rows("u", "s", "lake")))
    assert [cell["records"] for cell in row["cells"]] == [n] * 3
    assert [cell["id_sum"] for cell in row["cells"]] == [n * id] * 3
    assert row["origins"][0]["id_sum"] == n * id


def many(names: Names, n: int) -> Records:
    one = batch(names, [One(2**32 - 1)])
    return Records(*(np.repeat(getattr(one, name), n) for name in Records.__slots__))


def test_a_sum_wraps_at_two_to_the_64() -> None:
    half = observe([One(5)])
    column = half.schema.get_field_index("cells")
    cells = half["cells"][0].as_py()
    for cell in cells:
        cell["id_sum"] = 2**63 - 1
    half = half.set_column(column, OBSERVATIONS.field("cells"), pa.array([cells], CELLS))
    merged = plain(merge(pa.concat_tables([half, half])))
    assert {cell["id_sum"] for cell in merged[0]["cells"]} == {-2}


CELLS = OBSERVATIONS.field("cells").type


@settings(max_examples=100)
@given(st.integers(-(2**53) + 10, 2**53 - 10) | st.integers(-40, 40))
def test_a_lag_lies_within_its_bucket(lag: int) -> None:
    bucket = int(groups.lag_bucket(lag))
    assert lag_lower(bucket) <= lag < lag_lower(bucket + 1)
    assert -groups.LAG_BUCKETS <= bucket < groups.LAG_BUCKETS


def test_bucket_bounds_never_change() -> None:
    bounds = [lag_lower(bucket) for bucket in (-9, -8, -1, 0, 1, 8, 9, 16, 17, 80, 160)]
    assert bounds == [-10, -8, -1, 0, 1, 8, 10, 24, 28, 8184, 8388600]
    assert [lag_lower(k + 1) - lag_lower(k) for k in range(-2, 2)] == [1, 1, 1, 1]


@given(st.integers(2**53 - 9, 2**62))
def test_lags_of_centuries_share_the_last_bucket(lag: int) -> None:
    assert groups.lag_bucket(lag) == groups.lag_bucket(2**53 - 9)
    assert groups.lag_bucket(-lag) == groups.lag_bucket(-(2**53) + 8)


def test_every_figure_declares_how_it_merges() -> None:
    leaves = []
    for field in OBSERVATIONS:
        nested = field.type.value_type if pa.types.is_list(field.type) else None
        leaves += [f"{field.name}.{inner.name}" for inner in nested or ()] or [field.name]
    assert list(LAWS) == leaves


def big(records: int) -> pa.Table:
    """Three streams of two origins over six windows."""
    random = np.random.default_rng(5)
    names = Names()
    codes = names.codes(pa.array(["a", "b", "c"]))
    observer = Observer(WINDOW, names)
    time = np.sort(random.integers(0, 6 * WINDOW, records))
    observer.add(
        Records(
            random.integers(0, 2**32, records, dtype=np.uint32),
            time,
            codes[random.integers(0, 3, records)],
            codes[random.integers(0, 2, records)],
            random.integers(100, 300, records),
            time + random.integers(0, 10**7, records),
            np.arange(records),
            np.zeros(records, np.uint8),
        )
    )
    return pa.Table.from_batches(observer.rows("unit", "scan", "stage"))


def test_a_full_scope_takes_about_5_kibibytes() -> None:
    rows, file = big(600_000), io.BytesIO()
    pq.write_table(rows, file, **write_options())
    assert len(rows) == 18
    assert file.tell() < 18 * 5_500
    assert pq.read_table(io.BytesIO(file.getvalue())).equals(rows)


def test_duckdb_reads_what_is_written(tmp_path: Any) -> None:
    rows = big(20_000)
    pq.write_table(rows, tmp_path / "o.parquet", **write_options())
    question = """
        SELECT sum(records), sum(list_sum([c.id_check FOR c IN cells])),
               sum(list_sum([o.id_sum FOR o IN origins]))
        FROM {}"""
    path = str(tmp_path / "o.parquet")
    read = duckdb.sql(question.format(f"read_parquet('{path}')")).fetchall()
    assert read == duckdb.sql(question.format("rows")).fetchall()
    assert read[0][0] == 20_000
