"""The pieces that integrators are made of: kick, drift, Ornstein-Uhlenbeck.

Each is the exact solution of one part of the equations of motion over a time in fs.
"""

import math

from torch import Tensor

from fastequi.md.state import State
from fastequi.md.velocities import thermal_speed
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
