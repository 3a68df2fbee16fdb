"""One layer in the four passes of training, by hand: no autograd, few and large operations.

`values` and `adjoint` give energies and forces, `tangents` and `reverse` the gradient by the
weights; training/gradients.py says how they fit together. For features x, sent s, summed m and
mixed y,

    s = scale linear_in(x),  m = convolution(s),  y = linear_out(m) + self_connection(x),
    x' = gate(y).

Stacks [2, atoms, 2l+1, channels] hold values and tangents. Atoms are sorted by species.
"""

from math import sqrt

import torch
from torch import Tensor

from fastequi.irreps import SCALAR, Irreps
from fastequi.model.gate_passes import GatePasses, NormedGatePasses
from fastequi.model.interaction import Interaction
from fastequi.model.linear import BlockLinear, SpeciesLinear

Blocks = list[Tensor]


def empty_stacks(irreps: Irreps, n_atoms: int, like: Tensor) -> Blocks:
    """Memory for values and tangents."""
    return [like.new_empty((2, n_atoms, ir.dim, mul)) for mul, ir in irreps]


class LinearPasses:
    """A `BlockLinear` or `SpeciesLinear`: y_o = x_i W_o, one matrix or one per species.

    scale  a further factor of all matrices
    """

    def __init__(self, module: BlockLinear | SpeciesLinear, scale: float = 1.0) -> None:
        self.module = module
        self.terms = [
            (o, module.irreps_in.index(ir), str(ir))
            for o, (_, ir) in enumerate(module.irreps_out)
            if ir in module.irreps_in
        ]
        self.missing = [o for o, (_, ir) in enumerate(module.irreps_out)
                        if ir not in module.irreps_in]  # fmt: skip
        self.parameters = [module.weights[name] for _, _, name in self.terms]
        self.scales = [scale / sqrt(p.shape[-2]) for p in self.parameters]
        self.bias = module.bias if isinstance(module, BlockLinear) else None

    def prepare(self, attributes: Tensor, bounds: list[tuple[int, int, int]]) -> None:
        """Make the matrices of this step; bounds (species, first atom, end) of what is present."""
        self.bounds = bounds
        if isinstance(self.module, SpeciesLinear):
            present = attributes[[s for s, _, _ in bounds]] / sqrt(self.module.n_attributes)
            self.graph = [  # differentiable: it ends in weights and attributes
                ((present * scale) @ p.flatten(1)).view(-1, *p.shape[1:])
                for p, scale in zip(self.parameters, self.scales, strict=True)
            ]
            self.matrices = [m.detach() for m in self.graph]
            self.gradients = [torch.zeros_like(m) for m in self.matrices]
            return
        with torch.no_grad():
            self.matrices = [p * c for p, c in zip(self.parameters, self.scales, strict=True)]

    def _parts(self, k: int, *blocks: Tensor) -> list[tuple[Tensor, ...]]:
        """(matrix, rows of each block) for every species; blocks [..., atoms, 2l+1, channels]."""
        if not isinstance(self.module, SpeciesLinear):
            return [(self.matrices[k], *(b.view(-1, b.shape[-1]) for b in blocks))]
        found = []
        for s, (_, begin, end) in enumerate(self.bounds):
            rows = [b.narrow(-3, begin, end - begin).flatten(-3, -2) for b in blocks]
            found.append((self.matrices[k][s], *rows))
        return found

    def forward(self, x: Blocks, y: Blocks, add: bool) -> None:
        """Write the products into y, or add them."""
        for o in self.missing if not add else ():
            y[o].zero_()
        for k, (o, i, _) in enumerate(self.terms):
            for matrix, rows, to in self._parts(k, x[i], y[o]):
                if add:
                    to.addmm_(rows, matrix)
                else:
                    torch.mm(rows, matrix, out=to)

    def add_bias(self, y: Blocks) -> None:
        if self.bias is not None:
            y[self.module.irreps_out.index(SCALAR)] += self.bias.detach()

    def adjoint(self, g: Blocks, dx: Blocks, add: bool) -> None:
        """Write (or add) what g is at x. Blocks are [atoms, ...] or stacks."""
        for k, (o, i, _) in enumerate(self.terms):
            for matrix, rows, to in self._parts(k, g[o], dx[i]):
                _product(rows, matrix.T, to, add)

    def gradient(self, x: Blocks, g: Blocks) -> None:
        """Add to the gradients of the weights; stacks."""
        for k, (o, i, _) in enumerate(self.terms):
            if isinstance(self.module, SpeciesLinear):
                for s, (_, rows, there) in enumerate(self._parts(k, x[i], g[o])):
                    torch.sum(rows.mT @ there, dim=0, out=self.gradients[k][s])
                continue
            (_, rows, there) = self._parts(k, x[i], g[o])[0]
            _add_gradient(self.parameters[k], (rows.T @ there).mul_(self.scales[k]))
        if self.bias is not None:
            values = g[self.module.irreps_out.index(SCALAR)][0]
            _add_gradient(self.bias, values.sum(dim=(0, 1)))

    def finish(self) -> None:
        """Pass the gradients of matrices per species on to weights and attributes."""
        if isinstance(self.module, SpeciesLinear):
            torch.autograd.backward(self.graph, self.gradients)


