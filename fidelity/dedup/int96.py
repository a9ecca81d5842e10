"""INT96 timestamps of a Parquet file, as Spark and Hive write them: in which unit they stay whole.

An INT96 holds a day and the nanoseconds within it: more than an int64 of Arrow's. Nanoseconds wrap
outside 1677-2262 without a word, and sentinels such as 9999-12-31 lie there; microseconds cut.
Law: value = seconds * 10^9 + (nanoseconds - seconds * 10^9) modulo 2^64, whatever wrapped.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fidelity.errors import DedupError

_SECOND = 1_000_000_000
_FARTHEST = (1 << 63) // 1_000_000  # seconds from 1970 whose microseconds an int64 holds


def unit_of(raw: pa.NativeFile, footer: pq.FileMetaData, path: str) -> str:
    """The unit to read a file's INT96 timestamps in, nested ones too: "ns" unless one is far off.

    Raises:
        DedupError: no unit holds them all.
    """
    columns = [footer.schema.column(at) for at in range(len(footer.schema))]
    names = [column.path for column in columns if column.physical_type == "INT96"]
    far = fine = False
    for seconds, nanoseconds in _read(raw, footer, names) if names else ():
        far |= bool((nanoseconds // _SECOND != seconds).any())
        fine |= bool(((nanoseconds - seconds * _SECOND) % 1000).any())
        if (far and fine) or bool((abs(seconds) >= _FARTHEST).any()):
            raise DedupError(
                "its INT96 timestamps reach farther than Arrow can hold so exactly.",
                where=path,
                action="Have the tool that wrote it drop the duplicates.",
            )
    return "us" if far else "ns"


def _read(
    raw: pa.NativeFile, footer: pq.FileMetaData, names: list[str]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The INT96 values of each row group and column: n seconds, and n nanoseconds that wrap."""
    files = [
        pq.ParquetFile(raw, metadata=footer, coerce_int96_timestamp_unit=unit)
        for unit in ("s", "ns")
    ]
    for number in range(footer.num_row_groups):
        tables = [file.read_row_group(number, names, use_threads=False) for file in files]
        for one, other in zip(*map(_leaves, tables), strict=True):
            if one.type != other.type:  # a name may stand for columns of other types besides
                yield _numbers(one), _numbers(other)


def _leaves(table: pa.Table) -> Iterator[pa.Array]:
    for column in table.columns:
        for chunk in column.chunks:
            yield from _below(chunk)


def _below(array: Any) -> Iterator[pa.Array]:
    """The arrays without members that an array is made of."""
    if pa.types.is_struct(array.type):
        members = array.flatten()
    elif pa.types.is_map(array.type):
        members = [array.keys, array.items]
    elif pa.types.is_nested(array.type):
        members = [array.flatten()]
    else:
        yield array
        return
    for member in members:
        yield from _below(member)


def _numbers(timestamps: pa.Array) -> NDArray[np.int64]:
    return np.asarray(timestamps.drop_null().cast(pa.int64()))
