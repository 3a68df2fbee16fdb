"""The keys that ensembles bring to [dynamics] of md.toml, from the fields of their integrators."""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING
from functools import partial
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import AfterValidator, Field, ValidationInfo, create_model
from pydantic.fields import FieldInfo

from fastequi.md.integrators.integrator import Integrator, parameters
from fastequi.settings import Section, one_of

Integrators = Mapping[str, type[Integrator]]
Shared = TypeVar("Shared", bound=Section)


def with_own_keys(shared: type[Shared], integrators: Integrators) -> type[Shared]:
    """The section `shared` with the keys of all integrators; its `ensemble` is one of them.

    A key of the chosen ensemble has its default there. One of another ensemble may be given, so
    that a file can be tried with several; it is checked, and then None: it has no effect.

    Raises TypeError where integrators declare one key differently, or without a default.
    """
    keys = _own_keys(shared, integrators)
    fields: dict[str, Any] = {key: _field(*found) for key, found in keys.items()}
    # It keeps its place before the keys that look at its value.
    fields["ensemble"] = (
        Annotated[str, one_of(*integrators)],
        Field(
            default=shared.model_fields["ensemble"].default,
            description=_or(f"{name} ({kind.method})" for name, kind in integrators.items()),
        ),
    )
    return create_model(shared.__name__, __base__=shared, **fields)


def _own_keys(
    shared: type[Section], integrators: Integrators
) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Keys that are not shared -> type, and the default in each ensemble that has it."""
    found: dict[str, tuple[Any, dict[str, Any]]] = {}
    for ensemble, kind in integrators.items():
        hints = get_type_hints(kind, include_extras=True)
        for key, default in parameters(kind).items():
            if key in shared.model_fields:
                continue
            declared, defaults = found.setdefault(key, (hints[key], {}))
            if default is MISSING:
                raise TypeError(f"{key} of {ensemble} needs a default: a user may leave it out")
            if hints[key] != declared:
                raise TypeError(f"{key} of {ensemble} is declared differently elsewhere")
            defaults[ensemble] = default
    return found


def _or(names: Iterable[str]) -> str:
    """'a, b or c'."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _field(kind: Any, defaults: Mapping[str, Any]) -> tuple[Any, Any]:
    """A key of some ensembles, as pydantic's create_model takes it."""
    meaning = FieldInfo.from_annotation(kind).description
    return (
        Annotated[kind | None, AfterValidator(partial(_if_owned, owners=set(defaults)))],
        Field(
            default_factory=lambda before: defaults.get(before["ensemble"]),
            description=f"{meaning}, of {', '.join(defaults)}",
        ),
    )


def _if_owned(value: Any, info: ValidationInfo, owners: set[str]) -> Any:
    """The value where the ensemble has this key, or is not known."""
    return value if info.data.get("ensemble") in {None, *owners} else None
