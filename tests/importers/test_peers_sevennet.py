"""Pretrained SevenNet models against sevenn itself, in float64, in one process."""

import functools

import pytest
from agreement import assert_agrees, load_references, predict

from fastequi.importers import load_model
from fastequi.potential import Potential

pytest.importorskip("sevenn", reason="sevenn is not installed: pip install 'fastequi[peers]'")
pytest.importorskip("torch_geometric", reason="sevenn is installed without what it needs to run")
from sevennet_peer import DATA, MODELS, build, evaluate, structures

pytestmark = pytest.mark.peers
SYSTEMS = structures()
build = functools.cache(build)


@functools.cache
def potential(title: str) -> Potential:
    name, modality = MODELS[title]
    return load_model(name, device="cpu", dtype="float64", modality=modality)


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "as it is"])
@pytest.mark.parametrize("structure", SYSTEMS)
@pytest.mark.parametrize("title", MODELS)
def test_computes_what_sevennet_computes(title: str, structure: str, exact: bool) -> None:
    name, modality = MODELS[title]
    reference = evaluate(build(name, exact), modality, SYSTEMS[structure])
    prediction = predict(potential(title), SYSTEMS[structure])
    assert_agrees(prediction, reference, f"{title}, {structure}, exact={exact}")


def test_reference_numbers_are_those_of_sevennet() -> None:
    """What is committed for machines without sevenn is what sevenn says today."""
    systems, references = load_references(DATA / "sevennet.json")
    reference = evaluate(build("sevennet-0", True), None, systems["water"])
    assert reference.energy == pytest.approx(references["sevennet-0"]["water"].energy, abs=1e-10)
    assert reference.forces == pytest.approx(references["sevennet-0"]["water"].forces, abs=1e-10)
