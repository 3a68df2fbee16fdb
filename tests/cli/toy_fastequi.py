"""The command line with argon's Lennard-Jones potential in place of every model.

    python toy_fastequi.py run md.toml

The environment sets what a test needs: TOY_DELAY_S slows a step down, TOY_FILE_BYTES makes files
"full" at that size.
"""

import os
import resource
import time
from dataclasses import dataclass

import torch

import fastequi
from fastequi.graph import Graph
from fastequi.md.testing import LennardJones
from fastequi.potential import Prediction


@dataclass(frozen=True)
class ToyModel(LennardJones):
    """Lennard-Jones that says where it came from, as a loaded model does."""

    atomic_numbers: tuple[int, ...] | None = (18, 36)
    name: str = "toy"
    sha256: str = "ab" * 32
    dtype_name: str = "float32"
    kernels: str = "reference"
    kernels_reason: str = "a toy"
    delay_s: float = 0.0

    def compute(self, graph: Graph) -> Prediction:
        """Energies, forces and stress of every system of the batch, slowly."""
        time.sleep(self.delay_s)
        return super().compute(graph)


def load_toy(name: str, device: str, dtype: str, kernels: str, modality: str = "") -> ToyModel:
    """Stands in for `fastequi.load_model`."""
    return ToyModel(
        dtype=getattr(torch, dtype),
        dtype_name=dtype,
        sha256=os.environ.get("TOY_SHA256", "ab" * 32),
        delay_s=float(os.environ.get("TOY_DELAY_S", "0")),
    )


if __name__ == "__main__":
    from fastequi.cli.main import main

    if limit := os.environ.get("TOY_FILE_BYTES"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    fastequi.load_model = load_toy
    main()
