"""What a minimiser is made of.

A minimiser is one file with a frozen dataclass, and its row in `MINIMIZERS`. It sees rows of three
coordinates, which are atoms and, behind them, what a cell may do (`Coordinates`), and knows of
neither. All systems of a batch go on at once, each by its own numbers: sums are by system, choices
are torch.where, and no number is asked for by the host.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fastequi.md.batch import Batch


@dataclass(frozen=True, slots=True)
class Rows:
    """To which systems the rows of a minimisation belong.

    batch   of the atoms, which come first; behind them three rows for each cell, or none
    owner   [rows], int64
    """

    batch: Batch
    owner: Tensor

    @property
    def n_systems(self) -> int:
        return self.batch.n_systems

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        """Sum of products [systems] of two vectors [rows, 3]."""
        products, n_atoms = (a * b).sum(dim=1), len(self.batch.system_idx)
        total = self.batch.sum(products[:n_atoms])
        if len(products) == n_atoms:
            return total
        return total + products[n_atoms:].view(-1, 3).sum(dim=1)

    def of_rows(self, values: Tensor) -> Tensor:
        """Numbers of systems [systems] for their rows: [rows, 1]."""
        return values.index_select(0, self.owner).unsqueeze(1)

    def zeros(self, *shape: int) -> Tensor:
        """Float64 on the device of the rows."""
        return torch.zeros(shape, dtype=torch.float64, device=self.owner.device)


class Minimizer(ABC):
    """How far to move.

    name  as md.toml has it
    """

    name: ClassVar[str]

    @abstractmethod
    def memory(self, rows: Rows) -> dict[str, Tensor]:
        """What it has to remember, as it is before the first step."""

    @abstractmethod
    def displacement_(self, memory: dict[str, Tensor], forces: Tensor, rows: Rows) -> Tensor:
        """The next move [rows, 3] in Å, given forces [rows, 3] in eV/Å; writes into its memory.

        Whoever calls may shorten a move, and says so by `shortened_`.
        """

    @abstractmethod
    def shortened_(self, memory: dict[str, Tensor], factor: Tensor, rows: Rows) -> None:
        """The last move was taken times a factor [systems], at most 1."""
