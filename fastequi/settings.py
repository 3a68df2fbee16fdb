"""What every TOML of fastequi shares: strict frozen sections, reading, checking, writing back.

A program says what it needs to be told as a pydantic model made of `Section`s; `checked` turns
what a file says into it, or reports all that is wrong in one `InputError`. "300" is not a number.
"""

import os
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from fastequi.errors import InputError
from fastequi.settings_problems import CHOICE, Vocabulary, describe_errors

#: What an existing output directory means: `refuse` it, or `allow` it (--resume, --overwrite).
Existing = Literal["refuse", "allow"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]

Settings = TypeVar("Settings", bound=BaseModel)


class Section(BaseModel):
    """A table of a TOML: unknown keys are refused, values keep their type, nothing changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _tuple_from_list(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


#: TOML has lists only; a strict tuple would refuse them.
FROM_LIST = BeforeValidator(_tuple_from_list)


def one_of(*choices: str) -> AfterValidator:
    """A choice among names that are listed elsewhere in the code."""

    def check(value: str) -> str:
        if value not in choices:
            raise PydanticCustomError(CHOICE, "not a choice", {"choices": list(choices)})
        return value

    return AfterValidator(check)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML. Raises InputError, with line and column where the syntax is wrong."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file in UTF-8") from error
    except OSError as error:
        hint = "; `fastequi init` writes an example" if not path.exists() else ""
        raise InputError(f"{path}: cannot be read: {error.strerror}{hint}") from error


def checked(
    path: Path,
    raw: dict[str, Any],
    kind: type[Settings],
    vocabulary: Vocabulary,
    further_problems: Iterable[str],
    copied: Collection[tuple[Any, ...]] = (),
) -> Settings:
    """What the TOML at `path` says as `kind`; `further_problems` join those that pydantic finds.

    copied: where values stand that were taken from elsewhere in the file, and are reported there.
    Raises InputError that lists every problem of the file.
    """
    problems: list[str] = []
    settings = None
    try:
        settings = kind.model_validate(raw)
    except ValidationError as error:
        problems += describe_errors(error, kind, raw, vocabulary, copied)
    problems += further_problems
    if settings is None or problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise InputError("\n".join([f"{path}: {count}", *(f"  {line}" for line in problems)]))
    return settings


# -- paths ---------------------------------------------------------------------------------------


def looks_like_path(name: str) -> bool:
    """Whether a model name is meant as a file: it has a folder or a suffix that is not a number."""
    suffix = Path(name).suffix.lstrip(".")
    return "/" in name or "\\" in name or (suffix != "" and not suffix[0].isdigit())


def absolute(text: str, folder: Path) -> str:
    """A path of a TOML in `folder`, the same from anywhere."""
    return os.path.abspath(folder / Path(text).expanduser())


def absolute_if_path(name: str, folder: Path) -> str:
    """A model name as it is, a model file as an absolute path."""
    is_file = looks_like_path(name) or (folder / name).is_file()
    return absolute(name, folder) if is_file else name


def change_texts_(
    raw: dict[str, Any], section: str, key: str, change: Callable[[str], str]
) -> None:
    """Apply `change` to the text, or to each text of the list, that a key holds, if it does."""
    values = raw.get(section)
    value = values.get(key) if isinstance(values, dict) else None
    if isinstance(values, dict) and isinstance(value, str) and value:
        values[key] = change(value)
    elif isinstance(values, dict) and isinstance(value, list):
        values[key] = [change(v) if isinstance(v, str) and v else v for v in value]


def set_default_(raw: dict[str, Any], section: str, key: str, value: Any) -> None:
    """Give a key its value if the TOML does not."""
    values = raw.setdefault(section, {})
    if isinstance(values, dict):
        values.setdefault(key, value)


def set_(raw: dict[str, Any], section: str, key: str, value: Any) -> None:
    """Give a key its value, whatever the TOML says."""
    values = raw.setdefault(section, {})
    if isinstance(values, dict):
        values[key] = value


# -- writing -------------------------------------------------------------------------------------


def to_toml(
    sections: Mapping[str, Mapping[str, Any] | Sequence[Mapping[str, Any]]], comment: str
) -> str:
    """The text of a TOML of sections and lists of sections; tables within are written inline."""
    lines = [f"# {comment}"]
    for section, values in sections.items():
        one = isinstance(values, Mapping)
        head = f"[{section}]" if one else f"[[{section}]]"
        for table in [values] if one else values:
            lines += ["", head, *(f"{k} = {_toml_value(v)}" for k, v in table.items())]
    return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{k} = {_toml_value(v)}' for k, v in value.items())} }}"
    return _toml_string(str(value))


def _toml_string(text: str) -> str:
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    out = "".join(
        escapes.get(c) or (f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else c) for c in text
    )
    return f'"{out}"'
