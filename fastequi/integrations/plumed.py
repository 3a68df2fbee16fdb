"""PLUMED as the bias of a simulation: metadynamics, umbrellas, restraints, collective variables.

    bias = Plumed("plumed.dat", temperature_K=300.0)
    Simulation(atoms, potential, integrator, bias=bias).run(1000)

The package `plumed` is a wrapper; the library behind it, the kernel, is found by PLUMED_KERNEL.
PLUMED is told of eV, Å, fs and amu, and converts: plumed.dat is in its own units unless it begins
with UNITS. It gets positions as they are, unwrapped, and the cell, and is asked on the host.
"""

import os
from collections.abc import Sequence
from contextlib import chdir
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastequi.errors import InputError, PhysicsError
from fastequi.graph import volumes
from fastequi.md.state import State
from fastequi.potential import stress_of
from fastequi.storage.appending import AppendFile
from fastequi.units import BOLTZMANN_eV_PER_K

#: eV in kJ/mol, Å in nm and fs in ps; the first as PLUMED rounds it (src/tools/Units.cpp), so that
#: energies pass through unchanged where plumed.dat says UNITS ENERGY=eV.
_UNITS = {
    "setMDEnergyUnits": 96.48530749925792, "setMDLengthUnits": 0.1, "setMDTimeUnits": 1e-3,
    "setMDMassUnits": 1.0, "setMDChargeUnits": 1.0,
}  # fmt: skip
#: What it says of itself, in the folder where it works.
LOG = "plumed.log"
#: Copies that PLUMED makes of files before it writes others.
_BACKUPS = "bck.*"


