"""Recount: scopes that observations cannot resolve are settled by reading their records again.

The trace is handed in, so that this module decides only what to ask and whether the answer still
explains the observations: data that changed since it was scanned proves nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fidelity.edges import Edge
from fidelity.errors import SourceError, UnreadableError
from fidelity.report import TIME
from fidelity.resolve import (
    Outcome,
    Peeled,
    Scope,
    counted,
    outcome_of,
    passes,
)
from fidelity.sides import meets, same

ASKED = pa.schema([("window", TIME), ("stream", pa.string()), ("id", pa.uint32())])
CHANGED = "the records read again are not those that were scanned"


class Traced(Protocol):
    """What a trace answers: rows (window, stream, origin, id, r, d), and the scopes it cannot."""

    @property
    def rows(self) -> pa.Table:
        """(window, stream, origin, id, r, d)."""

    @property
    def untraceable(self) -> Mapping[tuple[int, str], str]:
        """(window in microseconds, stream) -> why."""


class Tracer(Protocol):
    """Counts ids at two stages again: all that differ, or those that are asked for."""

    def __call__(
        self,
        reference: str,
        stage: str,
        scopes: Sequence[tuple[int, str]],
        ids: pa.Table | None,
    ) -> Traced:
        """Scopes are (window in microseconds, stream); ids a table of ASKED."""


class _Rows:
    """The rows of one trace as columns, sorted by scope."""

    def __init__(self, rows: pa.Table) -> None:
        window = rows.column("window")
        if pa.types.is_timestamp(window.type):
            rows = rows.set_column(
                rows.schema.get_field_index("window"), "window", pc.cast(window, pa.int64())
            )
        self._table = rows.sort_by([("window", "ascending"), ("stream", "ascending")])
        pairs = self._table.group_by(["window", "stream"], use_threads=False).aggregate(
            [([], "count_all")]
        )
        counts = pairs.column("count_all").to_numpy()
        ends = np.cumsum(counts)
        keys = zip(
            pairs.column("window").to_pylist(), pairs.column("stream").to_pylist(), strict=True
        )
        self._at = {
            key: (int(end - count), int(count))
            for key, end, count in zip(keys, ends, counts, strict=True)
        }

    def origins(
        self, scope: Scope
    ) -> Iterator[tuple[str, NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]]]:
        """(origin, id, r, d) of one scope, producer by producer."""
        start, count = self._at.get((scope.window, scope.stream), (0, 0))
        table = self._table.slice(start, count)
        ids = table.column("id").to_numpy().astype(np.uint32)
        r = table.column("r").to_numpy().astype(np.int64)
        d = table.column("d").to_numpy().astype(np.int64)
        codes = table.column("origin").combine_chunks().dictionary_encode()
        index = codes.indices.to_numpy(zero_copy_only=False)
        for code, origin in enumerate(codes.dictionary.to_pylist()):
            mine = index == code
            yield origin, ids[mine], r[mine], d[mine]


def recount(edge: Edge, scopes: Sequence[Scope], tracer: Tracer | None) -> list[Outcome]:
    """Scopes of one edge by an exact count of their records; by numbers alone where that fails."""
    if not scopes:
        return []
    asked = [(scope.window, scope.stream) for scope in scopes]
    rows, lacking = _trace(edge, asked, None, tracer)
    found = []
    for scope in scopes:
        reason = lacking.get((scope.window, scope.stream))
        outcome = _of_trace(scope, rows) if reason is None and rows is not None else None
        found.append(outcome or counted(scope, reason or CHANGED))
    return found


def look_up(edge: Edge, peeled: Sequence[Peeled], tracer: Tracer | None) -> list[Outcome]:
    """Peeled scopes of one edge whose surplus ids must be looked up in the reference."""
    if not peeled:
        return []
    asked = [(each.scope.window, each.scope.stream) for each in peeled]
    rows, lacking = _trace(edge, asked, _ids_asked(peeled), tracer)
    found = []
    for each in peeled:
        reason = lacking.get((each.scope.window, each.scope.stream))
        if reason is None and (rows is None or not _fill_in(each, rows)):
            reason = CHANGED
        found.append(outcome_of(each) if reason is None else guessed(each, reason))
        if reason is None:
            found[-1].evidence = "traced"
    return found


def guessed(peeled: Peeled, doubt: str) -> Outcome:
    """What is missing is exact; a surplus id that may be a copy is taken to be one."""
    peeled.known = [np.where(known < 0, 1, known) for known in peeled.known]
    outcome = outcome_of(peeled)
    outcome.evidence, outcome.doubt = "counts", doubt
    return outcome


def _trace(
    edge: Edge,
    scopes: Sequence[tuple[int, str]],
    ids: pa.Table | None,
    tracer: Tracer | None,
) -> tuple[_Rows | None, Mapping[tuple[int, str], str]]:
    if tracer is None:
        return None, dict.fromkeys(scopes, "records were not read again")
    try:
        traced = tracer(edge.reference, edge.stage, scopes, ids)
    except (SourceError, UnreadableError) as error:
        return None, dict.fromkeys(scopes, str(error))
    return _Rows(traced.rows), traced.untraceable


def _ids_asked(peeled: Sequence[Peeled]) -> pa.Table:
    lists = [each.open for each in peeled]
    repeat = [len(ids) for ids in lists]
    windows = np.repeat(np.array([each.scope.window for each in peeled], np.int64), repeat)
    streams = np.repeat(np.array([each.scope.stream for each in peeled], object), repeat)
    columns = [pa.array(windows).cast(TIME), pa.array(streams, pa.string())]
    return pa.Table.from_arrays([*columns, pa.array(np.concatenate(lists))], schema=ASKED)


def _of_trace(scope: Scope, rows: _Rows) -> Outcome | None:
    """The outcome of exact counts, or None if they do not explain the observations."""
    outcome = Outcome(evidence="traced")
    open_lines = {line.origin: line for line in scope.lines}
    filtered = 0
    for origin, ids, r, d in rows.origins(scope):
        line = open_lines.pop(origin, None)
        if line is None or not meets(line.reference, line.here, ids, r - d):
            return None
        due = passes(scope.edge, scope.stream, origin, ids)
        lost, over = (r > d) & due, d > r
        filtered += int((r - d)[(r > d) & ~due].sum())
        outcome.add(origin, "lost", ids[lost], (r - d)[lost])
        again, never = over & (r > 0), over & (r == 0)
        outcome.add(origin, "duplicate", ids[again], (d - r)[again])
        outcome.add(origin, "unexpected", ids[never], (d - r)[never])
    if not all(same(line.reference, line.here) for line in open_lines.values()):
        return None
    # What is neither due nor filtered came through all the same.
    not_due = sum(line.reference.records - line.due.records for line in scope.lines)
    outcome.excused = not_due - filtered
    return outcome


def _fill_in(peeled: Peeled, rows: _Rows) -> bool:
    """Put looked-up counts where they were open. False if an id is not where it was."""
    by_origin = {origin: (ids, r, d) for origin, ids, r, d in rows.origins(peeled.scope)}
    for at, (line, ids, copies) in enumerate(peeled.surplus):
        if not (peeled.known[at] < 0).any():
            continue
        if line.origin not in by_origin:
            return False
        held, r, d = by_origin[line.origin]
        order = np.argsort(held)
        place = np.minimum(np.searchsorted(held, ids, sorter=order), len(held) - 1)
        place = order[place]
        due = passes(peeled.scope.edge, peeled.scope.stream, line.origin, ids)
        over = np.where(due, d[place] - r[place], d[place])
        was_open = peeled.known[at] < 0
        if not ((held[place] == ids) & (over == copies))[was_open].all():
            return False
        peeled.known[at] = np.where(was_open, r[place], peeled.known[at])
    return True
