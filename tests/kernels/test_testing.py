"""The parity kit passes the references and catches kernels that are wrong in one place."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fastequi.conservation import assert_hessian_symmetric, hessian_asymmetry
from fastequi.kernels.convolution import definitions
from fastequi.kernels.convolution.reference import convolution
from fastequi.kernels.instructions import Instructions
from fastequi.kernels.radial_table import RadialTable
from fastequi.kernels.testing import (
    assert_training_parity,
    poisoned_memory,
    problems,
)
from fastequi.kernels.testing_operations import assert_forward_parity, assert_jvp_parity
from fastequi.potential import Prediction

NATURAL = problems()[0]


@pytest.mark.parametrize("problem", problems(), ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_references_agree_with_themselves(problem, dtype):
    assert_training_parity(convolution, problem, dtype)
    for source in ("table", "pair_weights"):
        assert_forward_parity(definitions, problem, dtype, source=source)
        assert_forward_parity(definitions, problem, dtype, source=source, with_linear_out=True)
    for has_tangents in (True, False):
        assert_jvp_parity(definitions, problem, dtype, has_tangents=has_tangents)


def test_one_wrong_path_is_named():
    """One path's weights too large by 1e-4: invisible in most norms."""

    def broken(x, harmonics, weights, src, dst, instructions: Instructions, n=None):
        path = instructions.paths[4]
        factor = torch.ones_like(weights)
        factor[:, path.weight_offset : path.weight_offset + path.channels] += 1e-4
        return convolution(x, harmonics, weights * factor, src, dst, instructions, n)

    with pytest.raises(AssertionError) as failure:
        assert_training_parity(broken, NATURAL, torch.float32)
    message = str(failure.value)
    assert "out[0], path 4 (1 x 1 -> 0)" in message
    assert "gradient by W, path 4 (1 x 1 -> 0)" in message
    assert "path 3" not in message


class _OneTermLost(torch.autograd.Function):
    """A right value, a right first derivative, a second derivative without one term."""

    @staticmethod
    def forward(ctx, weights: Tensor) -> Tensor:
        return weights.clone()

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0].detach()


def test_wrong_second_derivatives_are_found():
    def broken(x, harmonics, weights, *rest):
        return convolution(x, harmonics, _OneTermLost.apply(weights), *rest)

    assert_training_parity(broken, NATURAL, order=1)
    with pytest.raises(AssertionError, match="second derivative by Y"):
        assert_training_parity(broken, NATURAL, order=2)


def test_a_gradient_beyond_the_cutoff_is_found():
    class Broken:
        forward = staticmethod(definitions.forward)

        @staticmethod
        def vjp(g, x, vectors, edges, table: RadialTable, *rest, **named) -> Tensor:
            wider = replace(table, grid=replace(table.grid, cutoff=table.cutoff * (1 + 1e-4)))
            return definitions.vjp(g, x, vectors, edges, wider, *rest, **named)

    with pytest.raises(AssertionError, match="gradient by vectors"):
        assert_forward_parity(Broken, NATURAL, torch.float32)


def test_one_wrong_path_of_the_second_pass_is_named():
    """The gradient of one path's weights too large by 1e-4."""

    class Broken:
        jvp = staticmethod(definitions.jvp)

        @staticmethod
        def jvp_vjp(*arguments) -> tuple[Tensor, list[Tensor]]:
            values, dx = definitions.jvp_vjp(*arguments)
            path = NATURAL.instructions.paths[4]
            values[:, :, path.weight_offset : path.weight_offset + path.channels] *= 1 + 1e-4
            return values, dx

    with pytest.raises(AssertionError) as failure:
        assert_jvp_parity(Broken, NATURAL, torch.float32)
    assert "gradient by W, path 4 (1 x 1 -> 0)" in str(failure.value)
    assert "path 3" not in str(failure.value)


def test_memory_that_nobody_wrote_is_nan():
    code = compile("import torch; a = torch.empty(3); b = torch.zeros(3).new_empty(2)", "x", "exec")
    inside: dict = {"__name__": "fastequi.somewhere"}
    outside: dict = {"__name__": "elsewhere"}
    with poisoned_memory():
        exec(code, inside)
        exec(code, outside)
    assert inside["a"].isnan().all()
    assert inside["b"].isnan().all()
    assert not outside["a"].isnan().all()


def _springs(curl: float):
    """Atoms on springs to the origin, stiffer along x, with a force that no energy has."""

    class Springs:
        cutoff = 1.0
        atomic_numbers = None
        device = torch.device("cpu")

        def compute(self, graph) -> Prediction:
            x = graph.positions
            turned = torch.stack([x[:, 1], -x[:, 0], 0 * x[:, 2]], dim=1)
            forces = -x * x.new_tensor([3.0, 1.0, 1.0]) + curl * turned
            none = x.new_zeros(1)
            return Prediction(none, x.new_zeros(len(x)), forces, x.new_zeros(1, 3, 3))

    return Springs()


def test_forces_that_no_energy_has_are_found(triangle):
    assert_hessian_symmetric(_springs(0.0), triangle)
    assert hessian_asymmetry(_springs(0.01), triangle) > 1e-4
    with pytest.raises(AssertionError, match="not the gradient"):
        assert_hessian_symmetric(_springs(0.01), triangle)
