"""A model as LAMMPS's `pair_style mliap unified` takes it, for clusters with a Kokkos build.

    fastequi convert sevennet-0 sevennet-0.pt --for lammps-mliap
    pair_style mliap unified sevennet-0.pt 0
    pair_coeff * * Si O

Atoms of other ranks are ghosts as far as one cutoff; forward_exchange and reverse_exchange of the
data that LAMMPS hands over pass features once per layer in each direction. Releases before
15 December 2025 pass wrong ones between ranks (lammps #4808), and are refused.
"""

import importlib.metadata
import re
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ase.data import chemical_symbols
from torch import Tensor

from fastequi.engine.blocks import Blocks
from fastequi.engine.domain import DomainCall
from fastequi.engine.fused import FusedNequIP
from fastequi.engine.loaded import LoadedModel
from fastequi.errors import InputError
from fastequi.graph import Graph
from fastequi.importers import load_model, read_any
from fastequi.model.file import save_model

#: The first release whose exchanges are right.
FIRST_RELEASE = (2025, 12, 15)


class MLIAPModel:
    """The unified interface: LAMMPS reads element_types, ndescriptors, nparams, rcutfac, sets
    interface, and calls compute_forces. Pickled, it is the model's file and dtype; what computes is
    made on the device of the first data that it is given."""

    def __init__(self, model_file: bytes, dtype: str) -> None:
        self.model_file, self.dtype, self.interface = model_file, dtype, None
        model = self._load("cpu", kernels="reference")
        self.element_types = [chemical_symbols[z] for z in model.atomic_numbers]
        self.ndescriptors = self.nparams = 1
        self.rcutfac = 0.5 * model.cutoff  # LAMMPS doubles it
        self._engine: FusedNequIP | None = None
        self._is_checked = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_engine": None, "_is_checked": False, "interface": None}

    def compute_forces(self, data: Any) -> None:
        """Energies of own atoms and dE/dr of the pairs, into LAMMPS's data.

        Every rank makes the same exchanges, one without atoms among them. Raises InputError for a
        LAMMPS that is too old or has no Kokkos.
        """
        vectors = torch.as_tensor(data.rij).to(torch.float64)
        if not self._is_checked:
            check_lammps(data)
            self._is_checked = True
        engine = self.prepare(str(vectors.device))
        if vectors.is_cuda:
            torch.cuda.synchronize(vectors.device)  # LAMMPS wrote in a stream of its own
        graph, by_receiver = self._graph(data, vectors)
        n_own = int(data.nlocal)
        halo = lambda place: Exchanges(data, n_own, place)  # noqa: E731
        call = DomainCall(engine, graph, n_own, halo)
        energies, sorted_gradient = call.of_edges(graph, vectors[by_receiver])
        gradient = torch.empty_like(sorted_gradient)
        gradient[by_receiver] = sorted_gradient
        torch.as_tensor(data.eatoms)[:n_own].copy_(energies)
        data.energy = float(energies.sum())
        data.update_pair_forces_gpu(gradient)

    def prepare(self, device: str) -> FusedNequIP:
        """What computes, compiled for a device; with the first forces unless it is asked for."""
        if self._engine is None:
            self._engine = _fused(self._load(device, kernels="auto"))
        return self._engine

    def compute_descriptors(self, data: Any) -> None:
        """Nothing: forces come from compute_forces."""

    def compute_gradients(self, data: Any) -> None:
        """Nothing: forces come from compute_forces."""

    def _load(self, device: str, kernels: str) -> LoadedModel:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.safetensors"
            path.write_bytes(self.model_file)
            return load_model(str(path), device=device, dtype=self.dtype, kernels=kernels)

    def _graph(self, data: Any, vectors: Tensor) -> tuple[Graph, Tensor]:
        """One system without a cell, and the pairs in the order of their first atoms.

        Positions are unknown, and unused: pairs have their vectors.
        """
        device, n = vectors.device, int(data.ntotal)
        receiver = torch.as_tensor(data.pair_i).to(device, torch.int64)
        by_receiver = torch.argsort(receiver, stable=True)
        numbers = [chemical_symbols.index(symbol) for symbol in self.element_types]
        elements = torch.as_tensor(data.elems).to(device, torch.int64)[:n]
        graph = Graph(
            positions=vectors.new_zeros((n, 3)),
            atomic_numbers=torch.tensor(numbers, device=device)[elements],
            cell=vectors.new_zeros((1, 3, 3)),
            pbc=torch.zeros((1, 3), dtype=torch.bool, device=device),
            system_idx=torch.zeros(n, dtype=torch.int64, device=device),
            edge_src=torch.as_tensor(data.pair_j).to(device, torch.int64)[by_receiver],
            edge_dst=receiver[by_receiver],
            edge_shift=torch.zeros_like(vectors),
        )
        return graph, by_receiver


