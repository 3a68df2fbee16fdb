"""The parts of one layer, but for the convolution between the first and the second.

    s = scale linear_in(x),  m = convolution(s),  y = linear_out(m) + self_connection(x),
    x' = gate(norm(y)).

`Interaction` in fastequi/model is the definition. Where a backend has compiled linear maps and
gates, these do it; else torch differentiates what is written there.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from fastequi.engine.arrangement import Order
from fastequi.engine.blocks import Blocks, Part, empty_stacks, half
from fastequi.engine.differentiated import Differentiated
from fastequi.engine.gate import GatePart, InTurn
from fastequi.engine.linear import BoundLinear, LinearMap
from fastequi.engine.norm import NormPart
from fastequi.irreps import Irreps
from fastequi.kernels.backend import Backend
from fastequi.kernels.parts import new_blocks
from fastequi.model.interaction import Interaction
from fastequi.model.linear import BlockLinear, SpeciesLinear


class MixingPart(Part, Protocol):
    """Messages and features, mixed."""

    def back(self, kept: Any, g: Blocks, n_senders: int | None) -> tuple[Blocks, Blocks, Blocks]:
        """The gradients at m and x as `vjp`, and zeros to which that at s will be added.

        n_senders: the atoms and those of others that they see; None in the first layer, which
        needs neither of the last two.
        """
        ...


@dataclass(frozen=True)
class LayerParts:
    """send: s from x; mix: y from m and x; gate: x' from y."""

    send: Part
    mix: "MixingPart"
    gate: Part


class PlainLayer:
    """Of any network; `mixed` where the convolution has linear_out behind it."""

    def __init__(self, layer: Interaction, mixed: bool) -> None:
        self.layer, self.mixed = layer, mixed

    def of(self, order: Order, attributes: Tensor) -> LayerParts:
        """For certain atoms."""
        layer, species = self.layer, order.species

        def mix(summed: Blocks, x: Blocks) -> Blocks:
            y = layer.linear_out.completed(summed) if self.mixed else layer.linear_out(summed)
            return layer.connected(y, x, species, attributes)

        return LayerParts(
            Differentiated(lambda x: layer.send(x, species)),
            _PlainMix(mix),
            Differentiated(layer.activated),
        )


class _PlainMix(Differentiated):
    def back(self, kept: Any, g: Blocks, n_senders: int | None) -> tuple[Blocks, Blocks, Blocks]:
        gm, gx = self.vjp(kept, g)
        if n_senders is None:
            return gm, [], []
        return gm, gx, [block.new_zeros((n_senders, *block.shape[1:])) for block in gx]


class CompiledLayer:
    """The same through the kernels of a backend; copies: 2 where tangents are to follow, else 1."""

    def __init__(self, layer: Interaction, mixed: bool, backend: Backend, copies: int) -> None:
        self.layer, self.mixed, self.copies = layer, mixed, copies
        kernels, connection = backend.part("linear"), layer.self_connection
        scales = layer.message_scale.unique().tolist()
        self.scale = layer.message_scale if len(scales) > 1 else None
        self.linear_in = LinearMap(layer.linear_in, kernels, 1.0 if len(scales) > 1 else scales[0])
        self.linear_out = LinearMap(layer.linear_out, kernels)
        self.connection = None
        if isinstance(connection, BlockLinear | SpeciesLinear):
            self.connection = LinearMap(connection, kernels)
        self.gate: Part = GatePart(layer.gate, backend.part("gate"), copies)
        norm = backend.part("norm")
        self.is_compiled = layer.norm is None or norm is not None or backend.captures_torch
        if layer.norm is not None:
            self.gate = InTurn(NormPart(layer.norm, norm, copies), self.gate)

    def of(self, order: Order, attributes: Tensor) -> LayerParts:
        """For certain atoms, with the weights as they are."""
        scale = None if self.scale is None else self.scale[order.species].contiguous()
        connection = self.connection and self.connection.of(order, attributes)
        linear_out = self.linear_out.of(order, attributes)
        return LayerParts(
            _Send(self.linear_in.of(order, attributes), scale, self.copies),
            _Mix(linear_out, self.mixed, connection, self.copies, self.layer.shapes.irreps_in),
            self.gate,
        )


