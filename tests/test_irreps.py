"""Irreps, Wigner 3j and spherical harmonics against e3nn."""

import numpy as np
import pytest
import torch
from e3nn import o3

from fastequi.irreps import Irrep, Irreps, hidden_irreps, wigner_3j
from fastequi.kernels.instructions import make_instructions
from fastequi.kernels.spherical_harmonics import spherical_harmonics


@pytest.mark.parametrize("l1", range(5))
@pytest.mark.parametrize("l2", range(5))
def test_wigner_3j(l1: int, l2: int):
    for l3 in range(abs(l1 - l2), l1 + l2 + 1):
        expected = o3.wigner_3j(l1, l2, l3, dtype=torch.float64).numpy()
        assert np.abs(wigner_3j(l1, l2, l3) - expected).max() < 1e-14


def test_spherical_harmonics():
    torch.manual_seed(0)
    vectors = torch.randn(40, 3, dtype=torch.float64)
    for x in (vectors, torch.nn.functional.normalize(vectors, dim=1)):
        expected = o3.spherical_harmonics(list(range(6)), x, False, "component")
        assert float((spherical_harmonics(x, 5) - expected).abs().max()) < 1e-11


def test_irreps_are_sorted_and_joined():
    irreps = Irreps.parse("4x1o+8x0e+2x1e+8x0e+0o")
    assert str(irreps) == "16x0e+1x0o+2x1e+4x1o"
    assert irreps.dim == 16 + 1 + 6 + 12
    assert str(hidden_irreps((8, 4), "full")) == "8x0e+8x0o+4x1e+4x1o"
    with pytest.raises(ValueError, match="'2a' is not an irrep"):
        Irrep.parse("2a")


@pytest.mark.parametrize(
    ("irreps", "parity", "n_paths", "n_weights"),
    [
        ("128x0e+64x1e+32x2e", "even", 15, 960),  # SevenNet-0
        ("128x0e+64x1e+32x2e+32x3e", "even", 34, 1760),  # SevenNet-l3i5
        ("128x0e+64x1o+32x2e", "natural", 11, 768),  # NequIP M
        ("128x0e+64x1o+32x2e+32x3o", "natural", 23, 1312),  # NequIP L
        ("320x0e+96x1o+64x2e+32x3o+32x4e", "natural", 42, 3616),  # NequIP XL
        ("64x0e+64x1e+64x1o+64x2e+64x2o", "natural", 27, 1728),  # parity on, third layer
    ],
)
def test_paths_of_known_models(irreps: str, parity, n_paths: int, n_weights: int):
    """Counts published for the middle layers of these models."""
    features = Irreps.parse(irreps)
    wanted = features if "1e" not in irreps else hidden_irreps((64, 64, 64), "full")
    wanted = features if parity == "even" else wanted
    table = make_instructions(features, features.l_max, parity, wanted)
    assert (len(table.paths), table.n_weights) == (n_paths, n_weights)
    assert hash(table) == hash(make_instructions(features, features.l_max, parity, wanted))
