"""Close the books: observations and the ledger become the report."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fidelity.config import Pipeline
from fidelity.edges import edges_of
from fidelity.questions import ask, connect
from fidelity.reconcile import books, coverage, differences, findings, rows, scopes, silence
from fidelity.reconcile.assemble import blocks_of, differing, established, overtaken
from fidelity.reconcile.basis import Basis
from fidelity.reconcile.books import Block
from fidelity.reconcile.explain import outcomes_of
from fidelity.reconcile.grid import grid_of
from fidelity.reconcile.lags import lags_of
from fidelity.reconcile.looks import looks_of
from fidelity.reconcile.outcome import Outcome, Scope
from fidelity.reconcile.recount import Forgetful, Memory, Tracer
from fidelity.reconcile.silence import Silence
from fidelity.reconcile.sketches import sketches
from fidelity.report import Collisions, Report, Verdict
from fidelity.units import LedgerRow

_COLLISIONS = (
    "coincident_ids: pairs of records of different producers (of any, where ids are opaque) in one "
    "window and stream, divided by 2^32. hidden_losses, opaque ids only: missing times surplus "
    "records of a scope, divided by 2^32; an id made from a sequence number hides no loss."
)


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
    edges = edges_of(pipeline)
    with connect() as connection:
        in_force = scopes.load(connection, ledger, observations, edges)
        basis = Basis(
            pipeline,
            edges,
            coverage.views([stage.name for stage in pipeline.stages], ledger),
            looks_of(ledger),
            connection,
            partial(sketches, observations, in_force),
            as_of,
        )
        return _report(basis, run, known_at, tracer, memory or Forgetful())


def _report(
    basis: Basis, run: str, known_at: str | None, tracer: Tracer | None, memory: Memory
) -> Report:
    pipeline, source = basis.pipeline, basis.pipeline.source.name
    quiet, holes = silence.absences(
        basis.connection, pipeline, basis.views[source], basis.horizon, basis.as_of
    )
    pairs = ask(basis.connection, "reconcile_source", source=source).to_arrow_table()
    grid = grid_of(pairs, _added_windows(basis, pairs, quiet))
    found = scopes.all_scopes(basis.connection, basis.edges, grid)
    outcomes = outcomes_of(basis, found, tracer, memory)
    heads, blocks, streams = blocks_of(basis, grid, found, outcomes, quiet)
    flaws = {name: coverage.flaws(view) for name, view in basis.views.items()}
    totals = tuple(
        rows.total_of(head, block, flaws[head.stage], pipeline.targets.completeness)
        for head, block in zip(heads, blocks, strict=True)
    )
    order = {(head.stage, head.against or ""): at for at, head in enumerate(heads)}
    told = differing(basis, found, outcomes)
    context = findings.Context(
        pipeline=pipeline,
        edges=basis.edges,
        views=basis.views,
        totals=totals,
        differences=differences.table_of(basis.edges, order, told),
        established=established(basis, heads, blocks),
        silences=quiet,
        holes=holes,
        doubts=[(scope, outcome.doubt) for scope, outcome in outcomes if outcome.doubt],
        horizon=basis.horizon,
        newest=_newest(basis, blocks),
        overtaken=overtaken(basis, heads, blocks),
    )
    listed = findings.all_findings(context)
    totals = tuple(findings.judged(context, total) for total in totals)
    return Report(
        pipeline=pipeline.name,
        run=run,
        as_of=basis.as_of,
        known_at=known_at,
        verdict=_verdict([total.verdict for total in totals]),
        watermark=books.watermark(blocks, pipeline.window),
        window=pipeline.window,
        settle=pipeline.settle,
        collision_budget=_collisions(basis, pairs, outcomes),
        stages=totals,
        coverage=tuple(coverage.summary(view) for view in basis.views.values()),
        balances=rows.table_of(heads, blocks, streams, pipeline),
        differences=context.differences,
        findings=tuple(listed),
        lags=lags_of(basis),
    )


def _newest(basis: Basis, blocks: Sequence[Block]) -> int | None:
    windows = np.unique(np.concatenate([block.window for block in blocks]))
    settled = windows[basis.settled(windows)]
    return int(settled[-1]) if len(settled) else None


def _verdict(verdicts: Sequence[Verdict]) -> Verdict:
    order: tuple[Verdict, ...] = ("fail", "unknown", "pass", "pending")
    return next((each for each in order if each in verdicts), "unknown")


def _added_windows(basis: Basis, pairs: pa.Table, quiet: Sequence[Silence]) -> list[int]:
    """Windows to be judged although nothing may have been seen in them at any stage."""
    window = basis.pipeline.window
    added = {
        start for each in quiet if each.strong for start in silence.silent_windows(each, window)
    }
    if len(pairs):
        bounds = pc.min_max(pairs["window"]).as_py()
        for view in basis.views.values():
            added.update(coverage.unseen_windows(view, bounds["min"], bounds["max"], window))
    return sorted(added)


def _collisions(
    basis: Basis, pairs: pa.Table, outcomes: Sequence[tuple[Scope, Outcome]]
) -> Collisions:
    opaque = basis.pipeline.source.record.opaque
    counted_pairs = pairs.column("pairs" if opaque else "pairs_of_producers").to_numpy().sum()
    hidden = sum(
        outcome.missing * (outcome.duplicates + outcome.unexpected)
        for scope, outcome in outcomes
        if scope.edge.opaque
    )
    return Collisions(float(counted_pairs) / 2**32, hidden / 2**32, _COLLISIONS)
