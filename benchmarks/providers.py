"""Who can compute the convolution of a layer: fastequi's implementations and other packages.

A provider turns a problem into two functions: the inference form of features and edge vectors, and
the training form of features, harmonics and weights from memory. Features are in the provider's own
layout, which is converted outside the timed part. Packages without a table compute the radial
network and the harmonics by torch in the inference form, which is what their users do.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from math import gcd
from typing import Any

import torch
from torch import Tensor

from benchmarks.layers import LayerProblem
from fastequi.kernels.backend import BACKENDS
from fastequi.kernels.convolution.differentiable import differentiable
from fastequi.kernels.convolution.reference import convolution
from fastequi.kernels.instructions import Instructions

Inference = Callable[[list[Tensor], Tensor], list[Tensor]]
Training = Callable[[list[Tensor], Tensor, Tensor], list[Tensor]]


class Blocks:
    """The layout of fastequi: per irrep [atoms, 2 l + 1, channels]; here nothing is converted."""

    def encode_features(self, blocks: list[Tensor]) -> list[Tensor]:
        """Features that enter, to the provider's tensors."""
        return blocks

    def decode_features(self, tensors: list[Tensor]) -> list[Tensor]:
        """And back."""
        return tensors

    def encode_messages(self, blocks: list[Tensor]) -> list[Tensor]:
        """Sums of messages that leave, to the provider's tensors."""
        return blocks

    def decode_messages(self, tensors: list[Tensor]) -> list[Tensor]:
        """And back."""
        return tensors


@dataclass(frozen=True)
class Forms:
    """A convolution bound to the edges of a problem, and its layout of features.

    training  None where training takes another form (fastequi's two passes of first order)
    """

    inference: Inference
    training: Training | None
    layout: Blocks = field(default_factory=Blocks)


@dataclass(frozen=True)
class Provider:
    """name, why it cannot run on a device ('' if it can), and how to bind it to a problem."""

    name: str
    obstacle: Callable[[torch.device], str]
    bind: Callable[[LayerProblem], Forms]


# -- fastequi ------------------------------------------------------------------------------------


def _ours(name: str, training: Any, problem: LayerProblem) -> Forms:
    edges, instructions, table = problem.edges, problem.instructions, problem.table
    form = differentiable(BACKENDS[name].operations)

    def trilinear(x: list[Tensor], y: Tensor, w: Tensor) -> list[Tensor]:
        return training(x, y, w, edges.sender, edges.receiver, instructions)

    return Forms(
        lambda x, vectors: form(x, vectors, edges, table, instructions),
        None if training is None else trilinear,
    )


def _reference(problem: LayerProblem) -> Forms:
    return _ours("reference", convolution, problem)


def _cpu(problem: LayerProblem) -> Forms:
    return _ours("cpu", None, problem)


def _triton(problem: LayerProblem) -> Forms:
    return _ours("triton", None, problem)


# -- OpenEquivariance ----------------------------------------------------------------------------


def _openequivariance(problem: LayerProblem) -> Forms:
    import openequivariance as oeq

    instructions = problem.instructions
    irreps_in, irreps_y, irreps_out, paths = e3nn_problem(instructions)
    tensor_product = oeq.TPProblem(
        oeq.Irreps(irreps_in), oeq.Irreps(irreps_y), oeq.Irreps(irreps_out), paths,
        shared_weights=False, internal_weights=False,
    )  # fmt: skip
    module = oeq.TensorProductConv(tensor_product, torch_op=True, deterministic=False)
    src, dst = problem.edges.sender, problem.edges.receiver

    def training(x: list[Tensor], y: Tensor, w: Tensor) -> list[Tensor]:
        return [module(x[0], y, w, dst, src)]

    return with_network(problem, training, Rows(instructions, channels_last=False))


def e3nn_problem(instructions: Instructions) -> tuple[str, str, str, list[tuple]]:
    """Irreps and uvu instructions in e3nn's notation, one output irrep per path."""

    def sign(l: int) -> str:  # noqa: E741
        return "e" if instructions.edge_parity == "even" or l % 2 == 0 else "o"

    irreps_y = "+".join(f"1x{l}{sign(l)}" for l in range(instructions.l_max + 1))  # noqa: E741
    outputs = [
        (p.channels, instructions.irreps_out.blocks[p.output][1]) for p in instructions.paths
    ]
    irreps_out = "+".join(f"{mul}x{ir}" for mul, ir in outputs)
    paths = [(p.input, p.l2, k, "uvu", True) for k, p in enumerate(instructions.paths)]
    return str(instructions.irreps_in), irreps_y, irreps_out, paths


# -- cuEquivariance ------------------------------------------------------------------------------


