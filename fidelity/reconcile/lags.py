"""Lags: how late records came to each stage, and how much of that was seen."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fidelity.questions import ask
from fidelity.reconcile.basis import Basis
from fidelity.report import LAG_BUCKETS, LAGS, TIME
from fidelity.report.lag import quantile_columns


def lags_of(basis: Basis) -> pa.Table:
    """The lags of the report (LAGS)."""
    found = ask(basis.connection, "reconcile_lags").to_arrow_table().combine_chunks()
    stages = [_stage(basis, stage.name, found) for stage in basis.pipeline.stages]
    return pa.concat_tables(stages).combine_chunks()


def _stage(basis: Basis, stage: str, found: pa.Table) -> pa.Table:
    rows = found.filter(pc.equal(found["stage"], stage)).combine_chunks()
    if len(rows) == 0:
        return LAGS.empty_table()
    windows = rows["window"].to_numpy()
    window, settle = basis.pipeline.window, basis.pipeline.settle
    view = basis.views[stage]
    settled = basis.settled(windows)
    seen = settled & view.audited(windows, window, settle) & ~view.touched(windows, window)
    buckets = rows["buckets"].cast(LAG_BUCKETS).combine_chunks()
    columns = {
        **{name: rows[name] for name in ("stage", "stream", "records", "measured")},
        "window": pa.array(windows.astype(np.int64)).cast(TIME),
        "settled": pa.array(settled),
        "seen": pa.array(seen),
        "buckets": buckets,
        **quantile_columns(buckets),
    }
    return pa.table({name: columns[name] for name in LAGS.names}, schema=LAGS)
