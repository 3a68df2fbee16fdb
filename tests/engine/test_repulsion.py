"""Nuclear repulsion by hand against what torch differentiates."""

from typing import Any

import pytest
import torch

from fastequi.engine.repulsion import repulsion
from fastequi.graph import edge_vectors
from tests.engine.test_fused import graph_of, network_of, systems


@pytest.mark.parametrize("changes", [{}, {"pair_cutoffs": True}, {"zbl_envelope_p": 5.5}], ids=str)
def test_gradients_are_those_of_the_definition(changes: dict[str, Any]) -> None:
    network = network_of(1, "full", zbl=True, **changes)
    if "pair_cutoffs" in changes:
        network.basis.pair_cutoff.copy_(torch.tensor([[2.0, 3, 4], [3, 3.5, 4], [3.0, 4, 3.8]]))
    graph = graph_of(systems())
    vectors = edge_vectors(graph).requires_grad_(True)
    energies = network.repulsion(graph, torch.linalg.vector_norm(vectors, dim=1))
    (expected,) = torch.autograd.grad(energies.sum(), vectors)
    found, gradient = repulsion(network, graph, vectors.detach())
    assert float(expected.abs().max()) > 0.1
    torch.testing.assert_close(found, energies.detach(), rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-13)
