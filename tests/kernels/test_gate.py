"""The compiled gate of training against the plain one (autograd is in tests/training)."""

import pytest
import torch
from torch import Tensor

from fastequi.irreps import Irreps
from fastequi.kernels.llvm import threads
from fastequi.kernels.testing import relative_rms
from fastequi.model.gate_passes import CompiledGatePasses, GatePasses
from fastequi.model.nequip import NequIP
from fastequi.model.spec import Parity, new_spec

pytestmark = pytest.mark.widths

N_ATOMS = 7
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14}


def blocks(irreps: Irreps, dtype: torch.dtype) -> list[Tensor]:
    return [torch.randn(N_ATOMS, ir.dim, mul, dtype=dtype) for mul, ir in irreps]


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("parity", ["natural", "full", "even"])
@pytest.mark.parametrize("channels", [(33, 16, 3), (64, 64, 64)])
def test_all_passes(
    channels: tuple[int, ...], parity: Parity, dtype: torch.dtype, n_threads: int,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    monkeypatch.setattr(threads, "n_threads", lambda: n_threads)
    torch.manual_seed(0)
    spec = new_spec([1], layers=3, l_max=2, channels=channels, parity=parity, cutoff_A=4.0)
    for layer in NequIP(spec).interactions():  # the last has no gated blocks
        gate, shapes = layer.gate, layer.shapes
        conv, out = shapes.irreps_conv, shapes.irreps_out
        y, dy, g, h = (blocks(of, dtype) for of in (conv, conv, out, out))
        results = [passes(kind(gate), y, dy, g, h) for kind in (CompiledGatePasses, GatePasses)]
        for got, expected in zip(*results, strict=True):
            assert relative_rms(got, expected) < TOLERANCE[dtype]


def passes(
    gate: GatePasses, y: list[Tensor], dy: list[Tensor], g: list[Tensor], h: list[Tensor]
) -> list[Tensor]:
    """What all four passes write, into memory that was not zero."""
    x, dx = ([torch.full_like(block, torch.nan) for block in g] for _ in range(2))
    gy, hy = ([torch.full_like(block, torch.nan) for block in y] for _ in range(2))
    gate.values(y, x)
    adjoint = gate.adjoint(g)
    gate.tangents(dy, dx)
    gate.reverse(g, h, gy, hy)
    return [*x, *adjoint, *dx, *gy, *hy]
