"""Lag: what a histogram of arrival - event time says. Never understated: a bucket's upper bound.

Law: histograms add up, bucket by bucket; a quantile is told of the sum, never made from quantiles.
"""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fidelity.observe.observations import lag_upper

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
    rows = len(buckets)
    found = np.full(rows, np.nan)
    if rows == 0:
        return found
    row = np.repeat(np.arange(rows), np.asarray(buckets.value_lengths()))
    parts = buckets.flatten()
    bucket = np.asarray(parts.field("bucket"))
    records = np.asarray(parts.field("records"))
    total = np.zeros(rows, np.int64)
    np.add.at(total, row, records)
    measured = np.flatnonzero(total)
    rank = -(-total * share.numerator // share.denominator)
    before = np.cumsum(total) - total
    found[measured] = bucket[np.searchsorted(np.cumsum(records), (before + rank)[measured])]
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
