"""Nosé-Hoover chains on a GPU are those of `fastequi.md.integrators.chains`."""

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from fastequi.kernels.triton.step.step import advance_chain_
from fastequi.md.integrators.chains import Chain, _advance

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def _on_device(position, velocity, n, kT, kinetic):
    return advance_chain_(position, velocity, n, kT, kinetic, 40.0, 8.0)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8])
def test_a_chain_advances_as_it_is_defined(length):
    """More systems than a warp has lanes, each with freedom and temperature of its own."""
    random = np.random.default_rng(length)

    def numbers(low, high, *shape):
        return torch.from_numpy(random.uniform(low, high, shape))

    n, kT = numbers(3.0, 30.0, 37), numbers(0.001, 0.1, 37)
    kinetic = 0.5 * n * kT * numbers(0.0, 2.0, 37)
    position, velocity = numbers(-1.0, 1.0, 37, length), numbers(-5e-3, 5e-3, 37, length)
    velocity[:, 0] /= n.sqrt()
    there, in_torch = (
        [t.clone().to(to) for t in (position, velocity, n, kT, kinetic)] for to in (DEVICE, "cpu")
    )
    for _ in range(3):
        factor = Chain(position, velocity, n, kT, 40.0).advance_(kinetic, 8.0)
        defined = _advance(in_torch, 40.0, 8.0, torch.exp)
        got = _on_device(*there)
        assert float((factor - 1.0).abs().median()) > 1e-3
        pairs = [(factor, defined), (factor, got), (position, in_torch[0]), (position, there[0])]
        for expected, found in [*pairs, (velocity, in_torch[1]), (velocity, there[1])]:
            torch.testing.assert_close(found.cpu(), expected, rtol=1e-13, atol=1e-15)
