"""[[stage]] of md.toml before it is checked: what each stage takes of [dynamics]."""

import re
from collections.abc import Iterator
from typing import Any

from ase.io.extxyz import key_val_str_to_dict

#: What a stage may be called.
NAME = r"[A-Za-z][\w.+-]{0,63}"
#: Keys of [dynamics] that a whole run has once.
SHARED = ("device", "deterministic")


def complete_stages_(raw: dict[str, Any]) -> set[tuple[Any, ...]]:
    """Give every stage the keys of [dynamics] that it does not name itself.

    The steps of [dynamics], if it has none, become those of all stages. Returns where copies
    stand, as pydantic says it: `("stage", 0, "seed")`.
    """
    stages, dynamics = raw.get("stage"), raw.setdefault("dynamics", {})
    if not isinstance(stages, list) or not isinstance(dynamics, dict) or not stages:
        return set()
    copied = set()
    for k, stage in enumerate(stages):
        if isinstance(stage, dict):
            copied |= {("stage", k, key) for key in dynamics if key not in stage}
            stages[k] = {**dynamics, **stage}
    if "steps" not in dynamics:
        steps = [stage.get("steps") for stage in stages if isinstance(stage, dict)]
        dynamics["steps"] = sum(n for n in steps if type(n) is int and n > 0)
    return copied


def stage_problems(raw: dict[str, Any]) -> Iterator[str]:
    """What is wrong with stages taken together; before they are completed."""
    stages = raw.get("stage")
    if not isinstance(stages, list):
        return
    names = [stage.get("name") for stage in stages if isinstance(stage, dict)]
    for k, stage in enumerate(stages):
        if not isinstance(stage, dict):
            continue
        name = stage.get("name")
        if isinstance(name, str) and names.index(name) < k:
            yield f'stage.{k}.name: got "{name}", the name of another stage; give it one of its own'
        if isinstance(name, str) and _is_read_otherwise(name):
            yield f'stage.{k}.name: got "{name}", which ASE reads as no text; choose another word'
        for key in SHARED:
            if key in stage:
                yield f"stage.{k}.{key}: all stages have the same; it stands in [dynamics]"


def _is_read_otherwise(name: str) -> bool:
    """As the header of an extxyz frame reads "T" as true and "nan" as a number."""
    if re.fullmatch(NAME, name) is None:
        return False  # is said elsewhere
    return key_val_str_to_dict(f"stage={name}").get("stage") != name
