"""Scopes: what DuckDB says of each edge x window x stream, from observations of units in force.

Totals are asked for all scopes; producers' lines and sketches only for those that do not balance.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fidelity.edges import Edge
from fidelity.questions import ask
from fidelity.reconcile.coverage import in_force
from fidelity.reconcile.outcome import Line, Scope
from fidelity.reconcile.peel import Cells
from fidelity.reconcile.sides import Side
from fidelity.reconcile.sketches import Key
from fidelity.units import LOOKED, MERGED, LedgerRow

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

Sketches = Callable[[Sequence[Key]], NDArray[np.uint64]]
"""Gives the sketches of keys, see `sketches`."""

_NOTHING = Side(0, 0, 0, None, None)
_MERGED = "merged"  # the unit that merged observations stand under
_PAIRS_LIMIT = 2_000_000
_AT_ONCE = 4_000  # scopes whose sketches are held at once: about 100 MB


@dataclass(frozen=True, slots=True)
class Scopes:
    """All scopes of all edges as columns, sorted by edge, window (microseconds), stream."""

    edge: Ints
    window: Ints
    stream: pa.DictionaryArray
    expected: Ints
    due: Ints
    observed: Ints
    due_met: Bools
    all_met: Bools
    sampled: Bools  # the reference was scanned with the edge's sample: `due` is known

    def __len__(self) -> int:
        return len(self.edge)

    def streams(self) -> list[str]:
        """The dictionary that `stream_codes` point into."""
        found: list[str] = self.stream.dictionary.to_pylist()
        return found

    def stream_codes(self) -> Ints:
        """int64[n]."""
        return np.asarray(self.stream.indices.to_numpy(zero_copy_only=False), np.int64)


def load(
    connection: duckdb.DuckDBPyConnection,
    ledger: Sequence[LedgerRow],
    observations: Any,
    edges: Sequence[Edge],
) -> pa.Table:
    """Make `sums`, `seen` and `edges` from Arrow observations and the ledger.

    Returns stage, scan and unit of the observations that count.
    """
    rows = [
        (row.unit.stage, row.scan, _MERGED if row.scan.startswith(MERGED) else row.unit.key)
        for row in in_force(ledger)
        if row.status == "read" and row.unit.key != LOOKED
    ]
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    names = ("stage", "scan", "unit")
    counting = pa.table({n: pa.array(c, pa.string()) for n, c in zip(names, columns, strict=True)})
    connection.register("in_force", counting)
    connection.register("observations", observations)
    connection.register("edges", _edges_table(edges))
    ask(connection, "reconcile_sums")
    ask(connection, "reconcile_origins")
    return counting


def lay_grid(connection: duckdb.DuckDBPyConnection, added: Sequence[int]) -> None:
    """Make the table `grid`: all windows and streams, and windows in which nothing was seen."""
    connection.register("added_windows", pa.table({"window": pa.array(added, pa.int64())}))
    ask(connection, "reconcile_grid", limit=_PAIRS_LIMIT)


def all_scopes(connection: duckdb.DuckDBPyConnection, edges: Sequence[Edge]) -> Scopes:
    """The totals of every scope."""
    table = ask(connection, "reconcile_scopes").to_arrow_table().combine_chunks()
    column = {name: table.column(name) for name in table.column_names}
    scopes = Scopes(
        edge=column["edge"].to_numpy().astype(np.int64),
        window=column["window"].to_numpy(),
        stream=_encoded(column["stream"]),
        expected=column["expected"].to_numpy(),
        due=column["due"].to_numpy(),
        observed=column["observed"].to_numpy(),
        due_met=column["due_met"].to_numpy().copy(),
        all_met=column["all_met"].to_numpy(),
        sampled=np.ones(len(table), np.bool_),
    )
    if any(edge.sample > 1 for edge in edges):
        _mark_unsampled(connection, scopes)
    return scopes


def _mark_unsampled(connection: duckdb.DuckDBPyConnection, scopes: Scopes) -> None:
    """What is due is not known where the reference was scanned before the sample was configured."""
    lacking = set(ask(connection, "reconcile_unsampled").fetchall())
    streams, codes = scopes.streams(), scopes.stream_codes()
    for row in np.flatnonzero(np.isin(scopes.edge, list({each[0] for each in lacking}))):
        key = (int(scopes.edge[row]), int(scopes.window[row]), streams[codes[row]])
        if key in lacking:
            scopes.due_met[row] = scopes.sampled[row] = False


def explained(
    connection: duckdb.DuckDBPyConnection,
    edges: Sequence[Edge],
    scopes: Scopes,
    rows: Ints,
    may_trace: Bools,
    sketches: Sketches,
) -> Iterator[tuple[Scope, Cells]]:
    """The scopes at `rows` with their producers' lines and their sketches."""
    for start in range(0, len(rows), _AT_ONCE):
        found = _with_lines(connection, edges, scopes, rows[start : start + _AT_ONCE], may_trace)
        yield from zip(found, _with_cells(sketches, found), strict=True)


