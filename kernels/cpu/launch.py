"""One pass over a layer on the CPU: which kernels with which arguments, and who does what.

The linear map behind a convolution is part of the pass where there is one. The summed messages are
the widest tensors of a layer (12 kB per atom in SevenNet-0), read once and never again: they then
exist for a few receivers at a time and stay in the cache, as does their gradient in the adjoint.
Threads share receivers in the forward pass and channels in the adjoint (`segments.py`); each
computes those columns of the gradient of the messages that it reads.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import torch

from fastequi.kernels.cpu.arrays import EdgeArrays
from fastequi.kernels.cpu.forward import scratch_size
from fastequi.kernels.cpu.printer import ARGUMENTS, KernelSpec, Operation, Source
from fastequi.kernels.cpu.product import ROWS, product_calls
from fastequi.kernels.cpu.segments import (
    Segment,
    compiled,
    kernel_spec,
    paths_of,
    segments,
    split_channels,
)
from fastequi.kernels.instructions import Instructions
from fastequi.kernels.llvm.plan import Blocks, Named, Plan, PlannedCall

#: What the kernels of a source read besides edge vectors and features.
READ: dict[Source, tuple[str, ...]] = {"table": ("table", "constants"), "rows": ("rows", "pair")}


@dataclass(frozen=True)
class Layer:
    """What the calls of a pass depend on, besides threads.

    widths       columns of each matrix of the linear map behind; None where there is none
    block_bytes  of messages that exist at a time, where there is one
    """

    instructions: Instructions
    dtype: torch.dtype
    source: Source
    stretched: bool = False
    widths: tuple[int, ...] | None = None
    block_bytes: int = 0

    def spec(self, segment: Segment, operation: Operation, wants_x: bool) -> KernelSpec:
        return kernel_spec(
            self.instructions, segment, self.dtype, self.source, operation, wants_x, self.stretched
        )

    @property
    def at_once(self) -> int:
        """Receivers of a block: whole tiles of the products."""
        per_receiver = self.instructions.irreps_out.dim * self.dtype.itemsize
        return max(self.block_bytes // max(per_receiver, 1) // ROWS, 1) * ROWS

    def offsets(self) -> list[int]:
        """Bytes in front of each output irrep in the messages of a block, and of all."""
        reals = [channels * ir.dim for channels, ir in self.instructions.irreps_out]
        return [0, *accumulate(self.at_once * n * self.dtype.itemsize for n in reals)]


@dataclass(frozen=True)
class Pass:
    """Calls that are ready to run; `specs` are those of the kernels of any share."""

    plan: Plan
    n_shares: int
    layer: Layer
    specs: tuple[KernelSpec, ...]

    def run(self, arrays: EdgeArrays, values: dict[str, int]) -> None:
        """With memory of its own for each share: scratch, and messages of a block.

        values  addresses by name: x0, x1, ... and the like, and what `READ` names
        """
        stride, item = arrays.scratch_stride, self.layer.dtype.itemsize
        sizes = {
            "messages": self.layer.offsets()[-1] if self.layer.widths is not None else 0,
            "scratch": item * max((scratch_size(spec, stride) for spec in self.specs), default=0),
            "intervals": 4 * stride,
        }
        sizes = {name: (size + 63) // 64 * 64 for name, size in sizes.items()}
        own = torch.empty(self.n_shares * sum(sizes.values()), dtype=torch.uint8)
        place, places = own.data_ptr(), {}
        for share in range(self.n_shares):
            for name, size in sizes.items():
                places[f"{name}{share}"] = place
                place += size
        self.plan.run(values | arrays.addresses | places)


@functools.cache
def forward_pass(layer: Layer, n_shares: int) -> Pass:
    """Each share does all channels of its receivers, from Named cut to cut."""
    everything = segments(layer.instructions, layer.dtype, layer.source)
    shares = []
    for share in range(n_shares):
        receivers = Named(f"cut{share}"), Named(f"cut{share + 1}")
        calls = [_convolve(layer, s, "forward", False, share, receivers) for s in everything]
        for i, width in enumerate(layer.widths or ()):
            calls += _products(layer, i, width, (0, width), share, adjoint=False)
        shares.append(_in_blocks(layer, receivers, calls))
    specs = tuple(layer.spec(segment, "forward", False) for segment in everything)
    return Pass(Plan(shares), n_shares, layer, specs)


@functools.cache
def vjp_pass(layer: Layer, wants_x: bool, parts: int) -> Pass:
    """Each share does its channels of all receivers."""
    split = split_channels(layer.instructions, layer.dtype, layer.source, parts)
    receivers = 0, Named("n_atoms")
    shares, specs = [], []
    for share, own in enumerate(split):
        calls = []
        if layer.widths is not None:
            for i, columns in _columns_of(layer.instructions, own):
                calls += _products(layer, i, layer.widths[i], columns, share, adjoint=True)
        calls += [_convolve(layer, s, "vjp", wants_x, share, receivers) for s in own]
        specs += [layer.spec(segment, "vjp", wants_x) for segment in own]
        shares.append(_in_blocks(layer, receivers, calls))
    return Pass(Plan(shares), len(shares), layer, tuple(specs))


def _columns_of(
    instructions: Instructions, own: list[Segment]
) -> Iterator[tuple[int, tuple[int, int]]]:
    """(output irrep, its channels) that the paths of some segments read, joined."""
    ranges = sorted(
        (path.output, path.channel_offset + segment.begin, path.channel_offset + segment.end)
        for segment in own
        for path in paths_of(instructions, segment.irrep)
    )
    joined: list[tuple[int, int, int]] = []
    for output, begin, end in ranges:
        if joined and joined[-1][0] == output and joined[-1][2] == begin:
            begin = joined.pop()[1]
        joined.append((output, begin, end))
    for output, begin, end in joined:
        yield output, (begin, end)


# -- calls ---------------------------------------------------------------------------------------

_Range = tuple[int | Named, int | Named]


def _in_blocks(
    layer: Layer, receivers: _Range, calls: list[PlannedCall]
) -> list[PlannedCall | Blocks]:
    """For some receivers at a time where a linear map follows."""
    if layer.widths is None:
        return [*calls]
    return [Blocks(*receivers, layer.at_once, calls)]


def _convolve(
    layer: Layer, segment: Segment, operation: Operation, wants_x: bool, share: int,
    receivers: _Range,
) -> PlannedCall:  # fmt: skip
    """A segment, from or to the messages of a block or, without a linear map, of all receivers."""
    instructions, i, mixed = layer.instructions, segment.irrep, layer.widths is not None
    values: dict[str, int | Named] = dict.fromkeys(ARGUMENTS, 0)
    shared = ("row_start", "sender", "edge_stride", "scratch_stride", "vectors")
    values |= {name: Named(name) for name in (*shared, *READ[layer.source])}
    values |= {name: Named(f"{name}{share}") for name in ("scratch", "intervals")}
    values |= {
        "x": Named(f"x{i}"),
        "channels": instructions.irreps_in.blocks[i][0],
        "n_weights": instructions.n_weights,
        "local": int(mixed),
    }
    if layer.stretched:
        values["stretch"] = Named("stretch")
    if operation == "vjp":
        values["dvectors"] = Named(f"dvectors{share}")
    if wants_x:
        values["dx"] = Named(f"dx{i}")
    arguments = [values[name] for name in ARGUMENTS]
    offsets = layer.offsets()
    for path in paths_of(instructions, i):
        channels, ir = instructions.irreps_out.blocks[path.output]
        place = path.channel_offset * layer.dtype.itemsize
        whole = Named(f"out{path.output}", place)
        messages = Named(f"messages{share}", offsets[path.output] + place) if mixed else whole
        arguments += [path.weight_offset, messages, ir.dim * channels, channels]
    kernel = compiled(layer.spec(segment, operation, wants_x))
    return PlannedCall(kernel, (*receivers, segment.begin, segment.end), tuple(arguments))


def _products(
    layer: Layer, i: int, width: int, columns: tuple[int, int], share: int, adjoint: bool
) -> list[PlannedCall]:
    """Messages of an output irrep times its matrix; adjoint, gradients times its transpose."""
    depth, ir = layer.instructions.irreps_out.blocks[i]
    messages, outside = Named(f"messages{share}", layer.offsets()[i]), Named(f"out{i}")
    values = {"a": messages, "c": outside, "a_local": 1, "c_local": 0}
    if adjoint:
        depth, width = width, depth
        values = {"a": outside, "c": messages, "a_local": 0, "c_local": 1}
    values |= {
        "b": Named(f"matrix{i}"),
        "components": ir.dim,
        "depth": depth,
        "a_stride": depth,
        "b_stride": width,
        "c_stride": width,
    }
    return product_calls(layer.dtype, (0, 0), columns, values)
