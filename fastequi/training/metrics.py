"""Errors of predictions: mean absolute and root mean square, by element and configuration type.

Energies count per atom, forces and stress per Cartesian component (nine of a stress). What has no
label does not count. Sums are float64 and stay on the device of the batches, so that adding one
never waits for a GPU.
"""

from collections.abc import Sequence
from math import sqrt
from typing import Any

import torch
from ase.data import chemical_symbols
from torch import Tensor

from fastequi.data import Batch
from fastequi.graph import sum_by_system, volumes
from fastequi.potential import Prediction

#: What errors are of -> how their names begin and end, here and in every file.
KINDS = {
    "energy": ("energy", "meV_per_atom"),
    "forces": ("force", "meV_per_A"),
    "stress": ("stress", "meV_per_A3"),
}
MEV_PER_EV = 1000.0

# The rows of a table of sums: energies, forces on atoms of element Z, stress.
_ENERGY, _STRESS, _ROWS = 0, len(chemical_symbols), len(chemical_symbols) + 1
_OF = {"energy": slice(0, 1), "forces": slice(1, _STRESS), "stress": slice(_STRESS, _ROWS)}


class ErrorSums:
    """Counts, and sums of absolute and squared errors in eV and Å, of all that was added.

    There is one table [rows, 3] for each configuration type, in the order they were met.
    """

    def __init__(self) -> None:
        self._place: dict[str, int] = {}
        self._tables = torch.zeros(0, 3, dtype=torch.float64)

    def add(self, prediction: Prediction, batch: Batch) -> None:
        """Count the errors of a prediction of this batch."""
        graph, table = batch.graph, self._table_of(batch)
        ones = torch.ones_like(prediction.energies)
        atoms = sum_by_system(ones, graph.system_idx, graph.n_systems)
        has_stress = batch.has_stress & (volumes(graph.cell) > 0)
        error = torch.cat([  # one number per component, [n]
            (prediction.energy - batch.energy) / atoms,
            (prediction.forces - batch.forces).view(-1),
            (prediction.stress - batch.stress).view(-1),
        ]).detach()  # fmt: skip
        known = _each(batch.has_energy, batch.has_forces[graph.system_idx], has_stress)
        row = _each(
            table + _ENERGY, table[graph.system_idx] + graph.atomic_numbers, table + _STRESS
        )
        error = torch.where(known, error, 0.0)
        moments = torch.stack([known.to(error.dtype), error.abs(), error.square()], dim=1)
        self._tables.index_add_(0, row, moments)

    def results(self) -> dict[str, float | None]:
        """MAE and RMSE of each kind over everything, in meV; None where nothing had a label."""
        return _results(self._by_type().sum(0))

    def counts(self) -> dict[str, int]:
        """How many numbers entered: energies, force components, stress components."""
        return _counts(self._by_type().sum(0))

    def per_species(self) -> dict[str, dict[str, float | int | None]]:
        """Errors of forces for each element that has any, with their count."""
        table = self._by_type().sum(0)
        found: dict[str, dict[str, float | int | None]] = {}
        for number in range(1, _STRESS):
            if table[number, 0] > 0:
                errors = _mae_and_rmse("forces", table[number])
                found[chemical_symbols[number]] = {
                    **errors, "force_components": int(table[number, 0])
                }  # fmt: skip
        return found

    def per_config_type(self) -> dict[str, dict[str, float | int | None]]:
        """`results` and `counts` of each configuration type."""
        tables = self._by_type()
        return {
            name: {**_results(tables[k]), **_counts(tables[k])} for name, k in self._place.items()
        }

    def report(self) -> dict[str, Any]:
        """Everything, as it is written to JSON."""
        return {
            **self.results(),
            **self.counts(),
            "per_species": self.per_species(),
            "per_config_type": self.per_config_type(),
        }

    # -- several of them ---------------------------------------------------------------------

    @classmethod
    def merged(cls, several: "Sequence[ErrorSums]") -> "ErrorSums":
        """The errors of all, as if one had seen every batch."""
        total = cls()
        for one in several:
            for name, table in zip(one._place, one._by_type(), strict=True):
                total._place_of(name)
                total._by_type()[total._place[name]] += table
        return total

    def state(self) -> dict[str, dict[str, list[float]]]:
        """All sums by configuration type and row, as JSON keeps them."""
        tables = self._by_type().tolist()
        return {
            name: {str(row): sums for row, sums in enumerate(tables[k]) if sums[0]}
            for name, k in self._place.items()
        }

    @classmethod
    def from_state(cls, state: dict[str, dict[str, list[float]]]) -> "ErrorSums":
        """What `state` was taken of, to the last bit."""
        errors = cls()
        for name, rows in state.items():
            place = errors._place_of(name)
            for row, sums in rows.items():
                errors._by_type()[place, int(row)] = torch.tensor(sums, dtype=torch.float64)
        return errors

    def __reduce__(self) -> tuple[Any, ...]:
        # Between processes the sums travel as numbers: the other one may have another device.
        return ErrorSums.from_state, (self.state(),)

    # -- tables ------------------------------------------------------------------------------

    def _by_type(self) -> Tensor:
        """The tables [configuration types, rows, 3] on the CPU."""
        self._tables = self._tables.cpu()
        return self._tables.view(-1, _ROWS, 3)[: len(self._place)]

    def _place_of(self, config_type: str) -> int:
        """Which table is this type's; a new type gets an empty one."""
        place = self._place.setdefault(config_type, len(self._place))
        if place * _ROWS == len(self._tables):  # full: double it, a type may be a single frame's
            more = self._tables.new_zeros(max(1, place) * _ROWS, 3)
            self._tables = torch.cat([self._tables, more])
        return place

    def _table_of(self, batch: Batch) -> Tensor:
        """First row of the table of each system [systems]; tables move to the batch's device."""
        places = [self._place_of(name) for name in batch.config_type]
        device = batch.graph.positions.device
        self._tables = self._tables.to(device)
        return torch.tensor(places, device=device) * _ROWS


def _each(of_energy: Tensor, of_atom: Tensor, of_stress: Tensor) -> Tensor:
    """What holds for energies [systems], atoms [atoms] and stresses [systems], per component."""
    atoms, stresses = of_atom.unsqueeze(1).expand(-1, 3), of_stress.unsqueeze(1).expand(-1, 9)
    return torch.cat([of_energy, atoms.reshape(-1), stresses.reshape(-1)])


def _results(table: Tensor) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for kind, rows in _OF.items():
        found |= _mae_and_rmse(kind, table[rows].sum(0))
    return found


def _counts(table: Tensor) -> dict[str, int]:
    counted = {kind: int(table[rows, 0].sum()) for kind, rows in _OF.items()}
    return {
        "energies": counted["energy"],
        "force_components": counted["forces"],
        "stress_components": counted["stress"],
    }


def _mae_and_rmse(kind: str, sums: Tensor) -> dict[str, float | None]:
    """Named errors in meV from a row of sums in eV."""
    begin, end = KINDS[kind]
    count, absolute, squared = sums.tolist()
    mae = MEV_PER_EV * absolute / count if count else None
    rmse = MEV_PER_EV * sqrt(squared / count) if count else None
    return {f"{begin}_mae_{end}": mae, f"{begin}_rmse_{end}": rmse}
