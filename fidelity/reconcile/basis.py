"""Basis: what all steps of reconciling rest on."""

from dataclasses import dataclass

import duckdb
import numpy as np
from numpy.typing import NDArray

from fidelity.config import Pipeline
from fidelity.edges import Edge
from fidelity.reconcile.books import Sight
from fidelity.reconcile.coverage import View
from fidelity.reconcile.looks import Looks
from fidelity.reconcile.scopes import Sketches

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Basis:
    """What is audited, and how much of it was seen."""

    pipeline: Pipeline
    edges: list[Edge]
    views: dict[str, View]
    looks: Looks
    connection: duckdb.DuckDBPyConnection
    sketches: Sketches
    as_of: int

    @property
    def horizon(self) -> int:
        """Start of the last window that has settled."""
        settled = self.as_of - self.pipeline.settle - self.pipeline.window
        return settled // self.pipeline.window * self.pipeline.window

    def settled(self, windows: Ints) -> Bools:
        """Which windows, by their starts, have settled."""
        return np.asarray(windows <= self.horizon)

    def sight(self, edge: Edge | None, windows: Ints, silent: Bools) -> Sight:
        """How much of n windows was seen, at both stages of an edge, or at the source alone."""
        window, settle = self.pipeline.window, self.pipeline.settle
        source = self.pipeline.source.name
        stage = self.views[source if edge is None else edge.stage]
        reference = self.views[source if edge is None else edge.reference]
        against_source = reference.stage == source
        grown = self.looks.grown
        return Sight(
            settled=self.settled(windows),
            stage_audited=stage.audited(windows, window, settle),
            stage_touched=stage.touched(windows, window),
            reference_audited=reference.audited(windows, window, settle),
            reference_touched=reference.touched(windows, window),
            silent=silent if against_source else np.zeros(len(windows), np.bool_),
            reference_grew=grown(reference.stage, stage.stage, windows, window),
            stage_grew=grown(stage.stage, reference.stage, windows, window),
        )