class Plumed:
    """A `Bias` (fastequi.md.bias) by PLUMED.

    energy_eV, wants_stop: of the last step.
    """

    def __init__(
        self,
        input: str | Path | Sequence[str],
        *,
        directory: str | Path = ".",
        temperature_K: float | None = None,
        restart: bool = False,
    ) -> None:
        """PLUMED starts with the first forces, in a folder that is made for it.

        input          a plumed.dat, or its lines; files that it names are looked for and written
                       in `directory`, unless their paths are absolute
        temperature_K  of the thermostat, for what needs it (well-tempered metadynamics)
        restart        go on with the files that are there, as PLUMED's RESTART

        Raises InputError where PLUMED is not installed.
        """
        self.input = Path(input).absolute() if isinstance(input, str | Path) else list(input)
        self.directory, self.temperature_K = Path(directory).absolute(), temperature_K
        self.restart, self.energy_eV, self.wants_stop = restart, np.nan, False
        self._kernel, self._step = _new_kernel(), -1
        self._is_started = False

    def begin_(self, state: State, timestep_fs: float) -> None:
        """Let PLUMED see the step that a restart goes on from, once: its first is one at which it
        deposits nothing (isFirstStep of METAD). What it writes of that step is there already."""
        if not self._is_started:
            lengths = self.lengths()
            self.add_(state.snapshot(), state.step, timestep_fs)
            for name, length in lengths.items():
                AppendFile(self.directory / name, length).close()

    def add_(self, state: State, step: int, timestep_fs: float) -> None:
        """Add the bias to energy, forces and stress. A step that is asked for twice leaves one mark
        in PLUMED's memory. Raises InputError for an input that PLUMED refuses."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with chdir(self.directory):
            if not self._is_started:
                self._start(state, timestep_fs)
            self._add_(state, step)
        self._step = step
        if not np.isfinite(self.energy_eV):
            raise PhysicsError(f"the bias of PLUMED at step {step} is {self.energy_eV} eV")

    def _start(self, state: State, timestep_fs: float) -> None:
        settings: dict[str, Any] = {
            **_UNITS, "setMDEngine": "fastequi", "setNatoms": state.n_atoms,
            "setTimestep": float(timestep_fs), "setRestart": int(self.restart), "setLogFile": LOG,
        }  # fmt: skip
        if self.temperature_K is not None:
            settings["setKbT"] = BOLTZMANN_eV_PER_K * self.temperature_K
        if isinstance(self.input, Path):
            settings["setPlumedDat"] = str(self.input)
        _check_cell(state)
        try:
            for name, value in settings.items():
                self._kernel.cmd(name, value)
            self._kernel.cmd("init")
            for line in () if isinstance(self.input, Path) else self.input:
                self._kernel.cmd("readInputLine", line)
            # What a checkpoint counts on has to be in the files.
            self._kernel.cmd("readInputLine", "FLUSH STRIDE=1")
        except (RuntimeError, ValueError, TypeError, OSError) as error:
            name = self.input if isinstance(self.input, Path) else "input"
            raise InputError(f"{name}: {' '.join(str(error).split())}") from error
        self._is_started = True

    def _add_(self, state: State, step: int) -> None:
        cmd = self._kernel.cmd
        cell = state.cell[0] * state.pbc.any()  # of zeros is none
        positions, forces, masses, cell, stress = (
            np.ascontiguousarray(tensor.cpu().numpy()) for tensor in
            (state.positions, state.forces, state.masses, cell, state.stress)
        )  # fmt: skip
        volume = volumes(state.cell)
        virial, bias, energy = np.zeros((1, 3, 3)), np.zeros(1), state.energy.cpu().numpy().copy()
        stop, needs_energy = np.zeros(1, dtype=np.intc), np.zeros(1, dtype=np.intc)
        cmd("setStep", step)
        for name, array in {
            "setPositions": positions, "setForces": forces, "setMasses": masses, "setBox": cell,
            "setVirial": virial[0], "setStopFlag": stop,
        }.items():  # fmt: skip
            cmd(name, array)
        cmd("prepareCalc")
        cmd("isEnergyNeeded", needs_energy)
        if needs_energy[0]:  # it is biased itself: forces and virial are those of a share of it
            virial += np.nan_to_num(stress * volume.cpu().numpy())
            cmd("setEnergy", energy)
        cmd("performCalcNoUpdate" if step == self._step else "performCalc")
        cmd("getBias", bias)
        self.energy_eV, self.wants_stop = float(bias[0]), bool(stop[0])
        # PLUMED's virial is dE/d(strain), of which the stress is the share of a volume.
        added = stress_of(torch.from_numpy(virial).to(state.device), volume)
        state.stress.mul_(0.0 if needs_energy[0] else 1.0).add_(added)
        state.forces.copy_(torch.from_numpy(forces))
        state.energy += self.energy_eV

    def lengths(self) -> dict[str, int]:
        """Bytes of each file that PLUMED has written so far, by its place in the folder."""
        return {name: path.stat().st_size for name, path in _files(self.directory).items()}


def cut_back(directory: Path, lengths: dict[str, int]) -> None:
    """Leave PLUMED's files as they were when they had these lengths, and later ones out.

    Raises InputError for one that is missing or shorter.
    """
    for name, path in _files(directory).items():
        if name not in lengths:
            path.unlink()
    for name, length in lengths.items():
        AppendFile(directory / name, length).close()


def _files(directory: Path) -> dict[str, Path]:
    found = sorted(path for path in directory.rglob("*") if path.is_file())
    return {
        path.relative_to(directory).as_posix(): path
        for path in found
        if not path.match(_BACKUPS)
    }  # fmt: skip


def _new_kernel() -> Any:
    try:
        wrapper = import_module("plumed")
    except ImportError as error:
        raise InputError("PLUMED's wrapper is not installed: pip install plumed") from error
    try:
        return wrapper.Plumed()
    except RuntimeError as error:
        kernel = os.environ.get("PLUMED_KERNEL")
        raise InputError(
            f"PLUMED's kernel cannot be loaded (PLUMED_KERNEL is {kernel!r}): PyPI's plumed is the "
            "wrapper alone. Set PLUMED_KERNEL to a libplumedKernel.so, that of conda-forge's "
            "package plumed or of a build from source"
        ) from error


def _check_cell(state: State) -> None:
    """PLUMED knows three periodic directions or none."""
    periodic = state.pbc[0].tolist()
    if any(periodic) and not bool(volumes(state.cell)[0] > 0.0):
        raise InputError(
            f"PLUMED takes three lattice vectors or none; the cell is periodic along {periodic} "
            "and has no volume: give it a vector across the vacuum"
        )
