"""What a property of a crystal is, to those who offer all of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ase import Atoms

from fastequi.md.analysis.analysis import Columns, Finding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Called with (done, total).
Progress = Callable[[int, int], None]


def no_obstacle() -> str:
    """For a property that needs no other package."""
    return ""


@dataclass(frozen=True)
class Property:
    """A row of `PROPERTIES`.

    title     in a few words, for headings
    compute   atoms at rest, with a calculator that has stress -> a result
    findings  the result in numbers, and in remarks for people
    tables    the result in columns, by the names of their files
    draw      the result, on a sheet of `size` inches
    obstacle  why it cannot be computed here, and the way out; empty where it can
    """

    title: str
    compute: Callable[[Atoms, Progress | None], Any]
    findings: Callable[[Any], list[Finding | str]]
    tables: Callable[[Any], Mapping[str, Columns]]
    draw: Callable[[Any, "Figure"], None] | None = None
    size: tuple[float, float] = (6.0, 4.0)
    obstacle: Callable[[], str] = no_obstacle
