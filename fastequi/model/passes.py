"""One layer in the four passes of training, by hand: no autograd, few and large operations.

`values` and `adjoint` give energies and forces, `tangents` and `reverse` the gradient by the
weights; training/gradients.py says how they fit together. For features x, sent s, summed m and
mixed y,

    s = scale linear_in(x),  m = convolution(s),  y = linear_out(m) + self_connection(x),
    x' = gate(y).

Stacks [2, atoms, 2l+1, channels] hold values and tangents. Atoms are sorted by species.
"""

import torch
from torch import Tensor

from fastequi.irreps import Irreps
from fastequi.model.compiled_linear import CompiledLinearPasses
from fastequi.model.gate_passes import CompiledGatePasses, GatePasses, NormedGatePasses
from fastequi.model.interaction import Interaction
from fastequi.model.linear import BlockLinear, SpeciesLinear
from fastequi.model.linear_passes import Blocks, LinearPasses


def empty_stacks(irreps: Irreps, n_atoms: int, like: Tensor) -> Blocks:
    """Memory for values and tangents."""
    return [like.new_empty((2, n_atoms, ir.dim, mul)) for mul, ir in irreps]


class LayerPasses:
    """The four passes of one `Interaction`, but for the convolution between `send` and `mix`."""

    def __init__(self, layer: Interaction, compiled: bool) -> None:
        """compiled: the linear maps and the gate through kernels for the CPU."""
        self.layer = layer
        linear = CompiledLinearPasses if compiled else LinearPasses
        self.run = linear.run
        self.linear_in, self.linear_out = linear(layer.linear_in), linear(layer.linear_out)
        connection = layer.self_connection
        self.connection = (
            linear(connection) if isinstance(connection, BlockLinear | SpeciesLinear) else None
        )
        gate = (CompiledGatePasses if compiled else GatePasses)(layer.gate)
        self.gate = NormedGatePasses(layer.norm, gate) if layer.norm else gate

    def prepare(
        self, attributes: Tensor, bounds: list[tuple[int, int, int]], species: Tensor
    ) -> None:
        """Start a step."""
        for linear in self.linears():
            linear.prepare(attributes, bounds)
        self.scale = self.layer.message_scale[species].view(-1, 1, 1)

    def linears(self) -> list[LinearPasses]:
        connection = [self.connection] if self.connection else []
        return [self.linear_in, self.linear_out, *connection]

    # -- values and forces -------------------------------------------------------------------

    def send(self, x: Blocks, half: int) -> Blocks:
        """Values (half 0) or tangents (half 1) of s from those of x, into the stack of s."""
        if half == 0:
            self.sent = empty_stacks(self.layer.shapes.irreps_in, x[0].shape[1], x[0])
        sent = [s[half] for s in self.sent]
        self.run(self.linear_in.forward([block[half] for block in x], sent, add=False))
        if half == 0:
            self.linear_in.add_bias(sent)
        for s in sent:
            s *= self.scale
        return sent

    def mix(self, x: Blocks, summed: Blocks, half: int) -> Blocks:
        """x' from m and x, into a stack whose half is returned."""
        shapes = self.layer.shapes
        if half == 0:
            n_atoms = x[0].shape[1]
            self.mixed = empty_stacks(shapes.irreps_conv, n_atoms, x[0])
            self.out = empty_stacks(shapes.irreps_out, n_atoms, x[0])
        y = [block[half] for block in self.mixed]
        todo = self.linear_out.forward(summed, y, add=False)
        if self.connection:
            todo += self.connection.forward([block[half] for block in x], y, add=True)
        self.run(todo)
        for linear in (self.linear_out, self.connection) if half == 0 else ():
            if linear:
                linear.add_bias(y)
        out = [block[half] for block in self.out]
        (self.gate.tangents if half else self.gate.values)(y, out)
        return self.out

    def unmix(self, g: Blocks, summed: Blocks, x: Blocks) -> tuple[Blocks, Blocks]:
        """dE/dm and the part of dE/dx that does not pass the convolution, from dE/dx'."""
        gy = self.gate.adjoint(g)
        gm = [torch.empty_like(block) for block in summed]
        todo = self.linear_out.adjoint(gy, gm, add=False)
        gx = [torch.zeros_like(block) for block in x]
        if self.connection:
            todo += self.connection.adjoint(gy, gx, add=True)
        self.run(todo)
        return gm, gx

    def unsend_(self, gs: Blocks, gx: Blocks) -> None:
        """Add to dE/dx what comes through dE/ds."""
        self.run(self.linear_in.adjoint([g * self.scale for g in gs], gx, add=True))

    # -- the gradient by the weights -----------------------------------------------------------

    def reverse_mix(self, g: Blocks, summed: Blocks, x: Blocks) -> tuple[Blocks, Blocks]:
        """As `unmix`, of stacks; with the gradients of the matrices."""
        gy = [torch.empty_like(block) for block in self.mixed]
        halves = ([block[half] for block in of] for of in (g, gy) for half in (0, 1))
        g_values, g_tangents, gy_values, gy_tangents = halves
        self.gate.reverse(g_values, g_tangents, gy_values, gy_tangents)
        gm = [torch.empty_like(block) for block in summed]
        todo = self.linear_out.adjoint(gy, gm, add=False) + self.linear_out.gradient(summed, gy)
        gx = [torch.zeros_like(block) for block in x]
        if self.connection:
            todo += self.connection.adjoint(gy, gx, add=True) + self.connection.gradient(x, gy)
        self.run(todo)
        return gm, gx

    def reverse_send_(self, gs: Blocks, x: Blocks, gx: Blocks) -> None:
        """As `unsend_`, of stacks; with the gradients of the matrices."""
        scaled = [g * self.scale for g in gs]
        self.run(self.linear_in.adjoint(scaled, gx, add=True) + self.linear_in.gradient(x, scaled))

    def finish(self) -> None:
        """End a step: add to the gradients of the weights."""
        for linear in self.linears():
            linear.finish()
