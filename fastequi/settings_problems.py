"""Problems of a TOML in words: what was got, what is allowed, what was probably meant."""

import difflib
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

#: The kind of pydantic error that says: none of the choices.
CHOICE = "choice"
_NO_DEFAULT = "default_factory_not_called"

_UNITS = {"_eV_per_A": "eV/Å", "_per_GPa": "1/GPa", "_GPa": "GPa", "_fs": "fs", "_per_ps": "1/ps",
          "_K": "kelvin", "_A": "Å", "_minutes": "minutes"}  # fmt: skip

_EXPECTED_TYPES = {
    "bool_type": "true or false",
    "float_type": "a number without quotes, for example 300.0",
    "int_type": "a whole number without quotes",
    "int_from_float": "a whole number",
    "string_type": 'text in quotes, for example "name"',
    "finite_number": "a finite number",
    "model_type": "a section of keys",
}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Words of one kind of TOML; keys are dotted (`section.key`) unless said otherwise.

    aliases      what people write for a key when they come from elsewhere, in lower case and
                 without its section -> the key; dotted where its name alone could be another's
    not_offered  values that the field knows and this version does not offer
    expected     what is allowed, where the type of a value cannot say it well: lists, alternatives
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    not_offered: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    expected: Mapping[str, str] = field(default_factory=dict)


def describe_errors(
    error: ValidationError,
    config: type[BaseModel],
    raw: dict[str, Any],
    vocabulary: Vocabulary,
    copied: Collection[tuple[Any, ...]] = (),
) -> list[str]:
    """One line per problem that pydantic found: dotted key, what was got, what is allowed.

    Not of values at the locations `copied`. Tables of a list are numbered from 0: `stage.0.steps`.
    """
    # A default that follows from a key which is wrong itself is no further problem.
    found = [
        problem
        for problem in error.errors()
        if problem["type"] != _NO_DEFAULT and problem["loc"][:3] not in copied
    ]
    lines = [_describe(problem, config, raw, vocabulary) for problem in found]
    return list(dict.fromkeys(lines))  # a list with several bad items is one problem


def _describe(
    problem: ErrorDetails, config: type[BaseModel], raw: dict[str, Any], vocabulary: Vocabulary
) -> str:
    location, field_info = _find(problem["loc"], config)
    kind, key = problem["type"], ".".join(location)
    word = _without_numbers(location)
    if field_info is None:
        return _unknown_key(location, config, vocabulary)
    description = field_info.description
    meaning = f" ({description})" if description else ""
    is_inside = len(problem["loc"]) > len(location)  # an item of a list, one of several types
    got = value_at(raw, location) if is_inside else problem["input"]
    if kind == "missing" and not is_inside:
        what = "section" if len(location) == 1 else "key"
        return f"{key}: this {what} is required{meaning}"
    if kind == CHOICE and word not in vocabulary.expected:
        choices = problem.get("ctx", {})["choices"]
        return f"{key}: {_unknown_choice(word, got, choices, vocabulary)}"
    if kind == "string_pattern_mismatch" and word not in vocabulary.expected:
        return f"{key}: got {toml(got)}; allowed: {description}"  # says it better than a pattern
    expected = vocabulary.expected.get(word) or _EXPECTED_TYPES.get(kind)
    expected = expected or problem["msg"].replace("Input should be ", "")
    return f"{key}: got {toml(got)}; allowed: {expected}{meaning}"


def _find(location: Sequence[Any], config: type[BaseModel]) -> tuple[list[str], Any]:
    """The key that a pydantic location is about, without what is inside its value; its field.

    The field is None where the config knows no such key.
    """
    found: list[str] = []
    section: type[BaseModel] | None = config
    info = None
    for part in location:
        if section is None:
            break
        found.append(str(part))
        if isinstance(part, int):  # which table of a list
            continue
        info = section.model_fields.get(part)
        section = _section_of(info) if info else None
    return found, info


