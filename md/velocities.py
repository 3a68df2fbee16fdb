"""Initial velocities from the Maxwell-Boltzmann distribution, and what part of motion is heat.

Degrees of freedom, everywhere in the engine: dynamics that conserve momentum (NVE) count 3N - 3 and
the kinetic energy about the centre of mass. Whether that rests, as after `maxwell_boltzmann_`, or
flies along with momentum of the structure's own, as after Langevin dynamics, it does so for ever:
no velocity is changed for it, and it is no heat. A single atom counts 3 and all its motion.
Langevin dynamics exchange momentum with the bath and count 3N and all kinetic energy. Fixed atoms
count nothing; beside them the others count 3 each and all their motion.
"""

from collections.abc import Sequence

from ase import Atoms
from torch import Tensor

from fastequi.md.noise import VELOCITIES_STREAM, normal_noise
from fastequi.md.ramps import Target, temperature_schedule
from fastequi.md.state import State, state_from_atoms, temperature_K
from fastequi.units import BOLTZMANN_eV_PER_K


def maxwell_boltzmann_(state: State, temperature_K: Target, seed: int | Sequence[int]) -> None:
    """Draw the velocities of every system at its temperature, total momentum zero.

    temperature_K: see `fastequi.md.ramps`. seed: see `fastequi.md.noise.AtomNoise`.
    Velocities are not rescaled: the kinetic energy is a draw from its distribution with 3N - 3
    degrees of freedom. A single atom keeps its thermal momentum, and so do atoms beside fixed ones.
    """
    temperature = temperature_schedule(temperature_K, state).at(state.step)
    noise = normal_noise(seed, state.step, VELOCITIES_STREAM, state.system_idx)
    state.velocities = noise * thermal_speed(state, temperature).unsqueeze(1)
    for _ in range(2):  # the second pass removes the rounding of the first
        remove_momentum_(state)


def remove_momentum_(state: State) -> None:
    """Subtract the velocity of the centre of mass from every system that moves as a whole."""
    state.velocities.copy_(state.batch.internal(state.velocities))


def drift_velocity(state: State) -> Tensor:
    """Velocity [systems, 3] of the centre of mass in Å/fs, as far as it is no heat.

    0 for a single atom and beside fixed atoms: there, all motion is heat.
    """
    return state.batch.drift(state.velocities)


def internal_kinetic_energy(state: State) -> Tensor:
    """Kinetic energy [systems] about the centre of mass in eV; all of it where that is heat."""
    return state.batch.kinetic(state.batch.internal(state.velocities))


def internal_degrees_of_freedom(state: State) -> Tensor:
    """Those of motion about the centre of mass [systems]: 3N - 3; 3 for a single atom.

    Where atoms are fixed, 3 for each that is not.
    """
    return state.batch.internal_freedom


def all_degrees_of_freedom(state: State) -> Tensor:
    """Those of all motion [systems]: 3 for each atom that is not fixed, less a fixed centre's."""
    return state.batch.freedom


def internal_temperature_K(atoms: Atoms) -> float:
    """Temperature in K of the velocities that one structure carries, without its drift."""
    state = state_from_atoms(atoms)
    return float(temperature_K(internal_kinetic_energy(state), internal_degrees_of_freedom(state)))


def thermal_speed(state: State, temperature: Tensor) -> Tensor:
    """sqrt(kT/m) of every atom [atoms] in Å/fs, 0 of fixed ones; temperature [systems] in K."""
    kT = state.batch.of_atoms(BOLTZMANN_eV_PER_K * temperature)
    return (kT.unsqueeze(1) * state.batch.acceleration).sqrt_().squeeze(1)
