"""fastequi trains as NequIP trains: the same losses, gradients, steps and averages, in float64.

NequIP's side is its own training module, loss, Adam and moving average
(benchmarks/nequip_training.py); fastequi's is `Trainer.train_step`. The importer turns NequIP's
tensors into fastequi's layout. For what is compared here it only selects and reorders weights, so
that a step of Adam, which acts on each number alone, commutes with it. Not so for two kinds of
models, left out here: one trained scale (or shift) for all species, which fastequi trains per
species, and NequIP's readout with the nonlinearity "None", whose weights the importer scales.
"""

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from stepping import BATCHES, EMA_DECAY, apart, loss_of_step, trainer_of

from fastequi.model.file import ModelData
from fastequi.training.averaging import names_of
from fastequi.training.trainer import Trainer

pytest.importorskip("nequip", reason="NequIP is not installed: pip install 'fastequi[peers]'")
from benchmarks.nequip_training import NequIPTraining

pytestmark = [pytest.mark.peers, pytest.mark.slow]

#: Largest deviations allowed. Of a loss: relative. Of a gradient: relative to the largest in its
#: tensor, or to a thousandth of the largest of all. Of weights: five steps move them by about 0.05.
LIMITS = {"loss": 1e-12, "gradient": 1e-11, "weight": 1e-10, "average": 1e-10}

TYPES = ["O", "C", "H"]
COMMON: dict[str, Any] = {
    "_target_": "nequip.model.NequIPGNNModel",
    "seed": 1,
    "model_dtype": "float64",
    "type_names": TYPES,
    "r_max": 3.5,
    "l_max": 2,
    "num_layers": 3,
    "num_features": [6, 4, 3],
    "radial_mlp_width": 8,
    "avg_num_neighbors": 7.3,
    "per_type_energy_shifts": {"O": -3.0, "C": -2.0, "H": -1.0},
    "per_type_energy_scales": {"O": 1.3, "C": 0.7, "H": 1.1},
}
CASES: dict[str, dict[str, Any]] = {
    **{
        f"l={l_max} parity={parity}": {
            "l_max": l_max,
            "parity": parity,
            "num_features": [6, 4, 3, 2][: l_max + 1],
        }
        for l_max in (1, 2, 3)
        for parity in (True, False)
    },
    "two layers": {"num_layers": 2},
    "four layers": {"num_layers": 4, "l_max": 1, "num_features": 4},
    "deep radial": {"radial_mlp_depth": 3},
    "deep readout": {"readout_mlp_hidden_layers_depth": 1, "readout_mlp_hidden_layers_width": 5},
    "type embedding": {"type_embed_num_features": 5},
    "trained roots": {"bessel_trainable": True},
    "trained scale and shift": {
        "per_type_energy_shifts_trainable": True,
        "per_type_energy_scales_trainable": True,
    },
    "pair cutoffs": {"per_edge_type_cutoff": {"H": 2.0, "C": {"H": 3.0, "C": 2.5}}},
    "neighbours per type": {"avg_num_neighbors": {"O": 3.0, "C": 5.5, "H": 2.25}},
    "ZBL": {
        "pair_potential": {
            "_target_": "nequip.nn.pair_potential.ZBL",
            "units": "metal",
            "chemical_species": TYPES,
        }
    },
}  # fmt: skip
LOSSES = {
    "energy, forces": {"energy_per_atom": 1.0, "forces": 4.0},
    "energy, forces, stress": {"energy_per_atom": 2.0, "forces": 1.0, "stress": 30.0},
}


def structures() -> list[Atoms]:
    """Crystals of three elements with stress, molecules without; random labels."""
    random = np.random.default_rng(5)
    found = []
    for k in range(3):
        crystal = bulk("C", "diamond", 3.6, cubic=True)
        crystal.numbers = random.choice([8, 6, 1], len(crystal))
        strain = np.eye(3) + 0.08 * random.normal(size=(3, 3))
        crystal.set_cell(crystal.cell @ strain, scale_atoms=True)
        crystal.positions += 0.1 * random.normal(size=(len(crystal), 3))
        found.append(_labelled(crystal, random, stress=0.1 * random.normal(size=6)))
        other = molecule(("CH3CH2OH", "H2O", "CH3OH")[k])
        other.positions += 0.05 * random.normal(size=(len(other), 3))
        found.append(_labelled(other, random))
    return [*found[::2], *found[1::2]]


def _labelled(atoms: Atoms, random: np.random.Generator, **results: Any) -> Atoms:
    energy = -2.0 * len(atoms) + random.normal()
    forces = random.normal(size=(len(atoms), 3))
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, **results)
    return atoms


def compared(peer: NequIPTraining, ours: Trainer, frames: list[int]) -> dict[str, float]:
    """One step of both on the same frames of `structures`; the deviations."""
    labelled = structures()
    loss = loss_of_step(ours, frames)
    expected = float(peer.step(peer.batch([labelled[k] for k in frames])))
    names = names_of(ours.network, ours.tensors)
    gradients, weights, averages = peer.gradients(), peer.weights(), peer.averaged_weights()
    largest = max(float(gradients[name].abs().max()) for name in names)
    found = {"loss": abs(loss / expected - 1), "gradient": 0.0, "weight": 0.0}
    for name, tensor in zip(names, ours.tensors, strict=True):
        gradient = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
        size = max(float(gradients[name].abs().max()), 1e-3 * largest)
        found["gradient"] = max(found["gradient"], apart(gradient, gradients[name]) / size)
        found["weight"] = max(found["weight"], apart(tensor, weights[name]))
    ours_averaged = ours.average.network.state_dict()
    found["average"] = max(apart(ours_averaged[name], a) for name, a in averages.items())
    return found


@pytest.mark.parametrize("kernels", ["reference", "cpu"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("case", CASES)
def test_takes_the_steps_that_nequip_takes(case: str, loss: str, kernels: str):
    peer = NequIPTraining(COMMON | CASES[case], LOSSES[loss], EMA_DECAY)
    model = ModelData(peer.spec(), peer.weights())
    free = case == "trained scale and shift"
    ours = trainer_of(model, structures(), LOSSES[loss], kernels, train_scales=free)
    started = [tensor.detach().clone() for tensor in ours.tensors]

    steps = [compared(peer, ours, frames) for frames in BATCHES]

    moved_by = [apart(t, s) for t, s in zip(ours.tensors, started, strict=True)]
    assert sum(by > 0.02 for by in moved_by) > 0.7 * len(moved_by), "weights that hardly moved"
    worst = {name: max(step[name] for step in steps) for name in LIMITS}
    text = ", ".join(f"{name} {value:.1e}" for name, value in worst.items())
    print(f"{case}, {loss}, {kernels}: differs by {text}")
    assert all(worst[name] <= limit for name, limit in LIMITS.items()), text
