"""Pretrained SevenNet models against sevenn itself, in float64, in one process."""

import functools

import numpy as np
import pytest
from agreement import assert_agrees, load_references, predict

from fastequi.importers import load_model
from fastequi.kernels import instructions
from fastequi.potential import Potential

pytest.importorskip("sevenn", reason="sevenn is not installed: pip install 'fastequi[peers]'")
pytest.importorskip("torch_geometric", reason="sevenn is installed without what it needs to run")
from sevennet_peer import DATA, MODELS, build, evaluate, structures

pytestmark = [pytest.mark.peers, pytest.mark.slow]
SYSTEMS = structures()
build = functools.cache(build)


def load(title: str) -> Potential:
    name, modality = MODELS[title]
    kernels = "reference"  # the network itself; others tabulate its radial part
    return load_model(name, "cpu", "float64", kernels, modality)


@pytest.mark.parametrize("structure", SYSTEMS)
@pytest.mark.parametrize("title", MODELS)
def test_computes_what_sevennet_computes(title: str, structure: str) -> None:
    name, modality = MODELS[title]
    reference = evaluate(build(name, exact=True), modality, SYSTEMS[structure])
    prediction = predict(load(title), SYSTEMS[structure])
    assert_agrees(prediction, reference, f"{title}, {structure}")


@pytest.mark.parametrize("title", MODELS)
def test_what_its_checkpoints_round(title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `exact` sevenn differs by its Wigner 3j in float32; rounded here too, it agrees."""
    name, modality = MODELS[title]
    reference = evaluate(build(name, exact=False), modality, SYSTEMS["water"])
    exact = instructions.wigner_3j

    def rounded(l1: int, l2: int, l3: int) -> np.ndarray:
        table = exact(l1, l2, l3)
        return table.astype(np.float32).astype(np.float64) if l1 * l2 * l3 else table

    monkeypatch.setattr(instructions, "wigner_3j", rounded)
    prediction = predict(load(title), SYSTEMS["water"])
    assert_agrees(prediction, reference, f"{title}, water, rounded")


def test_reference_numbers_are_those_of_sevennet() -> None:
    """What is committed for machines without sevenn is what sevenn says today."""
    systems, references = load_references(DATA / "sevennet.json")
    reference = evaluate(build("sevennet-0", True), None, systems["water"])
    assert reference.energy == pytest.approx(references["sevennet-0"]["water"].energy, abs=1e-10)
    assert reference.forces == pytest.approx(references["sevennet-0"]["water"].forces, abs=1e-10)
