"""The loss: mean squared (or Huber) errors of energies per atom, force components and stress.

    L = w_E <((E - E0) / atoms)^2> + w_F <(F - F0)^2> + w_S <(S - S0)^2>

in eV, eV/Å and eV/Å³; means over what is labelled. Sums are float64, whatever the network's
arithmetic. Huber (1964): quadratic up to delta, linear beyond, x^2 -> 2 delta |x| - delta^2, so
that both kinds agree for small errors.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fastequi.data import Batch, Frame
from fastequi.graph import sum_by_system
from fastequi.potential import Prediction
from fastequi.training.config import LossConfig


def counts(frames: Sequence[Frame]) -> dict[str, float]:
    """What the means divide by: labelled systems, force components, stress components."""
    return {
        "energy_per_atom": float(sum(frame.energy is not None for frame in frames)),
        "forces": 3.0 * sum(frame.n_atoms for frame in frames if frame.forces is not None),
        "stress": 9.0 * sum(frame.stress is not None for frame in frames),
    }


def terms(
    prediction: Prediction, batch: Batch, loss: LossConfig, divisors: dict[str, float]
) -> dict[str, Tensor]:
    """The weighted terms of the loss, scalars; `divisors` are the `counts` of the whole batch.

    A term is 0 where nothing is labelled. Energies and forces are there with a weight of 0 too:
    the gradient of the loss by both is asked for.
    """
    return {
        name: getattr(loss, name)
        * rule(prediction, batch, getattr(loss.huber_delta, name) if loss.kind == "huber" else None)
        / max(divisors[name], 1.0)
        for name, rule in _SUMS.items()
        if name != "stress" or loss.stress
    }


def _energy_sum(prediction: Prediction, batch: Batch, delta: float | None) -> Tensor:
    ones = torch.ones_like(prediction.energies)
    atoms = sum_by_system(ones, batch.graph.system_idx, batch.graph.n_systems)
    error = ((prediction.energy - batch.energy) / atoms)[batch.has_energy]
    return (batch.weight[batch.has_energy] * _penalty(error, delta)).sum()


def _force_sum(prediction: Prediction, batch: Batch, delta: float | None) -> Tensor:
    labelled = batch.has_forces[batch.graph.system_idx]
    error = (prediction.forces - batch.forces)[labelled]
    weight = batch.weight[batch.graph.system_idx][labelled]
    return (weight.unsqueeze(1) * _penalty(error, delta)).sum()


def _stress_sum(prediction: Prediction, batch: Batch, delta: float | None) -> Tensor:
    error = (prediction.stress[batch.has_stress] - batch.stress[batch.has_stress]).flatten(1)
    return (batch.weight[batch.has_stress].unsqueeze(1) * _penalty(error, delta)).sum()


def _penalty(error: Tensor, delta: float | None) -> Tensor:
    if delta is None:
        return error.square()
    size = error.abs()
    return torch.where(size <= delta, error.square(), 2 * delta * size - delta**2)


_SUMS = {"energy_per_atom": _energy_sum, "forces": _force_sum, "stress": _stress_sum}
