"""What a kernel computes: the words that printers, plans and launches share."""

from dataclasses import dataclass
from typing import Literal

Operation = Literal["forward", "vjp", "jvp", "jvp_vjp"]
Source = Literal["table", "pair_weights"]


@dataclass(frozen=True, slots=True)
class Form:
    """An operation of `convolution/definitions.py`, and where its weights come from.

    has_tangents  of jvp and jvp_vjp: the features change too
    """

    operation: Operation
    source: Source
    has_tangents: bool = False

    def __str__(self) -> str:
        return f"{self.source} {self.operation}"


@dataclass(frozen=True, slots=True)
class Group:
    """What one kernel computes: some paths of an input irrep, `block` channels per program."""

    input: int
    paths: tuple[int, ...]
    block: int
