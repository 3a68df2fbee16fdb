"""The systems of a run: structures, frames and replicas, each with its own seed and targets.

A run has one system, or several that are computed as batches. System k of several has the seed of
[dynamics] plus k, and the k-th value of a key that says `{ each = [...] }`: alone, with that seed
and that value, it moves as it does in a batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ase import Atoms

from fastequi.device import free_bytes
from fastequi.errors import InputError
from fastequi.md.config import Config, DynamicsConfig
from fastequi.md.integrators import INTEGRATORS, Integrator
from fastequi.md.integrators.integrator import parameters
from fastequi.md.ramps import first_value, of_systems
from fastequi.md.structure import number_of_frame, read_structures
from fastequi.md.trajectory.directory import system_folder
from fastequi.md.velocities import internal_temperature_K
from fastequi.process import naming

#: What an atom takes at least, in the structure, the state and the neighbour list.
_BYTES_PER_ATOM = 2000
#: Keys of [dynamics] that may have a value per system.
TARGETS = ("temperature_K", "pressure_GPa")


@dataclass(frozen=True)
class System:
    """One of the systems of a run.

    index        its number, from 0
    folder       below the output directory: "0003"; "" for the only one
    atoms        as it starts
    structure    the file that it is from, and frame, which of its frames (negative: from the end)
    replica      which of the equal ones it is, from 0
    """

    index: int
    folder: str
    atoms: Atoms
    structure: str
    frame: int
    replica: int


def read_systems(config: Config) -> list[System]:
    """All systems: structure by structure, frame by frame, replica by replica.

    Raises InputError for what cannot be read, and unless `each` has a value for each of them.
    """
    system = config.system
    _check_size(config)
    found: list[tuple[Atoms, str, int, int]] = []
    with naming("system.structure"):
        for path in system.structures:
            frames = read_structures(
                path,
                system.index,
                system.supercell,
                system.fixed_atoms,
                system.fixed_centre_of_mass,
            )
            for k, atoms in enumerate(frames):
                frame = number_of_frame(system.index, k)
                found += [(atoms, path, frame, replica) for replica in range(system.replicas)]
    only = len(found) == 1
    systems = [
        System(k, "" if only else system_folder(k), atoms, path, frame, replica)
        for k, (atoms, path, frame, replica) in enumerate(found)
    ]
    for where, dynamics in _named_dynamics(config):
        _check_each(where, dynamics, len(systems))
    return systems


def _check_size(config: Config) -> None:
    """Raise InputError for more atoms than this machine could hold, before they are made."""
    system = config.system
    copies = math.prod(system.supercell) * system.replicas
    with naming("system.structure"):
        frames = [
            atoms for path in system.structures for atoms in read_structures(path, system.index)
        ]
    atoms, free = copies * sum(map(len, frames)), free_bytes(torch.device("cpu"))
    if free is not None and atoms * _BYTES_PER_ATOM > free:
        raise InputError(
            f"system: {atoms:.3g} atoms ({len(frames)} structures, supercell {system.supercell}, "
            f"replicas {system.replicas}) need {atoms * _BYTES_PER_ATOM / 1e9:.3g} GB before the "
            f"first step; {free / 1e9:.3g} GB are free"
        )


def _named_dynamics(config: Config) -> list[tuple[str, DynamicsConfig]]:
    if not config.stage:
        return [("dynamics", config.dynamics)]
    return [(f"stage.{k}", stage) for k, stage in enumerate(config.stage)]


def _check_each(where: str, dynamics: DynamicsConfig, n_systems: int) -> None:
    for key in TARGETS:
        value = getattr(dynamics, key, None)
        if isinstance(value, tuple) and len(value) != n_systems:
            raise InputError(
                f"{where}.{key}: each has {len(value)} values for {n_systems} systems; give one "
                "value for all, or one per system (structures times frames times replicas)"
            )


def config_of_system(config: Config, system: System) -> Config:
    """What the md.toml of a system alone would say; its directory is one beside the folder."""

    def own(dynamics: DynamicsConfig) -> Any:
        values: dict[str, Any] = {"seed": seed_of(dynamics, system)}
        for key in TARGETS:
            if isinstance(each := getattr(dynamics, key, None), tuple):
                values[key] = each[system.index]
        return dynamics.model_copy(update=values)

    structure = {"structure": system.structure, "index": system.frame, "replicas": 1}
    directory = Path(config.output.directory) / f"{system.folder}-alone"
    return config.model_copy(
        update={
            "system": config.system.model_copy(update=structure),
            "dynamics": own(config.dynamics),
            "stage": tuple(map(own, config.stage)),
            "output": config.output.model_copy(update={"directory": str(directory)}),
        }
    )


def seed_of(dynamics: DynamicsConfig, system: System) -> int:
    """Of the first velocities and of the noise of a system."""
    return dynamics.seed + system.index


def drawing_temperature_K(config: Config, dynamics: DynamicsConfig, system: System) -> float | None:
    """Of which temperature to draw first velocities; None to take those of the structure.

    The copies in a supercell cannot all have the structure's: equal neighbourhoods and velocities
    stay equal, and the dynamics would be those of one cell. They are drawn anew, as warm as it is.
    Nor can replicas, which would all be one.
    """
    atoms, copies = system.atoms, math.prod(config.system.supercell)
    if not atoms.has("momenta"):
        return first_value(of_systems(dynamics.temperature_K, [system.index]))
    if copies == 1 and config.system.replicas == 1:
        return None
    return internal_temperature_K(atoms[: len(atoms) // copies])


def integrator_of(
    dynamics: DynamicsConfig, systems: Sequence[System], begin: int = 0
) -> Integrator:
    """The integrator of some systems, from step `begin` on; it takes its settings by name."""
    kind = INTEGRATORS[dynamics.ensemble]
    settings: dict[str, Any] = {name: getattr(dynamics, name) for name in parameters(kind)}
    rows = [system.index for system in systems]
    for key in settings.keys() & set(TARGETS):
        settings[key] = of_systems(settings[key], rows, begin)
    if "seed" in settings and any(system.folder for system in systems):
        settings["seed"] = tuple(seed_of(dynamics, system) for system in systems)
    return kind(**settings)
