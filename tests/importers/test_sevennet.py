"""Pretrained SevenNet models against numbers that SevenNet computed (see sevennet_peer.py).

Needs the weights alone (pip install 'fastequi[pretrained]'): sevenn is not imported.
"""

import functools

import numpy as np
import pytest
from agreement import DATA, assert_agrees, load_references, predict

from fastequi.errors import InputError
from fastequi.importers import load_model
from fastequi.importers.sevennet import find_pretrained
from fastequi.potential import Potential

SYSTEMS, REFERENCES = load_references(DATA / "sevennet.json")
SOME_SYSTEMS, SHIPPED = load_references(DATA / "sevennet-shipped.json")


@functools.cache
def potential(title: str) -> Potential:
    name, _, modality = title.partition(":")
    try:
        find_pretrained(name)
    except InputError as error:
        pytest.skip(str(error))
    kernels = "reference"  # the network itself; others tabulate its radial part
    return load_model(name, "cpu", "float64", kernels, modality or None)


@pytest.mark.parametrize("structure", SYSTEMS)
@pytest.mark.parametrize("title", REFERENCES)
def test_agrees_with_sevennet(title: str, structure: str) -> None:
    prediction = predict(potential(title), SYSTEMS[structure])
    assert_agrees(prediction, REFERENCES[title][structure], f"{title}, {structure}")


@pytest.mark.parametrize("structure", SOME_SYSTEMS)
@pytest.mark.parametrize("title", SHIPPED)
def test_agrees_with_sevennet_as_shipped(title: str, structure: str) -> None:
    """Its checkpoints hold Wigner 3j tables in float32: what the README says of that."""
    prediction = predict(potential(title), SOME_SYSTEMS[structure])
    shipped, exact = SHIPPED[title][structure], REFERENCES[title][structure]
    assert abs(float(prediction.energy[0]) - shipped.energy) < 2e-9 * len(shipped.energies)
    assert np.abs(prediction.forces.numpy() - shipped.forces).max() < 2e-8
    assert np.abs(shipped.forces - exact.forces).max() > 1e-10  # or nothing is rounded any more