def with_lines(
    connection: duckdb.DuckDBPyConnection,
    edges: Sequence[Edge],
    named: Sequence[tuple[int, int, str]],
) -> list[Scope]:
    """Scopes by name (number of the edge, window in microseconds, stream), with their lines."""
    numbers, windows, streams = zip(*named, strict=True)
    zero, false = np.zeros(len(named), np.int64), np.zeros(len(named), np.bool_)
    scopes = Scopes(
        edge=np.array(numbers, np.int64),
        window=np.array(windows, np.int64),
        stream=pa.array(streams, pa.string()).dictionary_encode(),
        expected=zero,
        due=zero,
        observed=zero,
        due_met=false,
        all_met=false,
        sampled=false,
    )
    return _with_lines(connection, edges, scopes, np.arange(len(named)), false)


def _edges_table(edges: Sequence[Edge]) -> pa.Table:
    def kept(names: frozenset[str] | None) -> list[str] | None:
        return None if names is None else sorted(names)

    strings = pa.list_(pa.string())
    return pa.table(
        {
            "edge": pa.array(range(len(edges)), pa.int32()),
            "stage": pa.array([edge.stage for edge in edges], pa.string()),
            "reference": pa.array([edge.reference for edge in edges], pa.string()),
            "sample": pa.array([edge.sample for edge in edges], pa.int64()),
            "keep_streams": pa.array([kept(edge.keep_streams) for edge in edges], strings),
            "keep_origins": pa.array([kept(edge.keep_origins) for edge in edges], strings),
        }
    )


def _encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # of no chunks
        whole = pa.concat_arrays(whole.chunks) if whole.chunks else pa.array([], pa.string())
    return whole.dictionary_encode()


def _with_lines(
    connection: duckdb.DuckDBPyConnection,
    edges: Sequence[Edge],
    scopes: Scopes,
    rows: Ints,
    may_trace: Bools,
) -> list[Scope]:
    names = scopes.stream.take(pa.array(rows)).cast(pa.string())
    wanted = pa.table({"window": pa.array(scopes.window[rows]), "stream": names})
    connection.register("wanted", wanted)
    seen: dict[Key, dict[str, Side]] = {}
    for *key, origin, records, id_sum, id_xor, first, last in ask(
        connection, "reconcile_producers"
    ).fetchall():
        seen.setdefault(Key(*key), {})[origin] = Side(records, id_sum, id_xor, first, last)
    found = []
    for row, stream in zip(rows.tolist(), names.to_pylist(), strict=True):
        edge, window = edges[int(scopes.edge[row])], int(scopes.window[row])
        found.append(
            Scope(
                row=row,
                edge=edge,
                window=window,
                stream=stream,
                lines=_lines(edge, window, stream, seen),
                may_peel=bool(scopes.sampled[row]),
                may_trace=bool(may_trace[row]),
            )
        )
    return found


def _lines(
    edge: Edge, window: int, stream: str, seen: Mapping[Key, Mapping[str, Side]]
) -> tuple[Line, ...]:
    """The books of each producer that either side has seen: in the reference, due of it, here."""

    def at(stage: str, sample: int) -> Mapping[str, Side]:
        return seen.get(Key(stage, sample, window, stream), {})

    reference, here = at(edge.reference, 1), at(edge.stage, 1)
    due = {
        origin: side
        for origin, side in at(edge.reference, edge.sample).items()
        if (edge.keep_streams is None or stream in edge.keep_streams)
        and (edge.keep_origins is None or origin in edge.keep_origins)
    }
    found = []
    for origin in sorted({*reference, *due, *here}):
        r, k = reference.get(origin, _NOTHING), due.get(origin, _NOTHING)
        bounded = replace(k, seq_first=r.seq_first, seq_last=r.seq_last)
        found.append(Line(origin, r, bounded, here.get(origin, _NOTHING)))
    return tuple(found)


def _with_cells(sketches: Sketches, found: Sequence[Scope]) -> list[Cells]:
    sides = [
        (
            Key(scope.edge.reference, 1, scope.window, scope.stream),
            Key(scope.edge.reference, scope.edge.sample, scope.window, scope.stream),
            Key(scope.edge.stage, 1, scope.window, scope.stream),
        )
        for scope in found
    ]
    number = {key: at for at, key in enumerate(dict.fromkeys(chain.from_iterable(sides)))}
    cells = sketches(list(number))
    return [Cells(*(cells[number[key]] for key in keys)) for keys in sides]