@dataclass(frozen=True)
class _Send:
    """scale [atoms], where it depends on the species."""

    linear: BoundLinear
    scale: Tensor | None
    copies: int

    def forward(self, *inputs: Blocks) -> tuple[Blocks, Blocks]:
        (x,) = inputs
        irreps = self.linear.map.module.irreps_out
        stacks = empty_stacks(irreps, self.copies, len(x[0]), x[0])
        sent = half(stacks, 0)
        linear = self.linear
        self._run(linear.forward(x, sent, add=False), linear.bias(sent), self._scale(sent, sent))
        return sent, stacks

    def vjp(self, kept: Blocks, g: Blocks, onto: Blocks | None = None) -> list[Blocks]:
        scaled, todo = self._scaled(g)
        dx = self._target(g, onto)
        self._run(todo, self.linear.vjp(scaled, dx, add=onto is not None))
        return [dx]

    def jvp(self, kept: Blocks, *stacks: Blocks) -> tuple[Blocks, Blocks]:
        (x,) = stacks
        sent = half(kept, 1)
        self._run(self.linear.forward(half(x, 1), sent, add=False), self._scale(sent, sent))
        return kept, x

    def jvp_vjp(self, kept: Blocks, g: Blocks, onto: Blocks | None = None) -> list[Blocks]:
        scaled, todo = self._scaled(g)
        self._run(todo)  # products with all atoms follow
        dx, gradient = self._target(g, onto), self.linear.gradient(kept, scaled)
        self._run(self.linear.vjp(scaled, dx, add=onto is not None), [gradient.outer])
        gradient.finish()
        return [dx]

    def _target(self, g: Blocks, onto: Blocks | None) -> Blocks:
        return empty_like(self.linear.map.module.irreps_in, g[0]) if onto is None else onto

    def _scaled(self, g: Blocks) -> tuple[Blocks, list[Any]]:
        """Where the scaled gradient is to be, and what makes it."""
        if self.scale is None:
            return g, []
        scaled = empty_like(self.linear.map.module.irreps_out, g[0])
        return scaled, self._scale(g, scaled)

    def _scale(self, blocks: Blocks, scaled: Blocks) -> list[Any]:
        """Blocks, or both halves of stacks, each atom by its factor."""
        if self.scale is None:
            return []
        return [
            self.linear.map.kernels.Rows("scale", {"y": y, "a": a, "factor": self.scale})
            for block, into in zip(blocks, scaled, strict=True)
            for a, y in zip(*(t.view(-1, *t.shape[-3:]) for t in (block, into)), strict=True)
        ]

    def _run(self, *todo: list[Any]) -> None:
        self.linear.map.kernels.run([operation for some in todo for operation in some])


@dataclass(frozen=True)
class _Mix:
    """mixed  whether the convolution had linear_out behind it: then only its bias is missing;
    irreps  of x, and of what is sent"""

    linear_out: BoundLinear
    mixed: bool
    connection: BoundLinear | None
    copies: int
    irreps: Irreps

    def forward(self, *inputs: Blocks) -> tuple[Blocks, Blocks]:
        summed, x = inputs
        irreps = self.linear_out.map.module.irreps_out
        if self.mixed:
            y, stacks = self.linear_out.map.completed(summed), []
        else:
            stacks = empty_stacks(irreps, self.copies, len(x[0]), x[0])
            y = half(stacks, 0)
        todo = self._products(summed, x, y)
        for linear in (self.linear_out, self.connection):
            todo += [] if linear is None else linear.bias(y)
        self._kernels.run(todo)
        return y, stacks

    def vjp(self, kept: Blocks, g: Blocks, onto: Blocks | None = None) -> list[Blocks]:
        gx = [] if self.connection is None else empty_like(self.irreps, g[0])
        todo, gm = self._back(g, gx)
        self._kernels.run(todo)
        return [gm, gx]

    def back(self, kept: Blocks, g: Blocks, n_senders: int | None) -> tuple[Blocks, Blocks, Blocks]:
        both = [] if n_senders is None else new_blocks([*self.irreps] * 2, g[0], n_senders)
        at_x, at_sent = both[: len(both) // 2], both[len(both) // 2 :]
        gx = [] if self.connection is None else [block[: len(g[0])] for block in at_x]
        todo, gm = self._back(g, gx)
        self._kernels.run([*self._kernels.cleared(at_sent), *todo])
        return gm, gx, at_sent

    def jvp(self, kept: Blocks, *stacks: Blocks) -> tuple[Blocks, tuple[Blocks, ...]]:
        summed, x = stacks
        self._kernels.run(self._products(half(summed, 1), half(x, 1), half(kept, 1)))
        return kept, stacks

    def jvp_vjp(
        self, kept: tuple[Blocks, ...], g: Blocks, onto: Blocks | None = None
    ) -> list[Blocks]:
        gx = [] if self.connection is None else empty_like(self.irreps, g[0])
        todo, gm = self._back(g, gx)
        linears = [self.linear_out, *([self.connection] if self.connection else [])]
        gradients = [linear.gradient(of, g) for linear, of in zip(linears, kept, strict=False)]
        self._kernels.run([*todo, *(gradient.outer for gradient in gradients)])
        for gradient in gradients:
            gradient.finish()
        return [gm, gx]

    @property
    def _kernels(self) -> Any:
        return self.linear_out.map.kernels

    def _products(self, summed: Blocks, x: Blocks, y: Blocks) -> list[Any]:
        todo = [] if self.mixed else self.linear_out.forward(summed, y, add=False)
        return todo if self.connection is None else [*todo, *self.connection.forward(x, y, True)]

    def _back(self, g: Blocks, gx: Blocks) -> tuple[list[Any], Blocks]:
        """What to run for the gradients at m, which it makes, and at x where it is given."""
        if self.mixed:
            todo, gm = [], self.linear_out.map.taken(g)
        else:
            gm = empty_like(self.linear_out.map.module.irreps_in, g[0])
            todo = self.linear_out.vjp(g, gm, add=False)
        if self.connection is not None and gx:
            todo = [*todo, *self.connection.vjp(g, gx, add=False)]
        return todo, gm


def empty_like(irreps: Irreps, block: Tensor) -> Blocks:
    """Memory for blocks (or stacks) of as many atoms as a block (or stack)."""
    return new_blocks(irreps, block, *block.shape[:-2])
