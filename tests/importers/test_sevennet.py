"""Pretrained SevenNet models against numbers that SevenNet computed (see sevennet_peer.py).

Needs the weights alone (pip install 'fastequi[pretrained]'): sevenn is not imported.
"""

import functools
from pathlib import Path

import pytest
from agreement import assert_agrees, load_references, predict

from fastequi.errors import InputError
from fastequi.importers import load_model
from fastequi.importers.sevennet import find_pretrained
from fastequi.potential import Potential

SYSTEMS, REFERENCES = load_references(Path(__file__).parent / "data" / "sevennet.json")


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
