"""Honest nines: how sure a completeness is, from how few records it was seen on.

nines = -log10(missing / n). Its 95 % interval is Clopper-Pearson's, exact for a binomial share:
the share missing lies between the 2.5 % quantile of Beta(m, n - m + 1) and the 97.5 % quantile of
Beta(m + 1, n - m). Nothing missing of n says no more than "at least log10(n / 3)" (rule of three).
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit

from fidelity.report.judging import enough

_TAIL = 0.025
_TINY = 1e-300


class Nines(NamedTuple):
    """`nines` and `high` are None when nothing is missing: then `low` is the bound."""

    nines: float | None
    low: float | None
    high: float | None


@lru_cache(maxsize=65536)
def nines(missing: int, due: int) -> Nines:
    """Nines of `missing` records of `due`. Raises ValueError unless 0 <= missing <= due."""
    if not 0 <= missing <= due:
        raise ValueError(f"{missing} missing of {due}")
    if due == 0:
        return Nines(None, None, None)
    if missing == 0:
        return Nines(None, max(0.0, math.log10(due / 3)), None)
    worst = 1.0 if missing == due else beta_quantile(1 - _TAIL, missing + 1, due - missing)
    best = beta_quantile(_TAIL, missing, due - missing + 1)
    return Nines(_nines(missing / due), _nines(worst), _nines(best))


def measurable(due: int, target: float) -> bool:
    """Whether `due` records are enough to tell the target from a miss."""
    return bool(enough(np.array([due]), np.array([target]))[0])


def _nines(share: float) -> float:
    return max(0.0, -math.log10(share))


def beta_quantile(p: float, a: float, b: float) -> float:
    """The x at which the Beta(a, b) distribution reaches p. a, b >= 1, 0 < p < 1.

    Relative error below 1e-6 for a, b up to 1e10 (the difference of logarithms of gamma is taken
    by its series, since its terms would cancel).
    """
    x: float = _quantile(float(p), float(a), float(b))
    return x


def beta_cumulative(x: float, a: float, b: float) -> float:
    """P(X <= x) of the Beta(a, b) distribution."""
    share: float = _cumulative(float(x), float(a), float(b))
    return share


@njit(cache=True)
def _correction(x: float) -> float:
    """What Stirling's formula of log gamma leaves out, for x >= 8: within 1e-12."""
    y = 1.0 / (x * x)
    return (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y * (1 / 1680 - y / 1188)))) / x


@njit(cache=True)
def _log_beta(a: float, b: float) -> float:
    if a > b:
        a, b = b, a
    if b < 8:
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    # log gamma(b) - log gamma(a + b) without subtracting two large numbers.
    rest = -(a + b - 0.5) * math.log1p(a / b) - a * math.log(b) + a
    return math.lgamma(a) + rest + _correction(b) - _correction(a + b)


@njit(cache=True)
def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of the incomplete beta function (Lentz)."""
    c = 1.0
    d = 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > _TINY else _TINY)
    value = d
    for m in range(1, 1_000_000):
        step = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1.0 + step * d
        c = 1.0 + step / c
        d = 1.0 / (d if abs(d) > _TINY else _TINY)
        c = c if abs(c) > _TINY else _TINY
        value *= d * c
        step = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1.0 + step * d
        c = 1.0 + step / c
        d = 1.0 / (d if abs(d) > _TINY else _TINY)
        c = c if abs(c) > _TINY else _TINY
        value *= d * c
        if abs(d * c - 1.0) < 1e-13:
            break
    return value


@njit(cache=True)
def _cumulative(x: float, a: float, b: float) -> float:
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    front = math.exp(a * math.log(x) + b * math.log1p(-x) - _log_beta(a, b))
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _fraction(x, a, b) / a
    return 1.0 - front * _fraction(1.0 - x, b, a) / b


@njit(cache=True)
def _quantile(p: float, a: float, b: float) -> float:
    """Bisection on log x: shares of 1e-10 need relative precision."""
    low, high = math.log(_TINY), 0.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        if _cumulative(math.exp(middle), a, b) < p:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)
