"""Assemble: outcomes of scopes become blocks of rows, and what of them is established."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fidelity.edges import Edge
from fidelity.reconcile import books
from fidelity.reconcile.basis import Basis
from fidelity.reconcile.books import Block, Figures, Head
from fidelity.reconcile.differences import Difference
from fidelity.reconcile.findings import Established
from fidelity.reconcile.grid import Grid
from fidelity.reconcile.outcome import Outcome, Scope
from fidelity.reconcile.scopes import Scopes
from fidelity.reconcile.silence import Silence
from fidelity.report import EVIDENCE, Kind

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def blocks_of(
    basis: Basis,
    grid: Grid,
    found: Scopes,
    outcomes: Sequence[tuple[Scope, Outcome]],
    quiet: Sequence[Silence],
) -> tuple[list[Head], list[Block], pa.Array]:
    """The rows of the report by stage and reference, and the dictionary of their streams."""
    targets = {
        part: np.array([getattr(basis.pipeline.targets_for(name), part) for name in grid.streams])
        for part in ("completeness", "duplicates", "unexpected")
    }
    windows, streams = grid.window, grid.stream
    silent = _silent_pairs(quiet, windows, streams, grid.streams)
    figures, doubtful = _figures(found, outcomes)
    heads = [Head(basis.pipeline.source.name, None, None)]
    sight = basis.sight(None, windows, silent)
    blocks = [books.source_block(windows, streams, grid.observed, sight.settled, sight)]
    for number, edge in enumerate(basis.edges):
        mine = np.flatnonzero(found.edge == number)  # the whole grid, in its order
        part = Figures(*(getattr(figures, name)[mine] for name in Figures.__slots__))
        sight = basis.sight(edge, part.window, silent)
        wanted = {name: values[part.stream] for name, values in targets.items()}
        block = books.block_of(part, sight, wanted, doubtful[mine])
        for label in edge.labels:
            heads.append(Head(edge.stage, basis.pipeline.stage(edge.stage).after, label))
            blocks.append(block)
    return heads, blocks, pa.array(grid.streams, pa.string())


def _figures(found: Scopes, outcomes: Sequence[tuple[Scope, Outcome]]) -> tuple[Figures, Bools]:
    """The figures of all scopes; and those whose figures are lower bounds."""
    zero = np.zeros(len(found), np.int64)
    excused = np.where(found.all_met, found.expected - found.due, 0)
    figures = Figures(
        window=found.window,
        stream=found.stream,
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


def differing(
    basis: Basis, found: Scopes, outcomes: Sequence[tuple[Scope, Outcome]]
) -> list[Difference]:
    """Established ones: in-flight and unaudited records are no differences."""
    told = []
    for edge in basis.edges:
        mine = [(scope, outcome) for scope, outcome in outcomes if scope.edge is edge]
        windows = found.window[[scope.row for scope, _ in mine]]
        sight = basis.sight(edge, windows, np.zeros(len(mine), np.bool_))
        for (scope, outcome), lost, surplus in zip(
            mine, sight.loss_shown, sight.surplus_shown, strict=True
        ):
            told += [
                Difference(scope, part)
                for part in outcome.parts
                if (lost if part.kind == "lost" else surplus)
            ]
    return told


def established(
    basis: Basis, heads: Sequence[Head], blocks: Sequence[Block]
) -> dict[tuple[Edge, Kind], Established]:
    """What is established at each edge, by kind."""
    at = {(head.stage, head.against): block for head, block in zip(heads, blocks, strict=True)}
    found = {}
    for edge in basis.edges:
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
                found[edge, kind] = Established(int(records.sum()), windows)
    return found


def overtaken(
    basis: Basis, heads: Sequence[Head], blocks: Sequence[Block]
) -> list[tuple[str, str, Ints]]:
    """(stage to look at again, stage that was read since, windows that are open for it)."""
    against = {(edge.stage, edge.labels[-1]): edge.reference for edge in basis.edges}
    found = []
    for head, block in zip(heads, blocks, strict=True):
        reference = against.get((head.stage, head.against or ""))
        if reference is not None:
            found.append((head.stage, reference, block.window[block.missing_open]))
            found.append((reference, head.stage, block.window[block.surplus_open]))
    return [(stage, since, np.unique(windows)) for stage, since, windows in found if len(windows)]
