"""The parts of one layer, but for the convolution between the first and the second.

    s = scale linear_in(x),  m = convolution(s),  y = linear_out(m) + self_connection(x),
    x' = gate(norm(y)).

`Interaction` in fastequi/model is the definition. Where a backend has compiled linear maps and
gates, these do it; else torch differentiates what is written there.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fastequi.engine.arrangement import Order
from fastequi.engine.blocks import Blocks, Part, empty_stacks, half
from fastequi.engine.differentiated import Differentiated
from fastequi.engine.gate import GatePart, InTurn
from fastequi.engine.linear import BoundLinear, LinearMap
from fastequi.irreps import Irreps
from fastequi.kernels.backend import Backend
from fastequi.model.interaction import Interaction
from fastequi.model.linear import BlockLinear, SpeciesLinear


@dataclass(frozen=True)
class LayerParts:
    """send: s from x; mix: y from m and x; gate: x' from y."""

    send: Part
    mix: Part
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
            Differentiated(mix),
            Differentiated(layer.activated),
        )


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
        if layer.norm is not None:
            self.gate = InTurn(Differentiated(layer.norm), self.gate)

    def of(self, order: Order, attributes: Tensor) -> LayerParts:
        """For certain atoms, with the weights as they are."""
        scale = None if self.scale is None else self.scale[order.species].view(-1, 1, 1)
        connection = self.connection and self.connection.of(order, attributes)
        linear_out = self.linear_out.of(order, attributes)
        return LayerParts(
            _Send(self.linear_in.of(order, attributes), scale, self.copies),
            _Mix(linear_out, self.mixed, connection, self.copies),
            self.gate,
        )


@dataclass(frozen=True)
class _Send:
    """scale [atoms, 1, 1], where it depends on the species."""

    linear: BoundLinear
    scale: Tensor | None
    copies: int

    def forward(self, *inputs: Blocks) -> tuple[Blocks, Blocks]:
        (x,) = inputs
        irreps = self.linear.map.module.irreps_out
        stacks = empty_stacks(irreps, self.copies, len(x[0]), x[0])
        sent = half(stacks, 0)
        self.linear.map.kernels.run([self.linear.forward(x, sent, add=False)])
        self.linear.add_bias(sent)
        self._scale_(sent)
        return sent, stacks

    def vjp(self, kept: Blocks, g: Blocks, onto: Blocks | None = None) -> list[Blocks]:
        todo, dx = self._back(self._scaled(g), onto)
        self.linear.map.kernels.run([todo])
        return [dx]

    def jvp(self, kept: Blocks, *stacks: Blocks) -> tuple[Blocks, Blocks]:
        (x,) = stacks
        self.linear.map.kernels.run([self.linear.forward(half(x, 1), half(kept, 1), add=False)])
        self._scale_(half(kept, 1))
        return kept, x

    def jvp_vjp(self, kept: Blocks, g: Blocks, onto: Blocks | None = None) -> list[Blocks]:
        scaled = self._scaled(g)
        todo, dx = self._back(scaled, onto)
        gradient = self.linear.gradient(kept, scaled)
        self.linear.map.kernels.run([todo, gradient.outer])
        gradient.finish()
        return [dx]

    def _back(self, g: Blocks, onto: Blocks | None) -> tuple[Any, Blocks]:
        irreps = self.linear.map.module.irreps_in
        dx = empty_like(irreps, g[0]) if onto is None else onto
        return self.linear.vjp(g, dx, add=onto is not None), dx

    def _scale_(self, sent: Blocks) -> None:
        if self.scale is not None:
            for block in sent:
                block *= self.scale

    def _scaled(self, g: Blocks) -> Blocks:
        return g if self.scale is None else [block * self.scale for block in g]


@dataclass(frozen=True)
class _Mix:
    """mixed  whether the convolution had linear_out behind it: then only its bias is missing"""

    linear_out: BoundLinear
    mixed: bool
    connection: BoundLinear | None
    copies: int

    def forward(self, *inputs: Blocks) -> tuple[Blocks, Blocks]:
        summed, x = inputs
        irreps = self.linear_out.map.module.irreps_out
        if self.mixed:
            y, stacks = self.linear_out.map.completed(summed), []
        else:
            stacks = empty_stacks(irreps, self.copies, len(x[0]), x[0])
            y = half(stacks, 0)
        self._run(summed, x, y)
        for linear in (self.linear_out, self.connection):
            if linear is not None:
                linear.add_bias(y)
        return y, stacks

    def vjp(self, kept: Blocks, g: Blocks, onto: Blocks | None = None) -> list[Blocks]:
        todo, found = self._back(g)
        if todo:
            self._kernels.run(todo)
        return found

    def jvp(self, kept: Blocks, *stacks: Blocks) -> tuple[Blocks, tuple[Blocks, ...]]:
        summed, x = stacks
        self._run(half(summed, 1), half(x, 1), half(kept, 1))
        return kept, stacks

    def jvp_vjp(
        self, kept: tuple[Blocks, ...], g: Blocks, onto: Blocks | None = None
    ) -> list[Blocks]:
        todo, found = self._back(g)
        linears = [self.linear_out, *([self.connection] if self.connection else [])]
        gradients = [linear.gradient(of, g) for linear, of in zip(linears, kept, strict=False)]
        self._kernels.run([*todo, *(gradient.outer for gradient in gradients)])
        for gradient in gradients:
            gradient.finish()
        return found

    @property
    def _kernels(self) -> Any:
        return self.linear_out.map.kernels

    def _run(self, summed: Blocks, x: Blocks, y: Blocks) -> None:
        todo = [] if self.mixed else [self.linear_out.forward(summed, y, add=False)]
        if self.connection is not None:
            todo.append(self.connection.forward(x, y, add=True))
        if todo:
            self._kernels.run(todo)

    def _back(self, g: Blocks) -> tuple[list[Any], list[Blocks]]:
        """What to run for the gradients at m and x, which it fills."""
        irreps, todo = self.linear_out.map.module.irreps_in, []
        if self.mixed:
            gm = self.linear_out.map.taken(g)
        else:
            gm = empty_like(irreps, g[0])
            todo.append(self.linear_out.vjp(g, gm, add=False))
        if self.connection is None:
            return todo, [gm, []]
        gx = empty_like(self.connection.map.module.irreps_in, g[0])
        return [*todo, self.connection.vjp(g, gx, add=False)], [gm, gx]


def empty_like(irreps: Irreps, block: Tensor) -> Blocks:
    """Memory for blocks (or stacks) of as many atoms as a block (or stack)."""
    return [block.new_empty((*block.shape[:-2], ir.dim, mul)) for mul, ir in irreps]