@dataclass(frozen=True)
class Exchanges:
    """A `Halo` (fastequi.engine.arrangement) over LAMMPS's communication.

    place: where each own atom of LAMMPS stands in the engine; None where all stay.
    """

    data: Any
    n_own: int
    place: Tensor | None

    def completed(self, sent: Blocks) -> Blocks:
        """With what ghosts send behind; all irreps are one message."""
        own = torch.cat([block.flatten(1) for block in sent], dim=1)
        rows = own.new_zeros((int(self.data.ntotal), own.shape[1]))
        rows[: self.n_own] = own if self.place is None else own[self.place]
        ghosts = self._exchanged(rows, self.data.forward_exchange)[self.n_own :]
        widths = [block.shape[1:].numel() for block in sent]
        return [
            torch.cat([block, ghost.reshape(len(ghost), *block.shape[1:])])
            for block, ghost in zip(sent, ghosts.split(widths, dim=1), strict=True)
        ]

    def returned(self, gradient: Blocks) -> Blocks:
        """Of own atoms, with what their ghosts on other ranks got."""
        rows = torch.cat([block.flatten(1) for block in gradient], dim=1)
        if self.place is not None:
            rows = torch.cat([rows[self.place], rows[self.n_own :]])
        own = self._exchanged(rows, self.data.reverse_exchange)[: self.n_own]
        if self.place is not None:
            own = torch.empty_like(own).index_copy_(0, self.place, own)
        widths = [block.shape[1:].numel() for block in gradient]
        return [
            part.reshape(self.n_own, *block.shape[1:])
            for block, part in zip(gradient, own.split(widths, dim=1), strict=True)
        ]

    def _exchanged(self, rows: Tensor, exchange: Any) -> Tensor:
        rows = rows.contiguous()
        found = torch.empty_like(rows)
        exchange(rows, found, rows.shape[1])
        return found


def export_mliap(source: str, out: Path, dtype: str, modality: str | None = None) -> None:
    """Write a model for LAMMPS; it is loaded where fastequi is installed, too."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_model(path, read_any(source, modality))
        model = MLIAPModel(path.read_bytes(), dtype)
    torch.save(model, out)


def check_lammps(data: Any) -> None:
    """Raise InputError unless this LAMMPS exchanges features, rightly."""
    if not hasattr(data, "forward_exchange"):
        raise InputError(
            "this LAMMPS passes no features between ranks: pair_style mliap needs a build with "
            "KOKKOS, started with -k on -sf kk"
        )
    try:
        version = importlib.metadata.version("lammps")
    except importlib.metadata.PackageNotFoundError:
        version = ""
    release = tuple(map(int, re.findall(r"\d+", version)[:3]))
    if len(release) < 3:
        warnings.warn(
            "the release of LAMMPS is unknown (its Python package is not installed): before 15 "
            "December 2025, forces on several ranks are wrong (lammps #4808)",
            stacklevel=2,
        )
    elif release < FIRST_RELEASE:
        raise InputError(
            f"LAMMPS {version}: before 15 December 2025, what message-passing models exchange "
            "between ranks is wrong (lammps #4808); take a later release"
        )


def _fused(model: LoadedModel) -> FusedNequIP:
    if not isinstance(model.engine, FusedNequIP):
        raise InputError(f"no compiled kernels here: {model.kernels_reason}")
    return model.engine
