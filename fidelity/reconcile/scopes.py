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
from fidelity.reconcile.grid import Grid
from fidelity.reconcile.outcome import Line, Scope
from fidelity.reconcile.parts import UNIT, parts
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
_AT_ONCE = 4_000  # scopes whose sketches are held at once: about 100 MB


@dataclass(frozen=True, slots=True)
class Scopes:
    """All scopes of all edges as columns, sorted by edge, window (microseconds), stream."""

    edge: Ints
    window: Ints
    stream: Ints  # place among `streams`
    streams: list[str]
    expected: Ints
    due: Ints
    observed: Ints
    due_met: Bools
    all_met: Bools
    sampled: Bools  # the reference was scanned with the edge's sample: `due` is known

    def __len__(self) -> int:
        return len(self.edge)


def load(
    connection: duckdb.DuckDBPyConnection,
    ledger: Sequence[LedgerRow],
    observations: Any,
    edges: Sequence[Edge],
) -> pa.Table:
    """Make `sums` and `seen` from Arrow observations and the ledger, and `roles` from the edges.

    Returns stage, scan and unit of the observations that count.
    """
    rows = [
        (row.unit.stage, row.scan, _MERGED if row.scan.startswith(MERGED) else row.unit.key)
        for row in in_force(ledger)
        if row.status == "read" and row.unit.key != LOOKED
    ]
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    counting = pa.table({n: pa.array(c, pa.string()) for n, c in zip(UNIT, columns, strict=True)})
    connection.register("parts", parts(observations, counting))
    connection.register("roles", _roles(edges))
    if any(edge.sample > 1 for edge in edges):
        connection.register("in_force", counting)
        connection.register("observations", observations)
    ask(connection, "reconcile_sums")
    ask(connection, "reconcile_origins")
    return counting


def all_scopes(connection: duckdb.DuckDBPyConnection, edges: Sequence[Edge], grid: Grid) -> Scopes:
    """The totals of every scope: of each edge and each pair of the grid, seen or not."""
    table = ask(connection, "reconcile_scopes").to_arrow_table()
    edge = table["edge"].to_numpy().astype(np.int64)
    row = edge * len(grid) + grid.rows(table["window"].to_numpy(), table["stream"])
    size = len(edges) * len(grid)

    def spread(name: str, nothing: int | bool) -> NDArray[Any]:
        found = np.full(size, nothing)
        found[row] = table[name].to_numpy()
        return found

    scopes = Scopes(
        edge=np.repeat(np.arange(len(edges)), len(grid)),
        window=np.tile(grid.window, len(edges)),
        stream=np.tile(grid.stream, len(edges)),
        streams=grid.streams,
        expected=spread("expected", 0),
        due=spread("due", 0),
        observed=spread("observed", 0),
        due_met=spread("due_met", True),
        all_met=spread("all_met", True),
        sampled=np.ones(size, np.bool_),
    )
    if any(edge.sample > 1 for edge in edges):
        _mark_unsampled(connection, edges, scopes)
    return scopes


def _mark_unsampled(
    connection: duckdb.DuckDBPyConnection, edges: Sequence[Edge], scopes: Scopes
) -> None:
    """What is due is not known where the reference was scanned before the sample was configured."""
    connection.register("edges", _sampled(edges))
    lacking = set(ask(connection, "reconcile_unsampled").fetchall())
    for row in np.flatnonzero(np.isin(scopes.edge, list({each[0] for each in lacking}))):
        stream = scopes.streams[scopes.stream[row]]
        key = (int(scopes.edge[row]), int(scopes.window[row]), stream)
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
        stream=np.arange(len(named)),
        streams=list(streams),
        expected=zero,
        due=zero,
        observed=zero,
        due_met=false,
        all_met=false,
        sampled=false,
    )
    return _with_lines(connection, edges, scopes, np.arange(len(named)), false)


def _roles(edges: Sequence[Edge]) -> pa.Table:
    """Which observations, by stage and sample, take which part in which edge.

    here: at the edge's stage. every: at its reference. due: the same, as far as is due.
    """
    rows = []
    for number, edge in enumerate(edges):
        kept = [None if k is None else sorted(k) for k in (edge.keep_streams, edge.keep_origins)]
        rows.append((number, edge.stage, 1, True, False, False, *kept))
        rows.append((number, edge.reference, 1, False, True, edge.sample == 1, *kept))
        if edge.sample > 1:
            rows.append((number, edge.reference, edge.sample, False, False, True, *kept))
    strings = pa.list_(pa.string())
    kinds = (pa.int32(), pa.string(), pa.int32(), *[pa.bool_()] * 3, strings, strings)
    names = ("edge", "stage", "sample", "here", "every", "due", "keep_streams", "keep_origins")
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    return pa.table([pa.array(*each) for each in zip(columns, kinds, strict=True)], list(names))


def _sampled(edges: Sequence[Edge]) -> pa.Table:
    return pa.table(
        {
            "edge": pa.array(range(len(edges)), pa.int32()),
            "reference": pa.array([edge.reference for edge in edges], pa.string()),
            "sample": pa.array([edge.sample for edge in edges], pa.int64()),
        }
    )


def _with_lines(
    connection: duckdb.DuckDBPyConnection,
    edges: Sequence[Edge],
    scopes: Scopes,
    rows: Ints,
    may_trace: Bools,
) -> list[Scope]:
    names = [scopes.streams[code] for code in scopes.stream[rows].tolist()]
    wanted = pa.table({"window": scopes.window[rows], "stream": pa.array(names, pa.string())})
    connection.register("wanted", wanted)
    seen: dict[Key, dict[str, Side]] = {}
    for *key, origin, records, id_sum, id_xor, first, last in ask(
        connection, "reconcile_producers"
    ).fetchall():
        seen.setdefault(Key(*key), {})[origin] = Side(records, id_sum, id_xor, first, last)
    found = []
    for row, stream in zip(rows.tolist(), names, strict=True):
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
