"""Lags: how late records came to each stage, and how much of that was seen."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fidelity.questions import ask
from fidelity.reconcile.basis import Basis
from fidelity.report import LAG_BUCKETS, LAGS, TIME
from fidelity.report.lag import measured, quantile_columns

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def lags_of(basis: Basis) -> pa.Table:
    """The lags of the report (LAGS)."""
    found = _histograms(ask(basis.connection, "reconcile_lags").to_arrow_table().combine_chunks())
    names = [stage.name for stage in basis.pipeline.stages]
    stage = pc.index_in(found["stage"], pa.array(names, pa.string())).to_numpy()
    order = np.argsort(stage, kind="stable")
    rows, stage = found.take(pa.array(order)).combine_chunks(), stage[order]
    windows = rows["window"].to_numpy()
    buckets = rows["buckets"].combine_chunks()
    columns = {
        **{name: rows[name] for name in ("stage", "stream", "records", "buckets")},
        "measured": pa.array(measured(buckets)),
        "window": pa.array(windows).cast(TIME),
        "settled": pa.array(basis.settled(windows)),
        "seen": pa.array(_seen(basis, names, stage, windows)),
        **quantile_columns(buckets),
    }
    return pa.table({name: columns[name] for name in LAGS.names}, schema=LAGS)


def _histograms(found: pa.Table) -> pa.Table:
    """The rows without a bucket, each with those that follow it as its `buckets`."""
    head = pc.is_null(found["bucket"])
    heads, parts = found.filter(head), found.filter(pc.invert(head)).combine_chunks()
    starts = np.flatnonzero(head.to_numpy())
    offsets = np.append(starts - np.arange(len(starts)), len(parts))
    pairs = [parts[name].combine_chunks() for name in ("bucket", "records")]
    whole = pa.StructArray.from_arrays(pairs, fields=list(LAG_BUCKETS.value_type))
    buckets = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), whole)
    return heads.drop_columns(["bucket"]).append_column("buckets", buckets.cast(LAG_BUCKETS))


def _seen(basis: Basis, names: Sequence[str], stage: Ints, windows: Ints) -> Bools:
    """Which rows are of settled windows that their stage has been looked at since."""
    window, settle = basis.pipeline.window, basis.pipeline.settle
    found = basis.settled(windows).copy()
    for number, name in enumerate(names):
        mine, view = stage == number, basis.views[name]
        starts = windows[mine]
        found[mine] &= view.audited(starts, window, settle) & ~view.touched(starts, window)
    return found
