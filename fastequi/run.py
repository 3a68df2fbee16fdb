"""From an md.toml to a finished run: the one place where names in a TOML become objects."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ase import Atoms

import fastequi
from fastequi.device import choose_device
from fastequi.dispersion import with_dispersion
from fastequi.engine.committee import mean_of
from fastequi.errors import DiskError, PhysicsError, Stopped
from fastequi.integrations.plumed import cut_back
from fastequi.md.checks import check_atoms
from fastequi.md.config import Config, to_toml
from fastequi.md.disagreement import Disagreeing, TooUncertain
from fastequi.md.integrators import Integrator
from fastequi.md.simulation import Observer, Simulation
from fastequi.md.state import State
from fastequi.md.trajectory.checkpoint import in_present_format
from fastequi.md.trajectory.directory import (
    CHECKPOINTS,
    FINAL,
    LAST_GOOD,
    PLUMED,
    RESOLVED_CONFIG,
    SUMMARY,
    UNCERTAIN,
    batch_folder,
    batches_of,
    check_is_run,
    empty_run_directory,
)
from fastequi.md.trajectory.outputs import Outputs
from fastequi.potential import Potential
from fastequi.process import naming, reproducible, stopping_on_signals
from fastequi.running.biasing import bias_of, fingerprint_of_bias
from fastequi.running.fixed_order import in_fixed_order
from fastequi.running.identity import LoadedModel, check_goes_on, fingerprint_of
from fastequi.running.memory import Room, room_for, split
from fastequi.running.relay import Relay, is_relay
from fastequi.running.running_batch import RunningBatch
from fastequi.running.summary import summarize, summary_of_all, system_summaries
from fastequi.running.systems import (
    System,
    config_of_system,
    drawing_temperature_K,
    integrator_of,
    read_systems,
)
from fastequi.storage.checkpoint import (
    Checkpoint,
    latest_checkpoint,
    newest_step,
    set_aside_later,
)
from fastequi.storage.durable import naming_files, write_durably, write_json
from fastequi.storage.lock import only_writer


class Engine(Protocol):
    """Who moves the atoms, where it is not `Simulation` itself.

    facts    for summary.json: `engine`, its name, and others; words, the same for people
    on_stop  called where it has been asked to stop; the run sets it
    """

    on_stop: Callable[[], None]

    @property
    def facts(self) -> dict[str, Any]: ...
    @property
    def words(self) -> str: ...

    def device(self, device: str) -> str:
        """That the model of this process is to be on, of what [dynamics] names."""
        ...

    def check(self, config: Config, systems: Sequence[Atoms], potential: LoadedModel) -> None:
        """Raise InputError for what it cannot do."""
        ...

    def load(self, options: Mapping[str, Any], device: str, potential: LoadedModel) -> None:
        """Have other processes load the model, with these keywords of `load_model`, each on a
        device of its own as [dynamics] names it."""
        ...

    def simulate(
        self, state: State, potential: Potential, integrator: Integrator, /, *, skin_A: float
    ) -> Simulation: ...


@dataclass
class Setup:
    """A run that is ready to start.

    systems    all of them; batches, which of them run together, one batch after the other
    room       what fits into memory at once; None for a single system
    observers  that every simulation of the run gets beside those that write its files
    present    number of the batch that runs
    engine     that moves the atoms; None for the built-in one
    """

    config: Config
    potential: LoadedModel
    systems: list[System]
    batches: list[RunningBatch]
    fingerprint: dict[str, Any]
    room: Room | None = None
    observers: list[Observer] = field(default_factory=list)
    present: int = 0
    stop_requested: bool = False
    engine: Engine | None = None

    @property
    def directory(self) -> Path:
        return Path(self.config.output.directory)

    @property
    def batch(self) -> RunningBatch:
        """That runs at present."""
        return self.batches[self.present]

    @property
    def simulation(self) -> Simulation:
        """That runs at present."""
        return self.batch.simulation

    @property
    def checkpoint(self) -> Checkpoint | None:
        """That the run goes on from, the first there is; None at the beginning."""
        return next((batch.resumed for batch in self.batches if batch.resumed), None)

    @property
    def atoms(self) -> Atoms:
        """Of the first system."""
        return self.systems[0].atoms

    @property
    def n_atoms(self) -> int:
        """Of all systems."""
        return sum(len(system.atoms) for system in self.systems)

    @property
    def drawn_at_K(self) -> float | None:
        """Temperature of the first system's first velocities; None: the structure's own."""
        return drawing_temperature_K(self.config, self.config.stages[0].dynamics, self.systems[0])

    @property
    def has_many(self) -> bool:
        """Whether there are several systems, each with a folder."""
        return len(self.systems) > 1

    @property
    def total_steps(self) -> int:
        """Of all batches."""
        return sum(batch.total_steps for batch in self.batches)

    @property
    def steps_left(self) -> int:
        """Of all batches."""
        return sum(batch.steps_left for batch in self.batches)

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to do, in a directory that has all its files."""
        done = all(is_finished(self, batch) for batch in self.batches)
        return done and (self.directory / SUMMARY).exists()

    def request_stop(self) -> None:
        """End the run after the current step; safe in a signal handler and in a thread."""
        self.stop_requested = True
        self.batch.request_stop()


