"""Sketches: the cells of the observations in force, added up for the scopes that are asked for.

In numpy: DuckDB takes longer to take lists apart than to answer all other questions.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fidelity import sketch
from fidelity.reconcile.parts import UNIT, matched

Ints = NDArray[np.int64]

_KEY = ("stage", "sample", "window", "stream")
_TYPES = {"sample": pa.int32(), "window": pa.timestamp("us", "UTC")}


class Key(NamedTuple):
    """Which sketch: of a stage's sample in one scope. window: microseconds."""

    stage: str
    sample: int
    window: int
    stream: str


def sketches(observations: Any, in_force: pa.Table, keys: Sequence[Key]) -> NDArray[np.uint64]:
    """uint64[n, 3, 128, 3]: the sums, modulo 2^64, of the cells of each key.

    Args:
        observations: a pyarrow dataset or table (OBSERVATIONS).
        in_force: stage, scan and unit of those that count.
        keys: each but once.
    """
    wanted = pa.table(
        {
            name: pa.array(values, _TYPES.get(name, pa.string()))
            for name, values in zip(_KEY, zip(*keys, strict=True), strict=True)
        }
    )
    found = np.zeros((len(keys), sketch.BANDS, sketch.CELLS, sketch.WORDS), np.uint64)
    flat = found.reshape(-1, sketch.WORDS)
    for rows in _pieces(observations, wanted):
        number = matched(rows, wanted, _KEY)
        rows, number = rows.take(pa.array(np.flatnonzero(number >= 0))), number[number >= 0]
        counts = matched(rows, in_force, UNIT) >= 0
        cells, number = rows["cells"].filter(pa.array(counts)).combine_chunks(), number[counts]
        if len(cells):
            _add(flat, cells, number)
    return found


def _pieces(observations: Any, wanted: pa.Table) -> Iterator[pa.Table]:
    """What may be wanted, in pieces that memory holds."""
    columns = [*dict.fromkeys((*_KEY, *UNIT)), "cells"]
    if isinstance(observations, pa.Table):
        yield observations.select(columns)
        return
    bounds = pc.min_max(wanted["window"])
    within = (pc.field("window") >= bounds["min"]) & (pc.field("window") <= bounds["max"])
    for name in ("stage", "stream"):
        within &= pc.field(name).isin(pc.unique(wanted[name]))
    for batch in observations.to_batches(columns=columns, filter=within):
        yield pa.table(batch)


def _add(sums: NDArray[np.uint64], cells: pa.ListArray, number: Ints) -> None:
    """Add the cells of rows to sums[number * bands * cells, words]."""
    row = np.repeat(number, np.asarray(cells.value_lengths().fill_null(0)))
    band, cell, *words = (np.asarray(part) for part in cells.flatten().flatten())
    at = (row * sketch.BANDS + band) * sketch.CELLS + cell
    for word, values in enumerate(words):
        np.add.at(sums[:, word], at, values.view(np.uint64))
