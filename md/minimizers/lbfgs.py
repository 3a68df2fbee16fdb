"""L-BFGS: the step to the minimum of a parabola that the last moves and forces describe.

Nocedal, Math. Comput. 35, 773 (1980); the two loops are algorithm 7.4 of Nocedal & Wright,
Numerical Optimization (2006). There is no line search, as in ASE's: a move costs one force call,
and its length is limited. A pair of move and change of force that says that the curvature is not
positive is left out.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fastequi.md.minimizers.minimizer import Minimizer, Rows

#: Curvature in eV/Å² that the first step assumes: ASE's `alpha`.
FIRST_CURVATURE = 70.0

#: Pairs with less curvature than this, relative to the lengths of both, describe no minimum.
LEAST_CURVATURE = 1e-6


@dataclass(frozen=True)
class LBFGS(Minimizer):
    """Its memory: the last moves and changes of force, newest last [pairs, rows, 3], the inverse of
    their products [pairs, systems], 0 for a pair that is left out; the last move and force."""

    name = "lbfgs"

    pairs: int = 30

    def memory(self, rows: Rows) -> dict[str, Tensor]:
        """Of nothing: pairs of products 0."""
        n, kept = len(rows.owner), self.pairs
        return {
            "moves": rows.zeros(kept, n, 3),
            "changes": rows.zeros(kept, n, 3),
            "inverse": rows.zeros(kept, rows.n_systems),
            "curvature": rows.zeros(rows.n_systems) + FIRST_CURVATURE,
            "move": rows.zeros(n, 3),
            "force": rows.zeros(n, 3),
        }

    def displacement_(self, memory: dict[str, Tensor], forces: Tensor, rows: Rows) -> Tensor:
        """Minus the inverse Hessian times the gradient."""
        self._learn_(memory, forces, rows)
        move = self._inverse_hessian_times(forces, memory, rows)
        memory["force"].copy_(forces)
        memory["move"].copy_(move)
        return move

    def shortened_(self, memory: dict[str, Tensor], factor: Tensor, rows: Rows) -> None:
        """The move that was taken is what the next change of force belongs to."""
        memory["move"].mul_(rows.of_rows(factor))

    def _learn_(self, memory: dict[str, Tensor], forces: Tensor, rows: Rows) -> None:
        """A new pair, in place of the oldest."""
        move, change = memory["move"], memory["force"] - forces
        product, long, strong = (
            rows.dot(move, change), rows.dot(move, move), rows.dot(change, change)
        )  # fmt: skip
        # At the first step there is no move yet, and its product is 0.
        says = product > LEAST_CURVATURE * (long * strong).sqrt()
        inverse = torch.where(says, 1.0 / torch.where(says, product, 1.0), 0.0)
        steep = torch.where(says, strong / torch.where(says, product, 1.0), memory["curvature"])
        memory["curvature"].copy_(steep)
        for name, newest in (("moves", move), ("changes", change), ("inverse", inverse)):
            memory[name].copy_(torch.cat([memory[name][1:], newest.unsqueeze(0)]))

    def _inverse_hessian_times(
        self, forces: Tensor, memory: dict[str, Tensor], rows: Rows
    ) -> Tensor:
        moves, changes, inverse = memory["moves"], memory["changes"], memory["inverse"]
        q, weights = forces.clone(), {}
        for k in reversed(range(self.pairs)):
            weights[k] = inverse[k] * rows.dot(moves[k], q)
            q = q - rows.of_rows(weights[k]) * changes[k]
        q = q / rows.of_rows(memory["curvature"])
        for k in range(self.pairs):
            correction = weights[k] - inverse[k] * rows.dot(changes[k], q)
            q = q + rows.of_rows(correction) * moves[k]
        return q
