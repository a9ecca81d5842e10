"""Reconcile: observations and the ledger become the report. Reads no record, if it need not.

seen -> books -> scopes that balance | peeled | read again -> rows with verdicts -> findings.
Invariant: every row's books close, and what was not seen is unknown, never lost and never passed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fidelity.config import Pipeline
from fidelity.questions import ask, connect
from fidelity.reconcile import books, coverage, differences, findings, rows, scopes, silence
from fidelity.reconcile.books import Block, Figures, Head, Sight
from fidelity.reconcile.coverage import View
from fidelity.reconcile.differences import Difference
from fidelity.reconcile.edges import Edge, edges_of
from fidelity.reconcile.recount import Forgetful, Memory, Tracer, guessed, look_up, recount
from fidelity.reconcile.resolve import Outcome, Peeled, Scope, counted, outcome_of, peel
from fidelity.reconcile.scopes import Scopes
from fidelity.reconcile.silence import Silence
from fidelity.report import EVIDENCE, Collisions, Kind, Report, Verdict
from fidelity.store.looks import Looks, looks_of
from fidelity.units import LedgerRow

__all__ = ["Memory", "Tracer", "reconcile"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_NOT_READ_AGAIN = "the window is open, or was not looked at since it settled"
_BASIS = (
    "coincident_ids: pairs of records of different producers (of any, where ids are opaque) in one "
    "window and stream, divided by 2^32. hidden_losses, opaque ids only: missing times surplus "
    "records of a scope, divided by 2^32; an id made from a sequence number hides no loss."
)


@dataclass(slots=True)
class _Audit:
    """What all steps need to know."""

    pipeline: Pipeline
    edges: list[Edge]
    views: dict[str, View]
    looks: Looks
    connection: duckdb.DuckDBPyConnection
    as_of: int

    @property
    def horizon(self) -> int:
        """Start of the last window that has settled."""
        settled = self.as_of - self.pipeline.settle - self.pipeline.window
        return settled // self.pipeline.window * self.pipeline.window

    def settled(self, windows: Ints) -> Bools:
        return np.asarray(windows <= self.horizon)


def reconcile(
    pipeline: Pipeline,
    ledger: Sequence[LedgerRow],
    observations: Any,
    *,
    as_of: int,
    run: str,
    known_at: str | None = None,
    tracer: Tracer | None = None,
    memory: Memory | None = None,
) -> Report:
    """Close the books of every stage x window x stream.

    Args:
        pipeline: what is audited.
        ledger: rows in force of all stages; further LOOKED rows do no harm.
        observations: a pyarrow dataset or table (OBSERVATIONS). Rows of units that the ledger does
            not have, or has with another scan, count for nothing.
        as_of: decides what is settled; microseconds.
        run: the report's name.
        known_at: which version of the ledger this is, as the report should say it.
        tracer: counts records again where sketches cannot tell. None: such figures are lower
            bounds, and say so.
        memory: answers of earlier traces, asked first. None: there is none.

    Raises BooksError, a bug, if any row's books do not close.
    """
    audit = _Audit(
        pipeline,
        edges_of(pipeline),
        coverage.views([stage.name for stage in pipeline.stages], ledger),
        looks_of(ledger),
        connect(),
        as_of,
    )
    try:
        scopes.load(audit.connection, ledger, observations, audit.edges)
        return _report(audit, run, known_at, tracer, memory or Forgetful())
    finally:
        audit.connection.close()


def _report(
    audit: _Audit, run: str, known_at: str | None, tracer: Tracer | None, memory: Memory
) -> Report:
    pipeline, source = audit.pipeline, audit.pipeline.source.name
    quiet = silence.silences(
        audit.connection, pipeline, audit.views[source], audit.horizon, audit.as_of
    )
    scopes.lay_grid(audit.connection, _added_windows(audit, quiet))
    found = scopes.all_scopes(audit.connection, audit.edges)
    outcomes = _outcomes(audit, found, tracer, memory)
    pairs = ask(audit.connection, "reconcile_source", source=source).to_arrow_table()
    heads, blocks, streams = _blocks(audit, found, outcomes, pairs, quiet)
    flaws = {name: coverage.flaws(view) for name, view in audit.views.items()}
    totals = tuple(
        rows.total_of(head, block, flaws[head.stage], pipeline.targets.completeness)
        for head, block in zip(heads, blocks, strict=True)
    )
    order = {(head.stage, head.against or ""): at for at, head in enumerate(heads)}
    told = _differences(audit, found, outcomes)
    context = findings.Context(
        pipeline=pipeline,
        edges=audit.edges,
        views=audit.views,
        totals=totals,
        differences=differences.table_of(audit.edges, order, told),
        established=_established(audit, heads, blocks),
        silences=quiet,
        holes=silence.holes(audit.connection, pipeline, audit.horizon),
        doubts=[(scope, outcome.doubt) for scope, outcome in outcomes if outcome.doubt],
        horizon=audit.horizon,
        newest=_newest(audit, blocks),
        overtaken=_overtaken(audit, heads, blocks),
    )
    listed = findings.all_findings(context)
    totals = tuple(findings.judged(context, total) for total in totals)
    return Report(
        pipeline=pipeline.name,
        run=run,
        as_of=audit.as_of,
        known_at=known_at,
        verdict=_verdict([total.verdict for total in totals]),
        watermark=books.watermark(blocks, pipeline.window),
        window=pipeline.window,
        settle=pipeline.settle,
        collision_budget=_collisions(audit, pairs, outcomes),
        stages=totals,
        coverage=tuple(coverage.summary(view) for view in audit.views.values()),
        balances=rows.table_of(heads, blocks, streams, pipeline),
        differences=context.differences,
        findings=tuple(listed),
    )


def _newest(audit: _Audit, blocks: Sequence[Block]) -> int | None:
    windows = np.unique(np.concatenate([block.window for block in blocks]))
    settled = windows[audit.settled(windows)]
    return int(settled[-1]) if len(settled) else None


def _established(
    audit: _Audit, heads: Sequence[Head], blocks: Sequence[Block]
) -> dict[tuple[Edge, Kind], findings.Established]:
    """What is established at each edge, by kind."""
    at = {(head.stage, head.against): block for head, block in zip(heads, blocks, strict=True)}
    found = {}
    for edge in audit.edges:
        block = at[edge.stage, edge.labels[-1]]
        shown = block.surplus_shown
        kinds: dict[Kind, Ints] = {
            "lost": block.lost,
            "duplicate": np.where(shown, block.duplicates, 0),
            "unexpected": np.where(shown, block.unexpected, 0),
        }
        for kind, records in kinds.items():
            if records.any():
                windows = np.unique(block.window[records > 0])
                found[edge, kind] = findings.Established(int(records.sum()), windows)
    return found


def _overtaken(
    audit: _Audit, heads: Sequence[Head], blocks: Sequence[Block]
) -> list[tuple[str, str, Ints]]:
    """(stage to look at again, stage that was read since, windows that are open for it)."""
    against = {(edge.stage, edge.labels[-1]): edge.reference for edge in audit.edges}
    found = []
    for head, block in zip(heads, blocks, strict=True):
        reference = against.get((head.stage, head.against or ""))
        if reference is not None:
            found.append((head.stage, reference, block.window[block.missing_open]))
            found.append((reference, head.stage, block.window[block.surplus_open]))
    return [(stage, since, np.unique(windows)) for stage, since, windows in found if len(windows)]


def _verdict(verdicts: Sequence[Verdict]) -> Verdict:
    order: tuple[Verdict, ...] = ("fail", "unknown", "pass", "pending")
    return next((each for each in order if each in verdicts), "unknown")


def _added_windows(audit: _Audit, quiet: Sequence[Silence]) -> list[int]:
    """Windows to be judged although nothing may have been seen in them at any stage."""
    window = audit.pipeline.window
    added = {
        start for each in quiet if each.strong for start in silence.silent_windows(each, window)
    }
    first, last = audit.connection.execute(
        'SELECT min("window"), max("window") FROM seen'
    ).fetchall()[0]
    if first is not None:
        for view in audit.views.values():
            added.update(coverage.unseen_windows(view, first, last, window))
    return sorted(added)


def _outcomes(
    audit: _Audit, found: Scopes, tracer: Tracer | None, memory: Memory
) -> list[tuple[Scope, Outcome]]:
    """What differs in each scope that does not balance."""
    unbalanced = np.flatnonzero(~found.due_met & ~found.all_met)
    may_trace = _may_trace(audit, found)
    done: list[tuple[Scope, Outcome]] = []
    unknown: dict[Edge, list[Scope]] = {edge: [] for edge in audit.edges}
    half_known: dict[Edge, list[Peeled]] = {edge: [] for edge in audit.edges}
    for scope, cells in scopes.explained(
        audit.connection, audit.edges, found, unbalanced, may_trace
    ):
        peeled = peel(scope, cells)
        if peeled is not None and len(peeled.open) == 0:
            done.append((scope, outcome_of(peeled)))
        elif not scope.may_trace:
            doubt = _NOT_READ_AGAIN
            outcome = counted(scope, doubt) if peeled is None else guessed(peeled, doubt)
            done.append((scope, outcome))
        elif peeled is None:
            unknown[scope.edge].append(scope)
        else:
            half_known[scope.edge].append(peeled)
    for edge in audit.edges:
        done += zip(unknown[edge], recount(edge, unknown[edge], tracer, memory), strict=True)
        asked = [each.scope for each in half_known[edge]]
        done += zip(asked, look_up(edge, half_known[edge], tracer, memory), strict=True)
    return done


def _may_trace(audit: _Audit, found: Scopes) -> Bools:
    """Not open windows, which every audit would read again, nor those not looked at since."""
    window, settle = audit.pipeline.window, audit.pipeline.settle
    allowed = audit.settled(found.window)
    for number, edge in enumerate(audit.edges):
        mine = found.edge == number
        for stage in (edge.stage, edge.reference):
            allowed[mine] &= audit.views[stage].audited(found.window[mine], window, settle)
    return allowed


def _blocks(
    audit: _Audit,
    found: Scopes,
    outcomes: Sequence[tuple[Scope, Outcome]],
    pairs: pa.Table,
    quiet: Sequence[Silence],
) -> tuple[list[Head], list[Block], pa.Array]:
    """The rows of the report by stage and reference, and the dictionary of their streams."""
    names = sorted(set(pairs.column("stream").to_pylist()) | set(found.streams()))
    code = {name: at for at, name in enumerate(names)}
    streams = np.array([code[name] for name in found.streams()], np.int64)[found.stream_codes()]
    targets = {
        part: np.array([getattr(audit.pipeline.targets_for(name), part) for name in names])
        for part in ("completeness", "duplicates", "unexpected")
    }
    own_windows = pairs.column("window").to_numpy()
    own_streams = np.array([code[name] for name in pairs.column("stream").to_pylist()], np.int64)
    silent = _silent_pairs(quiet, own_windows, own_streams, names)
    figures, doubtful = _figures(found, streams, outcomes)
    heads = [Head(audit.pipeline.source.name, None, None)]
    sight = _sight(audit, None, own_windows, silent)
    observed = pairs.column("observed").to_numpy()
    blocks = [books.source_block(own_windows, own_streams, observed, sight.settled, sight)]
    for number, edge in enumerate(audit.edges):
        mine = np.flatnonzero(found.edge == number)  # the whole grid, in its order
        part = Figures(*(getattr(figures, name)[mine] for name in Figures.__slots__))
        sight = _sight(audit, edge, part.window, silent)
        wanted = {name: values[part.stream] for name, values in targets.items()}
        block = books.block_of(part, sight, wanted, doubtful[mine])
        for label in edge.labels:
            heads.append(Head(edge.stage, audit.pipeline.stage(edge.stage).after, label))
            blocks.append(block)
    return heads, blocks, pa.array(names, pa.string())


def _figures(
    found: Scopes, streams: Ints, outcomes: Sequence[tuple[Scope, Outcome]]
) -> tuple[Figures, Bools]:
    """The figures of all scopes; and those whose figures are lower bounds."""
    zero = np.zeros(len(found), np.int64)
    excused = np.where(found.all_met, found.expected - found.due, 0)
    figures = Figures(
        window=found.window,
        stream=streams,
        observed=found.observed,
        expected=found.expected,
        due=found.due,
        missing=zero.copy(),
        excused=excused,
        duplicates=zero.copy(),
        unexpected=zero.copy(),
        evidence=zero.copy(),
    )
    doubtful = np.zeros(len(found), np.bool_)
    for scope, outcome in outcomes:
        row = scope.row
        figures.missing[row] = outcome.missing
        figures.excused[row] = outcome.excused
        figures.duplicates[row] = outcome.duplicates
        figures.unexpected[row] = outcome.unexpected
        figures.evidence[row] = EVIDENCE.index(outcome.evidence)
        doubtful[row] = bool(outcome.doubt)
    return figures, doubtful


def _sight(audit: _Audit, edge: Edge | None, windows: Ints, silent: Bools) -> Sight:
    """How much of n windows was seen, at both stages of an edge, or at the source alone."""
    window, settle = audit.pipeline.window, audit.pipeline.settle
    source = audit.pipeline.source.name
    stage = audit.views[source if edge is None else edge.stage]
    reference = audit.views[source if edge is None else edge.reference]
    against_source = reference.stage == source
    grown = audit.looks.grown
    return Sight(
        settled=audit.settled(windows),
        stage_audited=stage.audited(windows, window, settle),
        stage_touched=stage.touched(windows, window),
        reference_audited=reference.audited(windows, window, settle),
        reference_touched=reference.touched(windows, window),
        silent=silent if against_source else np.zeros(len(windows), np.bool_),
        reference_grew=grown(reference.stage, stage.stage, windows, window),
        stage_grew=grown(stage.stage, reference.stage, windows, window),
    )


def _silent_pairs(
    quiet: Sequence[Silence], windows: Ints, streams: Ints, names: Sequence[str]
) -> Bools:
    """Which pairs of the grid a producer's surprising silence makes unknown."""
    code = {name: at for at, name in enumerate(names)}
    found = np.zeros(len(windows), np.bool_)
    for each in quiet:
        if each.strong:
            here = (windows >= each.since) & (windows < each.until)
            found |= here if each.stream is None else here & (streams == code[each.stream])
    return found


