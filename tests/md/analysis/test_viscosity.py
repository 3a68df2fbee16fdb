"""Shear viscosity: the formula, its error, what it refuses; and a liquid that is known."""

import numpy as np
import pytest
import scipy.signal
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from scipy.integrate import trapezoid

from fastequi.errors import InputError
from fastequi.md.analysis import ANALYSES
from fastequi.md.analysis.analysis import Columns
from fastequi.md.analysis.correlation import autocorrelation_sums
from fastequi.md.analysis.viscosity import (
    green_kubo,
    shear_pressures,
    viscosity_columns,
    viscosity_mPa_s,
)
from fastequi.md.state import set_velocities_A_per_fs
from fastequi.md.velocities import internal_temperature_K
from fastequi.units import BOLTZMANN_eV_PER_K, GPA_PER_eV_PER_A3

CELL = np.array([[7.0, 0.0, 0.0], [1.5, 6.5, 0.0], [-1.0, 2.0, 8.0]])


def trajectory(frames: int = 12) -> list[Atoms]:
    """Atoms of two elements that drift, with any stress; triclinic."""
    rng = np.random.default_rng(3)
    made = []
    for k in range(frames):
        atoms = Atoms("Si2O4", rng.uniform(0.0, 7.0, (6, 3)), cell=CELL * (1 + 0.01 * k), pbc=True)
        set_velocities_A_per_fs(atoms, rng.normal((0.02, 0.0, 0.0), 0.01, size=(6, 3)))
        atoms.calc = SinglePointCalculator(atoms, stress=rng.normal(scale=0.01, size=6))
        atoms.info["time_ps"] = 0.004 * k
        made.append(atoms)
    return made


def test_equals_a_double_loop_over_all_nine_components():
    """V / 10 k T times the integral of <P_ab(0) P_ab(t)>, of ASE's pressure without its trace."""
    frames = trajectory()
    tensors = []
    for frame in frames:
        still = frame.copy()
        momenta = frame.get_momenta()
        drift = momenta.sum(axis=0) / frame.get_masses().sum()
        still.set_momenta(momenta - frame.get_masses()[:, None] * drift)
        assert frame.calc is not None
        still.calc = SinglePointCalculator(still, **frame.calc.results)
        pressure = -still.get_stress(voigt=False, include_ideal_gas=True)
        tensors.append(pressure - np.eye(3) * np.trace(pressure) / 3.0)
    correlation = np.zeros(7)
    for lag in range(7):
        for k in range(len(frames) - lag):
            for a in range(3):
                for b in range(3):
                    correlation[lag] += tensors[k][a, b] * tensors[k + lag][a, b]
        correlation[lag] /= len(frames) - lag
    temperature = np.mean([internal_temperature_K(frame) for frame in frames])
    volume = np.mean([frame.get_volume() for frame in frames])
    # Pa s of eV/Å³ fs: 1.602e11 Pa times 1e-15 s
    factor = volume / (10.0 * units.kB * temperature) * 160.2176634e9 * 1e-15 * 1e3
    found = viscosity_columns(frames)
    expected = [factor * 4.0 * trapezoid(correlation[: k + 1]) for k in range(7)]
    np.testing.assert_allclose(found["viscosity_mPa_s"], expected, rtol=1e-6)
    np.testing.assert_allclose(
        found["correlation_GPa2"], correlation / 10.0 * GPA_PER_eV_PER_A3**2, rtol=1e-9
    )
    np.testing.assert_allclose(found["time_ps"], 0.004 * np.arange(7), rtol=1e-12)


def test_five_components_are_the_whole_tensor():
    """Half of the squares of a traceless tensor, however it is turned."""
    for frame in trajectory(3):
        frame.set_momenta(np.zeros((6, 3)))
        stress = frame.get_stress(voigt=False)
        traceless = stress - np.eye(3) * np.trace(stress) / 3.0
        assert np.square(shear_pressures(frame)).sum() == pytest.approx(
            0.5 * np.square(traceless).sum(), rel=1e-12
        )


def ornstein_uhlenbeck(tau: float, n: int, seed: int, lags: int) -> Columns:
    """Five series with exp(-t / tau) as correlation, in a unit volume with k T = 1."""
    memory = np.exp(-1.0 / tau)
    noise = np.random.default_rng(seed).normal(size=(5, n))
    noise[:, 1:] *= np.sqrt(1.0 - memory**2)
    series = np.asarray(scipy.signal.lfilter([1.0], [1.0, -memory], noise, axis=1))
    sums = np.array([autocorrelation_sums(one)[:lags] for one in series])
    return green_kubo(sums / (n - np.arange(lags)), 1.0, 1.0, 1.0 / BOLTZMANN_eV_PER_K)


@pytest.mark.parametrize(("tau", "n"), [(10.0, 4000), (5.0, 3000)])
def test_one_sigma_covers_a_known_integral(tau: float, n: int) -> None:
    """In 60 to 75 % of 200 series; 3 % off at most, since integrals end where they are high."""
    memory = np.exp(-1.0 / tau)
    truth = (0.5 + memory / (1.0 - memory)) * GPA_PER_eV_PER_A3 * 1e-3  # of the trapezoid rule
    series = (ornstein_uhlenbeck(tau, n, seed, 1000) for seed in range(200))
    found = np.array([viscosity_mPa_s(one) for one in series])
    value, error, forgotten_ps = found.T
    assert 0.60 <= np.mean(np.abs(value - truth) < error) <= 0.75
    assert value.mean() == pytest.approx(truth, rel=0.03)
    assert np.sqrt(np.square(error).mean()) == pytest.approx(1.14 * value.std(), rel=0.15)
    assert 3.0 * tau < 1e3 * np.median(forgotten_ps) < 12.0 * tau


def test_what_says_nothing():
    """Frames too far apart, an oscillation that does not end, too short a run."""
    far = ornstein_uhlenbeck(0.5, 2000, 1, 100)
    with pytest.raises(InputError, match=r"8 fs apart.*\[\[analysis\]\]"):
        viscosity_mPa_s({**far, "time_ps": 8.0 * far["time_ps"]})
    times = np.arange(300, dtype=np.float64)
    crystal = np.cos(times / 5.0) * (1.0 + 0.1 * np.arange(5.0)[:, None])
    with pytest.raises(InputError, match=r"not forgotten within 0\.1 ps.*a solid"):
        viscosity_mPa_s(green_kubo(crystal, 1.0, 1.0, 300.0))
    one_of_five = np.array([5.0, 0.0, 0.0, 0.0, 0.0])[:, None] * np.exp(-times / 5.0)
    noise = np.random.default_rng(1).normal(scale=0.01, size=(5, 300))
    with pytest.raises(InputError, match="says nothing yet: a longer run"):
        viscosity_mPa_s(green_kubo(one_of_five + noise, 1.0, 1.0, 300.0))


def test_frames_that_have_no_stress():
    frames = trajectory(3)
    frames[1].calc = None
    with pytest.raises(InputError, match="frames with stress"):
        viscosity_columns(frames)
    frames[1].pbc = (True, True, False)
    with pytest.raises(InputError, match="three periodic directions"):
        ANALYSES["viscosity"](frames)
