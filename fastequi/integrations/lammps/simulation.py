"""A simulation whose atoms LAMMPS moves, on all ranks; its state is on rank 0.

Observers, and so all files of a run, see the state as they see that of the built-in engine.
"""

from collections.abc import Callable, Mapping
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from fastequi.errors import PhysicsError
from fastequi.graph import volumes
from fastequi.integrations.lammps.box import Box, box_of
from fastequi.integrations.lammps.ensembles import Constants, check_box, langevin_bath
from fastequi.integrations.lammps.force import FailedTogether
from fastequi.integrations.lammps.ranks import Ranks
from fastequi.integrations.lammps.start import start_of
from fastequi.integrations.lammps.worker import Moment
from fastequi.md.failures import check_forces, check_motion
from fastequi.md.integrators import Integrator, LangevinBAOAB
from fastequi.md.simulation import Simulation
from fastequi.md.state import State, kinetic_energy
from fastequi.potential import Potential, stress_of


class LammpsSimulation(Simulation):
    """Of one system, on the rank that leads.

    `phases_s` are this rank's; `communication` has the waiting for others in it.
    """

    def __init__(
        self, state: State, potential: Potential, integrator: Integrator, *, skin_A: float,
        ranks: Ranks, on_stop: Callable[[], None],
    ) -> None:  # fmt: skip
        """on_stop: called where another rank was asked to stop."""
        super().__init__(state, potential, integrator, skin_A=skin_A)
        self._ranks, self._skin_A, self._on_stop = ranks, skin_A, on_stop
        self.clock = ranks.clock
        self._box = box_of(state.cell[0].numpy(), state.pbc[0].numpy())
        check_box(integrator, self._box)
        self._restart: bytes | None = None
        self._has_started, self._coupled_eV, self._coupled_before_eV = False, 0.0, 0.0

    def request_stop(self) -> None:
        """As for every simulation: all ranks end after the present step."""
        super().request_stop()
        self._ranks.worker.stopper.asked = True

    def conserved_energy(self) -> Tensor:
        """Energy of the atoms, and what LAMMPS says that thermostat and barostat hold [1], eV."""
        state = self.state
        return state.energy + kinetic_energy(state) + (self._coupled_before_eV + self._coupled_eV)

    def compute_forces_(self) -> None:
        """Energies, forces and stress of the positions as they are, into the state."""
        self.advance_(0)
        self.forces_are_current = True

    def advance_(self, steps: int) -> int:
        """At most so many steps; how many. Raises PhysicsError with the last good state."""
        self._start()
        good = self.state.snapshot()
        try:
            done, is_stopped = self._ranks.call("advance", steps)
        except FailedTogether as error:
            self._tell(error, good)
        if is_stopped and not self._stop_requested:
            self._on_stop()
        self._take_(self._ranks.call("moment"))
        return done

    def engine_state(self) -> dict[str, Tensor]:
        """LAMMPS's restart file, and how its box lies; what follows begins there."""
        bath: list[str] = []
        if isinstance(self.integrator, LangevinBAOAB):  # its generator is in no restart file
            bath = langevin_bath(self.integrator, self._constants, self.state.step)
            self._coupled_before_eV += self._coupled_eV
            self._coupled_eV = 0.0
        self._start()
        restart = self._ranks.call("restart", bath)
        return {
            "restart": torch.frombuffer(bytearray(restart), dtype=torch.uint8),
            "lattice": torch.from_numpy(self._box.lattice),
            "turn": torch.from_numpy(self._box.turn),
            "coupled": torch.tensor([self._coupled_before_eV, self._coupled_eV]).double(),
        }

    def restore_engine_(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `engine_state` has kept."""
        lattice, turn = tensors["lattice"].numpy(), tensors["turn"].numpy()
        self._box = Box(lattice, self._box.triangle, turn)
        self._restart = tensors["restart"].numpy().tobytes()
        self._coupled_before_eV, self._coupled_eV = tensors["coupled"].tolist()

    # -- with all ranks --------------------------------------------------------------------------

    @property
    def _constants(self) -> Constants:
        return self._ranks.worker.constants

    def _start(self) -> None:
        if not self._has_started:
            self._ranks.call("start", start_of(
                self.state, self.integrator, self._box, self._constants, self._skin_A,
                self._restart,
            ))  # fmt: skip
            self._has_started = True

    def _take_(self, moment: Moment) -> None:
        """Into the tensors of the state."""
        state, box = self.state, self._box
        table = torch.from_numpy
        x, v, f = (box.outwards(moment.table[:, k : k + 3]) for k in (0, 3, 6))
        state.positions.copy_(table(x))
        state.velocities.copy_(table(v * 1e-3))
        state.forces.copy_(table(f))
        state.energies.copy_(table(np.ascontiguousarray(moment.table[:, 9])))
        state.energy.fill_(moment.energy)
        periodic = state.pbc[0]
        state.cell[0, periodic] = table(box.cell(moment.triangle))[periodic]
        virial = table(box.turn.T @ moment.virial @ box.turn).unsqueeze(0)
        state.stress.copy_(stress_of(virial, volumes(state.cell)))
        state.step, self._coupled_eV = moment.step, moment.coupled

    def _tell(self, error: PhysicsError, good: State) -> NoReturn:
        """Raise what is wrong, with names, and the state back at the last look."""
        state, dt = self.state, self.integrator.timestep_fs
        failed = self._ranks.worker.stopper.step
        try:
            self._take_(self._ranks.call("moment"))
            before = state.positions - dt * state.velocities
            check_forces(state, failed, good.step, dt)
            check_motion(state, before, failed, good.step, dt)
            raise PhysicsError(f"{error}\nThe last good step is {good.step}") from error
        finally:
            state.copy_(good)
