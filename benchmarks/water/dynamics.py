"""Liquid water of a trained potential: `fastequi run` at the volume of the boxes, and what it says.

A Langevin thermostat settles the box; stochastic velocity rescaling (CSVR), which leaves diffusion
as it is, has the frames that are looked at; NVE then shows whether energy is conserved. The
structure of classical nuclei does not depend on masses: heavy hydrogen allows 1 fs.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write

from benchmarks.common import run_fastequi
from fastequi.md.analysis import diffusion, interval_fs, positions_of, without_drift
from fastequi.md.analysis.msd import finite_size_cm2_per_s
from fastequi.md.analysis.statistics import mean_of
from fastequi.md.analysis.thermodynamics import slope
from fastequi.md.trajectory.directory import LOG, SUMMARY, TRAJECTORIES
from fastequi.md.trajectory.log import read_log
from fastequi.md.trajectory.reader import read_trajectory

FRAME_FS = 20.0
MD_TOML = """\
[system]
structure = "{structure}"
[model]
name = "{model}"
[dynamics]
timestep_fs = {timestep_fs}
temperature_K = {temperature_K}
seed = {seed}
[[stage]]
name = "settle"
ensemble = "nvt-langevin"
friction_per_ps = 5.0
steps = {settle}
[[stage]]
name = "produce"
ensemble = "nvt-csvr"
thermostat_time_fs = 500.0
steps = {produce}
[[stage]]
name = "conserve"
ensemble = "nve"
steps = {conserve}
[output]
directory = "{directory}"
log_every = 20
trajectory_every = {frame_every}
trajectory_format = "h5md"
checkpoint_every = 2000
"""


@dataclass(frozen=True)
class Setting:
    """What is run; each stage takes so many ps."""

    temperature_K: float
    hydrogen_amu: float
    timestep_fs: float
    settle: float = 2.0
    produce: float = 20.0
    conserve: float = 2.0

    def steps(self, stage: str) -> int:
        return round(getattr(self, stage) * 1e3 / self.timestep_fs)


@dataclass(frozen=True)
class Run:
    """Numbers of one run; errors are one standard deviation.

    hydrogen_amu  mass of hydrogen
    diffusion_*  of oxygen in this box; `finite_size` over the viscosity in mPa s is to be added for
                 an infinite one
    """

    hydrogen_amu: float
    ps: float
    temperature_K: float
    temperature_error_K: float
    pressure_GPa: float
    pressure_error_GPa: float
    drift_meV_per_atom_ps: float
    diffusion_cm2_per_s: float
    diffusion_error_cm2_per_s: float
    finite_size_cm2_per_s_mPa_s: float
    steps_per_s: float


def run(folder: Path, model: Path, start: Atoms, setting: Setting, seed: int = 1) -> Path:
    """`fastequi run` in this folder, unless it was done before; one that was stopped goes on."""
    if (folder / SUMMARY).exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    structure, source = folder.with_suffix(".extxyz"), folder.with_suffix(".toml")
    masses = np.where(start.numbers == 1, setting.hydrogen_amu, start.get_masses())
    write(
        structure, Atoms(start.symbols, start.positions, masses=masses, cell=start.cell, pbc=True)
    )
    source.write_text(
        MD_TOML.format(
            structure=structure, model=model, directory=folder, seed=seed,
            temperature_K=setting.temperature_K, timestep_fs=setting.timestep_fs,
            frame_every=round(FRAME_FS / setting.timestep_fs),
            **{stage: setting.steps(stage) for stage in ("settle", "produce", "conserve")},
        )
    )  # fmt: skip
    begun = "--resume" if (folder / "checkpoints").exists() else "--overwrite"
    run_fastequi("run", str(source), begun, log=folder.with_suffix(".log"))
    return folder


def frames_of(folder: Path) -> list[Atoms]:
    """Those of the stage that is looked at."""
    frames = read_trajectory(folder / TRAJECTORIES["h5md"])
    return [frame for frame in frames if frame.info.get("stage") == "produce"]


def numbers(folder: Path, frames: Sequence[Atoms], setting: Setting) -> Run:
    """What the log and the frames of a run come down to."""
    produced, conserved = (read_log(folder / LOG, stage) for stage in ("produce", "conserve"))
    temperature, pressure = (mean_of(produced[n]) for n in ("temperature_K", "pressure_GPa"))
    atoms = frames[0]
    drift = slope(conserved["time_ps"], conserved["conserved_eV"] / len(atoms) * 1e3)[0]
    moved = without_drift(positions_of(frames), atoms.get_masses())[:, atoms.numbers == 8]
    diffusive = diffusion(moved, interval_fs(frames))
    lacking = finite_size_cm2_per_s(temperature.mean, float(atoms.get_volume()))
    summary = json.loads((folder / SUMMARY).read_text())
    ps = float(produced["time_ps"][-1] - produced["time_ps"][0])
    return Run(
        setting.hydrogen_amu, ps, temperature.mean, temperature.error, pressure.mean,
        pressure.error, drift, diffusive.cm2_per_s, diffusive.error_cm2_per_s, lacking,
        summary["steps_per_s"],
    )  # fmt: skip
