"""From an md.toml to a finished run: the one place where names in a TOML become objects."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ase import Atoms

import fastequi
from fastequi.device import peak_memory_MB
from fastequi.dispersion import Corrected, with_dispersion
from fastequi.engine.committee import mean_of
from fastequi.errors import PhysicsError, Stopped
from fastequi.md.checks import check_atoms
from fastequi.md.config import Config, to_toml
from fastequi.md.constraints.from_ase import fixed_atoms, fixes_centre_of_mass
from fastequi.md.disagreement import Disagreeing, TooUncertain
from fastequi.md.integrators import INTEGRATORS
from fastequi.md.integrators.integrator import parameters
from fastequi.md.ramps import first_value, has_ramp
from fastequi.md.simulation import Simulation
from fastequi.md.state import State, state_from_atoms
from fastequi.md.structure import read_structure
from fastequi.md.trajectory.checkpoint import in_present_format, state_of
from fastequi.md.trajectory.directory import (
    CHECKPOINTS,
    FINAL,
    LAST_GOOD,
    RESOLVED_CONFIG,
    SUMMARY,
    UNCERTAIN,
    check_is_run,
    empty_run_directory,
)
from fastequi.md.trajectory.outputs import Outputs
from fastequi.md.velocities import internal_temperature_K, maxwell_boltzmann_
from fastequi.potential import Potential
from fastequi.process import naming, reproducible, stopping_on_signals
from fastequi.storage.checkpoint import (
    Checkpoint,
    check_fingerprint,
    latest_checkpoint,
    set_aside_later,
)
from fastequi.storage.durable import naming_files, write_durably, write_json
from fastequi.storage.lock import only_writer


class LoadedModel(Potential, Protocol):
    """A potential that knows where it came from, as `fastequi.load_model` returns it."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def dtype_name(self) -> str: ...
    @property
    def kernels(self) -> str: ...
    @property
    def kernels_reason(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Setup:
    """A run that is ready to start.

    drawn_at_K   temperature of which the first velocities were drawn; None: the structure's own
    checkpoint   what it goes on from; None at the beginning
    """

    config: Config
    potential: LoadedModel
    atoms: Atoms
    simulation: Simulation
    fingerprint: dict[str, Any]
    drawn_at_K: float | None
    checkpoint: Checkpoint | None

    @property
    def directory(self) -> Path:
        return Path(self.config.output.directory)

    @property
    def steps_left(self) -> int:
        return max(0, self.config.dynamics.steps - self.simulation.state.step)

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to do, in a directory that has all its files."""
        files = [self.directory / name for name in (FINAL, SUMMARY)]
        return self.checkpoint is not None and not self.steps_left and all(map(Path.exists, files))


def set_up(config: Config, resume: bool = False) -> Setup:
    """Read the structure, load the model, and make the simulation, from a checkpoint if asked.

    Writes nothing. Raises InputError for atoms that the model cannot take, and for a checkpoint of
    another run.
    """
    system = config.system
    with naming("system.structure"):
        atoms = read_structure(
            system.structure,
            system.index,
            system.supercell,
            system.fixed_atoms,
            system.fixed_centre_of_mass,
        )
    with naming(f"model.name = {config.model.name!r}"):
        potential = load_potential(config)
    with naming("model.dispersion"):
        potential = corrected(config, potential)
    with naming(f"system.structure: {system.structure}"):
        check_atoms(atoms, potential)
    fingerprint = fingerprint_of(config, atoms, potential)
    checkpoint = None
    if resume:
        check_is_run(Path(config.output.directory))
        found = latest_checkpoint(Path(config.output.directory) / CHECKPOINTS)
        checkpoint = in_present_format(found) if found else None
    if checkpoint:
        check_fingerprint(checkpoint.fingerprint, fingerprint)
    drawn_at_K = drawing_temperature_K(config, atoms)
    state = state_of(checkpoint) if checkpoint else starting_state(config, atoms)
    simulation = build_simulation(config, potential, state)
    # A checkpoint brings its forces along; computing them twice could differ in the last bit.
    simulation.forces_are_current = checkpoint is not None
    simulation.observe_start = checkpoint is None
    return Setup(config, potential, atoms, simulation, fingerprint, drawn_at_K, checkpoint)


def load_potential(config: Config) -> LoadedModel:
    """The model that [model] names, on the device that [dynamics] names."""
    options = config.model.model_dump(include={"dtype", "kernels", "modality"}, exclude_none=True)
    options["device"] = config.dynamics.device
    return mean_of([fastequi.load_model(name, **options) for name in config.model.names])


def corrected(config: Config, potential: LoadedModel) -> LoadedModel:
    """With the dispersion that [model] asks for."""
    model = config.model
    return with_dispersion(potential, model.dispersion, model.dispersion_functional)


def starting_state(config: Config, atoms: Atoms) -> State:
    """The state at step 0: velocities of the structure, or Maxwell-Boltzmann."""
    state = state_from_atoms(atoms)
    drawn_at_K = drawing_temperature_K(config, atoms)
    if drawn_at_K is not None:
        maxwell_boltzmann_(state, drawn_at_K, config.dynamics.seed)
    return state


def drawing_temperature_K(config: Config, atoms: Atoms) -> float | None:
    """Of which temperature to draw the first velocities; None to take those of the structure.

    The copies in a supercell cannot all have the structure's: equal neighbourhoods and velocities
    stay equal, and the dynamics would be those of one cell. They are drawn anew, as warm as it is.
    """
    if not atoms.has("momenta"):
        return first_value(config.dynamics.temperature_K)
    copies = math.prod(config.system.supercell)
    return None if copies == 1 else internal_temperature_K(atoms[: len(atoms) // copies])


def build_simulation(config: Config, potential: Potential, state: State) -> Simulation:
    """A simulation of `state` as the config says. The integrator takes its settings by name."""
    kind = INTEGRATORS[config.dynamics.ensemble]
    settings: dict[str, Any] = {name: getattr(config.dynamics, name) for name in parameters(kind)}
    return Simulation(state, potential, kind(**settings), skin_A=config.neighbors.skin_A)


def fingerprint_of(config: Config, atoms: Atoms, potential: LoadedModel) -> dict[str, Any]:
    """What makes a run this run and no other: a continuation must have the same."""
    digest = hashlib.sha256()
    for array in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, atoms.get_masses(),
                  atoms.get_momenta()):  # fmt: skip
        digest.update(array.tobytes())
    if atoms.constraints:
        digest.update(np.append(fixed_atoms(atoms), fixes_centre_of_mass(atoms)).tobytes())
    free = {"steps", "device"}
    if any(map(has_ramp, dict(config.dynamics).values())):
        free.remove("steps")  # a ramp over more steps is another ramp
    dynamics = config.dynamics.model_dump(exclude=free, exclude_none=True)
    return {
        "model.sha256": potential.sha256,
        "model.dtype": potential.dtype_name,
        "model.modality": config.model.modality,
        **_dispersion(potential, "model.dispersion"),
        "system.atoms": digest.hexdigest(),
        "output.trajectory_format": config.output.trajectory_format,
        **{f"dynamics.{name}": value for name, value in dynamics.items()},
    }


def _dispersion(potential: LoadedModel, key: str) -> dict[str, str]:
    """What is added to the model, with its parameters; nothing where nothing is."""
    return {key: potential.damping.description} if isinstance(potential, Corrected) else {}


def execute(setup: Setup) -> dict[str, Any]:
    """Run to the end and write every file of the output directory; returns the summary.

    Whatever an earlier run left in the directory is removed first, unless this one goes on with
    it. Raises Stopped (after a checkpoint) on SIGTERM or SIGINT, PhysicsError (after writing the
    last good frame), InputError when a file cannot be written.
    """
    simulation, directory = setup.simulation, setup.directory
    stopping = stopping_on_signals(simulation.request_stop)
    with only_writer(directory), naming_files(directory), stopping:
        outputs = _open_outputs(setup)
        try:
            simulation.observers += outputs.observers
            with reproducible(setup.potential.device):
                simulation.run(setup.steps_left)
            outputs.checkpoint(simulation)
        except TooUncertain as error:
            outputs.checkpoint(simulation)
            raise TooUncertain(
                f"{error}; the frame is in {directory / UNCERTAIN}, and a checkpoint was written: "
                "with a higher model.disagreement_limit_eV_per_A, --resume goes on"
            ) from error
        except PhysicsError as error:
            path = outputs.write_frame(simulation, LAST_GOOD)
            raise PhysicsError(f"{error}\nlast good frame: {path}") from error
        finally:
            outputs.close()
        if setup.steps_left:
            raise Stopped(f"stopped at step {simulation.state.step} after writing a checkpoint")
        outputs.write_frame(simulation, FINAL)
        summary = summarize(setup, outputs.elapsed_s(simulation))
        write_json(directory / SUMMARY, summary)
    return summary


def _open_outputs(setup: Setup) -> Outputs:
    """Clear the directory, or cut its files back to the checkpoint, and open them."""
    directory = setup.directory
    if setup.checkpoint is None:
        empty_run_directory(directory)
    else:
        set_aside_later(directory / CHECKPOINTS, setup.checkpoint.step)
    write_durably(directory / RESOLVED_CONFIG, to_toml(setup.config).encode())
    model = setup.config.model
    return Outputs(
        directory,
        fingerprint=setup.fingerprint,
        resumed=setup.checkpoint,
        is_committee=isinstance(setup.potential, Disagreeing),
        disagreement_limit_eV_per_A=model.disagreement_limit_eV_per_A,
        on_disagreement=model.on_disagreement or "warn",
        **setup.config.output.model_dump(exclude={"directory", "report"}),
    )


def summarize(setup: Setup, elapsed_s: dict[str, float]) -> dict[str, Any]:
    """The contents of summary.json; `elapsed_s` is over all sessions, as `steps` is."""
    state, wall_s = setup.simulation.state, elapsed_s["wall"]
    atoms, steps = len(setup.atoms), state.step
    steps_per_s = steps / wall_s if wall_s > 0 else 0.0
    return {
        "atoms": atoms,
        "steps": steps,
        "wall_s": wall_s,
        "steps_per_s": steps_per_s,
        "atom_steps_per_s": atoms * steps_per_s,
        "ns_per_day": ns_per_day(steps_per_s, setup.config.dynamics.timestep_fs),
        "device": str(setup.potential.device),
        "kernels": setup.potential.kernels,
        "dtype": setup.potential.dtype_name,
        "model": setup.potential.name,
        "model_sha256": setup.potential.sha256,
        **_dispersion(setup.potential, "dispersion"),
        "peak_memory_MB": peak_memory_MB(setup.potential.device),
        "phases_s": {name: s for name, s in elapsed_s.items() if name != "wall"},
    }


def ns_per_day(steps_per_s: float, timestep_fs: float) -> float:
    """Simulated nanoseconds per day of wall time."""
    return steps_per_s * timestep_fs * 1e-6 * 86400