def _product(a: Tensor, b: Tensor, out: Tensor, add: bool) -> None:
    """out (+)= a @ b; a and out may be stacks of rows [2, rows, ...]."""
    if a.ndim == 2:
        out.addmm_(a, b, beta=1 if add else 0)
    else:
        out.baddbmm_(a, b.expand(2, -1, -1), beta=1 if add else 0)


def _add_gradient(parameter: Tensor, gradient: Tensor) -> None:
    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


class LayerPasses:
    """The four passes of one `Interaction`, but for the convolution between `send` and `mix`."""

    def __init__(self, layer: Interaction) -> None:
        self.layer = layer
        self.linear_in = LinearPasses(layer.linear_in)
        self.linear_out = LinearPasses(layer.linear_out)
        connection = layer.self_connection
        self.connection = (
            LinearPasses(connection)
            if isinstance(connection, BlockLinear | SpeciesLinear)
            else None
        )
        gate = layer.gate
        self.gate = NormedGatePasses(layer.norm, gate) if layer.norm else GatePasses(gate)

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
        self.linear_in.forward([block[half] for block in x], sent, add=False)
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
        self.linear_out.forward(summed, y, add=False)
        if half == 0:
            self.linear_out.add_bias(y)
        if self.connection:
            self.connection.forward([block[half] for block in x], y, add=True)
            if half == 0:
                self.connection.add_bias(y)
        out = [block[half] for block in self.out]
        (self.gate.tangents if half else self.gate.values)(y, out)
        return self.out

    def unmix(self, g: Blocks, summed: Blocks, x: Blocks) -> tuple[Blocks, Blocks]:
        """dE/dm and the part of dE/dx that does not pass the convolution, from dE/dx'."""
        gy = self.gate.adjoint(g)
        gm = [torch.empty_like(block) for block in summed]
        self.linear_out.adjoint(gy, gm, add=False)
        gx = [torch.zeros_like(block) for block in x]
        if self.connection:
            self.connection.adjoint(gy, gx, add=True)
        return gm, gx

    def unsend_(self, gs: Blocks, gx: Blocks) -> None:
        """Add to dE/dx what comes through dE/ds."""
        self.linear_in.adjoint([g * self.scale for g in gs], gx, add=True)

    # -- the gradient by the weights -----------------------------------------------------------

    def reverse_mix(self, g: Blocks, summed: Blocks, x: Blocks) -> tuple[Blocks, Blocks]:
        """As `unmix`, of stacks; adds to the gradients of the weights."""
        gy = [torch.empty_like(block) for block in self.mixed]
        halves = ([block[half] for block in of] for of in (g, gy) for half in (0, 1))
        g_values, g_tangents, gy_values, gy_tangents = halves
        self.gate.reverse(g_values, g_tangents, gy_values, gy_tangents)
        gm = [torch.empty_like(block) for block in summed]
        self.linear_out.adjoint(gy, gm, add=False)
        self.linear_out.gradient(summed, gy)
        gx = [torch.zeros_like(block) for block in x]
        if self.connection:
            self.connection.adjoint(gy, gx, add=True)
            self.connection.gradient(x, gy)
        return gm, gx

    def reverse_send_(self, gs: Blocks, x: Blocks, gx: Blocks) -> None:
        """As `unsend_`, of stacks; adds to the gradients of the weights."""
        scaled = [g * self.scale for g in gs]
        self.linear_in.adjoint(scaled, gx, add=True)
        self.linear_in.gradient(x, scaled)

    def finish(self) -> None:
        """End a step: hand on the gradients of what autograd made."""
        for linear in self.linears():
            linear.finish()
