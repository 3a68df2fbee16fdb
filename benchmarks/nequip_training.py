"""NequIP's own training step: its module, data, loss and optimizer, without a Lightning Trainer.

Needs the package nequip. What the Trainer would call is called here in the same order, so nothing
of NequIP's arithmetic is left out, and none of Lightning's loop is counted.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ase import Atoms
from torch import Tensor

from fastequi.importers.nequip import elements_of
from fastequi.importers.nequip_config import facts_from_config
from fastequi.importers.nequip_weights import spec_of, tensors_of
from fastequi.model.spec import ModelSpec

ADAM = {"_target_": "torch.optim.Adam", "lr": 0.01, "amsgrad": True}
_PREFIX = "sole_model.model.func."
_VERSION = "0.19.1"


def loss_config(weights: Mapping[str, float]) -> dict[str, Any]:
    """NequIP's loss with the weights of fastequi's: mean squared errors, energies per atom.

    NequIP divides the weights by their sum.
    """
    coefficients = {"total_energy": weights["energy_per_atom"], "forces": weights["forces"]}
    config: dict[str, Any] = {"per_atom_energy": True, "coeffs": coefficients}
    if "stress" not in weights:
        return config | {"_target_": "nequip.train.EnergyForceLoss"}
    coefficients["stress"] = weights["stress"]
    config["ignore_nan"] = {"stress": True}  # molecules have none
    return config | {"_target_": "nequip.train.EnergyForceStressLoss"}


class NequIPTraining:
    """A NequIP model in training by its own module, which keeps averaged (EMA) weights too."""

    def __init__(
        self,
        model: Mapping[str, Any],
        weights: Mapping[str, float],
        ema_decay: float = 0.99,
        device: str = "cpu",
    ) -> None:
        """model: arguments of one of NequIP's builders; weights: of the loss."""
        from nequip.train import EMALightningModule
        from nequip.utils.global_state import set_global_state

        set_global_state()
        self.config, self.device = dict(model), torch.device(device)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.module: Any = EMALightningModule(
                ema_decay=ema_decay,
                model=self.config,
                num_datasets={"train": 1, "val": 0, "test": 0, "predict": 0},
                loss=loss_config(weights),
                optimizer=ADAM,
            )
        self.module.to(self.device).train()
        self.optimizer: torch.optim.Optimizer = self.module.configure_optimizers()

    def batch(self, structures: Sequence[Atoms]) -> dict[str, Tensor]:
        """Structures with their labels and neighbour lists as NequIP's data loader gives them."""
        from nequip.data import AtomicDataDict
        from nequip.data.ase import from_ase
        from nequip.data.transforms import AddNaNStressTransform
        from nequip.integrations.utils import basic_transforms

        model = self.module.model["sole_model"]
        names = self.config["type_names"]
        transforms = basic_transforms(
            model.metadata, float(self.config["r_max"]), names, {name: name for name in names}
        )
        transforms.append(AddNaNStressTransform())
        frames = []
        for atoms in structures:
            data = from_ase(atoms)
            for transform in transforms:
                data = transform(data)
            frames.append(data)
        return AtomicDataDict.to_(AtomicDataDict.batched_from_list(frames), self.device)

    def step(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Forward, loss, backward, Adam, average: one step of `nequip-train`; the loss."""
        self.optimizer.zero_grad()
        loss = self.loss(batch)
        loss.backward()
        self.optimizer.step()
        self.module.ema.update_parameters(self.module.model)
        return loss.detach()

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """NequIP's `training_step`, but for its logging."""
        target = self.module.process_target(batch, 0)
        return self.module.loss(self.module(dict(batch)), target)["weighted_sum"]

    # -- in fastequi's layout ----------------------------------------------------------------

    def spec(self) -> ModelSpec:
        """The architecture, as fastequi's importer understands it."""
        facts = facts_from_config(self.config, _VERSION)
        return spec_of(facts, self._state(), elements_of(facts.type_names, {}))

    def weights(self) -> dict[str, Tensor]:
        """The whole state."""
        return self._converted(self._state())

    def gradients(self) -> dict[str, Tensor]:
        """The gradients of the last step in the places of the weights; zero where there is none."""
        state = self._state()
        for name, weight in self._parameters():
            state[name] = torch.zeros_like(weight) if weight.grad is None else weight.grad
        return self._converted(state)

    def averaged_weights(self) -> dict[str, Tensor]:
        """The state with averaged weights."""
        names = [name for name, _ in self._parameters()]
        averaged = dict(zip(names, self.module.ema.ema_weights, strict=True))
        return self._converted(self._state() | averaged)

    def _converted(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        facts = facts_from_config(self.config, _VERSION)
        converted = tensors_of(facts, state, self.spec())
        return {name: tensor.detach().clone() for name, tensor in converted.items()}

    def _parameters(self) -> list[tuple[str, Tensor]]:
        named = self.module.model.named_parameters()
        return [(name.removeprefix(_PREFIX), weight) for name, weight in named]

    def _state(self) -> dict[str, Tensor]:
        state = self.module.model.state_dict()
        return {name.removeprefix(_PREFIX): tensor for name, tensor in state.items()}