def cuequivariance(problem: LayerProblem, method: str = "uniform_1d") -> Forms:
    """The segmented polynomial of the layer with gather and scatter inside; 'naive' runs on CPUs.

    All segments must be equally long for 'uniform_1d', so channels are split to their common part.
    """
    import cuequivariance as cue
    import cuequivariance_torch as cuet

    instructions = problem.instructions
    descriptor = cue.SegmentedTensorProduct.from_subscripts("u,iu,j,ku+ijk")
    x_segments = [descriptor.add_segment(1, (ir.dim, mul)) for mul, ir in instructions.irreps_in]
    y_segments = [descriptor.add_segment(2, (2 * l + 1,)) for l in range(instructions.l_max + 1)]  # noqa: E741
    for path in instructions.paths:
        w = descriptor.add_segment(0, (path.channels,))
        out = descriptor.add_segment(3, (2 * path.l3 + 1, path.channels))
        segments = (w, x_segments[path.input], y_segments[path.l2], out)
        descriptor.add_path(*segments, c=path.coefficients)
    descriptor = descriptor.flatten_coefficient_modes().split_mode("u", channel_divisor(problem))
    polynomial = cue.SegmentedPolynomial.eval_last_operand(descriptor)
    module = cuet.SegmentedPolynomial(polynomial, method=method).to(problem.device)
    src, dst, n = problem.edges.sender, problem.edges.receiver, problem.edges.n_receivers
    empty = problem.vectors.new_empty((n, 1))

    def training(x: list[Tensor], y: Tensor, w: Tensor) -> list[Tensor]:
        return module(
            [w, x[0], y],
            input_indices={1: src},
            output_shapes={0: empty},
            output_indices={0: dst},
        )

    return with_network(problem, training, Rows(instructions, channels_last=True))


def channel_divisor(problem: LayerProblem) -> int:
    """Channels that divide those of every irrep."""
    return gcd(*(mul for mul, _ in problem.instructions.irreps_in))


# -- layouts and tools of other packages ---------------------------------------------------------


@dataclass(frozen=True)
class Rows(Blocks):
    """One flat row per atom; messages have one irrep per path, in the order of the paths.

    channels_last  whether channels are contiguous, or the components of each channel
    """

    instructions: Instructions
    channels_last: bool

    def encode_features(self, blocks: list[Tensor]) -> list[Tensor]:
        if not self.channels_last:
            blocks = [block.mT for block in blocks]
        return [torch.cat([block.flatten(1) for block in blocks], dim=1).contiguous()]

    def decode_features(self, tensors: list[Tensor]) -> list[Tensor]:
        return self._split(tensors[0], [(ir.dim, mul) for mul, ir in self.instructions.irreps_in])

    def encode_messages(self, blocks: list[Tensor]) -> list[Tensor]:
        return self.encode_features(
            [
                blocks[p.output][:, :, p.channel_offset : p.channel_offset + p.channels]
                for p in self.instructions.paths
            ]
        )

    def decode_messages(self, tensors: list[Tensor]) -> list[Tensor]:
        paths = self.instructions.paths
        parts = self._split(tensors[0], [(2 * p.l3 + 1, p.channels) for p in paths])
        result: list[list[Tensor]] = [[] for _ in self.instructions.irreps_out]
        for path, part in zip(paths, parts, strict=True):
            result[path.output].append(part)
        return [torch.cat(block, dim=2) for block in result]

    def _split(self, row: Tensor, shapes: list[tuple[int, int]]) -> list[Tensor]:
        parts = row.split([a * b for a, b in shapes], dim=1)
        if self.channels_last:
            return [p.unflatten(1, shape) for p, shape in zip(parts, shapes, strict=True)]
        return [p.unflatten(1, shape[::-1]).mT for p, shape in zip(parts, shapes, strict=True)]


def with_network(problem: LayerProblem, training: Training, layout: Rows) -> Forms:
    def inference(x: list[Tensor], vectors: Tensor) -> list[Tensor]:
        weights = problem.network(torch.linalg.vector_norm(vectors, dim=1))
        return training(x, problem.harmonics_of(vectors), weights)

    return Forms(inference, training, layout)


def _needs(device_type: str, *modules: str) -> Callable[[torch.device], str]:
    def obstacle(device: torch.device) -> str:
        if device_type and device.type != device_type:
            return f"it runs on {device_type}, this is {device.type}"
        missing = [module for module in modules if find_spec(module) is None]
        return f"not installed: {', '.join(missing)}" if missing else ""

    return obstacle


PROVIDERS = {
    provider.name: provider
    for provider in (
        Provider("reference", _needs(""), _reference),
        Provider("cpu", _needs("cpu", "llvmlite"), _cpu),
        Provider("triton", _needs("cuda", "triton"), _triton),
        Provider("openequivariance", _needs("cuda", "openequivariance"), _openequivariance),
        Provider(
            "cuequivariance",
            _needs("cuda", "cuequivariance", "cuequivariance_torch", "cuequivariance_ops_torch"),
            cuequivariance,
        ),
    )
}
