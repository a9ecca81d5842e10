"""What findings are drawn from, and how they count."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fidelity.config import Pipeline
from fidelity.edges import Edge
from fidelity.reconcile.coverage import View
from fidelity.reconcile.outcome import Scope
from fidelity.reconcile.silence import Hole, Silence
from fidelity.report import Books, Kind

MOST_NAMED = 20
"""Origins, streams, units and positions that a finding names; it tells how many there are."""


@dataclass(frozen=True, slots=True)
class Established:
    """What of one kind is established at a stage against another, whether or not it has names."""

    records: int
    windows: NDArray[np.int64]  # starts, microseconds


@dataclass(frozen=True, slots=True)
class Context:
    """All that findings are drawn from."""

    pipeline: Pipeline
    edges: Sequence[Edge]
    views: dict[str, View]
    totals: Sequence[Books]
    differences: pa.Table
    established: Mapping[tuple[Edge, Kind], Established]
    silences: Sequence[Silence]
    holes: Sequence[Hole]
    doubts: Sequence[tuple[Scope, str]]
    horizon: int  # start of the last settled window
    newest: int | None  # start of the last settled window that anything is known of
    overtaken: Sequence[tuple[str, str, NDArray[np.int64]]]  # stage, one read since, open windows


def several(count: int, what: str, name: str) -> str:
    """'1 window (10:00)' or '3 windows'."""
    if count == 1:
        return f"1 {what} ({name})" if name else f"1 {what}"
    return f"{count:,} {what}s"
