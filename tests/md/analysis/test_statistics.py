"""Errors of means cover the truth; the steady part of a series is found."""

import numpy as np
import pymbar.timeseries
import pytest
import scipy.signal

from fastequi.md.analysis.statistics import (
    blocking_error,
    equilibrated_from,
    is_steady,
    mean_of,
    statistical_inefficiency,
)


def autoregressive(memory: float, n: int, seed: int, mean: float = 0.0) -> np.ndarray:
    """x(k+1) = memory x(k) + noise, from its steady distribution, whose standard deviation is 1.

    C(t) = memory^t, so that g is (1 + memory) / (1 - memory) for a long series.
    """
    noise = np.random.default_rng(seed).normal(size=n)
    noise[1:] *= np.sqrt(1.0 - memory**2)
    return mean + np.asarray(scipy.signal.lfilter([1.0], [1.0, -memory], noise))


@pytest.mark.parametrize(("memory", "n"), [(0.0, 1000), (0.5, 1000), (0.9, 4000), (0.95, 8000)])
def test_one_sigma_covers_the_truth(memory: float, n: int) -> None:
    """In 60 to 75 % of 200 series: 68.3 % is exact, 3.3 % the standard deviation of the count."""
    covered = 0
    for seed in range(200):
        mean = mean_of(autoregressive(memory, n, seed, mean=300.0))
        covered += abs(mean.mean - 300.0) < mean.error
    assert 0.60 <= covered / 200 <= 0.75


def test_the_error_is_that_of_theory() -> None:
    g = 1.9 / 0.1
    errors = [mean_of(autoregressive(0.9, 20000, seed)).error for seed in range(10)]
    assert np.mean(errors) == pytest.approx(np.sqrt(g / 20000), rel=0.07)
    wrong = [s.std() / np.sqrt(20000) for s in (autoregressive(0.9, 20000, 1),)]
    assert np.mean(errors) > 3 * wrong[0]


def test_the_inefficiency_is_that_of_theory_and_of_pymbar() -> None:
    series = [autoregressive(0.9, 20000, seed) for seed in range(5)]
    found = [statistical_inefficiency(s) for s in series]
    assert np.mean(found) == pytest.approx(19.0, rel=0.15)
    theirs = [pymbar.timeseries.statistical_inefficiency(s) for s in series]
    np.testing.assert_allclose(found, theirs, rtol=1e-9)


def test_a_beginning_that_is_different_is_left_out() -> None:
    """As pymbar finds it with the same beginnings."""
    series = autoregressive(0.8, 2000, 3) + 20.0 * np.exp(-np.arange(2000) / 60.0)
    start = equilibrated_from(series)
    assert 100 <= start <= 600
    assert abs(series[start:].mean()) < 0.3 < series.mean()
    theirs, _, _ = pymbar.timeseries.detect_equilibration(series, fast=False, nskip=20)
    assert start == theirs


def test_what_is_steady_from_the_start_is_kept() -> None:
    starts = [equilibrated_from(autoregressive(0.5, 1000, seed)) for seed in range(20)]
    assert np.median(starts) < 100
    assert max(starts) < 500
    assert equilibrated_from(np.ones(50)) == 0
    assert equilibrated_from(np.array([1.0])) == 0


def test_what_goes_on_changing_is_not_steady() -> None:
    noise = [autoregressive(0.8, 2000, seed) for seed in range(20)]
    assert not any(is_steady(x + np.linspace(0.0, 3.0, 2000)) for x in noise)
    assert sum(is_steady(x) for x in noise) >= 18
    assert is_steady(np.full(50, 0.1))
    assert is_steady(np.arange(5.0))


def test_too_few_blocks_are_uncertain() -> None:
    assert not mean_of(autoregressive(0.99, 300, 5)).is_certain
    assert mean_of(autoregressive(0.0, 1000, 5)).is_certain


def test_series_without_fluctuation_or_length() -> None:
    constant = mean_of(np.full(20, 3.0))
    assert (constant.mean, constant.error, constant.inefficiency) == (3.0, 0.0, 1.0)
    assert np.isnan(blocking_error(np.array([3.0]))[0])
