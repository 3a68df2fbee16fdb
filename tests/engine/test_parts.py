"""Compiled parts of layers against those that torch differentiates, in all four operations."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fastequi.engine.arrangement import order_of
from fastequi.engine.blocks import Blocks, Part, half
from fastequi.engine.differentiated import Differentiated
from fastequi.engine.gate import GatePart
from fastequi.engine.layer import CompiledLayer, LayerParts, PlainLayer
from fastequi.engine.norm import NormPart
from fastequi.irreps import Irreps
from fastequi.kernels.backend import BACKENDS
from fastequi.kernels.llvm import threads
from fastequi.kernels.testing import poisoned_memory, relative_rms
from fastequi.model.file import set_precision
from fastequi.model.nequip import NequIP
from fastequi.model.spec import Parity, new_spec

pytestmark = pytest.mark.widths

CPU = BACKENDS["cpu"]
N_ATOMS = 7
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14}


def network_of(channels: tuple[int, ...], parity: Parity, dtype: torch.dtype, **of_layers):
    torch.manual_seed(0)
    spec = new_spec([1, 8], layers=3, l_max=2, channels=channels, parity=parity, cutoff_A=4.0)
    spec = replace(spec, layers=tuple(replace(layer, **of_layers) for layer in spec.layers))
    network = set_precision(NequIP(spec), dtype)
    for name, parameter in network.named_parameters():
        if "bias" in name:
            torch.nn.init.normal_(parameter)
    return network


def stacks_of(irreps: Irreps, dtype: torch.dtype) -> Blocks:
    return [torch.randn(2, N_ATOMS, ir.dim, mul, dtype=dtype) for mul, ir in irreps]


def four_operations(part: Part, stacks: list[Blocks], g: Blocks) -> list[Tensor]:
    """What all of them give."""
    with poisoned_memory():
        out, kept = part.forward(*(half(x, 0) for x in stacks))
        back = part.vjp(kept, half(g, 0))
        both, kept = part.jvp(kept, *stacks)
        reverse = part.jvp_vjp(kept, g)
    found = [*back, *reverse]
    return [*out, *both, *(block for blocks in found for block in blocks)]


def assert_same(got: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for a, b in zip(got, expected, strict=True):
        assert relative_rms(a, b) < tolerance


@pytest.fixture(params=[1, 3], ids=lambda n: f"{n} threads")
def n_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(threads, "n_threads", lambda: request.param)
    return request.param


@pytest.mark.usefixtures("n_threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("parity", ["natural", "full", "even"])
@pytest.mark.parametrize("channels", [(33, 16, 3), (64, 64, 64)])
def test_gates(channels: tuple[int, ...], parity: Parity, dtype: torch.dtype):
    for layer in network_of(channels, parity, dtype).interactions():  # the last gates nothing
        y = stacks_of(layer.shapes.irreps_conv, dtype)
        g = stacks_of(layer.shapes.irreps_out, dtype)
        compiled = GatePart(layer.gate, CPU.part("gate"), copies=2)
        parts = [compiled, Differentiated(layer.gate)]
        got, expected = (four_operations(part, [y], g) for part in parts)
        assert_same(got, expected, TOLERANCE[dtype])


LAYERS = {
    "species": {"self_connection": "species"},
    "linear": {"self_connection": "linear", "scalar_bias": True},
    "none": {"self_connection": "none"},
    "norm": {"self_connection": "species", "layer_norm": True},
}


@pytest.mark.usefixtures("n_threads")
@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("kind", LAYERS)
def test_layers(kind: str, uniform: bool):
    """With the gradients of all weights, whether species differ in the scale of messages or not."""
    network = network_of((9, 5, 3), "full", torch.float64, **LAYERS[kind])
    order = order_of(torch.tensor([0, 0, 0, 1, 1, 1, 1]))
    for layer in network.interactions():
        layer.message_scale.copy_(torch.tensor([0.3, 0.3 if uniform else 0.4]))
        kinds = CompiledLayer(layer, False, CPU, 2), PlainLayer(layer, False)
        got, expected = (of_layer(k.of(order, network.attributes()), layer) for k in kinds)
        assert_same(got, expected, 1e-12)


def of_layer(parts: LayerParts, layer) -> list[Tensor]:
    """Of all its parts, then the gradients of weights."""
    torch.manual_seed(1)
    shapes = layer.shapes
    x, s = (stacks_of(shapes.irreps_in, torch.float64) for _ in range(2))
    m = stacks_of(shapes.instructions.irreps_out, torch.float64)
    y, g = stacks_of(shapes.irreps_conv, torch.float64), stacks_of(shapes.irreps_out, torch.float64)
    found = four_operations(parts.send, [x], s)
    if layer.self_connection is not None:
        found += four_operations(parts.mix, [m, x], y)
    else:  # there x has no gradient, zero or none at all
        found += [b for b in four_operations(parts.mix, [m, x], y) if float(b.abs().max()) > 0]
    found += four_operations(parts.gate, [y], g)
    for parameter in layer.parameters():
        if parameter.grad is not None:
            found.append(parameter.grad)
            parameter.grad = None
    return found


def test_gradients_are_added_where_asked():
    network = network_of((9, 5, 3), "full", torch.float64)
    layer, order = network.interactions()[1], order_of(torch.tensor([0, 0, 0, 1, 1, 1, 1]))
    x, g = (stacks_of(layer.shapes.irreps_in, torch.float64) for _ in range(2))
    onto = stacks_of(layer.shapes.irreps_in, torch.float64)
    for kind in (CompiledLayer(layer, False, CPU, 2), PlainLayer(layer, False)):
        send = kind.of(order, network.attributes()).send
        (alone,) = send.vjp(send.forward(half(x, 0))[1], half(g, 0))
        kept = send.forward(half(x, 0))[1]
        (added,) = send.vjp(kept, half(g, 0), onto=[block.clone() for block in half(onto, 0)])
        assert_same(added, [a + b for a, b in zip(alone, half(onto, 0), strict=True)], 1e-14)


@pytest.mark.usefixtures("n_threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kernels", [CPU.part("norm"), None], ids=["compiled", "torch"])
def test_norms(kernels: Any, dtype: torch.dtype):
    """And the gradients of weights, some of which are zero."""
    for layer in network_of((33, 16, 3), "full", dtype, layer_norm=True).interactions():
        norm: Any = layer.norm
        y, g = (stacks_of(layer.shapes.irreps_conv, dtype) for _ in range(2))
        weights = list(norm.parameters())
        found = []
        for weight in weights:
            weight.data.normal_()
            weight.data[0] = 0.0
        for part in (NormPart(norm, kernels, copies=2), Differentiated(norm)):
            found.append(four_operations(part, [y], g) + [weight.grad for weight in weights])
            norm.zero_grad()
        compiled, plain = found
        assert_same(compiled, plain, TOLERANCE[dtype])
