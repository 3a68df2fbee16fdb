"""Minimisers by their name: each says how far to move, given forces; see `Minimizer`."""

from fastequi.md.minimizers.fire import Fire
from fastequi.md.minimizers.lbfgs import LBFGS
from fastequi.md.minimizers.minimizer import Minimizer

MINIMIZERS: dict[str, Minimizer] = {kind.name: kind for kind in (LBFGS(), Fire())}

__all__ = ["LBFGS", "MINIMIZERS", "Fire", "Minimizer"]