def set_up(config: Config, resume: bool = False, engine: Engine | None = None) -> Setup:
    """Read the structures, load the model, make the simulations, from checkpoints if asked.

    Writes nothing. Raises InputError for atoms that the model cannot take, and for a checkpoint of
    another run.
    """
    systems = read_systems(config)
    options = load_options(config, engine)
    n_atoms = sum(len(system.atoms) for system in systems)
    with naming(f"model.name = {config.model.name!r}"):
        device = choose_device(options["device"])
        with reproducible(device, in_fixed_order(config, device, n_atoms)):  # as compiled ahead
            potential = load_potential(config, options)
    if engine is not None:
        engine.check(config, [system.atoms for system in systems], potential)
        engine.load(
            {"name_or_path": config.model.name, **options}, config.dynamics.device, potential
        )
    with naming("model.dispersion"):
        potential = corrected(config, potential)
    structures = ", ".join(dict.fromkeys(config.system.structures))
    with naming(f"system.structure: {structures}"):
        check_atoms([system.atoms for system in systems], potential)
    fingerprint = fingerprint_of(config, [system.atoms for system in systems], potential)
    fingerprint |= fingerprint_of_bias(config)
    if engine is not None:
        fingerprint["engine"] = engine.facts["engine"]
    if resume:
        check_is_run(Path(config.output.directory))
    many = len(systems) > 1
    room = room_for(potential, systems, config.neighbors.skin_A) if many else None
    batches = []
    for members, folder in _batches(config, systems, room, resume):
        found = latest_checkpoint(folder) if resume else None
        checkpoint = in_present_format(found) if found else None
        if checkpoint:
            check_goes_on(checkpoint, fingerprint)
        given = config, potential, members, folder, checkpoint
        bias = bias_of(config, systems, restart=checkpoint is not None)
        simulate = engine.simulate if engine else None
        relay = is_relay(config, systems)
        batches.append(
            Relay(*given, room) if relay else RunningBatch(*given, bias=bias, simulate=simulate)
        )
    setup = Setup(config, potential, systems, batches, fingerprint, room, engine=engine)
    if engine is not None:
        engine.on_stop = setup.request_stop
    unfinished = [k for k, batch in enumerate(batches) if not is_finished(setup, batch)]
    setup.present = unfinished[0] if unfinished else 0
    return setup


def _batches(
    config: Config, systems: list[System], room: Room | None, resume: bool
) -> Iterator[tuple[list[System], Path]]:
    """Systems that run together, and where their checkpoints are.

    A run that goes on has the batches that it had: in others, a last bit might differ.
    """
    folder = Path(config.output.directory) / CHECKPOINTS
    earlier = batches_of(folder.parent) if resume else []
    if earlier and earlier[-1][1] < len(systems):
        groups = [systems[first : last + 1] for first, last in earlier]
    elif room is None or is_relay(config, systems) or (resume and latest_checkpoint(folder)):
        groups = [systems]
    else:
        groups = split(systems, room)
    for group in groups:
        name = batch_folder(group[0].index, group[-1].index)
        yield group, folder / name if len(groups) > 1 else folder


