"""Problems of an md.toml in words: what was got, what is allowed, what was probably meant."""

import difflib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fastequi.errors import InputError
from fastequi.md.structure import read_structure, similar_files

#: The kind of pydantic error that says: none of the choices.
CHOICE = "choice"

#: What people write for a key when they come from elsewhere.
ALIASES = {
    "dt": "timestep_fs",
    "dt_fs": "timestep_fs",
    "temp": "temperature_K",
    "temperature_k": "temperature_K",
    "t": "temperature_K",
    "gamma": "friction_per_ps",
    "n_steps": "steps",
    "nsteps": "steps",
    "file": "structure",
    "struct": "structure",
    "path": "name",
    "model": "name",
    "precision": "dtype",
    "thermostat": "ensemble",
    "integrator": "ensemble",
    "outdir": "directory",
    "skin": "skin_A",
    "format": "trajectory_format",
    "traj_every": "trajectory_every",
    "restart_every": "checkpoint_every",
}

#: Values that the field knows and this version does not offer.
NOT_OFFERED = {
    "model.kernels": ("cpu", "triton"),
    "dynamics.ensemble": (
        "nvt-nose-hoover", "nvt-csvr", "nvt-berendsen", "npt-mttk", "npt-csvr", "npt-berendsen",
        "npt-langevin", "nph", "minimize", "nvt", "npt",
    ),
}  # fmt: skip

_UNITS = {"_fs": "fs", "_per_ps": "1/ps", "_K": "kelvin", "_A": "Å"}

_EXPECTED_TYPES = {
    "float_type": "a number without quotes, for example 300.0",
    "int_type": "a whole number without quotes",
    "int_from_float": "a whole number",
    "string_type": 'text in quotes, for example "name"',
    "tuple_type": "three whole numbers above 0, for example [2, 2, 2]",
    "too_long": "three whole numbers above 0, for example [2, 2, 2]",
    "finite_number": "a finite number",
    "model_type": "a section of keys",
}


def describe_errors(
    error: ValidationError, config: type[BaseModel], raw: dict[str, Any]
) -> list[str]:
    """One line per problem that pydantic found: dotted key, what was got, what is allowed."""
    lines = [_describe(problem, config, raw) for problem in error.errors()]
    return list(dict.fromkeys(lines))  # a list with several bad items is one problem


def file_problems(
    raw: dict[str, Any], default_directory: str, existing: str, model_names: Sequence[str]
) -> list[str]:
    """Problems with what a raw md.toml (absolute paths) points to: structure, model, output.

    Works on any keys that have a sensible type, so that they are reported with all the rest.
    """
    output = raw.get("output", {})
    directory = output.get("directory", default_directory) if isinstance(output, dict) else None
    name = _value(raw, "model", "name")
    found = [*_structure_problem(raw)]
    if isinstance(name, str):
        found += _model_problem(name, model_names)
    if isinstance(directory, str):
        found += _directory_problem(Path(directory), existing)
    return found


def _describe(problem: ErrorDetails, config: type[BaseModel], raw: dict[str, Any]) -> str:
    location = [str(part) for part in problem["loc"][:2]]
    kind, key = problem["type"], ".".join(location)
    if kind == "extra_forbidden":
        return _unknown_key(location, config)
    if len(problem["loc"]) > 2:  # an item of a list
        kind, got = "tuple_type", _value(raw, *location)
    else:
        got = problem["input"]
    if kind == "missing":
        what = "section" if len(location) == 1 else "key"
        return f"{key}: this {what} is required{_meaning(location, config)}"
    if kind == CHOICE:
        return f"{key}: {_unknown_choice(key, got, problem.get('ctx', {})['choices'])}"
    meaning = _meaning(location, config)
    if kind == "string_pattern_mismatch":  # the description says it better than a pattern
        return f"{key}: got {_toml(got)}; allowed: {meaning.strip(' ()')}"
    expected = _EXPECTED_TYPES.get(kind) or problem["msg"].replace("Input should be ", "")
    return f"{key}: got {_toml(got)}; allowed: {expected}{meaning}"


