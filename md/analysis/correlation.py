"""Sums of products over time, which displacements, velocities and errors of means are made of."""

import numpy as np
from numpy.typing import NDArray

#: Columns that are transformed together: bounds the memory.
_COLUMNS = 512


def autocorrelation_sums(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over origins k and columns of x(k) x(k+m), for m = 0, 1, 2, ...: [frames].

    series [frames, ...]. By Fourier transform of each column, with as many zeros behind it: the
    product does not wrap (Wiener and Khinchin). There are frames - m origins.
    """
    frames = len(series)
    columns = series.reshape(frames, -1)
    power = np.zeros(frames + 1)
    for start in range(0, columns.shape[1], _COLUMNS):
        transform = np.fft.rfft(columns[:, start : start + _COLUMNS], n=2 * frames, axis=0)
        power += np.square(np.abs(transform)).sum(axis=1)
    return np.fft.irfft(power, n=2 * frames)[:frames]
