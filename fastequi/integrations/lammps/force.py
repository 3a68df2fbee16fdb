"""A fastequi model as LAMMPS's force, on any number of ranks, through fix external.

LAMMPS owns the atoms, their domains, the integrators and the dumps. At every step each rank is
given its own atoms and ghosts within one cutoff; `Exchange` passes features between layers.
"""

import sys
import traceback
from collections.abc import Sequence
from typing import Any, Protocol

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
from fastequi.integrations.lammps.communicator import Communicator
from fastequi.integrations.lammps.exchange import Exchange, make_exchange
from fastequi.integrations.lammps.packages import lammps_and_mpi
from fastequi.md.clock import Clock
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


class FailedTogether(PhysicsError):
    """Raised by all ranks at the same step, so that they can go on together, or end in peace."""


class Watch(Protocol):
    """Who looks at every step, and may end the run: all ranks hear what any of them says."""

    def words(self, step: int) -> list[int]:
        """This rank's, 0 where there is nothing to say; always as many."""
        ...

    def hear(self, step: int, words: Sequence[int]) -> None:
        """The largest over the ranks, before the forces are computed."""
        ...

    def failed(self, error: BaseException) -> bool:
        """Whether the watch takes care of an error; else all ranks end at once."""
        ...


#: The call, and the order of atoms that it takes.
_Domain = tuple[DomainCall, Exchange, NDArray[np.int64]]


class Force:
    """What `attach` returns: the callback of fix external.

    rebuilds    how often neighbours and maps of the exchange were made
    clock       seconds by phase: model, neighbors, communication
    ids, forces, energies    of the own atoms at the last call: [own], [own, 3] in eV/Å, [own] in eV
    energy, virial           of all atoms there, in eV: a number and [3, 3]
    """

    ids: NDArray[np.int64]
    forces: NDArray[np.float64]
    energies: NDArray[np.float64]
    energy: float
    virial: NDArray[np.float64]

    def __init__(
        self, lmp: Any, model: LoadedModel, elements: Sequence[str], skin_A: float,
        clock: Clock | None = None, watch: Watch | None = None,
    ) -> None:  # fmt: skip
        """watch: of a run that is led; without one, energies of atoms are told to LAMMPS too."""
        self.lmp, self.model, self.skin, self.rebuilds = lmp, model, skin_A, 0
        self.engine = _engine(model)
        self.numbers = _numbers(model, elements, lmp.extract_global("ntypes"))
        self.clock = clock or Clock(phases=("model", "neighbors", "communication"))
        comm = lmp.comm if lmp.comm is not None else lammps_and_mpi()[1].COMM_WORLD
        self.comm, self._watch = Communicator(comm, self.clock), watch
        self._domain_now: _Domain | None = None
        self._listed, self._built = np.empty(0, dtype=np.int64), np.empty((0, 3))
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
            self._compute(step, n_own, f)
        except BaseException as error:
            if self._watch is not None and self._watch.failed(error):
                return
            if isinstance(error, FastEquiError):
                print(f"step {step}, rank {self.comm.rank}: {error}", file=sys.stderr, flush=True)
            else:
                traceback.print_exc()
            self.comm.end_all(getattr(error, "exit_code", 1))

    def _compute(self, step: int, n_own: int, f: NDArray[np.float64]) -> None:
        n = n_own + self.lmp.extract_setting("nghost")
        x = self._atoms("x", n, 3)
        call, exchange, order = self._domain(step, n_own, n, x)
        with self.clock.timed("model"):
            found = call(torch.from_numpy(x[order]).to(self.model.device))
            (forces,) = exchange.returned([found.forces])
            totals = torch.cat([found.energies.sum().view(1), found.virial.flatten()]).cpu().numpy()
            self.comm.sum_(totals)
            self.ids, self.forces = self._listed[:n_own], forces.cpu().numpy()
            self.energies = found.energies.cpu().numpy()
        virial = totals[1:].reshape(3, 3)
        self.energy, self.virial = float(totals[0]), 0.5 * (virial + virial.T)
        if not np.isfinite(totals).all():
            raise FailedTogether(
                "energy or virial is not finite: atoms may be on top of each other"
            )
        self._tell(f)

    def _tell(self, f: NDArray[np.float64]) -> None:
        """LAMMPS what was found."""
        f[: len(self.forces)] = self.forces
        self.lmp.fix_external_set_energy_global(FIX, self.energy)
        virial = (-self.virial).flatten()[_LAMMPS_ORDER]
        self.lmp.fix_external_set_virial_global(FIX, virial.tolist())
        if self._watch is None:
            self.lmp.fix_external_set_energy_peratom(FIX, self.energies.tolist())

    def _domain(self, step: int, n_own: int, n: int, x: NDArray[np.float64]) -> _Domain:
        """Of these atoms; made anew by all ranks where one has other atoms or ghosts, or atoms that
        have used up the skin."""
        ids = self._atoms("id", n, 1)
        words = [] if self._watch is None else self._watch.words(step)
        is_new, *heard = self.comm.largest([int(self._is_new(ids, x)), *words])
        if self._watch is not None:
            self._watch.hear(step, heard)
        if is_new or self._domain_now is None:
            with self.clock.timed("neighbors"):
                exchange, order = make_exchange(self.comm, ids, n_own, self.model.device)
                graph = self._graph(x[order], self._atoms("type", n, 1)[order], n_own)
                call = DomainCall(self.engine, graph, n_own, exchange.of)
            self._domain_now = call, exchange, order
            self._listed, self._built = ids, x
            self.rebuilds += 1
        return self._domain_now

    def _is_new(self, ids: NDArray[np.int64], x: NDArray[np.float64]) -> bool:
        """Whether the list is not good for these atoms."""
        if self._domain_now is None or not np.array_equal(ids, self._listed):
            return True
        moved = np.square(x - self._built).sum(axis=1).max(initial=0.0)
        return bool(4.0 * moved > self.skin**2)

    def _graph(self, x: NDArray[np.float64], types: NDArray[np.int64], n_own: int) -> Graph:
        """Edges up to the cutoff and the skin that own atoms receive; ghosts are images."""
        radius = self.engine.cutoff + self.skin
        edges = build_edges(x, np.zeros((3, 3)), np.zeros(3, dtype=bool), radius)
        receiver, sender, *_ = torch.from_numpy(edges[:, edges[0] < n_own])
        graph = Graph(
            positions=torch.from_numpy(x),
            atomic_numbers=self.numbers[torch.from_numpy(types) - 1],
            cell=torch.zeros((1, 3, 3), dtype=torch.float64),
            pbc=torch.zeros((1, 3), dtype=torch.bool),
            system_idx=torch.zeros(len(x), dtype=torch.int64),
            edge_src=sender,
            edge_dst=receiver,
            edge_shift=torch.zeros((len(sender), 3), dtype=torch.float64),
        )
        return graph.to(self.model.device)

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
    return model.engine


def _numbers(model: LoadedModel, elements: Sequence[str], n_types: int) -> Tensor:
    """Atomic numbers of LAMMPS's types."""
    if len(elements) != n_types:
        raise InputError(f"LAMMPS has {n_types} atom types, but {len(elements)} elements are given")
    unknown = [e for e in elements if atomic_numbers.get(e) not in model.atomic_numbers]
    if unknown:
        raise InputError(f"{model.name} does not know {', '.join(unknown)}")
    return torch.tensor([atomic_numbers[element] for element in elements])
