"""The types of md.toml: what a run needs to be told, with defaults, limits and units.

`load_config` reads a file and reports all that is wrong with it in one `InputError`. The models are
frozen and strict ("300" is not a number); paths come out absolute, so a loaded `Config` means the
same from any folder.
"""

import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from fastequi.errors import InputError
from fastequi.kernels.dispatch import IMPLEMENTATIONS
from fastequi.md.config_problems import CHOICE, describe_errors, file_problems
from fastequi.md.integrators import INTEGRATORS
from fastequi.md.trajectory.directory import TRAJECTORIES

#: What an existing output directory means: `refuse` it, or `allow` it (--resume, --overwrite).
Existing = Literal["refuse", "allow"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


def _tuple_from_list(value: Any) -> Any:
    """TOML has lists only; a strict tuple would refuse them."""
    return tuple(value) if isinstance(value, list) else value


def _one_of(*choices: str) -> AfterValidator:
    """A choice among names that are listed elsewhere in the code."""

    def check(value: str) -> str:
        if value not in choices:
            raise PydanticCustomError(CHOICE, "not a choice", {"choices": list(choices)})
        return value

    return AfterValidator(check)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SystemConfig(_Section):
    """[system]: the atoms."""

    structure: str = Field(description="any file that ASE reads, relative to this file")
    index: int = Field(default=-1, description="which frame of the file; -1 is the last")
    supercell: Annotated[tuple[Count, Count, Count], BeforeValidator(_tuple_from_list)] = Field(
        default=(1, 1, 1), description="repeats along the three lattice vectors"
    )


class ModelConfig(_Section):
    """[model]: the potential."""

    name: str = Field(description='a bundled name, "sevennet-0", "sevennet-l3i5", or a path')
    dtype: Annotated[str, _one_of("float32", "float64")] = Field(
        default="float32", description="arithmetic of the model; the state is always float64"
    )
    kernels: Annotated[str, _one_of("auto", *IMPLEMENTATIONS)] = Field(
        default="auto", description="which implementation of the convolution"
    )
    modality: str | None = Field(
        default=None, description="level of theory of a multi-fidelity model, for example PBE"
    )


class DynamicsConfig(_Section):
    """[dynamics]: what moves the atoms, for how long."""

    ensemble: Annotated[str, _one_of(*INTEGRATORS)] = Field(
        default="nvt-langevin", description="nve (velocity Verlet) or nvt-langevin (BAOAB)"
    )
    timestep_fs: Positive = Field(default=1.0, description="fs; 0.5 where there is hydrogen")
    steps: int = Field(ge=0, description="the total: --resume goes on to it")
    temperature_K: NonNegative = Field(
        default=300.0, description="K; also of the first velocities, unless the structure has some"
    )
    friction_per_ps: Positive = Field(default=1.0, description="1/ps, of nvt-langevin")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        default=0, description="of the first velocities and of the noise"
    )
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N"
    )


class NeighborsConfig(_Section):
    """[neighbors]: the neighbour list."""

    skin_A: NonNegative = Field(
        default=1.0, description="Å beyond the cutoff; more means fewer rebuilds of a longer list"
    )


class OutputConfig(_Section):
    """[output]: what is written where, how often (in steps)."""

    directory: str = Field(
        default="fastequi-run", description="relative to this file; never overwritten unasked"
    )
    log_every: Count = Field(default=50, description="rows of log.csv")
    trajectory_every: Count = Field(default=100, description="frames of the trajectory")
    trajectory_format: Annotated[str, _one_of(*TRAJECTORIES)] = Field(
        default="extxyz", description="extxyz (text, ASE) or h5md (binary, MDAnalysis)"
    )
    checkpoint_every: Count = Field(default=500, description="checkpoints; the newest 2 are kept")


class Config(_Section):
    """A whole md.toml."""

    system: SystemConfig
    model: ModelConfig
    dynamics: DynamicsConfig
    neighbors: NeighborsConfig = NeighborsConfig()
    output: OutputConfig = OutputConfig()


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
    raw = _with_absolute_paths(_read_toml(path), path.parent)
    if device is not None and isinstance(raw.get("dynamics"), dict):
        raw["dynamics"]["device"] = device
    problems: list[str] = []
    config = None
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        problems += describe_errors(error, Config, raw)
    problems += file_problems(raw, OutputConfig().directory, existing, model_names)
    if config is None or problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise InputError("\n".join([f"{path}: {count}", *(f"  {line}" for line in problems)]))
    return config


def to_toml(config: Config) -> str:
    """The text of md.resolved.toml: every key with its value, defaults included."""
    lines = ["# Every setting of this run, defaults included. fastequi run reads it back."]
    for section, values in config.model_dump(exclude_none=True).items():
        lines += ["", f"[{section}]", *(f"{k} = {_toml_value(v)}" for k, v in values.items())]
    return "\n".join(lines) + "\n"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file in UTF-8") from error
    except OSError as error:
        hint = "; `fastequi init` writes an example" if not path.exists() else ""
        raise InputError(f"{path}: cannot be read: {error.strerror}{hint}") from error


def looks_like_path(name: str) -> bool:
    """Whether a model name is meant as a file: it has a folder or a suffix that is not a number."""
    suffix = Path(name).suffix.lstrip(".")
    return "/" in name or "\\" in name or (suffix != "" and not suffix[0].isdigit())


def _with_absolute_paths(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    raw = {name: dict(v) if isinstance(v, dict) else v for name, v in raw.items()}
    raw.setdefault("output", {})
    if isinstance(raw["output"], dict):
        raw["output"].setdefault("directory", OutputConfig().directory)
    for section, key in (("system", "structure"), ("model", "name"), ("output", "directory")):
        values = raw.get(section)
        value = values.get(key) if isinstance(values, dict) else None
        if not isinstance(values, dict) or not isinstance(value, str) or not value:
            continue
        if key != "name" or looks_like_path(value) or (folder / value).is_file():
            values[key] = os.path.abspath(folder / Path(value).expanduser())
    return raw


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    return _toml_string(str(value))


def _toml_string(text: str) -> str:
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    out = "".join(
        escapes.get(c) or (f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else c) for c in text
    )
    return f'"{out}"'
