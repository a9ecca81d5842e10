"""Observations: the Arrow rows that observe emits, the store keeps and reconcile reads.

Law: rows add. Merging rows with equal keys, column by column as LAWS says, in any order and
grouping, gives what observing all their records at once gives.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_TIME = pa.timestamp("us", "UTC")

LAG_LIMIT = (1 << 53) - 9
"""Microseconds, 285 years: a longer lag counts as this one."""
LAG_BUCKETS = 400
"""Buckets for lags from 0 up to LAG_LIMIT; as many again for negative lags."""

ORIGIN = pa.struct(
    [
        ("origin", pa.string()),
        ("records", pa.int64()),
        ("bytes", pa.int64()),
        ("id_sum", pa.int64()),  # modulo 2^64, as two's complement
        ("id_xor", pa.int64()),  # 0 .. 2^32-1
        ("first", _TIME),
        ("last", _TIME),
        ("seq_first", pa.int64()),  # 0 .. 2^32-1; null where ids are opaque
        ("seq_last", pa.int64()),
    ]
)
LAG = pa.struct([("bucket", pa.int32()), ("records", pa.int64())])
CELL = pa.struct(
    [
        ("band", pa.int8()),
        ("cell", pa.int16()),
        ("records", pa.int64()),
        ("id_sum", pa.int64()),  # modulo 2^64, as two's complement
        ("id_check", pa.int64()),  # modulo 2^64, as two's complement
    ]
)
OBSERVATIONS = pa.schema(
    [
        ("scan", pa.string()),
        ("unit", pa.string()),
        ("stage", pa.string()),
        ("sample", pa.int32()),  # 1: every record; k: only ids divisible by k
        ("window", _TIME),
        ("stream", pa.string()),
        ("records", pa.int64()),
        ("bytes", pa.int64()),
        ("origins", pa.list_(ORIGIN)),
        ("lag", pa.list_(LAG)),
        ("cells", pa.list_(CELL)),
    ]
)

KEY, SUM, MODULO, XOR, MIN, MAX = "key", "sum", "sum modulo 2^64", "xor", "min", "max"
LAWS = {
    "scan": KEY,
    "unit": KEY,
    "stage": KEY,
    "sample": KEY,
    "window": KEY,
    "stream": KEY,
    "records": SUM,
    "bytes": SUM,
    "origins.origin": KEY,
    "origins.records": SUM,
    "origins.bytes": SUM,
    "origins.id_sum": MODULO,
    "origins.id_xor": XOR,
    "origins.first": MIN,
    "origins.last": MAX,
    "origins.seq_first": MIN,
    "origins.seq_last": MAX,
    "lag.bucket": KEY,
    "lag.records": SUM,
    "cells.band": KEY,
    "cells.cell": KEY,
    "cells.records": SUM,
    "cells.id_sum": MODULO,
    "cells.id_check": MODULO,
}
"""How each figure merges. A key is not merged: rows (list elements) with equal keys are."""

_FOLD: dict[str, np.ufunc] = {
    SUM: np.add,
    MODULO: np.add,  # int64 addition wraps around, which is addition modulo 2^64
    XOR: np.bitwise_xor,
    MIN: np.minimum,
    MAX: np.maximum,
}
_NESTED = ("origins", "lag", "cells")


def lag_lower(bucket: int) -> int:
    """The least lag of a bucket, microseconds; a bucket ends where the next one begins.

    Buckets 0, 1, ... hold lags from 0 up, eight an octave of lag + 8, and never change: their
    lower bounds are 0, 1, ... 7, 8, 10, ... 22, 24, 28, ... Buckets -1, -2, ... are their mirror
    image: bucket -1 holds just -1 (a record that arrived before it happened).
    """
    if bucket < 0:
        return -lag_lower(-bucket)
    return ((8 + bucket % 8) << (bucket // 8)) - 8


LARGEST_LAG = (1 << 63) - 1


def lag_upper(bucket: int) -> int:
    """The greatest lag of a bucket, microseconds. The last one holds all that is longer, too."""
    return LARGEST_LAG if bucket >= LAG_BUCKETS - 1 else lag_lower(bucket + 1) - 1


def write_options() -> dict[str, Any]:
    """Arguments of `pyarrow.parquet.write_table` and `ParquetWriter` for observation files.

    Sums of like many ids lie close together, so their differences are packed in few bits: about
    4 KiB a scope, where plain integers under zstd took half as much again.
    """
    packed = [
        path
        for path in _leaves()
        if path not in ("scan", "unit", "stage", "stream", "origins.list.element.origin")
    ]
    return {
        "compression": "zstd",
        "compression_level": 6,
        "use_dictionary": ["scan", "unit", "stage", "stream", "origins.list.element.origin"],
        "column_encoding": dict.fromkeys(packed, "DELTA_BINARY_PACKED"),
        "write_statistics": ["stage", "sample", "window", "stream", "records"],
    }


def _leaves() -> list[str]:
    """The names that Parquet gives the schema's columns."""
    return [
        name if name in OBSERVATIONS.names else name.replace(".", ".list.element.") for name in LAWS
    ]


