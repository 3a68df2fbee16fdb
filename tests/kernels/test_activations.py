"""The printed silu against torch's, over all that reals can be."""

import ctypes

import pytest
import torch
from torch import Tensor

from fastequi.kernels.cpu.activations import exponential, silu
from fastequi.kernels.llvm.compiler import Kernel
from fastequi.kernels.llvm.ir import Function, Value
from fastequi.model.activations import ACTIVATIONS

REALS = {torch.float32: "float", torch.float64: "double"}
LANES = 8


def evaluated(name: str, x: Tensor, make) -> list[Tensor]:
    """make(function, vector) -> vectors, for all of x."""
    real = REALS[x.dtype]
    f = Function(f"{name}_{real}", real, [("n", "i64"), ("arguments", "ptr")])
    n, arguments = f.parameters
    places: list[Value] = [f.load(f.at(arguments, i, "i64"), "ptr") for i in range(4)]
    with f.loop(0, n, LANES) as i:
        for k, value in enumerate(make(f, f.load(f.at(places[0], i), "real", LANES))):
            f.store(value, f.at(places[1 + k], i))
    out = [torch.empty_like(x) for _ in range(3)]
    addresses = (ctypes.c_int64 * 4)(*(tensor.data_ptr() for tensor in (x, *out)))
    Kernel(f.name, f.text(), n_integers=1)(len(x), ctypes.addressof(addresses))
    return out


def some(dtype: torch.dtype) -> Tensor:
    reach = 87.0 if dtype == torch.float32 else 700.0
    return torch.cat([torch.linspace(-reach, reach, 4000), torch.linspace(-4, 4, 4000)]).to(dtype)


@pytest.mark.parametrize("dtype", REALS, ids=str)
def test_exponential(dtype: torch.dtype):
    x = some(dtype)
    got = evaluated("exponential", x, lambda f, v: [exponential(f, v)])[0]
    error = (got.double() / x.double().exp() - 1).abs().max()
    assert float(error) < 2 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", REALS, ids=str)
def test_silu_and_its_derivatives(dtype: torch.dtype):
    x, scale = some(dtype), 1.7
    got = evaluated("silu", x, lambda f, v: silu(f, v, scale, 2))
    expected = ACTIVATIONS["silu"].derivatives(x.double())
    for a, b in zip(got, expected, strict=True):
        error = (a.double() - scale * b).abs().max() / b.abs().max()
        assert float(error) < 6 * torch.finfo(dtype).eps  # of which torch makes some


def test_what_is_not_a_number_stays_so():
    x = torch.full((LANES,), torch.nan)
    got = evaluated("silu", x, lambda f, v: silu(f, v, 1.0, 2))
    assert all(bool(block.isnan().all()) for block in got)
