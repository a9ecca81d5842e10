"""Lag: what a histogram of arrival - event time says. Never understated: a bucket's upper bound.

Law: histograms add up, bucket by bucket; a quantile is told of the sum, never made from quantiles.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fidelity.observe.observations import lag_upper
from fidelity.report import LAG_BUCKETS

QUANTILES = {
    "p50_us": Fraction(1, 2),
    "p90_us": Fraction(9, 10),
    "p99_us": Fraction(99, 100),
    "max_us": Fraction(1),
}
"""Columns of the report, and the share of records that had come after so long."""


def quantile_buckets(buckets: pa.Array, share: Fraction) -> NDArray[np.float64]:
    """The bucket that holds a quantile, for each histogram; NaN where nothing was measured.

    Args:
        buckets: list<bucket, records>, each list sorted by bucket.
        share: of the records, above 0 and at most 1: the quantile is the least lag that at least
            so many of them do not exceed.
    """
    return ranked_buckets(buckets, rank_of(share, measured(buckets)))


def rank_of(share: Fraction, records: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which record, in the order of lag and from 1, is the quantile of so many."""
    rank: NDArray[np.int64] = -(-records * share.numerator // share.denominator)
    return rank


def measured(buckets: pa.Array) -> NDArray[np.int64]:
    """How many records each histogram holds."""
    total = np.zeros(len(buckets), np.int64)
    row = np.repeat(np.arange(len(buckets)), np.asarray(buckets.value_lengths()))
    np.add.at(total, row, np.asarray(buckets.flatten().field("records")))
    return total


def ranked_buckets(buckets: pa.Array, rank: NDArray[np.int64]) -> NDArray[np.float64]:
    """The bucket that holds the record of a rank; NaN where there is no such record."""
    total = measured(buckets)
    found = np.full(len(buckets), np.nan)
    there = np.flatnonzero((rank >= 1) & (rank <= total))
    parts = buckets.flatten()
    wanted = (np.cumsum(total) - total + rank)[there]
    place = np.searchsorted(np.cumsum(np.asarray(parts.field("records"))), wanted)
    found[there] = np.asarray(parts.field("bucket"))[place]
    return found


def bounds(buckets: NDArray[np.float64], bound: Callable[[int], int] = lag_upper) -> pa.Array:
    """int64 microseconds: a bound of each bucket, `lag_upper` or `lag_lower`; null of NaN."""
    known = ~np.isnan(buckets)
    found = np.zeros(len(buckets), np.int64)
    names, place = np.unique(buckets[known].astype(np.int64), return_inverse=True)
    found[known] = np.array([bound(int(name)) for name in names], np.int64)[place]
    return pa.array(found, mask=~known)


def quantile_columns(buckets: pa.Array) -> dict[str, pa.Array]:
    """The columns of QUANTILES, of histograms."""
    return {name: bounds(quantile_buckets(buckets, share)) for name, share in QUANTILES.items()}


def added_up(lags: pa.Table, keys: Sequence[str]) -> pa.Table:
    """The histograms of `report.LAGS` summed by some of its columns: these, measured, QUANTILES."""
    buckets = lags["buckets"].combine_chunks()
    parts, row = pc.list_flatten(buckets), pc.list_parent_indices(buckets)
    columns = {key: lags[key].combine_chunks().take(row) for key in keys}
    columns |= {name: pc.struct_field(parts, name) for name in ("bucket", "records")}
    by = [*keys, "bucket"]
    sums = pa.table(columns).group_by(by, use_threads=False).aggregate([("records", "sum")])
    sums = sums.sort_by([(key, "ascending") for key in by]).combine_chunks()
    sizes = sums.group_by(list(keys), use_threads=False).aggregate(
        [("bucket", "count"), ("records_sum", "sum")]
    )
    offsets = np.concatenate([[0], np.cumsum(sizes["bucket_count"].to_numpy())])
    pairs = [_array(sums[name]) for name in ("bucket", "records_sum")]
    whole = pa.StructArray.from_arrays(pairs, fields=list(LAG_BUCKETS.value_type))
    histograms = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), whole)
    found = {key: sizes[key] for key in keys} | {"measured": sizes["records_sum_sum"]}
    return pa.table(found | quantile_columns(histograms))


def _array(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
