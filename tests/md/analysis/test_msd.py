"""Displacements of atoms that fly, walk at random, or drift together."""

import numpy as np
import pytest
from ase import Atoms

from fastequi.errors import InputError
from fastequi.md.analysis import (
    ANALYSES,
    diffusion,
    diffusion_cm2_per_s,
    mean_squared_displacement,
    positions_of,
    without_dilation,
    without_drift,
)
from fastequi.md.analysis.msd import finite_size_cm2_per_s


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


def test_a_random_walk_stays_within_the_errors_of_blocks() -> None:
    """One standard deviation of five blocks covers the truth in 63 % (Student); 40 walks."""
    truth = 0.1**2 / (2 * 50.0) * 0.1
    found = [diffusion(random_walk(500, 20, 0.1, seed), interval_fs=50.0) for seed in range(40)]
    covered = sum(abs(f.cm2_per_s - truth) < f.error_cm2_per_s for f in found)
    assert 0.45 <= covered / 40 <= 0.85
    assert np.mean([f.cm2_per_s for f in found]) == pytest.approx(truth, rel=0.05)
    assert np.mean([f.exponent for f in found]) == pytest.approx(1.0, abs=0.1)


def test_flight_is_not_diffusion() -> None:
    positions = np.arange(100.0)[:, None, None] * np.array([0.01, -0.02, 0.02])
    assert diffusion(positions, 1.0).exponent == pytest.approx(2.0, abs=0.01)
    with pytest.raises(InputError, match="at least 50 frames, got 49"):
        diffusion(positions[:49], 1.0)


def test_a_cell_that_breathes_moves_nobody() -> None:
    rng = np.random.default_rng(1)
    scaled = rng.uniform(-1.0, 2.0, (6, 3))
    frames = []
    for k in range(12):
        cell = np.array([[5.0, 0, 0], [1, 6, 0], [0, 2, 7]]) * (1 + 0.1 * np.sin(k))
        frames.append(Atoms("Ar6", cell=cell, pbc=True, positions=scaled @ cell))
        frames[-1].info["time_ps"] = 1e-3 * k
    assert np.ptp(positions_of(frames), axis=0).max() > 0.5
    assert np.ptp(without_dilation(frames), axis=0).max() < 1e-9
    columns = ANALYSES["msd"](frames)
    assert columns["msd_A2"].max() < 1e-18


def test_the_missing_part_of_a_finite_cell() -> None:
    """Water at 300 K, 0.89 mPa s, in a box of 18.6 Å: 0.37e-5 cm²/s (Yeh and Hummer's size)."""
    assert finite_size_cm2_per_s(300.0, 18.6**3) / 0.89 == pytest.approx(0.376e-5, rel=0.01)


def test_a_line_needs_two_values() -> None:
    with pytest.raises(InputError, match=r"1 values between 60 and 120 fs.*from 0 to 450 fs"):
        diffusion_cm2_per_s(np.arange(10.0), 50.0, 60.0, 120.0)
