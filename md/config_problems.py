"""What is said of a wrong md.toml beyond what every TOML shares: its words, its files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms

from fastequi.errors import InputError
from fastequi.md.analysis.accumulators import ACCUMULATORS
from fastequi.md.constraints.from_ase import missing_atoms
from fastequi.md.stage_keys import stage_problems
from fastequi.md.structure import frame_numbers, read_structures
from fastequi.md.trajectory.extxyz import CHOSEN_COLUMNS
from fastequi.settings_problems import Vocabulary, directory_problem, model_problem, value_at

_ALIASES = {
    "dt": "timestep_fs",
    "dt_fs": "timestep_fs",
    "temp": "temperature_K",
    "temperature_k": "temperature_K",
    "t": "temperature_K",
    "gamma": "friction_per_ps",
    "tdamp": "thermostat_time_fs",
    "tau_t": "thermostat_time_fs",
    "thermostat_time": "thermostat_time_fs",
    "pressure": "pressure_GPa",
    "pressure_gpa": "pressure_GPa",
    "pdamp": "barostat_time_fs",
    "tau_p": "barostat_time_fs",
    "barostat_time": "barostat_time_fs",
    "compressibility": "compressibility_per_GPa",
    "mask": "barostat_axes",
    "fmax": "force_limit_eV_per_A",
    "force_limit": "force_limit_eV_per_A",
    "smax": "stress_limit_GPa",
    "stress_limit": "stress_limit_GPa",
    "optimiser": "optimizer",
    "minimizer": "optimizer",
    "n_steps": "steps",
    "nsteps": "steps",
    "fix_atoms": "fixed_atoms",
    "frozen_atoms": "fixed_atoms",
    "fix_com": "fixed_centre_of_mass",
    "fixcm": "fixed_centre_of_mass",
    "file": "structure",
    "struct": "structure",
    "path": "name",
    "model": "name",
    "d3": "dispersion",
    "vdw": "dispersion",
    "functional": "dispersion_functional",
    "xc": "dispersion_functional",
    "precision": "dtype",
    "thermostat": "ensemble",
    "integrator": "ensemble",
    "outdir": "directory",
    "skin": "skin_A",
    "format": "trajectory_format",
    "traj_every": "trajectory_every",
    "restart_every": "checkpoint_every",
    "plumed_input": "input",
    "plumed_file": "input",
    "plumedfile": "input",
}

#: Ensembles of other programs.
_ENSEMBLES = (
    "nvt-berendsen", "npt-mttk", "npt-csvr", "npt-berendsen",
    "npt-langevin", "nph", "nvt", "npt",
)  # fmt: skip
_NOT_OFFERED = {"dynamics.ensemble": _ENSEMBLES, "stage.ensemble": _ENSEMBLES}

VOCABULARY = Vocabulary(
    aliases=_ALIASES,
    not_offered=_NOT_OFFERED,
    expected={
        "system.structure": "a file in quotes, or a list of files",
        "system.index": 'a whole number, or in quotes what ASE takes, for example ":"',
        "output.trajectory_columns": f"a list of any of {', '.join(CHOSEN_COLUMNS)}",
        "system.supercell": "three whole numbers above 0, for example [2, 2, 2]",
        "system.fixed_atoms": "a list of whole numbers from 0, for example [0, 1, 2]",
        "plumed.input": "a file in quotes",
        "dynamics.deterministic": '"auto", true or false',
        "model.name": "a name or a path in quotes, or a list of two or more of them",
    },
)


def file_problems(raw: dict[str, Any], existing: str, model_names: Sequence[str]) -> Iterator[str]:
    """Problems with what a raw md.toml (absolute paths) points to: structure, model, output.

    Works on any keys that have a sensible type, so that they are reported with all the rest.
    """
    yield from _structure_problem(raw)
    name, directory = value_at(raw, ("model", "name")), value_at(raw, ("output", "directory"))
    for one in name if isinstance(name, list) else [name]:
        if isinstance(one, str):
            yield from model_problem("model.name", one, model_names)
    yield from _committee_problem(raw)
    yield from _dispersion_problem(raw)
    yield from stage_problems(raw)
    plumed = value_at(raw, ("plumed", "input"))
    if isinstance(plumed, str) and plumed and not Path(plumed).is_file():
        yield f"plumed.input: no file {plumed}"
    if isinstance(directory, str):
        yield from directory_problem(Path(directory), existing)
    yield from _analysis_problems(raw)


def _analysis_problems(raw: dict[str, Any]) -> Iterator[str]:
    """Keys of an [[analysis]] that belong to another kind."""
    sections = raw.get("analysis")
    for k, section in enumerate(sections if isinstance(sections, list) else []):
        kind = ACCUMULATORS.get(str(section.get("kind"))) if isinstance(section, dict) else None
        if kind is None:
            continue
        for key in section:
            others = [name for name, one in ACCUMULATORS.items() if key in one.settings]
            if others and key not in kind.settings:
                yield f"analysis.{k}.{key}: is for {' and '.join(others)}, not for {kind.kind}"


def _committee_problem(raw: dict[str, Any]) -> Iterator[str]:
    model = raw.get("model")
    if not isinstance(model, dict):
        return
    if not isinstance(model.get("name"), list):
        for key in ("disagreement_limit_eV_per_A", "on_disagreement"):
            if key in model:
                yield (
                    f"model.{key}: one model cannot disagree; give several, for example "
                    'name = ["member-1/model.safetensors", "member-2/model.safetensors"]'
                )
    elif "on_disagreement" in model and "disagreement_limit_eV_per_A" not in model:
        yield "model.on_disagreement: goes with disagreement_limit_eV_per_A, which is not given"


def _dispersion_problem(raw: dict[str, Any]) -> Iterator[str]:
    model = raw.get("model")
    if isinstance(model, dict) and "dispersion_functional" in model:
        if model.get("dispersion", "none") == "none":
            yield 'model.dispersion_functional: goes with dispersion = "d3bj", which is not given'


def _structure_problem(raw: dict[str, Any]) -> Iterator[str]:
    structure, index = value_at(raw, ("system", "structure")), value_at(raw, ("system", "index"))
    if isinstance(index, str):
        try:
            frame_numbers(index)
        except InputError as error:
            yield f"system.index: {error}"
            return
    for path in structure if isinstance(structure, list) else [structure]:
        if isinstance(path, str) and path:
            try:
                frames = read_structures(path, index if type(index) in (int, str) else -1)
            except InputError as error:
                yield f"system.structure: {error}"
                continue
            yield from _fixed_problem(raw, path, frames)


def _fixed_problem(raw: dict[str, Any], path: str, frames: Sequence[Atoms]) -> Iterator[str]:
    fixed = value_at(raw, ("system", "fixed_atoms"))
    if isinstance(fixed, list) and all(type(k) is int and k >= 0 for k in fixed):
        wrong = next(filter(None, (missing_atoms(atoms, fixed) for atoms in frames)), None)
        if wrong:
            yield f"system.fixed_atoms: {path}: {wrong}"
