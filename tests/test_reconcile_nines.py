"""Nines are as honest as Clopper and Pearson, and never infinite."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fidelity.report.nines import beta_cumulative, beta_quantile, measurable, nines


def binomial_at_most(m: int, n: int, p: float) -> float:
    return math.fsum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(m + 1))


@given(st.integers(1, 60), st.data())
@settings(max_examples=60, deadline=None)
def test_the_interval_is_where_the_binomial_sum_puts_it(n: int, data: st.DataObject) -> None:
    m = data.draw(st.integers(1, n))
    found = nines(m, n)
    assert found.nines is not None
    assert found.low is not None
    assert found.high is not None
    best, worst = 10**-found.high, 10**-found.low
    # P(at least m | best) = 2.5 %, P(at most m | worst) = 2.5 %
    assert 1 - binomial_at_most(m - 1, n, best) == pytest.approx(0.025, rel=1e-5)
    if m < n:
        assert binomial_at_most(m, n, worst) == pytest.approx(0.025, rel=1e-5)
    else:
        assert worst == 1.0
    assert found.low <= found.nines <= found.high


def test_the_quantile_of_one_missing_of_ten_billion_is_that_of_poisson() -> None:
    # For rare losses the share times n is Gamma(m + 1): 5.571643390938898 at 97.5 % for m = 1.
    n = 10**10
    assert beta_quantile(0.975, 2, n - 1) * n == pytest.approx(5.571643390938898, rel=1e-6)
    assert beta_quantile(0.025, 1, n) * n == pytest.approx(0.025317807984289897, rel=1e-6)


def test_the_quantile_of_many_missing_is_that_of_the_normal_distribution() -> None:
    a = b = 10**8
    deviation = math.sqrt(0.25 / (a + b + 1))
    assert beta_quantile(0.975, a, b) == pytest.approx(0.5 + 1.959964 * deviation, abs=1e-9)


def test_known_values_of_the_distribution() -> None:
    assert beta_cumulative(0.3, 1, 1) == pytest.approx(0.3, rel=1e-12)
    assert beta_cumulative(0.5, 2, 2) == pytest.approx(0.5, rel=1e-12)
    assert beta_cumulative(0.25, 1, 10) == pytest.approx(1 - 0.75**10, rel=1e-12)
    assert beta_quantile(0.5, 1, 10) == pytest.approx(1 - 0.5**0.1, rel=1e-8)


def test_nothing_missing_says_at_least_and_never_infinity() -> None:
    found = nines(0, 3_000_000)
    assert found.nines is None
    assert found.high is None
    assert found.low == pytest.approx(6.0)
    assert nines(0, 2).low == 0.0
    assert nines(0, 0) == (None, None, None)


def test_all_missing_is_no_nines_at_all() -> None:
    found = nines(5, 5)
    assert found.nines == 0.0
    assert found.low == 0.0
    assert found.high is not None
    assert found.high > 0


def test_a_target_needs_three_over_its_share_of_records() -> None:
    assert measurable(30_000_000, 0.9999999)
    assert not measurable(29_000_000, 0.9999999)
    assert measurable(1, 1.0)
    assert not measurable(0, 1.0)
