"""The vibrational spectrum of motions that are known."""

import math

import ase.build
import numpy as np
import pytest
from ase import Atoms

from fastequi.errors import InputError
from fastequi.md.analysis import (
    interval_fs,
    velocities_of,
    vibrational_spectrum,
    without_timestep_error,
)
from fastequi.md.integrators import VelocityVerlet
from fastequi.md.simulation import Simulation
from fastequi.md.state import state_from_atoms
from fastequi.md.testing import HarmonicWells
from fastequi.md.trajectory.extxyz import extxyz_text
from fastequi.md.trajectory.frame import frame_of
from fastequi.md.trajectory.reader import read_trajectory
from fastequi.md.velocities import maxwell_boltzmann_
from fastequi.units import LIGHT_CM_PER_FS


def oscillating(wavenumbers: list[float], masses: list[float], frames: int = 4000) -> np.ndarray:
    """Velocities in Å/fs at every fs of atoms with equal energies, along x, y and z."""
    phases = np.array([0.3, 1.1, 2.0])
    omega_t = np.outer(np.arange(frames), 2 * np.pi * LIGHT_CM_PER_FS * np.array(wavenumbers))
    return np.cos(omega_t[:, :, None] + phases) / np.sqrt(masses)[:, None]


def test_each_oscillator_has_its_peak_and_its_area() -> None:
    masses = np.array([1.0, 16.0])
    velocities = oscillating([3000.0, 1000.0], [1.0, 16.0])
    wavenumbers, density = vibrational_spectrum(velocities, masses, 1.0)
    spacing = wavenumbers[1]
    assert spacing == pytest.approx(1.0 / (LIGHT_CM_PER_FS * 4000))
    for expected in (1000.0, 3000.0):
        near = np.abs(wavenumbers - expected) < 100.0
        peak = wavenumbers[near][density[near].argmax()]
        assert abs(peak - expected) <= spacing
        assert density[near].sum() * spacing == pytest.approx(3.0, rel=1e-3)


def test_a_coarser_resolution_is_a_smoother_spectrum_of_the_same_area() -> None:
    noise = np.random.default_rng(1).normal(size=(20000, 2, 3))
    spread = {}
    for resolution in (2.0, 50.0):
        wavenumbers, density = vibrational_spectrum(noise, np.ones(2), 1.0, resolution)
        assert wavenumbers[1] <= resolution
        spread[resolution] = density[1:-1].std() / density[1:-1].mean()
        area = (density[1:] + density[:-1]).sum() * wavenumbers[1] / 2
        assert area == pytest.approx(6.0, rel=1e-12)
        assert density[1:-1].mean() == pytest.approx(6.0 / wavenumbers[-1], rel=0.02)
    assert spread[50.0] < 0.3 * spread[2.0]


def test_dynamics_in_a_well_has_the_wells_frequency(tmp_path) -> None:
    """By way of a trajectory file; the timestep's error is seen, and taken away exactly."""
    atoms = Atoms("H2", [[0, 0, 0], [5, 5, 5]])
    state = state_from_atoms(atoms)
    maxwell_boltzmann_(state, 300.0, 1)
    wells = HarmonicWells(state.positions.clone(), 30.0)
    mass = float(state.masses[0])
    timestep_fs = wells.timestep_fs(mass, 0.8)
    path = tmp_path / "trajectory.extxyz"
    with path.open("w") as file:
        simulation = Simulation(state, wells, VelocityVerlet(timestep_fs))
        for _ in range(1200):
            file.write(extxyz_text(frame_of(simulation)))
            simulation.run(1)
    frames = read_trajectory(path)
    assert interval_fs(frames) == pytest.approx(timestep_fs)
    wavenumbers, density = vibrational_spectrum(
        velocities_of(frames), frames[0].get_masses(), interval_fs(frames)
    )
    exact = 0.8 / timestep_fs / (2 * math.pi * LIGHT_CM_PER_FS)
    seen = wavenumbers[density.argmax()]
    assert seen - exact > 3 * wavenumbers[1]
    corrected = without_timestep_error(np.array([seen]), timestep_fs)[0]
    assert abs(corrected - exact) <= wavenumbers[1]


def test_timestep_error_of_a_hydrogen_stretch() -> None:
    assert 3700.0 - without_timestep_error(np.array([3700.0]), 0.5)[0] == pytest.approx(18.7, abs=1)
    assert without_timestep_error(np.array([0.0, 50.0]), 0.5) == pytest.approx(
        [0.0, 50.0], abs=1e-3
    )


def test_what_has_no_spectrum_is_refused() -> None:
    with pytest.raises(InputError, match="at least 8 frames, got 5"):
        vibrational_spectrum(np.ones((5, 1, 3)), np.ones(1), 1.0)
    with pytest.raises(InputError, match="leaves 4 frames to a segment"):
        vibrational_spectrum(np.ones((500, 1, 3)), np.ones(1), 1.0, 1e4)
    with pytest.raises(InputError, match="atoms at rest"):
        vibrational_spectrum(np.zeros((50, 1, 3)), np.ones(1), 1.0)


def test_frames_without_velocities_or_times_are_refused() -> None:
    frames = [ase.build.molecule("H2O") for _ in range(3)]
    with pytest.raises(InputError, match="frame 0 has no velocities"):
        velocities_of(frames)
    with pytest.raises(InputError, match="time_ps"):
        interval_fs(frames)
    for frame, time_ps in zip(frames, (0.0, 0.1, 0.3), strict=True):
        frame.info["time_ps"] = time_ps
    with pytest.raises(InputError, match="not evenly spaced: 100 to 200 fs"):
        interval_fs(frames)
