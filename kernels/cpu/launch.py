"""One operation of a layer on the CPU: which kernels with which arguments, and who does what.

The linear map behind a convolution is part of it where there is one. The summed messages are the
widest tensors of a layer (12 kB per atom in SevenNet-0), read once and never again: they then exist
for a few receivers at a time and stay in the cache, as does their gradient in a vjp. Threads share
receivers or channels (`channels.py`); in a vjp each computes those columns of the gradient of the
messages that it reads.
"""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from fastequi.kernels.cpu.arrays import EdgeArrays
from fastequi.kernels.cpu.channels import ChannelRange, channel_ranges, paths_of, split_channels
from fastequi.kernels.cpu.kernels import compiled, scratch_reals
from fastequi.kernels.cpu.product import ROWS, product_calls
from fastequi.kernels.cpu.spec import KernelSpec, Operation, Source
from fastequi.kernels.instructions import Instructions
from fastequi.kernels.llvm.arguments import Named
from fastequi.kernels.llvm.plan import Blocks, Plan, PlannedCall
from fastequi.kernels.llvm.target import lanes_of


@dataclass(frozen=True)
class Convolution:
    """One operation of a layer: what its calls depend on, besides threads.

    wants_dx to has_cutoff_scale  as in `KernelSpec`
    widths       columns of each matrix of the linear map behind; None where there is none
    block_bytes  of messages that exist at a time, where there is one
    """

    instructions: Instructions
    dtype: torch.dtype
    source: Source
    operation: Operation
    wants_dx: bool = False
    has_tangents: bool = False
    has_cutoff_scale: bool = False
    widths: tuple[int, ...] | None = None
    block_bytes: int = 0

    def ranges(self) -> list[ChannelRange]:
        return channel_ranges(self.instructions, self.dtype, self.source)

    def spec(self, channels: ChannelRange) -> KernelSpec:
        """The kernel that does some channels."""
        paths = paths_of(self.instructions, channels.irrep)
        return KernelSpec(
            l1=paths[0].l1,
            paths=tuple((path.l2, path.l3) for path in paths),
            dtype=self.dtype,
            lanes=channels.lanes,
            edge_lanes=lanes_of(self.dtype),
            source=self.source,
            operation=self.operation,
            wants_dx=self.wants_dx,
            has_tangents=self.has_tangents,
            has_cutoff_scale=self.has_cutoff_scale,
        )

    @property
    def at_once(self) -> int:
        """Receivers of a block: whole tiles of the products."""
        per_receiver = self.instructions.irreps_out.dim * self.dtype.itemsize
        return max(self.block_bytes // max(per_receiver, 1) // ROWS, 1) * ROWS

    def offsets(self) -> list[int]:
        """Reals in front of each output irrep in the messages of a block, and of all."""
        reals = [channels * ir.dim for channels, ir in self.instructions.irreps_out]
        return [0, *accumulate(self.at_once * n for n in reals)]


@dataclass(frozen=True)
class Pass:
    """Calls that are ready to run.

    messages  reals of a block of messages, 0 where they are not summed block by block
    scratch   of each kernel, reals and reals per edge
    """

    plan: Plan
    n_shares: int
    dtype: torch.dtype
    source: Source
    messages: int
    scratch: tuple[tuple[int, int], ...]

    def run(self, arrays: EdgeArrays, values: Mapping[str, Tensor | int]) -> None:
        """With memory of its own for each share: scratch, and messages of a block.

        values  by name: x0, x1, ... and the like, and what only one tensor is called
        """
        stride = arrays.sizes["scratch_stride"]
        scratch = max((fixed + per_edge * stride for fixed, per_edge in self.scratch), default=0)
        own = self._own("scratch", scratch, self.dtype)
        if self.messages:
            own |= self._own("messages", self.messages, self.dtype)
        if self.source == "table":
            own |= self._own("intervals", stride, torch.int32)
        self.plan.run({**arrays.tensors, **arrays.sizes, **values, **own})

    def _own(self, name: str, size: int, dtype: torch.dtype) -> dict[str, Tensor]:
        """So many numbers for each share."""
        return {f"{name}{k}": torch.empty(size, dtype=dtype) for k in range(self.n_shares)}


@functools.cache
def pass_of(convolution: Convolution, parts: int) -> Pass:
    """forward and jvp: each share does all channels of its receivers, from Named cut to cut;
    vjp and jvp_vjp: its channels of all receivers."""
    layer, by_channels = convolution, convolution.operation in ("vjp", "jvp_vjp")
    if by_channels:
        split = split_channels(layer.instructions, layer.dtype, layer.source, parts)
        shares = [_adjoint_calls(layer, own, share) for share, own in enumerate(split)]
    else:
        split = [layer.ranges()] * parts
        shares = [_forward_calls(layer, own, share) for share, own in enumerate(split)]
    messages = 0 if layer.widths is None else layer.offsets()[-1]
    scratch = {scratch_reals(layer.spec(channels)) for own in split for channels in own}
    return Pass(Plan(shares), len(shares), layer.dtype, layer.source, messages, tuple(scratch))


# -- calls ---------------------------------------------------------------------------------------

_Range = tuple[int | Named, int | Named]
_Calls = list[PlannedCall | Blocks]


def _forward_calls(layer: Convolution, own: list[ChannelRange], share: int) -> _Calls:
    receivers = Named(f"cut{share}"), Named(f"cut{share + 1}")
    calls = [_convolve(layer, channels, share, receivers) for channels in own]
    for i, width in enumerate(layer.widths or ()):
        calls += _products(layer, i, width, (0, width), share, adjoint=False)
    return _in_blocks(layer, receivers, calls)


def _adjoint_calls(layer: Convolution, own: list[ChannelRange], share: int) -> _Calls:
    receivers, calls = (0, Named("n_receivers")), []
    if layer.widths is not None:
        for i, columns in _columns_of(layer.instructions, own):
            calls += _products(layer, i, layer.widths[i], columns, share, adjoint=True)
    calls += [_convolve(layer, channels, share, receivers) for channels in own]
    return _in_blocks(layer, receivers, calls)


def _columns_of(
    instructions: Instructions, own: list[ChannelRange]
) -> Iterator[tuple[int, tuple[int, int]]]:
    """(output irrep, its channels) that the paths of some channels read, joined."""
    ranges = sorted(
        (path.output, path.channel_offset + channels.begin, path.channel_offset + channels.end)
        for channels in own
        for path in paths_of(instructions, channels.irrep)
    )
    joined: list[tuple[int, int, int]] = []
    for output, begin, end in ranges:
        if joined and joined[-1][0] == output and joined[-1][2] == begin:
            begin = joined.pop()[1]
        joined.append((output, begin, end))
    for output, begin, end in joined:
        yield output, (begin, end)


def _in_blocks(layer: Convolution, receivers: _Range, calls: list[PlannedCall]) -> _Calls:
    """For some receivers at a time where a linear map follows."""
    if layer.widths is None:
        return [*calls]
    return [Blocks(*receivers, layer.at_once, calls)]


def _convolve(
    layer: Convolution, channels: ChannelRange, share: int, receivers: _Range
) -> PlannedCall:
    """Some channels of some receivers."""
    i, spec, paths = (
        channels.irrep,
        layer.spec(channels),
        paths_of(layer.instructions, channels.irrep),
    )
    values: dict[str, int | Named] = {
        **{name: Named(f"{name}{i}") for name in ("x", "dx")},
        **{name: Named(f"{name}{share}") for name in ("scratch", "intervals", "dvectors")},
        "channels": layer.instructions.irreps_in.blocks[i][0],
        "n_weights": layer.instructions.n_weights,
        "weight_offset": paths[0].weight_offset,  # those of the other paths follow
        "local": int(layer.widths is not None),
    }
    for p, path in enumerate(paths):
        assert path.weight_offset == paths[0].weight_offset + p * path.channels
        width, ir = layer.instructions.irreps_out.blocks[path.output]
        values[f"block{p}"] = _messages(layer, path.output, path.channel_offset, share)
        values |= {f"row_stride{p}": ir.dim * width, f"component_stride{p}": width}
    arguments = {name: values.get(name, Named(name)) for name in spec.arguments.kinds}
    return PlannedCall(compiled(spec), (*receivers, channels.begin, channels.end), arguments)


def _messages(layer: Convolution, output: int, channel: int, share: int) -> Named:
    """From a channel on, of a block or, without a linear map, of all receivers."""
    if layer.widths is None:
        return Named(f"out{output}", channel * layer.dtype.itemsize)
    return Named(f"messages{share}", (layer.offsets()[output] + channel) * layer.dtype.itemsize)


def _products(
    layer: Convolution, i: int, width: int, columns: tuple[int, int], share: int, adjoint: bool
) -> list[PlannedCall]:
    """Messages of an output irrep times its matrix; adjoint, gradients times its transpose."""
    depth, ir = layer.instructions.irreps_out.blocks[i]
    messages, outside = _messages(layer, i, 0, share), Named(f"out{i}")
    values = {"a": messages, "c": outside, "a_local": 1, "c_local": 0}
    if adjoint:
        depth, width = width, depth
        values = {"a": outside, "c": messages, "a_local": 0, "c_local": 1}
    values |= {
        "b": Named(f"matrix{i}"),
        "components": ir.dim,
        "depth_end": depth,
        "a_stride": depth,
        "b_stride": width,
        "c_stride": width,
    }
    return product_calls(layer.dtype, (0, 0), columns, values)