def load_options(config: Config, engine: Engine | None = None) -> dict[str, Any]:
    """With which a model is loaded: the keys of [model], and the device that [dynamics] names."""
    options = config.model.model_dump(include={"dtype", "kernels", "modality"}, exclude_none=True)
    device = config.dynamics.device
    return options | {"device": engine.device(device) if engine else device}


def load_potential(config: Config, options: Mapping[str, Any] | None = None) -> LoadedModel:
    """The model that [model] names; with the options of `load_options`."""
    options = load_options(config) if options is None else options
    return mean_of([fastequi.load_model(name, **options) for name in config.model.names])


def corrected(config: Config, potential: LoadedModel) -> LoadedModel:
    """With the dispersion that [model] asks for."""
    model = config.model
    return with_dispersion(potential, model.dispersion, model.dispersion_functional)


def execute(setup: Setup) -> dict[str, Any]:
    """Run to the end and write every file of the output directory; returns the summary.

    Whatever an earlier run left in the directory is removed first, unless this one goes on with
    it. Raises Stopped (after a checkpoint) on SIGTERM, SIGINT or SIGHUP; PhysicsError where the
    only system fails (after writing the last good frame); DiskError when a file cannot be written
    any more, InputError when it never could. Of several systems, the summary says which failed.
    """
    stopping = stopping_on_signals(setup.request_stop)
    with only_writer(setup.directory), naming_files(setup.directory), stopping:
        _prepare_directory(setup)
        device = setup.potential.device
        with reproducible(device, in_fixed_order(setup.config, device, setup.n_atoms)):
            for k, batch in enumerate(setup.batches):
                if not is_finished(setup, batch):
                    setup.present = k
                    _run_batch(setup, batch)
        return _finish(setup)


def _run_batch(setup: Setup, batch: RunningBatch) -> None:
    """One batch to its end, with all files of its systems."""
    if setup.stop_requested:
        batch.stop_requested = True
    outputs = _open_outputs(setup, batch)
    batch.observers += setup.observers
    with _naming_the_checkpoint(setup, batch):
        try:
            batch.run(outputs)
            if batch.systems:
                outputs.checkpoint(batch.simulation)
        except TooUncertain as error:
            outputs.checkpoint(batch.simulation)
            raise TooUncertain(
                f"{error}; the frame is in {setup.directory / UNCERTAIN}, and a checkpoint was "
                "written: with a higher model.disagreement_limit_eV_per_A, --resume goes on"
            ) from error
        except PhysicsError as error:
            path = outputs.write_frame(batch.simulation, LAST_GOOD)
            raise PhysicsError(f"{error}\nlast good frame: {path}") from error
        finally:
            outputs.close()
        if batch.stop_requested and batch.steps_left:
            step = batch.simulation.state.step
            raise Stopped(f"stopped at step {step} after writing a checkpoint")
        for row in range(len(batch.systems)):
            outputs.write_frame(batch.simulation, FINAL, row)
        elapsed_s = outputs.elapsed_s(batch.simulation)
        if setup.has_many:
            for index, summary in system_summaries(batch, setup.potential, elapsed_s).items():
                write_json(setup.directory / setup.systems[index].folder / SUMMARY, summary)
        else:
            write_json(setup.directory / SUMMARY, _summary_of_one(setup, elapsed_s))


def _summary_of_one(setup: Setup, elapsed_s: dict[str, float]) -> dict[str, Any]:
    simulation = setup.simulation
    summary = summarize(
        setup.potential, len(setup.atoms), simulation.state.step, simulation.time_ps, elapsed_s
    )
    return summary | (setup.engine.facts if setup.engine else {})


