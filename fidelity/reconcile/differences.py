"""Differences: the ids behind the figures, as one sorted table of the report."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fidelity.edges import Edge
from fidelity.identity import producer_seed, sequences_of
from fidelity.reconcile.outcome import Part, Scope
from fidelity.report import DIFFERENCES, TIME

_SORT = [
    (name, "ascending")
    for name in ("order", "window", "stream", "origin", "sequence", "id", "kind")
]


@dataclass(frozen=True, slots=True)
class Difference:
    """Ids of one producer that differ in one scope."""

    scope: Scope
    part: Part


def table_of(
    edges: Sequence[Edge], order: dict[tuple[str, str], int], found: Iterable[Difference]
) -> pa.Table:
    """The differences of the report (DIFFERENCES), once for each `against` of their edge.

    Args:
        edges: all edges.
        order: where the rows of (stage, against) stand in the report.
        found: what differs.
    """
    by_edge: dict[Edge, list[Difference]] = {edge: [] for edge in edges}
    for each in found:
        by_edge[each.scope.edge].append(each)
    tables = []
    for edge, differences in by_edge.items():
        rows = _rows(edge, differences)
        for label in edge.labels:
            tables.append(_labelled(rows, edge.stage, label, order[edge.stage, label]))
    if not tables:
        return DIFFERENCES.empty_table()
    return pa.concat_tables(tables).sort_by(_SORT).drop_columns(["order"]).combine_chunks()


def _rows(edge: Edge, found: Sequence[Difference]) -> pa.Table:
    """window, stream, origin, sequence, id, kind and copies, one row an id."""
    lengths = np.array([len(each.part.ids) for each in found], np.int64)
    source = pa.array(np.repeat(np.arange(len(found)), lengths))
    windows = pa.array([each.scope.window for each in found], pa.int64()).cast(TIME)
    ids = _joined([each.part.ids for each in found], np.uint32)
    copies = _joined([each.part.copies for each in found], np.int64)
    return pa.table(
        {
            "window": windows.take(source),
            "stream": _names([each.scope.stream for each in found]).take(source),
            "origin": _names([each.part.origin for each in found]).take(source),
            "sequence": _sequences(edge, found, ids),
            "id": pa.array(ids),
            "kind": _names([each.part.kind for each in found]).take(source),
            "copies": pa.array(copies),
        }
    )


def _sequences(edge: Edge, found: Sequence[Difference], ids: np.ndarray) -> pa.Array:
    if edge.opaque:
        return pa.nulls(len(ids), pa.int64())
    seeds = [producer_seed(each.scope.stream, each.part.origin) for each in found]
    repeated = np.repeat(np.array(seeds, np.uint32), [len(each.part.ids) for each in found])
    return pa.array(sequences_of(ids, repeated).astype(np.int64))


def _labelled(rows: pa.Table, stage: str, label: str, order: int) -> pa.Table:
    count = len(rows)
    columns = {name: rows.column(name) for name in rows.column_names}
    columns["stage"] = pa.repeat(pa.scalar(stage), count)
    columns["against"] = pa.repeat(pa.scalar(label), count)
    columns["position"] = pa.nulls(count, DIFFERENCES.field("position").type)
    columns["order"] = pa.repeat(pa.scalar(order, pa.int32()), count)
    return pa.table({name: columns[name] for name in (*DIFFERENCES.names, "order")})


def _joined(arrays: Sequence[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.empty(0, kind)


def _names(names: Sequence[str]) -> pa.Array:
    return pa.array(names, pa.string())
