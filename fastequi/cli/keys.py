"""The keys of a TOML as a table, below the help of the command that reads it."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any, get_args

from pydantic import BaseModel
from rich import box
from rich.console import Console
from rich.table import Table

#: Command -> the file that it reads, and where the type of that is.
READS = {
    "run": ("md.toml", "fastequi.md.config:Config"),
    "train": ("train.toml", "fastequi.training.config:TrainConfig"),
}


def print_keys(command: str) -> None:
    """Every key of the TOML of a command, with its default and its meaning."""
    file, place = READS[command]
    module, name = place.split(":")
    table = Table(box=box.SIMPLE_HEAD, title=f"Keys of {file}", title_justify="left")
    table.add_column("key", no_wrap=True)
    table.add_column("default")
    table.add_column("meaning", ratio=1)
    for heading, rows in sections(getattr(import_module(module), name)):
        table.add_row(f"[bold]{_escaped(heading)}[/bold]", "", "")
        for row in rows:
            table.add_row(*map(_escaped, row))
        table.add_section()
    Console().print(table)


def sections(
    config: type[BaseModel], before: str = ""
) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """The heading of each section as a TOML may have it; name, default and meaning of its keys.

    before  the name of the section that `config` is itself, and a dot
    """
    for name, info in config.model_fields.items():
        section, is_list = _section_of(info.annotation)
        if section is None:
            continue
        heading = f"[[{before}{name}]]" if is_list else f"[{before}{name}]"
        own = {key: one for key, one in section.model_fields.items()
               if _section_of(one.annotation)[0] is None}  # fmt: skip
        yield heading, [(key, _default(one), one.description or "") for key, one in own.items()]
        yield from sections(section, f"{before}{name}.")


def _section_of(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The section that a field is, or is a list of; None if it is neither."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    found = [_section_of(part)[0] for part in get_args(annotation)]
    section = next((one for one in found if one), None)
    return section, section is not None and getattr(annotation, "__origin__", None) is tuple


def _default(info: Any) -> str:
    if info.is_required():
        return "required"
    if info.default_factory is not None:
        try:
            value = info.get_default(call_default_factory=True, validated_data={})
        except (TypeError, ValueError, KeyError):  # it follows from a key that has no default
            return ""
    else:
        value = info.default
    if value is None or value == ():
        return "–"
    if isinstance(value, tuple):
        return str(list(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _escaped(text: str) -> str:
    return text.replace("[", "\\[")