def _prepare_directory(setup: Setup) -> None:
    """Clear the directory, or cut its checkpoints back to those that the run goes on from."""
    directory = setup.directory
    if setup.checkpoint is None:
        empty_run_directory(directory)
    # The mark of a run comes first: killed in the next moment, it can still be gone on with.
    write_durably(directory / RESOLVED_CONFIG, to_toml(setup.config).encode())
    for batch in setup.batches:
        batch.checkpoints.mkdir(parents=True, exist_ok=True)
        if batch.resumed:
            set_aside_later(batch.checkpoints, batch.resumed.step)
            if batch.bias is not None:
                cut_back(directory / PLUMED, _lengths_of_bias(batch.resumed))
    for system in setup.systems if setup.has_many else ():
        folder = directory / system.folder
        folder.mkdir(exist_ok=True)
        own = config_of_system(setup.config, system)
        write_durably(folder / RESOLVED_CONFIG, to_toml(own).encode())


def _lengths_of_bias(checkpoint: Checkpoint) -> dict[str, int]:
    """Of PLUMED's files, by their places in its folder."""
    start = f"{PLUMED}/"
    offsets = checkpoint.offsets.items()
    return {name.removeprefix(start): n for name, n in offsets if name.startswith(start)}


def _open_outputs(setup: Setup, batch: RunningBatch) -> Outputs:
    """The observers that write files; those of other kinds join them here, too."""
    model, bias = setup.config.model, batch.bias
    return Outputs(
        setup.directory,
        [system.folder for system in batch.systems],
        batch.begins,
        batch.checkpoints,
        fingerprint=setup.fingerprint,
        progress=batch.progress,
        more_columns=_more_columns(setup),
        resumed=batch.resumed,
        stage=batch.present.name if setup.config.stage else None,
        analyses=setup.config.analysis,
        is_committee=isinstance(setup.potential, Disagreeing),
        disagreement_limit_eV_per_A=model.disagreement_limit_eV_per_A,
        on_disagreement=model.on_disagreement or "warn",
        lengths_of_bias=bias and (lambda: {f"{PLUMED}/{k}": n for k, n in bias.lengths().items()}),
        **setup.config.output.model_dump(exclude={"directory", "report"}),
    )


def _more_columns(setup: Setup) -> list[str]:
    """Of the log, that any stage has."""
    stages = [integrator_of(stage.dynamics, setup.systems) for stage in setup.config.stages]
    return list(dict.fromkeys(name for stage in stages for name in stage.column_names))


def _finish(setup: Setup) -> dict[str, Any]:
    """What happens at the end of a run: its summary."""
    path = setup.directory / SUMMARY
    if not setup.has_many:
        return json.loads(path.read_bytes())
    summary = summary_of_all(setup.directory, setup.potential, setup.batches)
    write_json(path, summary)
    return summary


def is_finished(setup: Setup, batch: RunningBatch) -> bool:
    """Whether a batch goes on from its end, and has all its files."""
    files = [setup.directory / system.folder / SUMMARY for system in batch.everyone]
    files += [setup.directory / system.folder / FINAL for system in batch.systems]
    return batch.resumed is not None and not batch.steps_left and all(map(Path.exists, files))


@contextmanager
def _naming_the_checkpoint(setup: Setup, batch: RunningBatch) -> Iterator[None]:
    """A file that cannot be written any more: say what is intact, and how to go on."""
    directory = setup.directory
    try:
        yield
    except (OSError, DiskError) as error:
        if not directory.is_dir():
            raise DiskError(
                f"{directory} is gone: it was removed or renamed while the run was writing there"
            ) from error
        what = str(error)
        if isinstance(error, OSError):
            what = f"{error.filename or directory}: cannot be written: {error.strerror}"
        step = newest_step(batch.checkpoints)
        intact = "there is no checkpoint yet: --resume begins anew" if step is None else (
            f"the checkpoint of step {step} is intact: --resume goes on from there"
        )  # fmt: skip
        raise DiskError(f"{what}; {intact} (make room first, if the disk is full)") from error
