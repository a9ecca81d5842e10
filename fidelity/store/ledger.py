"""The ledger's rows as columns of the `units` table, and back.

A column has the name of its field; a time of -1 is null. `observed` is the store's own: the version
of `observations` that holds what this row's commit observed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fidelity.units import Flaw, LedgerRow, Tally, Unit

_TIME = pa.timestamp("us", "UTC")
_FLAW = pa.struct(
    [("kind", pa.string()), ("records", pa.int64()), ("positions", pa.list_(pa.int64()))]
)

_UNIT = (
    ("stage", pa.string()),
    ("key", pa.string()),
    ("kind", pa.string()),
    ("path", pa.string()),
    ("start", pa.int64()),
    ("end", pa.int64()),
    ("partition", pa.int32()),
    ("file", pa.string()),
    ("version", pa.string()),
    ("fingerprint", pa.string()),
    ("fingerprint_bytes", pa.int64()),
    ("size", pa.int64()),
    ("closed", pa.bool_()),
)
_TALLY = (
    ("records", pa.int64()),
    ("bytes", pa.int64()),
    ("first_event", _TIME),
    ("last_event", _TIME),
    ("first_arrival", _TIME),
    ("last_arrival", _TIME),
    ("flaws", pa.list_(_FLAW)),
)
_ROW = (
    ("status", pa.string()),
    ("scan", pa.string()),
    ("scanned_at", _TIME),
    ("spec", pa.string()),
    ("reason", pa.string()),
    ("unseen_from", _TIME),
    ("unseen_to", _TIME),
    ("commit", pa.int64()),
)
UNITS = pa.schema([*_UNIT, *_TALLY, *_ROW, ("observed", pa.int64())])
"""The `units` table: one row for each unit and each commit that told something of it."""

_UNIT_NAMES, _TALLY_NAMES, _ROW_NAMES = (
    [name for name, _ in part] for part in (_UNIT, _TALLY, _ROW)
)


def table_of(rows: Sequence[LedgerRow], commit: int, observed: int) -> pa.Table:
    """Rows as a table, with the commit that they are part of."""
    columns: dict[str, list[Any]] = {name: [] for name in UNITS.names}
    for row in rows:
        for name in _UNIT_NAMES:
            columns[name].append(getattr(row.unit, name))
        for name in _TALLY_NAMES:
            columns[name].append(getattr(row.tally, name))
        for name in _ROW_NAMES:
            columns[name].append(getattr(row, name))
    columns["flaws"] = [[_flaw(flaw) for flaw in flaws] for flaws in columns["flaws"]]
    columns["commit"] = [commit] * len(rows)
    columns["observed"] = [observed] * len(rows)
    return pa.table([_array(columns[column.name], column.type) for column in UNITS], schema=UNITS)


def rows_of(table: pa.Table) -> list[LedgerRow]:
    """The rows of a table, in its order."""
    columns = {name: _values(table[name]) for name in UNITS.names}
    units = [Unit(*values) for values in zip(*(columns[name] for name in _UNIT_NAMES), strict=True)]
    columns["flaws"] = [tuple(map(_as_flaw, flaws or ())) for flaws in columns["flaws"]]
    tallies = [
        Tally(*values) for values in zip(*(columns[name] for name in _TALLY_NAMES), strict=True)
    ]
    rest = zip(*(columns[name] for name in _ROW_NAMES), strict=True)
    return [
        LedgerRow(unit, tally=tally, **dict(zip(_ROW_NAMES, values, strict=True)))
        for unit, tally, values in zip(units, tallies, rest, strict=True)
    ]


def last_words(units: pa.Table) -> pa.Table:
    """The last word on each unit: the rows of the highest commit of each stage and key.

    A look at a whole stage that failed does not take back the last one that succeeded: of these
    rows the last of each status stays. Sorted by stage and commit.
    """
    look = pc.if_else(pc.equal(units["kind"], "stage"), units["status"], "")
    codes = [_codes(column) for column in (units["stage"], units["key"], look)]
    order = np.lexsort([units["commit"].to_numpy(), *codes])
    last = np.ones(len(order), bool)
    last[:-1] = np.any([code[order[1:]] != code[order[:-1]] for code in codes], axis=0)
    rows = units.take(pa.array(order[last]))
    order_by = ("stage", "commit", "path", "partition", "start", "key")
    return rows.sort_by([(name, "ascending") for name in order_by])


def _codes(column: pa.ChunkedArray) -> NDArray[np.int32]:
    """Equal numbers for equal values."""
    return column.combine_chunks().dictionary_encode().indices.to_numpy()  # type: ignore[no-any-return]


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if kind == _TIME:
        values = [None if value == -1 else value for value in values]
    return pa.array(values, kind)


def _values(column: pa.ChunkedArray) -> list[Any]:
    if column.type == _TIME:
        column = column.cast(pa.int64()).fill_null(-1)
    values: list[Any] = column.to_pylist()
    return values


def _flaw(flaw: Flaw) -> dict[str, Any]:
    return {"kind": flaw.kind, "records": flaw.records, "positions": list(flaw.positions)}


def _as_flaw(flaw: dict[str, Any]) -> Flaw:
    return Flaw(flaw["kind"], flaw["records"], tuple(flaw["positions"]))
