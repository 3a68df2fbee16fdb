"""The types of md.toml: what a run needs to be told, with defaults, limits and units.

`load_config` reads a file and reports all that is wrong with it in one `InputError`. Paths come out
absolute, so a loaded `Config` means the same from any folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from fastequi import settings
from fastequi.kernels.backend import BACKENDS
from fastequi.md.analysis.accumulators import ACCUMULATORS
from fastequi.md.config_problems import VOCABULARY, file_problems
from fastequi.md.disagreement import ACTIONS
from fastequi.md.ensemble_keys import with_own_keys
from fastequi.md.integrators import INTEGRATORS
from fastequi.md.integrators.keys import Temperature
from fastequi.md.safety import SafetyConfig
from fastequi.md.stage_keys import NAME, SHARED, complete_stages_
from fastequi.md.trajectory.directory import TRAJECTORIES
from fastequi.md.trajectory.extxyz import CHOSEN_COLUMNS
from fastequi.settings import (
    FROM_LIST,
    Count,
    Device,
    Existing,
    Positive,
    Section,
    Seed,
    one_of,
)
from fastequi.storage.checkpoint import KEEP

Name = Annotated[str, Field(min_length=1)]


class SystemConfig(Section):
    """[system]: the atoms."""

    structure: Name | Annotated[tuple[Name, ...], Field(min_length=1), FROM_LIST] = Field(
        description="any file that ASE reads, or a trajectory.h5; relative to this file; a list: "
        "many systems at once"
    )
    index: int | str = Field(
        default=-1, description='which frame of the file; -1 is the last, ":" are all, as in ASE'
    )
    supercell: Annotated[tuple[Count, Count, Count], FROM_LIST] = Field(
        default=(1, 1, 1),
        description="repeats along the three lattice vectors, with velocities of their own",
    )
    fixed_atoms: Annotated[tuple[Annotated[int, Field(ge=0)], ...], FROM_LIST] = Field(
        default=(),
        description="atoms of the structure, from 0, that do not move, beside those that it fixes "
        "itself (FixAtoms, selective dynamics)",
    )
    fixed_centre_of_mass: bool = Field(
        default=False, description="Langevin dynamics without diffusion of the whole"
    )
    replicas: Count = Field(
        default=1, description="so many copies of each system, with velocities and noise of its own"
    )

    @property
    def structures(self) -> tuple[str, ...]:
        """The files, one or several."""
        return (self.structure,) if isinstance(self.structure, str) else self.structure


class ModelConfig(Section):
    """[model]: the potential."""

    name: Name | Annotated[tuple[Name, ...], Field(min_length=2), FROM_LIST] = Field(
        description='a bundled name, "sevennet-0", "sevennet-l3i5", or a path; a list: their mean'
    )
    dtype: Annotated[str, one_of("float32", "float64")] = Field(
        default="float32", description="arithmetic of the model; the state is always float64"
    )
    kernels: Annotated[str, one_of("auto", *BACKENDS)] = Field(
        default="auto", description="which implementation of the convolution"
    )
    modality: str | None = Field(
        default=None, description="level of theory of a multi-fidelity model, for example PBE"
    )
    dispersion: Annotated[str, one_of("none", "d3bj")] = Field(
        default="none", description="d3bj adds DFT-D3 with Becke-Johnson damping"
    )
    dispersion_functional: Name | None = Field(
        default=None, description="whose parameters D3 takes: PBE unless another one is named"
    )
    disagreement_limit_eV_per_A: Positive | None = Field(
        default=None, description="eV/Å by which the forces of several models may scatter"
    )
    on_disagreement: Annotated[str, one_of(*ACTIONS)] | None = Field(
        default=None, description="beyond it: warn (the default), save the frame, or save and stop"
    )

    @property
    def names(self) -> tuple[str, ...]:
        """One for a single model, several for a committee."""
        return (self.name,) if isinstance(self.name, str) else self.name


class SharedDynamics(Section):
    """What every ensemble is told."""

    ensemble: str = "nvt-langevin"
    timestep_fs: Positive = Field(default=1.0, description="fs; 0.5 where there is hydrogen")
    steps: int = Field(ge=0, description="the total: --resume goes on to it")
    temperature_K: Temperature = 300.0  # pyright: ignore[reportInvalidTypeForm]
    seed: Seed = Field(default=0, description="of the first velocities and of the noise")
    device: Device = Field(default="auto", description="auto, cpu, cuda or cuda:N")
    deterministic: bool | Literal["auto"] = Field(
        default="auto",
        description="whether a GPU adds up in a fixed order, so that restarts are the same to the "
        "last bit: auto (small systems), true or false; a CPU always does",
    )


class DynamicsConfig(with_own_keys(SharedDynamics, INTEGRATORS)):
    """[dynamics]: what moves the atoms, for how long."""


class StageConfig(DynamicsConfig):
    """[[stage]]: [dynamics] with what this stage changes of it."""

    name: Annotated[str, Field(pattern=f"^{NAME}$")] = Field(
        description="a word of letters, digits and _ . + -, which log and trajectory have"
    )


@dataclass(frozen=True)
class Stage:
    """A part of a run with dynamics of its own; without [[stage]], the one part has no name."""

    name: str
    dynamics: DynamicsConfig


class NeighborsConfig(Section):
    """[neighbors]: the neighbour list."""

    skin_A: Annotated[float, Field(ge=0, le=20)] = Field(
        default=1.0, description="Å beyond the cutoff; more means fewer rebuilds of a longer list"
    )


class OutputConfig(Section):
    """[output]: what is written where, how often (in steps)."""

    directory: str = Field(
        default="fastequi-run", description="relative to this file; never overwritten unasked"
    )
    log_every: Count = Field(default=50, description="rows of log.csv")
    trajectory_every: Count = Field(default=100, description="frames of the trajectory")
    trajectory_format: Annotated[str, one_of(*TRAJECTORIES)] = Field(
        default="extxyz", description="extxyz (text, ASE) or h5md (binary, MDAnalysis)"
    )
    trajectory_columns: Annotated[
        tuple[Annotated[str, one_of(*CHOSEN_COLUMNS)], ...], FROM_LIST
    ] = Field(
        default=CHOSEN_COLUMNS,
        description="what a frame of trajectory.extxyz has beside symbols and positions; h5md has "
        "all, in a quarter of the bytes",
    )
    checkpoint_every: Count = Field(default=500, description="checkpoints")
    checkpoints_kept: Count = Field(default=KEEP, description="the newest so many checkpoints")
    report: bool = Field(default=True, description="report.html when the run ends")


class PlumedConfig(Section):
    """[plumed]: a bias, or collective variables to look at."""

    input: Name = Field(
        description="plumed.dat, relative to this file; PLUMED works in the folder plumed of the "
        "output directory"
    )


class AnalysisConfig(Section):
    """[[analysis]]: accumulated while the run goes on, with no frames on disk."""

    kind: Annotated[str, one_of(*ACCUMULATORS)] = Field(description="which one")
    every: Count = Field(default=10, description="steps from frame to frame")
    r_max_A: Positive | None = Field(default=None, description="rdf: Å, up to where")
    cutoff_A: Positive | None = Field(
        default=None, description="adf: Å, up to where atoms are neighbours; their first shells"
    )
    bins: Count | None = Field(default=None, description="rdf: 200 of distance; adf: 180 of angle")
    lags: Count | None = Field(
        default=None, description="msd, vacf: up to so many frames later, 200; viscosity: 1000"
    )

    def settings(self) -> dict[str, float | int]:
        """What the accumulator takes."""
        return self.model_dump(exclude={"kind", "every"}, exclude_none=True)


class Config(Section):
    """A whole md.toml."""

    system: SystemConfig
    model: ModelConfig
    dynamics: DynamicsConfig
    neighbors: NeighborsConfig = NeighborsConfig()
    output: OutputConfig = OutputConfig()
    safety: SafetyConfig = SafetyConfig()
    plumed: PlumedConfig | None = None
    stage: Annotated[tuple[StageConfig, ...], FROM_LIST] = ()
    analysis: Annotated[tuple[AnalysisConfig, ...], FROM_LIST] = ()

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What runs one after the other."""
        if not self.stage:
            return (Stage("", self.dynamics),)
        return tuple(Stage(stage.name, stage) for stage in self.stage)

    @property
    def total_steps(self) -> int:
        """Of all stages, each to its end."""
        return sum(stage.dynamics.steps for stage in self.stages)