def _section_of(info: Any) -> type[BaseModel] | None:
    """The section that a field is, or may be."""
    for kind in (info.annotation, *get_args(info.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _without_numbers(location: Sequence[str]) -> str:
    """A dotted key that is the same in all tables of a list."""
    return ".".join(part for part in location if not part.isdecimal())


def _unknown_key(location: list[str], config: type[BaseModel], vocabulary: Vocabulary) -> str:
    sections = _keys_by_section(config)
    *parents, key = location
    what = "key" if parents else "section"
    allowed = sections[_without_numbers(parents)]
    meant = vocabulary.aliases.get(key.lower(), "")
    home, _, meant = meant.rpartition(".")
    close = difflib.get_close_matches(key, allowed, n=1, cutoff=0.55)
    guess = meant if meant in allowed else close[0] if close and not home else ""
    elsewhere = [home] if home else [
        name for name, keys in sections.items() if name and (key in keys or meant in keys)
    ]  # fmt: skip
    hint = ""
    if guess:
        hint = f" (did you mean {_with_unit(guess)}?)"
    elif not parents and elsewhere:
        hint = f" (did you mean {meant or key} in the section [{elsewhere[0]}]?)"
    elif elsewhere:
        hint = f" (did you mean {elsewhere[0]}.{_with_unit(meant or key)}?)"
    return f"{'.'.join(location)}: not a known {what}{hint}; allowed: {', '.join(allowed)}"


def _keys_by_section(config: type[BaseModel], prefix: str = "") -> dict[str, list[str]]:
    """Dotted section -> its keys; '' -> the sections."""
    found = {prefix: list(config.model_fields)}
    for name, info in config.model_fields.items():
        if section := _section_of(info):
            found |= _keys_by_section(section, f"{prefix}.{name}".lstrip("."))
    return found


def _with_unit(key: str) -> str:
    unit = next((unit for suffix, unit in _UNITS.items() if key.endswith(suffix)), "")
    return f"{key}, in {unit}" if unit else key


def _unknown_choice(key: str, got: Any, allowed: list[str], vocabulary: Vocabulary) -> str:
    hint = ""
    close = difflib.get_close_matches(str(got).lower(), allowed, n=1, cutoff=0.55)
    if got in vocabulary.not_offered.get(key, ()):
        hint = " is not offered by this version"
    elif close:
        hint = f" is not known (did you mean {toml(close[0])}?)"
    return f"got {toml(got)}{', which' + hint if hint else ''}; allowed: {', '.join(allowed)}"


# -- problems that only a look at the disk shows -------------------------------------------------


def model_problem(key: str, name: str, model_names: Sequence[str]) -> Iterator[str]:
    """A model that is neither a file nor, if any names are given, a known name."""
    if os.path.isabs(name) and not Path(name).is_file():
        yield f"{key}: no file {name}{similar_files(Path(name))}"
    elif not os.path.isabs(name) and model_names and name.split(":")[0] not in model_names:
        close = difflib.get_close_matches(name.lower(), model_names, n=1)
        hint = f" (did you mean {toml(close[0])}?)" if close else ""
        yield (
            f"{key}: got {toml(name)}, which is not a known name{hint}; allowed: "
            f"{', '.join(model_names)}, or the path of a model file"
        )


def directory_problem(directory: Path, existing: str) -> Iterator[str]:
    """An output directory that is in use or cannot be written."""
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


def similar_files(path: Path) -> str:
    """` (did you mean NAME?)` if the folder of a missing file has one with a similar name."""
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, siblings, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def value_at(raw: Any, location: Sequence[str]) -> Any:
    """What a raw TOML holds at a key; None where it holds nothing."""
    for part in location:
        if isinstance(raw, list):
            raw = raw[int(part)] if part.isdecimal() and int(part) < len(raw) else None
        else:
            raw = raw.get(part) if isinstance(raw, dict) else None
    return raw


def toml(value: Any) -> str:
    """A value as the user would have written it, cut to a readable length."""
    text = str(value)
    if isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, bool):
        text = text.lower()
    elif isinstance(value, list | tuple):
        text = f"[{', '.join(toml(item) for item in value)}]"
    elif isinstance(value, dict):
        text = f"{{ {', '.join(f'{k} = {toml(v)}' for k, v in value.items())} }}"
    return text if len(text) <= 60 else text[:57] + "..."
