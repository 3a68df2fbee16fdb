"""The pieces that integrators are made of: kick, drift, Ornstein-Uhlenbeck, scaling.

Each is the exact solution of one part of the equations of motion over a time in fs.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from fastequi.md.state import State, kinetic_energy
from fastequi.md.velocities import drift_velocity, thermal_speed
from fastequi.units import ACCELERATION_A_PER_FS2


def kick_(state: State, time_fs: float) -> None:
    """Velocities under constant forces: v += t F / m."""
    acceleration = state.forces / state.masses.unsqueeze(1)
    state.velocities.add_(acceleration, alpha=time_fs * ACCELERATION_A_PER_FS2)


def drift_(state: State, time_fs: float) -> None:
    """Positions at constant velocity: x += t v."""
    state.positions.add_(state.velocities, alpha=time_fs)


def ornstein_uhlenbeck_(
    state: State, friction_per_fs: float, temperature: Tensor, time_fs: float, noise: Tensor
) -> None:
    """Velocities in a heat bath: v = c v + sqrt(1 - c²) sqrt(kT/m) noise, c = exp(-friction t).

    temperature [systems] in K; noise [atoms, 3], standard normal.
    """
    decay = math.exp(-friction_per_fs * time_fs)
    strength = math.sqrt(-math.expm1(-2.0 * friction_per_fs * time_fs))
    thermal = strength * thermal_speed(state, temperature)
    state.velocities.mul_(decay).addcmul_(noise, thermal.unsqueeze(1))


def scale_internal_(state: State, factor: Tensor) -> None:
    """Velocities about the centre of mass, which moves as before: v = v_cm + factor (v - v_cm).

    factor [systems].
    """
    drift = drift_velocity(state) * (1.0 - factor).unsqueeze(1)
    state.velocities.mul_(factor[state.system_idx].unsqueeze(1)).add_(drift[state.system_idx])


def stochastic_rescaling_(
    state: State, relaxation_fs: float, temperature: Tensor, time_fs: float, noise: Tensor
) -> Tensor:
    """Velocities about the centre of mass scaled so that their energy is canonical; its gain.

    Bussi, Donadio & Parrinello, J. Chem. Phys. 126, 014101 (2007), eqs. A7-A8: the kinetic energy
    after the step is drawn from its exact distribution. Bussi & Parrinello, Comput. Phys. Commun.
    179, 26 (2008): it is the energy of v' = c v + sqrt(1 - c²) w with c = exp(-time / 2 relaxation)
    and w thermal, so that the normal numbers of the atoms are all that has to be drawn, and degrees
    of freedom are those of w. Velocities that are zero have no direction and become v'.

    temperature [systems] in K; noise [atoms, 3], standard normal; gain [systems] in eV.
    """
    thermal = replace(state, velocities=noise * thermal_speed(state, temperature).unsqueeze(1))
    thermal.velocities -= drift_velocity(thermal)[state.system_idx]
    drift = drift_velocity(state)[state.system_idx]
    internal = replace(state, velocities=state.velocities - drift)
    decay = math.exp(-0.5 * time_fs / relaxation_fs)
    strength = math.sqrt(-math.expm1(-time_fs / relaxation_fs))
    mixed = replace(state, velocities=decay * internal.velocities + strength * thermal.velocities)
    before, after = kinetic_energy(internal), kinetic_energy(mixed)
    both = replace(state, velocities=internal.velocities + mixed.velocities)
    overlap = kinetic_energy(both) - before - after  # its sign is that of v · v'
    factor = torch.copysign((after / before).sqrt(), overlap)[state.system_idx].unsqueeze(1)
    scaled = torch.where(factor.isfinite(), factor * internal.velocities, mixed.velocities)
    state.velocities.copy_(drift + scaled)
    return after - before
