"""Nosé-Hoover chains: a thermostat whose own thermostats are chained behind it.

Martyna, Klein & Tuckerman, J. Chem. Phys. 97, 2635 (1992); integrated as in Martyna, Tuckerman,
Tobias & Klein, Mol. Phys. 87, 1117 (1996), eqs. 29-36, with the three steps of Suzuki and Yoshida
(fourth order). A chain of M thermostats on n degrees of freedom of kinetic energy K at kT adds

    sum_j Q_j v_j² / 2 + n kT eta_1 + kT sum_{j>1} eta_j,  Q_1 = n kT time², Q_j = kT time²

to the invariant. `time` is the inverse of the angular frequency at which the chain answers.

Each thermostat waits for its neighbour, so that a chain is a hundred operations on a number per
system: on a CPU numpy does them three times as fast as torch, and Python those of a few systems
faster than numpy; on a GPU one kernel.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastequi.kernels.triton.step import kernels

#: Fractions of a step, Yoshida, Phys. Lett. A 150, 262 (1990): fourth order.
_OUTER = 1.0 / (2.0 - 2.0 ** (1.0 / 3.0))
SUZUKI_YOSHIDA = (_OUTER, 1.0 - 2.0 * _OUTER, _OUTER)

#: Systems up to which Python is faster than numpy.
_FEW_SYSTEMS = 4


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
        arrays: list[Any] = [self.position, self.velocity, self.n, self.kT, kinetic]
        if kernels.run_on(kinetic.device) and self.velocity.shape[1] <= kernels.LONGEST_CHAIN:
            from fastequi.kernels.triton.step.step import advance_chain_  # Triton is slow to import

            x, v, n, kT, kinetic = arrays
            return advance_chain_(x, v, n, kT, kinetic, self.time_fs, time_fs)
        if kinetic.device.type == "cpu":
            arrays = [tensor.numpy() for tensor in arrays]
            if len(kinetic) <= _FEW_SYSTEMS:
                return torch.from_numpy(_advance_few(arrays, self.time_fs, time_fs))
            return torch.from_numpy(_advance(arrays, self.time_fs, time_fs, np.exp))
        return _advance(arrays, self.time_fs, time_fs, torch.exp)

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


def _advance(arrays: list[Any], time_fs: float, step_fs: float, exp: Callable[[Any], Any]) -> Any:
    """`Chain.advance_` in numpy or torch: of position, velocity, n, kT and kinetic.

    For each fraction of the step: half a kick from the last thermostat to the first, each slowed by
    the one behind it; the drift; and half a kick from the first to the last, so that together they
    can be reversed in time.
    """
    position, velocity, n, kT, kinetic = arrays
    v = [velocity[:, j] for j in range(velocity.shape[1])]
    x = [position[:, j] for j in range(position.shape[1])]
    return _swing_(x, v, n, 2.0 * kinetic / (n * kT), time_fs, step_fs, exp)


def _advance_few(arrays: list[Any], time_fs: float, step_fs: float) -> Any:
    """The same, to the last bit, by numbers of Python: on one of them numpy takes ten times as
    long."""
    position, velocity, n, kT, kinetic = arrays
    factors = []
    for k, (x, v) in enumerate(zip(position.tolist(), velocity.tolist(), strict=True)):
        driven = 2.0 * float(kinetic[k]) / (float(n[k]) * float(kT[k]))
        factors.append(_swing_(x, v, float(n[k]), driven, time_fs, step_fs, _exp_of_one))
        position[k], velocity[k] = x, v
    return np.array(factors)


def _exp_of_one(x: float) -> float:
    """As numpy has it of many; the system's own exponential may have another last bit."""
    return float(np.exp(x))


def _swing_(
    x: list[Any], v: list[Any], n: Any, driven: Any, time_fs: float, step_fs: float,
    exp: Callable[[Any], Any],
) -> Any:  # fmt: skip
    """Of eta and its rate, a number per system for each thermostat; driven is 2K / (n kT)."""
    inward, unit = list(reversed(range(len(v)))), 1.0 / time_fs**2
    factor = None
    for fraction in SUZUKI_YOSHIDA:
        t = fraction * step_fs
        for j in inward:
            _kick_(v, j, n, driven, unit, t, exp)
        scale = exp(-t * v[0])
        driven = driven * scale * scale
        factor = scale if factor is None else factor * scale
        for j, rate in enumerate(v):
            x[j] += t * rate
        for j in range(len(v)):
            _kick_(v, j, n, driven, unit, t, exp)
    return factor


def _kick_(
    v: list[Any], j: int, n: Any, driven: Any, unit: float, t: float, exp: Callable[[Any], Any]
) -> None:
    """v_j = s (s v_j + t/2 G_j / Q_j), s = exp(-t/4 v_{j+1}); driven is 2K / (n kT)."""
    if j == 0:
        change = (driven - 1.0) * (0.5 * t * unit)
    else:
        heavier = 0.5 * t * n if j == 1 else 0.5 * t  # Q_{j-1} / (kT time²)
        change = heavier * v[j - 1] * v[j - 1] - 0.5 * t * unit
    if j + 1 == len(v):
        v[j] += change
    else:
        slowed = exp(-0.25 * t * v[j + 1])
        v[j] *= slowed
        v[j] += change
        v[j] *= slowed
