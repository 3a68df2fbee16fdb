"""Means of a log, the drift of what is conserved, and lattice parameters."""

import numpy as np
import pytest
from ase import Atoms

from fastequi.errors import InputError
from fastequi.md.analysis import ANALYSES, LOG_ANALYSES
from fastequi.md.analysis.analysis import Finding
from fastequi.md.analysis.thermodynamics import averages, settled_ps, slope
from fastequi.md.trajectory.log import LOG_COLUMNS


def log(rows: int, **columns: np.ndarray) -> dict[str, np.ndarray]:
    found = {name: np.zeros(rows) for name in LOG_COLUMNS}
    return found | {"time_ps": 0.01 * np.arange(rows), "volume_A3": np.full(rows, 1000.0)} | columns


def test_what_a_system_has_not_is_left_out() -> None:
    molecule = log(20, pressure_GPa=np.full(20, np.nan), volume_A3=np.zeros(20))
    columns = LOG_ANALYSES["thermodynamics"](molecule, mass_amu=18.0)
    assert "pressure_GPa" not in columns
    assert "volume_A3" not in columns
    assert "density_g_per_cm3" not in columns
    assert "temperature_K" in columns


def test_density_of_water() -> None:
    box = log(4, volume_A3=np.full(4, 29.9))
    columns = LOG_ANALYSES["thermodynamics"](box, mass_amu=18.015)
    np.testing.assert_allclose(columns["density_g_per_cm3"], 1.0, rtol=1e-3)


def test_the_beginning_is_left_out_and_told() -> None:
    rng = np.random.default_rng(2)
    energy = rng.normal(-50.0, 0.1, 1000) + 5.0 * np.exp(-np.arange(1000) / 30.0)
    found = averages(LOG_ANALYSES["thermodynamics"](log(1000, potential_energy_eV=energy)))
    mean = found["potential_energy_eV"]
    assert 0.5 <= mean.from_ps <= 3.0
    assert mean.mean.mean == pytest.approx(-50.0, abs=0.05)
    assert settled_ps(found) == mean.from_ps
    climbing = averages(
        LOG_ANALYSES["thermodynamics"](log(1000, potential_energy_eV=np.arange(1000.0)))
    )
    assert settled_ps(climbing) is None


def test_a_drift_with_its_error() -> None:
    """Two of three errors cover the truth, with correlated residuals too."""
    times, covered = np.linspace(0.0, 10.0, 800), 0
    for seed in range(60):
        noise = np.random.default_rng(seed).normal(size=809)
        residuals = np.convolve(noise, np.ones(10) / 10.0, mode="valid")
        gradient, error = slope(times, 0.3 * times + residuals)
        covered += abs(gradient - 0.3) < error
    assert 0.5 <= covered / 60 <= 0.85
    exact = LOG_ANALYSES["drift"](log(5, conserved_eV=0.002 * np.arange(5.0)), atoms=2)
    finding, *_ = LOG_ANALYSES["drift"].findings(None, exact)
    assert isinstance(finding, Finding)
    assert finding.value == pytest.approx(100.0)  # 1 meV/atom in 0.01 ps
    with pytest.raises(InputError, match="too few"):
        LOG_ANALYSES["drift"](log(2))


def test_lattice_parameters() -> None:
    cells = [[4.0, 5.0, 6.0 + 0.1 * k, 90.0, 80.0, 120.0] for k in range(8)]
    frames = [Atoms("H", cell=cell, pbc=True, info={"time_ps": float(k)})
              for k, cell in enumerate(cells)]  # fmt: skip
    columns = ANALYSES["lattice"](frames)
    np.testing.assert_allclose(columns["c_A"], 6.0 + 0.1 * np.arange(8))
    np.testing.assert_allclose(columns["gamma_deg"], 120.0)
    findings = ANALYSES["lattice"].findings(frames, columns)
    found = {f.key: f for f in findings if isinstance(f, Finding)}
    assert found["c_A"].error is not None
    assert found["a_A"].error is None
    still = list(ANALYSES["lattice"].findings(frames[:1] * 5, ANALYSES["lattice"](frames[:1] * 5)))
    assert "does not change: 4 x 5 x 6 Å, 90 80 120°" in str(still[-1])
