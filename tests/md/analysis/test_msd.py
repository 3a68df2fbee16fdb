"""Displacements of atoms that fly, walk at random, or drift together."""

import numpy as np
import pytest

from fastequi.errors import InputError
from fastequi.md.analysis import diffusion_cm2_per_s, mean_squared_displacement, without_drift


def random_walk(frames: int, atoms: int, step_A: float, seed: int = 3) -> np.ndarray:
    steps = np.random.default_rng(seed).normal(scale=step_A, size=(frames, atoms, 3))
    return 1000.0 + np.cumsum(steps, axis=0)


def test_it_is_the_definition() -> None:
    positions = random_walk(41, 3, 0.5)
    expected = [0.0] + [
        np.square(positions[m:] - positions[:-m]).sum(axis=2).mean() for m in range(1, 41)
    ]
    np.testing.assert_allclose(mean_squared_displacement(positions), expected, rtol=1e-9)


def test_free_flight() -> None:
    velocity = np.array([0.01, -0.02, 0.02])
    positions = np.arange(100.0)[:, None, None] * velocity
    expected = np.arange(100.0) ** 2 * 0.03**2
    np.testing.assert_allclose(mean_squared_displacement(positions), expected, atol=1e-10)


def test_a_random_walk_has_its_diffusion_coefficient() -> None:
    """D = step² / 2 dt along each direction."""
    msd = mean_squared_displacement(random_walk(2000, 500, 0.1))
    diffusion = diffusion_cm2_per_s(msd, interval_fs=50.0, start_fs=100.0, end_fs=5000.0)
    assert diffusion == pytest.approx(0.1**2 / (2 * 50.0) * 0.1, rel=0.02)


def test_drift_of_the_whole_is_removed() -> None:
    masses = np.array([1.0, 16.0, 35.0])
    walk = random_walk(50, 3, 0.2)
    walk -= np.einsum("fac,a->fc", walk, masses / masses.sum())[:, None]
    drifting = walk + random_walk(50, 1, 0.7, seed=4)
    np.testing.assert_allclose(without_drift(drifting, masses), walk, atol=1e-9)


def test_a_line_needs_two_values() -> None:
    with pytest.raises(InputError, match=r"1 values between 60 and 120 fs.*from 0 to 450 fs"):
        diffusion_cm2_per_s(np.arange(10.0), 50.0, 60.0, 120.0)
