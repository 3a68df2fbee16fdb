"""The pieces that integrators are made of: kick, drift, Ornstein-Uhlenbeck, scaling.

Each is the exact solution of one part of the equations of motion over a time in fs.
"""

import math

import torch
from torch import Tensor

from fastequi.md.state import State
from fastequi.md.velocities import thermal_speed


def kick_(state: State, time_fs: float) -> None:
    """Velocities under constant forces: v += t F / m; fixed atoms, as if infinitely heavy, stay."""
    state.velocities.addcmul_(state.forces, state.batch.acceleration, value=time_fs)
    state.batch.hold_centre_(state.velocities)


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
    thermal = thermal_speed(state, temperature).unsqueeze(1)
    state.velocities.mul_(decay).addcmul_(noise, thermal, value=strength)
    state.batch.hold_centre_(state.velocities)


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
    batch = state.batch
    thermal = batch.internal(noise * thermal_speed(state, temperature).unsqueeze(1))
    internal = batch.internal(state.velocities)
    decay = math.exp(-0.5 * time_fs / relaxation_fs)
    strength = math.sqrt(-math.expm1(-time_fs / relaxation_fs))
    mixed = (decay * internal).add_(thermal, alpha=strength)
    before, after = batch.kinetic(internal), batch.kinetic(mixed)
    overlap = batch.kinetic(internal + mixed) - before - after  # its sign is that of v · v'
    factor = torch.copysign((after / before).sqrt(), overlap)
    factor = batch.of_atoms(factor.unsqueeze(1))
    scaled = torch.where(factor.isfinite(), factor * internal, mixed)
    state.velocities.sub_(internal).add_(scaled)
    return after - before