def load_config(
    path: str | Path,
    existing: Existing = "refuse",
    model_names: Sequence[str] = (),
    device: str | None = None,
) -> Config:
    """Read md.toml; relative paths in it are taken from its folder.

    `existing` says whether the output directory may exist; `model_names` are the names that
    `model.name` may have besides paths (any name passes if none are given); `device` replaces
    `dynamics.device`. Raises InputError that lists every problem of the file.
    """
    path = Path(path).absolute()
    raw = settings.read_toml(path)
    settings.set_default_(raw, "output", "directory", OutputConfig().directory)
    absolute = partial(settings.absolute, folder=path.parent)
    settings.change_texts_(raw, "system", "structure", absolute)
    settings.change_texts_(raw, "output", "directory", absolute)
    settings.change_texts_(raw, "plumed", "input", absolute)
    name = partial(settings.absolute_if_path, folder=path.parent)
    settings.change_texts_(raw, "model", "name", name)
    if device is not None:
        settings.set_(raw, "dynamics", "device", device)
    problems = list(file_problems(raw, existing, model_names))
    copied = complete_stages_(raw)
    return settings.checked(path, raw, Config, VOCABULARY, problems, copied)


def to_toml(config: Config) -> str:
    """The text of md.resolved.toml: every key with its value, defaults included."""
    comment = "Every setting of this run, defaults included. fastequi run reads it back."
    sections = config.model_dump(exclude_none=True)
    for section in sections["stage"]:
        for key in SHARED:
            section.pop(key)
    sections["stage"] = [{"name": stage.pop("name"), **stage} for stage in sections["stage"]]
    return settings.to_toml(sections, comment)
