"""Parts: the observations in force taken apart, one row for each producer and each bucket of lag.

In Arrow: DuckDB takes longer to take lists apart and to leave rows out than to add up what is left.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fidelity.observe.observations import OBSERVATIONS

Ints = NDArray[np.int64]

UNIT = ("stage", "scan", "unit")
"""What tells which observations belong together, and whether they count."""

_SCOPE = ("stage", "sample", "window", "stream")
_ORIGIN, _LAG = (OBSERVATIONS.field(name).type.value_type for name in ("origins", "lag"))
_OF_PRODUCER = ("records", "id_sum", "id_xor", "first", "last", "seq_first", "seq_last")

PARTS = pa.schema(
    [
        *(OBSERVATIONS.field(name) for name in _SCOPE),
        ("origin", pa.string()),  # null: of a bucket of lag
        (
            "bucket",
            OBSERVATIONS.field("lag").type.value_type.field("bucket").type,
        ),  # null: of a producer
        *(_ORIGIN.field(name) for name in _OF_PRODUCER),
    ]
)
"""Records of a unit's scope by producer, and, of those with a known arrival, by bucket of lag."""


def parts(observations: Any, in_force: pa.Table) -> pa.Table | pa.RecordBatchReader:
    """The parts (PARTS) of the observations that count; as a stream that can be read once, if they
    are more than memory may hold.

    Args:
        observations: a pyarrow dataset or table (OBSERVATIONS).
        in_force: stage, scan and unit of those that count.
    """
    columns = [*dict.fromkeys((*_SCOPE, *UNIT)), "origins", "lag"]
    if isinstance(observations, pa.Table):
        return _taken_apart(observations.select(columns), in_force)

    def stream() -> Iterator[pa.RecordBatch]:
        for batch in observations.to_batches(columns=columns):
            yield from _taken_apart(pa.table(batch), in_force).to_batches()

    return pa.RecordBatchReader.from_batches(PARTS, stream())


def matched(rows: pa.Table, among: pa.Table, names: Sequence[str]) -> Ints:
    """For each row the row of `among` that has the same values, -1 for none."""
    if not len(among):
        return np.full(len(rows), -1)
    codes, known = np.zeros(len(rows), np.int64), np.ones(len(rows), bool)
    numbers = np.zeros(len(among), np.int64)
    for name in names:
        values = pc.unique(among[name])
        at = pc.index_in(rows[name], values).fill_null(-1).to_numpy()
        known &= at >= 0
        codes = codes * len(values) + at
        numbers = numbers * len(values) + pc.index_in(among[name], values).to_numpy()
    order = np.argsort(numbers)
    place = np.searchsorted(numbers[order], codes).clip(max=len(order) - 1)
    row = order[place]
    return np.where(known & (numbers[row] == codes), row, -1)


def _taken_apart(rows: pa.Table, in_force: pa.Table) -> pa.Table:
    rows = rows.filter(pa.array(matched(rows, in_force, UNIT) >= 0)).combine_chunks()
    tables = []
    for lists, names in (("origins", ("origin", *_OF_PRODUCER)), ("lag", ("bucket", "records"))):
        column = rows[lists].combine_chunks()
        owner, values = pc.list_parent_indices(column), column.flatten()
        found = {name: rows[name].take(owner) for name in _SCOPE}
        found |= {name: values.field(name) for name in names}
        empty = {each.name: pa.nulls(len(values), each.type) for each in PARTS}
        tables.append(pa.table({**empty, **found}, schema=PARTS))
    return pa.concat_tables(tables)