def _unknown_key(location: list[str], config: type[BaseModel]) -> str:
    sections = _keys_by_section(config)
    *parents, key = location
    what = "key" if parents else "section"
    allowed = sections[parents[0]] if parents else list(sections)
    meant = ALIASES.get(key.lower(), "")
    close = difflib.get_close_matches(key, allowed, n=1, cutoff=0.55)
    guess = meant if meant in allowed else close[0] if close else ""
    elsewhere = [name for name, keys in sections.items() if key in keys or meant in keys]
    hint = ""
    if guess:
        hint = f" (did you mean {_with_unit(guess)}?)"
    elif not parents and elsewhere:
        hint = f" (did you mean {meant or key} in the section [{elsewhere[0]}]?)"
    elif elsewhere:
        hint = f" (did you mean {elsewhere[0]}.{_with_unit(meant or key)}?)"
    return f"{'.'.join(location)}: not a known {what}{hint}; allowed: {', '.join(allowed)}"


def _with_unit(key: str) -> str:
    unit = next((unit for suffix, unit in _UNITS.items() if key.endswith(suffix)), "")
    return f"{key}, in {unit}" if unit else key


def _unknown_choice(key: str, got: Any, allowed: list[str]) -> str:
    hint = ""
    close = difflib.get_close_matches(str(got).lower(), allowed, n=1, cutoff=0.55)
    if got in NOT_OFFERED.get(key, ()):
        hint = " is not offered by this version"
    elif close:
        hint = f" is not known (did you mean {_toml(close[0])}?)"
    return f"got {_toml(got)}{', which' + hint if hint else ''}; allowed: {', '.join(allowed)}"


def _structure_problem(raw: dict[str, Any]) -> Iterator[str]:
    structure, index = _value(raw, "system", "structure"), _value(raw, "system", "index")
    if isinstance(structure, str):
        try:
            read_structure(structure, index if type(index) is int else -1)
        except InputError as error:
            yield f"system.structure: {error}"


def _model_problem(name: str, model_names: Sequence[str]) -> Iterator[str]:
    if os.path.isabs(name) and not Path(name).is_file():
        yield f"model.name: no file {name}{similar_files(Path(name))}"
    elif not os.path.isabs(name) and model_names and name.split(":")[0] not in model_names:
        close = difflib.get_close_matches(name.lower(), model_names, n=1)
        hint = f" (did you mean {_toml(close[0])}?)" if close else ""
        yield (
            f"model.name: got {_toml(name)}, which is not a known name{hint}; allowed: "
            f"{', '.join(model_names)}, or the path of a model file"
        )


def _directory_problem(directory: Path, existing: str) -> Iterator[str]:
    if directory.exists() and not directory.is_dir():
        yield f"output.directory: {directory} exists and is not a folder"
        return
    if directory.is_dir() and any(directory.iterdir()) and existing == "refuse":
        yield (
            f"output.directory: {directory} exists and is not empty; --resume goes on with it, "
            "--overwrite starts anew, or choose another name"
        )
    parent = directory
    while not parent.exists():
        parent = parent.parent
    try:
        # Root passes os.access everywhere, so ask for a real file; it never gets a name.
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        reason = f"no file can be made in {parent} ({error.strerror})"
        yield f"output.directory: {directory} cannot be written: {reason}"


def _value(raw: dict[str, Any], section: str, key: str) -> Any:
    values = raw.get(section)
    return values.get(key) if isinstance(values, dict) else None


def _keys_by_section(config: type[BaseModel]) -> dict[str, list[str]]:
    return {
        name: list(field.annotation.model_fields)
        for name, field in config.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def _field(location: list[str], config: type[BaseModel]) -> Any:
    section: Any = config.model_fields[location[0]]
    return section if len(location) == 1 else section.annotation.model_fields[location[1]]


def _meaning(location: list[str], config: type[BaseModel]) -> str:
    description = _field(location, config).description
    return f" ({description})" if description else ""


def _toml(value: Any) -> str:
    text = str(value)
    if isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, bool):
        text = text.lower()
    elif isinstance(value, list | tuple):
        text = f"[{', '.join(_toml(item) for item in value)}]"
    return text if len(text) <= 60 else text[:57] + "..."
