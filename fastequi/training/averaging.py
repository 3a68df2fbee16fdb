"""Exponential moving average of weights: what is validated, and what is saved.

average <- average + (1 - d) (weights - average), d = min(decay, (1 + n) / (10 + n)) after n steps,
so that early averages do not hang on random weights (as in TensorFlow's moving averages).
"""

import copy

import torch
from torch import Tensor

from fastequi.model.nequip import NequIP


class AveragedNetwork:
    """A twin of a network that follows it."""

    def __init__(self, network: NequIP, tensors: list[Tensor], decay: float) -> None:
        """tensors: what of the network is trained, in the order of `trained_tensors`."""
        self.decay, self.n_updates = decay, 0
        self.network = copy.deepcopy(network)
        for _, tensor in named_tensors(self.network):  # the scales are buffers
            tensor.requires_grad_(False)
        self._source = tensors
        self._average = [dict(named_tensors(self.network))[name] for name in
                         names_of(network, tensors)]  # fmt: skip

    @torch.no_grad()
    def update(self) -> None:
        """Take in the present weights."""
        self.n_updates += 1
        decay = min(self.decay, (1 + self.n_updates) / (10 + self.n_updates))
        weights = [tensor.detach() for tensor in self._source]
        torch._foreach_lerp_(self._average, weights, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]


def named_tensors(network: NequIP) -> list[tuple[str, Tensor]]:
    """Parameters and buffers by name."""
    return [*network.named_parameters(), *network.named_buffers()]


def trained_tensors(network: NequIP, train_scales: bool) -> list[Tensor]:
    """The parameters, and the energy scale and shift of each species where they are free."""
    tensors: list[Tensor] = [p for p in network.parameters() if p.requires_grad]
    if train_scales:
        tensors += [network.scale.requires_grad_(True), network.shift.requires_grad_(True)]
    return tensors


def names_of(network: NequIP, tensors: list[Tensor]) -> list[str]:
    """The names of some of a network's tensors."""
    names = {id(tensor): name for name, tensor in named_tensors(network)}
    return [names[id(tensor)] for tensor in tensors]
