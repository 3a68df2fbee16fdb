"""Means of what fluctuates slowly: where they become steady, and how far they may be off.

Values of neighbouring steps are alike, so n of them say as much as n / g independent ones, with the
statistical inefficiency g = 1 + 2 tau (tau: autocorrelation time in steps of the series).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastequi.md.analysis.correlation import autocorrelation_sums

#: The correlation is summed up to its first zero, but at least so far (as pymbar does).
_SHORTEST_SUM = 3
#: Blocks below which the error of a mean is a guess.
FEWEST_BLOCKS = 20
#: Beginnings among which the one that leaves most independent values is looked for.
_BEGINNINGS = 100


@dataclass(frozen=True)
class Mean:
    """The mean of a series and what is known of it.

    mean, error    of the mean, one standard deviation, in the unit of the series
    spread         standard deviation of the values
    inefficiency   values that say as much as one independent one; 1 without correlation
    values         how many there are
    block          values in a block of which the error is that of independent ones
    """

    mean: float
    error: float
    spread: float
    inefficiency: float
    values: int
    block: int

    @property
    def is_certain(self) -> bool:
        """Whether the error rests on enough blocks."""
        return self.values // self.block >= FEWEST_BLOCKS


def mean_of(series: NDArray[np.float64]) -> Mean:
    """Mean of a steady series with its error by blocking."""
    if np.ptp(series) <= 1e-12 * np.abs(series).max():  # constant but for rounding
        error = 0.0 if len(series) > 1 else float("nan")
        return Mean(float(series[0]), error, error, 1.0, len(series), 1)
    error, block = blocking_error(series)
    spread, inefficiency = float(series.std(ddof=1)), statistical_inefficiency(series)
    return Mean(float(series.mean()), error, spread, inefficiency, len(series), block)


def blocking_error(series: NDArray[np.float64]) -> tuple[float, int]:
    """Error of the mean (one standard deviation), and the length of block that gave it.

    Neighbours are averaged in pairs, again and again, until blocks are independent (Flyvbjerg and
    Petersen, J. Chem. Phys. 91, 461, 1989): the shortest block with block³ > 2 n (error/error₁)⁴,
    which balances bias and noise (Wolff, Comput. Phys. Commun. 156, 143, 2004; as Lee et al., Phys.
    Rev. E 83, 066706, 2011, use it), else the largest error seen. NaN for a single value.
    """
    n, block, values = len(series), 1, series
    first = largest = _error(series)
    longest = 1
    while len(values) >= 4:
        error = _error(values)
        if error > largest:
            largest, longest = error, block
        if block**3 * first**4 >= 2 * n * error**4:
            return error, block
        values = 0.5 * (values[0 : len(values) // 2 * 2 : 2] + values[1::2])
        block *= 2
    return largest, longest


def _error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def statistical_inefficiency(series: NDArray[np.float64]) -> float:
    """How many values say as much as one independent one: g = 1 + 2 sum (1 - t/n) C(t), at least 1.

    C is the normalised autocorrelation, summed to its first zero (Chodera et al., J. Chem. Theory
    Comput. 3, 26, 2007, eqs. 10 to 13). 1 for a series that does not change.
    """
    n = len(series)
    away = series - series.mean()
    if n < 2 or not np.square(away).mean() > np.square(1e-12 * np.abs(series).max()):
        return 1.0
    lags = np.arange(n)
    correlation = autocorrelation_sums(away) / (n - lags)
    correlation /= correlation[0]
    zeros = np.flatnonzero((correlation <= 0.0) & (lags > _SHORTEST_SUM))
    end = zeros[0] if len(zeros) else n
    summed = np.sum((1.0 - lags[1:end] / n) * correlation[1:end])
    return max(1.0, 1.0 + 2.0 * float(summed))


def equilibrated_from(series: NDArray[np.float64]) -> int:
    """From which value on a series is steady: the beginning that leaves most independent values.

    That is the largest (n - start) / g of what is left (Chodera, J. Chem. Theory Comput. 12, 1799,
    2016), among a hundred beginnings. It is looked for in the first half: less than half of a run
    cannot vouch for being steady; see `is_steady`.
    """
    n = len(series)
    starts = range(0, max(1, n // 2), max(1, n // _BEGINNINGS))
    independent = [(n - start) / statistical_inefficiency(series[start:]) for start in starts]
    return starts[int(np.argmax(independent))]


def is_steady(series: NDArray[np.float64], sigmas: float = 3.0) -> bool:
    """Whether the means of both halves differ by no more than so many of their errors.

    In the manner of Geweke (Bayesian Statistics 4, 169, 1992). True for too few values to tell.
    """
    half = len(series) // 2
    if half < 4:
        return True
    first, second = mean_of(series[:half]), mean_of(series[half:])
    apart = abs(first.mean - second.mean)
    rounding = 1e-12 * max(abs(first.mean), abs(second.mean))
    return apart <= sigmas * float(np.hypot(first.error, second.error)) + rounding
