"""A model for TorchSim: batches of systems under its integrators, optimisers and autobatchers.

model = TorchSimModel("sevennet-0", dtype="float64")
torch_sim.integrate(system=atoms, model=model, integrator=..., n_steps=100, ...)
"""

from typing import Any

import torch
from torch import Tensor

try:
    from torch_sim.models.interface import ModelInterface
except ImportError as error:
    raise ImportError(
        f"TorchSim cannot be imported ({error}): pip install torch-sim-atomistic"
    ) from error

from fastequi.dispersion import with_dispersion
from fastequi.errors import InputError
from fastequi.graph import Graph
from fastequi.importers import load_model
from fastequi.md.neighbors import NeighborList
from fastequi.potential import ForceCall, Potential, force_call


class TorchSimModel(ModelInterface):
    """TorchSim's `ModelInterface`: energy, energies, forces, stress in the dtype of the model.

    Neighbours are searched anew when atoms have used up a skin, or where systems have joined or
    left the batch. Arithmetic and results are those of `fastequi.FastEquiCalculator`.
    """

    def __init__(
        self,
        model: str | Potential = "sevennet-0",
        *,
        skin_A: float = 0.5,
        dispersion: str = "none",
        **load_options: Any,
    ) -> None:
        """model: a name or file, with the keywords of `load_model`, or a loaded model."""
        super().__init__()
        if isinstance(model, str):
            model = load_model(model, **load_options)
        elif load_options:
            raise TypeError(f"{', '.join(load_options)}: for loading by name; the model is loaded")
        self.potential = with_dispersion(model, dispersion, None)
        self.neighbors = NeighborList(self.potential.cutoff, skin_A)
        self._device = self.potential.device
        self._dtype = getattr(torch, getattr(model, "dtype_name", "float64"))
        self._compute_forces = self._compute_stress = True
        self._memory_scales_with = "n_atoms_x_density"
        self._call: tuple[Tensor, ForceCall] | None = None  # and of which elements

    def forward(self, state: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Of a SimState (or the dict of one): energy [systems] in eV, energies [atoms] in eV,
        forces [atoms, 3] in eV/Å, stress [systems, 3, 3] in eV/Å³.

        Raises InputError for elements that the model does not know.
        """
        get = state.__getitem__ if isinstance(state, dict) else state.__getattribute__
        graph = self._topology(get)
        found = self._force_call(graph)(graph.positions, graph.cell)
        results = {
            "energy": found.energy, "energies": found.energies, "forces": found.forces,
            "stress": found.stress.nan_to_num(),  # of what has no volume: TorchSim wants numbers
        }  # fmt: skip
        return {k: v.detach().to(self.dtype, copy=True) for k, v in results.items()}

    def _topology(self, get: Any) -> Graph:
        """The state in fastequi's terms: TorchSim has lattice vectors in columns."""
        to = {"device": self.device, "dtype": torch.float64}
        cell = get("cell").to(**to).mT.contiguous()
        pbc = torch.as_tensor(get("pbc"), device=self.device)
        pbc = pbc.expand(len(cell), 3) if pbc.ndim < 2 else pbc
        numbers = get("atomic_numbers").to(self.device, torch.int64)
        self._check_elements(numbers)
        empty = torch.empty(0, dtype=torch.int64, device=self.device)
        return Graph(
            positions=get("positions").to(**to),
            atomic_numbers=numbers,
            cell=torch.where(pbc.any(dim=1).view(-1, 1, 1), cell, 0.0),
            pbc=pbc.contiguous(),
            system_idx=get("system_idx").to(self.device, torch.int64),
            edge_src=empty,
            edge_dst=empty,
            edge_shift=empty.new_empty((0, 3), dtype=torch.float64),
        )

    def _check_elements(self, numbers: Tensor) -> None:
        known = self.potential.atomic_numbers
        unknown = set() if known is None else set(numbers.unique().tolist()) - set(known)
        if unknown:
            raise InputError(f"the model does not know elements {sorted(unknown)} (atomic numbers)")

    def _force_call(self, graph: Graph) -> ForceCall:
        """The one so far where atoms have merely moved."""
        numbers, topology = graph.atomic_numbers, (graph.cell, graph.pbc, graph.system_idx)
        before = self._call
        is_new = self.neighbors.update(graph.positions, *topology)
        if is_new or before is None or not torch.equal(before[0], numbers):
            listed = self.neighbors.graph_with_skin(graph.positions, numbers, *topology)
            before = numbers.clone(), force_call(self.potential, listed, before and before[1])
            self._call = before
        return before[1]
