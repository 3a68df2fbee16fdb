"""A fastequi model as LAMMPS's force, on any number of ranks, through fix external.

LAMMPS owns the atoms, their domains, the integrators and the dumps. At every step each rank is
given its own atoms and ghosts within one cutoff; `Exchange` passes features between layers.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers
from numpy.typing import NDArray
from torch import Tensor

from fastequi.engine.domain import DomainCall
from fastequi.engine.fused import FusedNequIP
from fastequi.engine.loaded import LoadedModel
from fastequi.errors import FastEquiError, InputError, PhysicsError
from fastequi.graph import Graph
from fastequi.importers import load_model
from fastequi.integrations.lammps.exchange import Exchange, make_exchange
from fastequi.integrations.lammps.packages import lammps_and_mpi
from fastequi.md.neighbors.build import build_edges

#: The name of the fix.
FIX = "fastequi"
#: Where xx, yy, zz, xy, xz, yz stand in a matrix.
_LAMMPS_ORDER = [0, 4, 8, 1, 2, 5]


def attach(
    lmp: Any, model: str | LoadedModel, elements: Sequence[str], *, skin_A: float = 1.0,
    **load_options: Any,
) -> "Force":  # fmt: skip
    """Make a model the force of a LAMMPS that has its box and atoms.

        lmp.commands_string("units metal\\natom_modify map yes\\nread_data water.data")
        force = attach(lmp, "sevennet-0", elements=["O", "H"])
        lmp.commands_string("fix 1 all nve\\nrun 100")

    model     a name or file, with the keywords of `load_model`, or a loaded model
    elements  of LAMMPS's atom types, in their order
    skin_A    margin of LAMMPS's neighbour list, in Å; it does not change any result

    Keep what is returned as long as LAMMPS runs. Energy, per-atom energies, forces and virial are
    those of fix external; every rank calls this. Raises InputError for units other than metal,
    models without compiled kernels, unknown elements, and an MPI that is missing.
    """
    lammps_and_mpi()
    if isinstance(model, str):
        model = load_model(model, **load_options)
    elif load_options:
        raise TypeError(f"{', '.join(load_options)}: for loading by name; the model is loaded")
    return Force(lmp, model, elements, skin_A)


#: The call, and the order of atoms that it takes.
_Domain = tuple[DomainCall, Exchange, NDArray[np.int64]]


class Force:
    """What `attach` returns: the callback of fix external.

    rebuilds: how often neighbours and maps of the exchange were made.
    """

    def __init__(
        self, lmp: Any, model: LoadedModel, elements: Sequence[str], skin_A: float
    ) -> None:
        self.lmp, self.model, self.rebuilds = lmp, model, 0
        self.engine = _engine(model)
        self.numbers = _numbers(model, elements, lmp.extract_global("ntypes"))
        self.comm = lmp.comm if lmp.comm is not None else lammps_and_mpi()[1].COMM_WORLD
        self.skin = skin_A
        self._domain_now: _Domain | None = None
        self._ids, self._built = np.empty(0, dtype=np.int64), np.empty((0, 3))
        self._set_up()

    def _set_up(self) -> None:
        units = self.lmp.extract_global("units")
        if units != "metal":
            raise InputError(f"LAMMPS has units {units}; fastequi needs units metal (eV, Å, ps)")
        cutoff = self.engine.cutoff
        self.lmp.commands_string(
            f"pair_style zero {cutoff:.17g} nocoeff\npair_coeff * *\n"
            f"neighbor {self.skin:.17g} bin\nneigh_modify every 1 delay 0 check yes\n"
            f"comm_modify cutoff {cutoff + self.skin:.17g}\n"
            f"fix {FIX} all external pf/callback 1 1\n"
            f"fix_modify {FIX} energy yes virial yes"
        )
        self.lmp.set_fix_external_callback(FIX, self._callback, self)

    def _callback(
        self, caller: "Force", step: int, n_own: int, ids: NDArray[Any], x: NDArray[np.float64],
        f: NDArray[np.float64],
    ) -> None:  # fmt: skip
        """LAMMPS would go on after an exception, with wrong forces: all ranks end instead."""
        try:
            self._compute(n_own, f)
        except BaseException as error:
            if isinstance(error, FastEquiError):
                print(f"step {step}, rank {self.comm.rank}: {error}", file=sys.stderr, flush=True)
            else:
                traceback.print_exc()
            code = getattr(error, "exit_code", 1)
            try:
                self.comm.Abort(code)
            finally:  # it may come back where another rank has ended them all already
                os._exit(code)

    def _compute(self, n_own: int, f: NDArray[np.float64]) -> None:
        n = n_own + self.lmp.extract_setting("nghost")
        x = self._atoms("x", n, 3)
        call, exchange, order = self._domain(n_own, n, x)
        found = call(torch.from_numpy(x[order]))
        (forces,) = exchange.returned([found.forces])
        energies = found.energies
        totals = torch.cat([energies.sum().view(1), found.virial.flatten()])
        summed = torch.from_numpy(self.comm.allreduce(totals.numpy()))
        if not bool(torch.isfinite(summed).all()):
            raise PhysicsError("energy or virial is not finite: atoms may be on top of each other")
        f[:n_own] = forces.numpy()
        self.lmp.fix_external_set_energy_global(FIX, float(summed[0]))
        self.lmp.fix_external_set_energy_peratom(FIX, energies.tolist())
        virial = -0.5 * (summed[1:].view(3, 3) + summed[1:].view(3, 3).T)
        self.lmp.fix_external_set_virial_global(FIX, virial.flatten()[_LAMMPS_ORDER].tolist())

    def _domain(self, n_own: int, n: int, x: NDArray[np.float64]) -> _Domain:
        """Of these atoms; made anew by all ranks where one has other atoms or ghosts, or atoms that
        have used up the skin."""
        ids = self._atoms("id", n, 1)
        is_new = self._domain_now is None or not np.array_equal(ids, self._ids)
        if not is_new and n:
            moved = np.square(x - self._built).sum(axis=1).max()
            is_new = bool(4.0 * moved > self.skin**2)
        if self.comm.allreduce(int(is_new)) or self._domain_now is None:
            exchange, order = make_exchange(self.comm, ids, n_own)
            graph = self._graph(x[order], self._atoms("type", n, 1)[order], n_own)
            self._domain_now = (
                DomainCall(self.engine, graph, n_own, exchange.of), exchange, order,
            )  # fmt: skip
            self._ids, self._built = ids, x
            self.rebuilds += 1
        return self._domain_now

    def _graph(self, x: NDArray[np.float64], types: NDArray[np.int64], n_own: int) -> Graph:
        """Edges up to the cutoff and the skin that own atoms receive; ghosts are images."""
        radius = self.engine.cutoff + self.skin
        edges = build_edges(x, np.zeros((3, 3)), np.zeros(3, dtype=bool), radius)
        receiver, sender, *_ = torch.from_numpy(edges[:, edges[0] < n_own])
        return Graph(
            positions=torch.from_numpy(x),
            atomic_numbers=self.numbers[torch.from_numpy(types) - 1],
            cell=torch.zeros((1, 3, 3), dtype=torch.float64),
            pbc=torch.zeros((1, 3), dtype=torch.bool),
            system_idx=torch.zeros(len(x), dtype=torch.int64),
            edge_src=sender,
            edge_dst=receiver,
            edge_shift=torch.zeros((len(sender), 3), dtype=torch.float64),
        )

    def _atoms(self, name: str, n: int, columns: int) -> NDArray[Any]:
        """A copy of a property of own atoms and ghosts."""
        kind = np.float64 if name == "x" else np.int64
        shape = (n, columns) if columns > 1 else (n,)
        if n == 0:
            return np.empty(shape, dtype=kind)
        given = self.lmp.numpy.extract_atom(name, nelem=n, dim=columns)
        return np.array(given, dtype=kind).reshape(shape)


def _engine(model: LoadedModel) -> FusedNequIP:
    if not isinstance(model, LoadedModel) or not isinstance(model.engine, FusedNequIP):
        raise InputError(
            "LAMMPS takes one model with compiled kernels: load_model(..., kernels='auto'); a "
            "committee, a model with dispersion and kernels='reference' are none"
        )
    if model.device.type != "cpu":
        raise InputError(f"the model is on {model.device}; for LAMMPS load it with device='cpu'")
    return model.engine


def _numbers(model: LoadedModel, elements: Sequence[str], n_types: int) -> Tensor:
    """Atomic numbers of LAMMPS's types."""
    if len(elements) != n_types:
        raise InputError(f"LAMMPS has {n_types} atom types, but {len(elements)} elements are given")
    unknown = [e for e in elements if atomic_numbers.get(e) not in model.atomic_numbers]
    if unknown:
        raise InputError(f"{model.name} does not know {', '.join(unknown)}")
    return torch.tensor([atomic_numbers[element] for element in elements])
