"""The measured peak: the kernel does what it says, and no processor is faster than it can be."""

import numpy as np
import pytest

from benchmarks.peak import ROUNDS, Loop, clock_GHz, loop_for, peak_GFLOP_s, print_multiply_adds
from fastequi.kernels.llvm.compiler import Kernel
from fastequi.kernels.processor import processor


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_multiply_adds_are_done(dtype):
    work = Loop(dtype, lanes=2, sums=3, trips=2)
    data = work.start().numpy()
    expected = data[: work.sums * work.lanes].copy()
    for _ in range(ROUNDS * work.trips):
        expected = expected * data[-3] + data[-1]
    arguments = np.array([data.ctypes.data])
    kernel = Kernel("multiply_adds", print_multiply_adds(work), n_integers=4)
    kernel(work.trips, 0, 0, 0, arguments.ctypes.data)
    np.testing.assert_allclose(data[: len(expected)], expected, rtol=1e-6)
    assert work.flop == 2 * expected.size * ROUNDS * work.trips


def test_rate_is_that_of_one_to_four_units():
    """Per cycle a unit does one vector: Zen 3 has two of 8 float32, so 32 FLOP."""
    GHz, peaks = clock_GHz(), {dtype: peak_GFLOP_s(dtype, 1) for dtype in ("float32", "float64")}
    for dtype, peak in peaks.items():
        vectors_per_cycle = peak / GHz / (2 * loop_for(dtype, processor()).lanes)
        assert 0.9 < vectors_per_cycle < 4.4, (dtype, peak, GHz)
    assert peaks["float32"] / peaks["float64"] == pytest.approx(2.0, rel=0.15)
