"""LAMMPS as the engine of a run: what it cannot do, and the simulation that it makes.

Everything else of a run is as with the built-in engine, and happens on rank 0.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ase import Atoms

from fastequi.engine.fused import FusedNequIP
from fastequi.errors import InputError
from fastequi.integrations.lammps.ensembles import ENSEMBLES
from fastequi.integrations.lammps.packages import lammps_and_mpi
from fastequi.integrations.lammps.ranks import Ranks
from fastequi.integrations.lammps.simulation import LammpsSimulation
from fastequi.md.config import Config
from fastequi.md.constraints.from_ase import fixes_centre_of_mass
from fastequi.md.integrators import Integrator
from fastequi.md.state import State
from fastequi.potential import Potential

NAME = "lammps"


class LammpsEngine:
    """Of rank 0.

    on_stop: called where another rank was asked to stop; who has the run sets it
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.on_stop: Callable[[], None] = lambda: None

    def device(self, device: str) -> str:
        """Where this rank computes, of the device that [dynamics] names."""
        return self.ranks.worker.device(device)

    def check(self, config: Config, systems: Sequence[Atoms], potential: Potential) -> None:
        """Raise InputError that names every key that asks for what only fastequi's engine does."""
        if problems := list(_refusals(config, systems, potential)):
            raise InputError(
                "--engine lammps cannot do all of this; the built-in engine, without --engine, "
                "can:\n- " + "\n- ".join(problems)
            )

    def load(self, options: Mapping[str, Any], device: str, potential: Any) -> None:
        """Have every rank load the model that rank 0 has loaded."""
        self.ranks.worker.model = potential
        self.ranks.call("load", options, device)

    def simulate(
        self, state: State, potential: Potential, integrator: Integrator, /, *, skin_A: float
    ) -> LammpsSimulation:
        """What `Simulation` makes of the built-in engine."""
        return LammpsSimulation(
            state, potential, integrator, skin_A=skin_A, ranks=self.ranks,
            on_stop=lambda: self.on_stop(),
        )  # fmt: skip

    @property
    def facts(self) -> dict[str, Any]:
        """For summary.json."""
        lammps, _ = lammps_and_mpi()
        return {"engine": NAME, "engine_version": lammps.__version__, "ranks": self.ranks.comm.size}

    @property
    def words(self) -> str:
        """As in 'LAMMPS 2025.7.22 on 4 ranks'."""
        facts = self.facts
        plural = "" if facts["ranks"] == 1 else "s"
        return f"LAMMPS {facts['engine_version']} on {facts['ranks']} rank{plural}"


def _refusals(config: Config, systems: Sequence[Atoms], potential: Potential) -> Iterator[str]:
    if config.stage:
        yield f"stage: got {len(config.stage)} stages; allowed: none, one ensemble in [dynamics]"
    elif (ensemble := config.dynamics.ensemble) not in ENSEMBLES:
        yield f'dynamics.ensemble: got "{ensemble}"; allowed: {", ".join(ENSEMBLES)}'
    if len(systems) > 1:
        yield (
            f"system: got {len(systems)} systems (structures, frames, replicas); allowed: one, "
            "which all ranks share"
        )
    if any(map(fixes_centre_of_mass, systems)):
        yield "system.fixed_centre_of_mass: got a fixed centre of mass; allowed: fixed atoms"
    if len(config.model.names) > 1:
        yield f"model.name: got a committee of {len(config.model.names)}; allowed: one model"
    if config.model.dispersion != "none":
        yield f'model.dispersion: got "{config.model.dispersion}"; allowed: none'
    if len(config.model.names) == 1 and config.model.dispersion == "none":
        if not isinstance(getattr(potential, "engine", None), FusedNequIP):
            yield f'model.kernels: got "{config.model.kernels}"; allowed: compiled ones, as "auto"'
    if config.plumed is not None:
        yield "plumed: got a bias; allowed: none (LAMMPS has a fix of its own for scripts)"
    if config.analysis:
        kinds = ", ".join(section.kind for section in config.analysis)
        yield f"analysis: got {kinds}; allowed: none (`fastequi analyze` reads the trajectory)"
