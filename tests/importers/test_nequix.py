"""nequix files: read, and in agreement with what nequix computes in float64 (nequix_peer.py)."""

import functools
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from agreement import DATA, assert_agrees, load_references, predict

from fastequi.errors import InputError
from fastequi.importers import load_model
from fastequi.importers.nequix import read_nequix
from fastequi.potential import Potential

SYSTEMS, REFERENCES = load_references(DATA / "nequix.json")

#: A model of one layer of scalars for H and Cu, with energies of atoms that differ in rounding.
HEADER = {
    "cutoff": 4.0, "atomic_numbers": [1, 29], "avg_n_neighbors": 4.0, "scale": 2.0, "shift": 0.25,
    "atom_energies": {"1": -1.0, "29": -3.252624273300171}, "hidden_irreps": "2x0e", "lmax": 0,
    "n_layers": 1, "radial_basis_size": 3, "radial_mlp_size": 4, "radial_mlp_layers": 1,
    "radial_polynomial_p": 6.0, "index_weights": False, "layer_norm": False,
}  # fmt: skip
SHAPES = [(3, 4), (4, 2), (2, 2), (2, 2), (2, 2), (2, 1)]  # radial, linear_1, _2, skip, readout


def nequix_file(folder: Path, n_arrays: int = len(SHAPES), **header: object) -> Path:
    """A file as nequix writes it, with so many arrays after the atoms' energies."""
    generator, content = np.random.default_rng(0), io.BytesIO()
    content.write(json.dumps(HEADER | header).encode() + b"\n")
    np.save(content, np.array([-1.0, -3.2526245], dtype=np.float32))
    for shape in SHAPES[:n_arrays]:
        np.save(content, generator.normal(size=shape).astype(np.float32))
    path = folder / "small.nqx"
    path.write_bytes(content.getvalue())
    return path


@functools.cache
def potential(name: str, folder: Path) -> Potential:
    return load_model(folder / "nequix" / f"{name}.nqx", "cpu", "float64", "reference")


@pytest.mark.parametrize("structure", SYSTEMS)
@pytest.mark.parametrize("name", REFERENCES)
def test_agrees_with_nequix(reference_data: Path, name: str, structure: str) -> None:
    prediction = predict(potential(name, reference_data), SYSTEMS[structure])
    assert_agrees(prediction, REFERENCES[name][structure], f"{name}, {structure}")


def test_atoms_have_the_energies_of_the_header(tmp_path: Path) -> None:
    """The array has them too, rounded otherwise; nequix's float64 model takes the header's."""
    shift = read_nequix(nequix_file(tmp_path)).tensors["shift"]
    expected = torch.tensor([-0.75, -3.002624273300171], dtype=torch.float64)
    torch.testing.assert_close(shift, expected, rtol=0, atol=1e-15)


def test_an_element_without_energy(tmp_path: Path) -> None:
    path = nequix_file(tmp_path, atom_energies={"1": -1.0})
    with pytest.raises(InputError, match=r"small\.nqx.*'29'"):
        read_nequix(path)


def test_arrays_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"small\.nqx: truncated"):
        read_nequix(nequix_file(tmp_path, n_arrays=4))