def _differences(
    audit: _Audit, found: Scopes, outcomes: Sequence[tuple[Scope, Outcome]]
) -> list[Difference]:
    """Established ones: in-flight and unaudited records are no differences."""
    told = []
    for edge in audit.edges:
        mine = [(scope, outcome) for scope, outcome in outcomes if scope.edge is edge]
        windows = found.window[[scope.row for scope, _ in mine]]
        sight = _sight(audit, edge, windows, np.zeros(len(mine), np.bool_))
        for (scope, outcome), lost, surplus in zip(
            mine, sight.loss_shown, sight.surplus_shown, strict=True
        ):
            told += [
                Difference(scope, part)
                for part in outcome.parts
                if (lost if part.kind == "lost" else surplus)
            ]
    return told


def _collisions(
    audit: _Audit, pairs: pa.Table, outcomes: Sequence[tuple[Scope, Outcome]]
) -> Collisions:
    opaque = audit.pipeline.source.record.opaque
    counted_pairs = pairs.column("pairs" if opaque else "pairs_of_producers").to_numpy().sum()
    hidden = sum(
        outcome.missing * (outcome.duplicates + outcome.unexpected)
        for scope, outcome in outcomes
        if scope.edge.opaque
    )
    return Collisions(float(counted_pairs) / 2**32, hidden / 2**32, _BASIS)
