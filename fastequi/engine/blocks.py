"""Features as the engine holds them, and what a part of a layer does with them.

Blocks are one tensor per irrep, [atoms, 2l+1, channels]. Stacks [2, atoms, 2l+1, channels] are
values and tangents, how values change along some displacement of all edges.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from fastequi.irreps import Irreps
from fastequi.kernels.parts import new_blocks

Blocks = list[Tensor]


class Part(Protocol):
    """A map of blocks, and what it keeps from one operation for the next.

    What an operation has kept is an argument of those that need it, so none can come too early.
    `onto`: where the one input's gradient is added.
    """

    def forward(self, *inputs: Blocks) -> tuple[Blocks, Any]:
        """(outputs, kept)."""
        ...

    def vjp(self, kept: Any, g: Blocks, onto: Blocks | None = None) -> list[Blocks]:
        """The gradient at each input from that at the outputs."""
        ...

    def jvp(self, kept: Any, *stacks: Blocks) -> tuple[Blocks, Any]:
        """(stacks of outputs, kept), from what `forward` kept."""
        ...

    def jvp_vjp(self, kept: Any, g: Blocks, onto: Blocks | None = None) -> list[Blocks]:
        """The gradient at each input of `jvp`, in stacks; adds to the gradients of weights."""
        ...


def empty_stacks(irreps: Irreps, copies: int, n_atoms: int, like: Tensor) -> Blocks:
    """Memory for values (copies = 1), or values and tangents (2)."""
    return new_blocks(irreps, like, copies, n_atoms)


def half(stacks: Sequence[Tensor], k: int) -> Blocks:
    """Values (k = 0) or tangents (1)."""
    return [stack[k] for stack in stacks]


def flat(stacks: Sequence[Tensor]) -> Blocks:
    """[2, atoms, ...] -> [2 atoms, ...], as the operations of the convolution take stacks."""
    return [stack.flatten(0, 1) for stack in stacks]


def stacked(blocks: Sequence[Tensor]) -> Blocks:
    """[2 atoms, ...] -> [2, atoms, ...]."""
    return [block.unflatten(0, (2, -1)) for block in blocks]
