"""Five steps of training that NequIP 0.19.1 took (`make_nequip_step.py`), taken by fastequi."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from stepping import BATCHES, apart, loss_of_step, trainer_of

from fastequi.model.file import ModelData
from fastequi.model.spec import ModelSpec
from fastequi.training.trainer import Trainer

WRITTEN = json.loads(Path(__file__).with_name("nequip_step.json").read_text())


def structures() -> list[Atoms]:
    found = []
    for entry in WRITTEN["structures"]:
        atoms = Atoms(
            entry["numbers"], entry["positions"], cell=entry["cell"], pbc=entry["pbc"]
        )  # fmt: skip
        atoms.calc = SinglePointCalculator(atoms, **entry["results"])
        found.append(atoms)
    return found


def tensors(entry: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in entry.items()}


def trainer(kernels: str) -> Trainer:
    spec = ModelSpec.from_json(json.dumps(WRITTEN["spec"]))
    model = ModelData(spec, tensors(WRITTEN["start"]))
    return trainer_of(model, structures(), WRITTEN["loss_weights"], kernels)


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, Any]) -> None:
    for name, values in tensors(expected).items():
        assert apart(found[name], values) < 1e-9, name


@pytest.mark.parametrize("kernels", ["reference", "cpu"])
def test_first_step_is_nequips(kernels: str):
    ours = trainer(kernels)
    assert loss_of_step(ours, BATCHES[0]) == pytest.approx(WRITTEN["losses"][0], rel=1e-11)
    assert_close(ours.network.state_dict(), WRITTEN["after one step"])


@pytest.mark.parametrize("kernels", ["reference", "cpu"])
def test_five_steps_and_their_average_are_nequips(kernels: str):
    ours = trainer(kernels)
    losses = [loss_of_step(ours, frames) for frames in BATCHES]
    assert losses == pytest.approx(WRITTEN["losses"], rel=1e-11)
    assert_close(ours.network.state_dict(), WRITTEN["after all steps"])
    assert_close(ours.average.network.state_dict(), WRITTEN["average"])
