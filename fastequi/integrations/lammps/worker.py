"""One rank's LAMMPS of a run: what all ranks do when rank 0 says so, together and in order.

Whatever is wrong in a way that every rank sees is a FastEquiError on all of them, after which they
go on together; anything else ends them all (`ranks.py`).
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastequi.device import own_device
from fastequi.engine.loaded import LoadedModel
from fastequi.errors import FastEquiError, InputError
from fastequi.importers import load_model
from fastequi.integrations.lammps.box import Matrix, unwrapped
from fastequi.integrations.lammps.communicator import Communicator
from fastequi.integrations.lammps.ensembles import BATH, Constants
from fastequi.integrations.lammps.force import FailedTogether, Force
from fastequi.integrations.lammps.packages import lammps_and_mpi
from fastequi.md.barostats.checks import LARGEST_STRAIN
from fastequi.md.clock import Clock
from fastequi.md.failures import FURTHEST_MOVE_A

_QUIET = ["-log", "none", "-screen", "none", "-nocite"]


@dataclass(frozen=True)
class Start:
    """What every rank needs to begin.

    elements  of LAMMPS's types
    box       commands that make box, types, masses; atoms, their arguments for create_atoms
    restart   a restart file in place of both; None at the beginning
    groups    commands that name the atoms that move
    motion    commands of the ensemble; timestep_fs; skin_A
    ramp      total steps of it; None without
    """

    elements: Sequence[str]
    box: Sequence[str]
    atoms: Mapping[str, Any]
    restart: bytes | None
    groups: Sequence[str]
    motion: Sequence[str]
    timestep_fs: float
    skin_A: float
    ramp: int | None


@dataclass
class Moment:
    """Atoms by their number, and the system, where LAMMPS is now; on rank 0.

    table     [atoms, 10]: position in Å, velocity in Å/ps, force in eV/Å, energy in eV
    triangle  [3, 3] in Å; energy in eV, virial [3, 3] in eV; coupled: eV that thermostats and
              barostats hold, less what they had at the start of this session
    step      of LAMMPS
    """

    table: NDArray[np.float64]
    triangle: Matrix
    energy: float
    virial: Matrix
    coupled: float
    step: int


@dataclass
class Stopper:
    """The `Watch` of a run: a stop that any rank is asked for, atoms and cells that fly apart.

    asked      this rank is asked to stop; heard, all are to
    error      why the forces could not be computed, on all ranks
    step       LAMMPS is at
    """

    lmp: Any
    timestep_ps: float
    asked: bool = False
    heard: bool = False
    step: int = 0
    error: FastEquiError | None = None
    _cell: Matrix | None = field(default=None, repr=False)

    def words(self, step: int) -> list[int]:
        """Of stopping, and of what went wrong; at velocities between two steps."""
        n = self.lmp.extract_setting("nlocal")
        fastest = 0.0
        if n and self._cell is not None:
            fastest = np.abs(self.lmp.numpy.extract_atom("v", nelem=n, dim=3)).max()
        cell = triangle_of(self.lmp)
        before = cell if self._cell is None else self._cell
        strain = np.abs(np.linalg.solve(before, cell) - np.eye(3)).max()
        self._cell = cell
        # In this form NaN is wrong too.
        is_wrong = not (fastest * self.timestep_ps <= FURTHEST_MOVE_A) or not (
            strain <= LARGEST_STRAIN
        )
        return [int(self.asked), int(is_wrong)]

    def hear(self, step: int, words: Sequence[int]) -> None:
        self.step = step
        is_stop, is_wrong = words
        if is_wrong:
            raise FailedTogether(f"at step {step} atoms or cell fly apart")
        if is_stop:
            self.heard = True
            self.lmp.force_timeout()

    def failed(self, error: BaseException) -> bool:
        if not isinstance(error, FailedTogether):
            return False
        self.error = error
        self.lmp.force_timeout()
        return True


class Worker:
    """Opened when made: then the constants are known, and `start` puts the atoms in."""

    def __init__(self, comm: Communicator, clock: Clock) -> None:
        lammps, _ = lammps_and_mpi()
        self.comm, self.clock = comm, clock
        self.lmp = lammps.lammps(comm=comm.mpi, cmdargs=_QUIET)
        self.lmp.set_show_error(0)
        self.lmp.command("units metal")
        self.model: LoadedModel | None = None
        self.stopper = Stopper(self.lmp, 0.0)
        self._is_set_up, self._ramp = False, None
        self._has_langevin, self._begins, self._uncounted = False, -1, 0.0

    @property
    def constants(self) -> Constants:
        """Of LAMMPS."""
        return Constants(*(self.lmp.extract_global(n) for n in ("boltz", "ftm2v", "nktv2p")))

    def device(self, name: str) -> str:
        """That [dynamics] names: of the GPUs of a machine each of its ranks takes its own."""
        return str(own_device(name, self.comm.place, self.comm.here, "dynamics.device"))

    def load(self, options: Mapping[str, Any], device: str) -> None:
        """The model, which rank 0 has already; its kernels and tables are on the disk by now."""
        if self.model is None:
            self.model = load_model(**{**options, "device": self.device(device)})

    def start(self, start: Start) -> None:
        """Box, atoms, force and ensemble."""
        assert self.model is not None
        self._ramp, self._has_langevin = start.ramp, any(" langevin " in c for c in start.motion)
        with _naming("LAMMPS cannot take this system"):
            if start.restart is None:
                self.lmp.commands_string("\n".join(start.box))
                self._create(start.atoms)
            else:
                self._read(start.restart)
            self.stopper.timestep_ps = start.timestep_fs * 1e-3
            self.force = Force(
                self.lmp, self.model, start.elements, start.skin_A, self.clock, self.stopper
            )
            self.lmp.commands_string("\n".join([
                *start.groups, f"timestep {self.stopper.timestep_ps:.17g}",
                *start.motion, "thermo_style custom step", "thermo 0",
            ]))  # fmt: skip

    def advance(self, steps: int) -> tuple[int, bool]:
        """So many steps, or fewer where a stop is asked for; how many, and whether it is.

        Raises FastEquiError on all ranks where the forces fail, or LAMMPS does.
        """
        before = self._step
        with self.clock.timed("integrate"), _naming("LAMMPS ended the run", FailedTogether):
            if not self._is_set_up:
                self._run(0, is_first=True)
                self._is_set_up = True
            if steps and self.stopper.error is None and not self.stopper.heard:
                self._run(steps, is_first=False)
        if (error := self.stopper.error) is not None:
            self.stopper.error = None
            raise error
        return self._step - before, self.stopper.heard

    def _run(self, steps: int, is_first: bool) -> None:
        ramp = "" if self._ramp is None else f" start 0 stop {self._ramp}"
        self.lmp.commands_string(
            f"timer timeout off\nrun {steps} pre {'yes' if is_first else 'no'} post no{ramp}"
        )
        if is_first and self._has_langevin:
            self._begins, self._uncounted = self._step, self._first_half_kick()

    def moment(self) -> Moment | None:
        """Of all atoms, on rank 0; None on the others."""
        n, lmp, force = self.lmp.extract_setting("nlocal"), self.lmp, self.force
        table, triangle = np.empty((n, 11)), triangle_of(lmp)
        coupled = self._coupled()
        if n:
            x, v = (lmp.numpy.extract_atom(name, nelem=n, dim=3) for name in "xv")
            images = lmp.numpy.extract_atom("image", nelem=n).reshape(n)
            table[:, 0] = lmp.numpy.extract_atom("id", nelem=n).reshape(n)
            table[:, 1:4], table[:, 4:7] = unwrapped(x, images, triangle), v
            by_id, own = np.argsort(force.ids), np.argsort(table[:, 0])
            table[:, 7:] = 0.0
            if np.array_equal(force.ids[by_id], table[own, 0]):  # else the last step has failed
                table[own, 7:10], table[own, 10] = force.forces[by_id], force.energies[by_id]
        parts = self.comm.gathered(table)
        if parts is None:
            return None
        whole = np.concatenate(parts)
        whole = whole[np.argsort(whole[:, 0])][:, 1:]
        return Moment(whole, triangle, force.energy, force.virial, coupled, self._step)

    def restart(self, bath: Sequence[str]) -> bytes | None:
        """A restart file, on rank 0; what follows is as if it began there.

        bath: commands of a bath that no restart file knows, made anew.
        """
        with tempfile.TemporaryDirectory() as folder, _naming("LAMMPS cannot write a restart file"):
            path = Path(folder) / "restart"
            self.lmp.command(f"write_restart {self.comm.mpi.bcast(str(path))}")
            if bath:
                self.lmp.commands_string("\n".join([f"unfix {BATH}", *bath]))
            self._is_set_up = False
            return path.read_bytes() if self.comm.rank == 0 else None

    def close(self) -> None:
        """Let go of LAMMPS, while there still is an MPI."""
        self.lmp.close()

    @property
    def _step(self) -> int:
        return int(self.lmp.extract_global("ntimestep"))

    def _coupled(self) -> float:
        """eV. Asked where Langevin's bath begins, LAMMPS would begin to count with what it says."""
        if self._has_langevin and self._step == self._begins:
            return 0.0
        return float(self.lmp.get_thermo("ecouple")) - self._uncounted

    def _first_half_kick(self) -> float:
        """Heat in eV that Langevin's bath, which begins now, gives in its first half kick: LAMMPS
        leaves it out. f is ours and the bath's."""
        n, heat = self.lmp.extract_setting("nlocal"), np.zeros(1)
        if n:
            f, v = (self.lmp.numpy.extract_atom(name, nelem=n, dim=3) for name in "fv")
            heat[0] = 0.5 * self.stopper.timestep_ps * float(((f - self.force.forces) * v).sum())
        self.comm.sum_(heat)
        return float(heat[0])

    def _create(self, atoms: Mapping[str, Any]) -> None:
        n = len(atoms["atype"])
        made = self.lmp.create_atoms(n, **atoms, shrinkexceed=True)
        if int(made) != n or self.lmp.get_natoms() != n:
            raise InputError(f"LAMMPS took {self.lmp.get_natoms()} of {n} atoms")

    def _read(self, restart: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "restart"
            if self.comm.rank == 0:
                path.write_bytes(restart)
            self.lmp.command(f"read_restart {self.comm.mpi.bcast(str(path))}")


def triangle_of(lmp: Any) -> Matrix:
    """Lattice vectors [3, 3] of LAMMPS's box in Å."""
    low, high, xy, yz, xz, *_ = lmp.extract_box()
    triangle = np.diag(np.array(high) - np.array(low))
    triangle[1, 0], triangle[2, 0], triangle[2, 1] = xy, xz, yz
    return triangle


class _naming:
    """What LAMMPS says, as a FastEquiError on all ranks; what only one rank says passes."""

    def __init__(self, what: str, kind: type[FastEquiError] = InputError) -> None:
        self.what, self.kind = what, kind

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if type(error) is Exception:  # LAMMPS's own; MPIAbortException is of one rank
            text = str(error).removeprefix("ERROR: ").split(" (src/")[0].strip()
            raise self.kind(f"{self.what}: {text}") from error
