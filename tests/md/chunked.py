"""Systems, ensembles and potentials that chunks are tried on."""

from collections.abc import Callable

import torch
from ase.build import bulk

from fastequi.md.integrators import (
    CellRescaling,
    Integrator,
    LangevinBAOAB,
    MartynaTobiasKlein,
    NoseHooverChain,
    VelocityRescaling,
    VelocityVerlet,
)
from fastequi.md.ramps import Ramp
from fastequi.md.state import State, state_from_atoms
from fastequi.md.testing import LennardJones
from fastequi.md.testing_static import StaticLennardJones
from fastequi.md.velocities import maxwell_boltzmann_

STEPS = 50
WARMING, PRESSING = Ramp(60.0, 300.0, STEPS), Ramp(0.0, 0.3, STEPS)
ENSEMBLES: dict[str, Callable[[], Integrator]] = {
    "nve": lambda: VelocityVerlet(4.0),
    "nvt-langevin": lambda: LangevinBAOAB(4.0, WARMING, 5.0, seed=3),
    "nvt-nose-hoover": lambda: NoseHooverChain(4.0, WARMING, 40.0),
    "nvt-csvr": lambda: VelocityRescaling(4.0, WARMING, 40.0, seed=3),
    "npt-scr": lambda: CellRescaling(
        4.0, WARMING, PRESSING, compressibility_per_GPa=0.3, coupling="flexible"
    ),
    "npt-mtk": lambda: MartynaTobiasKlein(4.0, WARMING, PRESSING, 40.0, coupling="flexible"),
}
#: Between two shells of neighbours: atoms of the outer one come within the cutoff as it warms up.
SHORT = LennardJones(switch_A=5.0, cutoff=6.1)
#: At first 59 atoms have 18 neighbours each; there is room for no more than five edges besides.
CROWDED = StaticLennardJones(switch_A=5.0, cutoff=6.1, room=59 * 18 + 5)


def argon(temperature_K: float = 150.0) -> State:
    """Two crystals of 32 and 27 atoms."""
    state = state_from_atoms([bulk("Ar", a=5.3, cubic=True).repeat(2), bulk("Ar").repeat(3)])
    maxwell_boltzmann_(state, temperature_K, seed=1)
    return state


def assert_same_bits(got: State, expected: State) -> None:
    assert got.step == expected.step
    for name, tensor in expected.moving().items():
        assert torch.equal(got.moving()[name], tensor), name
