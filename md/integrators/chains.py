"""Nosé-Hoover chains: a thermostat whose own thermostats are chained behind it.

Martyna, Klein & Tuckerman, J. Chem. Phys. 97, 2635 (1992); integrated as in Martyna, Tuckerman,
Tobias & Klein, Mol. Phys. 87, 1117 (1996), eqs. 29-36, with the three steps of Suzuki and Yoshida
(fourth order). A chain of M thermostats on n degrees of freedom of kinetic energy K at kT adds

    sum_j Q_j v_j² / 2 + n kT eta_1 + kT sum_{j>1} eta_j,  Q_1 = n kT time², Q_j = kT time²

to the invariant. `time` is the inverse of the angular frequency at which the chain answers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

#: Fractions of a step, Yoshida, Phys. Lett. A 150, 262 (1990): fourth order.
_OUTER = 1.0 / (2.0 - 2.0 ** (1.0 / 3.0))
SUZUKI_YOSHIDA = (_OUTER, 1.0 - 2.0 * _OUTER, _OUTER)


@dataclass(frozen=True, slots=True)
class Chain:
    """One chain for each system of a batch, at one temperature; it writes into its tensors.

    position  [systems, M]  eta, without unit
    velocity  [systems, M]  v = d eta / dt in 1/fs
    n         [systems]     degrees of freedom that it holds
    kT        [systems]     eV
    time_fs                 fs
    """

    position: Tensor
    velocity: Tensor
    n: Tensor
    kT: Tensor
    time_fs: float

    def advance_(self, kinetic: Tensor, time_fs: float) -> Tensor:
        """The chain after a time in fs; what velocities have to be multiplied by: [systems].

        kinetic [systems]: the energy in eV of what it holds; it is scaled along here.
        """
        factor = torch.ones_like(kinetic)
        for fraction in SUZUKI_YOSHIDA:
            t = fraction * time_fs
            self._kick_down_(2.0 * kinetic * factor.square(), t)
            factor = factor * torch.exp(-t * self.velocity[:, 0])
            self.position.add_(self.velocity, alpha=t)
            self._kick_up_(2.0 * kinetic * factor.square(), t)
        return factor

    def energy(self) -> Tensor:
        """Its part of the invariant [systems] in eV."""
        masses = self._masses()
        moving = 0.5 * (masses * self.velocity.square()).sum(dim=1)
        held = self.n * self.position[:, 0] + self.position[:, 1:].sum(dim=1)
        return moving + self.kT * held

    def _masses(self) -> Tensor:
        """Q [systems, M] in eV fs²."""
        unit = (self.kT * self.time_fs**2).unsqueeze(1)
        first = (self.n - 1.0).unsqueeze(1) * unit
        rest = unit.expand_as(self.velocity).clone()
        rest[:, :1] += first
        return rest

    def _kick_down_(self, twice_kinetic: Tensor, t: float) -> None:
        """Half a kick from the last thermostat to the first, each slowed by the one behind it."""
        for j in reversed(range(self.velocity.shape[1])):
            self._kick_(j, twice_kinetic, t)

    def _kick_up_(self, twice_kinetic: Tensor, t: float) -> None:
        """The same from the first to the last: together they can be reversed in time."""
        for j in range(self.velocity.shape[1]):
            self._kick_(j, twice_kinetic, t)

    def _kick_(self, j: int, twice_kinetic: Tensor, t: float) -> None:
        """v_j = s (s v_j + t/2 G_j / Q_j), s = exp(-t/4 v_{j+1})."""
        velocity, unit = self.velocity, self.time_fs**2
        if j == 0:
            acceleration = (twice_kinetic / (self.n * self.kT) - 1.0) / unit
        else:
            before = self.n if j == 1 else 1.0  # Q_{j-1} / (kT time²)
            acceleration = before * velocity[:, j - 1].square() - 1.0 / unit
        if j + 1 == velocity.shape[1]:
            velocity[:, j].add_(acceleration, alpha=0.5 * t)
        else:
            slowed = torch.exp(-0.25 * t * velocity[:, j + 1])
            velocity[:, j].mul_(slowed).add_(acceleration, alpha=0.5 * t).mul_(slowed)
