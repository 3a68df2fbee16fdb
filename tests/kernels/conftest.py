"""Shared by the kernel tests. Without a GPU, Triton's kernels run in its interpreter."""

import os
import sys

import pytest
import torch

from fastequi.graph import Graph

if not torch.cuda.is_available():
    assert "triton" not in sys.modules, "Triton was imported before its interpreter was chosen"
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported


@pytest.fixture
def triangle() -> Graph:
    """Three atoms without edges."""
    none = torch.zeros(0, dtype=torch.int64)
    return Graph(
        positions=torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 1]], dtype=torch.float64),
        atomic_numbers=torch.full((3,), 14),
        cell=torch.zeros(1, 3, 3, dtype=torch.float64),
        pbc=torch.zeros(1, 3, dtype=torch.bool),
        system_idx=torch.zeros(3, dtype=torch.int64),
        edge_src=none,
        edge_dst=none,
        edge_shift=torch.zeros(0, 3, dtype=torch.float64),
    )