def merge(rows: pa.Table) -> pa.Table:
    """Rows with equal keys become one; every figure merges by its law.

    Args:
        rows: OBSERVATIONS.

    Returns:
        OBSERVATIONS, sorted by its keys, and the elements of its lists by theirs.
    """
    rows = rows.cast(OBSERVATIONS).combine_chunks()
    keys = [name for name in OBSERVATIONS.names if LAWS.get(name) == KEY]
    columns = {name: rows[name].combine_chunks() for name in OBSERVATIONS.names}
    order, starts = _groups([columns[name] for name in keys])
    group = np.zeros(len(rows), np.int64)
    group[order] = np.cumsum(np.isin(np.arange(len(order)), starts)) - 1
    merged: dict[str, pa.Array] = {}
    for name, column in columns.items():
        if name in _NESTED:
            merged[name] = _merge_lists(name, column, group, len(starts))
        else:
            merged[name] = _fold(LAWS[name], column, order, starts)
    return pa.table(merged, schema=OBSERVATIONS)


def _merge_lists(name: str, lists: pa.Array, group: NDArray[np.int64], groups: int) -> pa.Array:
    """One list for each group of rows; elements with equal keys become one."""
    row = np.repeat(group, np.asarray(lists.value_lengths().fill_null(0)))
    elements = lists.flatten()
    kind = OBSERVATIONS.field(name).type.value_type
    columns = [elements.field(i) for i in range(kind.num_fields)]
    laws = [LAWS[f"{name}.{field.name}"] for field in kind]
    keys = [column for column, law in zip(columns, laws, strict=True) if law == KEY]
    order, starts = _groups([pa.array(row), *keys])
    folded = [_fold(law, column, order, starts) for law, column in zip(laws, columns, strict=True)]
    counts = np.bincount(row[order[starts]], minlength=groups)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    values = pa.StructArray.from_arrays(folded, fields=list(kind))
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _groups(keys: list[pa.Array]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The order that sorts by the keys, and where in it each group of equal keys starts."""
    codes = [_ranks(key) for key in keys]
    order = np.lexsort(codes[::-1]).astype(np.int64)
    changes = np.zeros(len(order), bool)
    changes[:1] = True
    for code in codes:
        changes[1:] |= code[order[1:]] != code[order[:-1]]
    return order, np.flatnonzero(changes)


def _ranks(key: pa.Array) -> NDArray[np.int64]:
    """Numbers that are ordered, and equal, as the keys are."""
    if pa.types.is_string(key.type):
        encoded = key.dictionary_encode()
        sorting = np.argsort(np.asarray(encoded.dictionary.to_pylist(), dtype=object))
        rank = np.empty(len(sorting), np.int64)
        rank[sorting] = np.arange(len(sorting))
        ranks: NDArray[np.int64] = rank[np.asarray(encoded.indices)]
        return ranks
    integers: NDArray[np.int64] = np.asarray(key.cast(pa.int64()))
    return integers


def _fold(
    law: str, column: pa.Array, order: NDArray[np.int64], starts: NDArray[np.int64]
) -> pa.Array:
    """One value for each group. A null is no value, so a group of nulls stays null."""
    if law == KEY:
        return column.take(pa.array(order[starts]))
    limits = np.iinfo(np.int64)
    neutral = {MIN: limits.max, MAX: limits.min}.get(law, 0)
    values = np.asarray(column.cast(pa.int64()).fill_null(neutral))[order]
    known = np.asarray(column.is_valid())[order]
    if not len(starts):
        return column
    folded = _FOLD[law].reduceat(values, starts)
    some = np.logical_or.reduceat(known, starts)
    return pa.array(folded, mask=~some).cast(column.type)
