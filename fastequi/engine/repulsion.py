"""Nuclear repulsion, which has no weights, and its gradient along edges."""

import torch
from torch import Tensor

from fastequi.graph import Graph
from fastequi.kernels.parts import PairRepulsion
from fastequi.model.nequip import NequIP
from fastequi.model.radial import polynomial_envelope, polynomial_envelope_slope
from fastequi.model.zbl import SCREENING, pair_constants, zbl_edge_energies, zbl_edge_slopes


@torch.no_grad()
def repulsion(network: NequIP, graph: Graph, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """(energies [atoms] in eV, float64; dE/dr [edges, 3] in eV/Å) for edge vectors [edges, 3]."""
    vectors, p = vectors.to(network.dtype), network.spec.zbl_envelope_p
    lengths = torch.linalg.vector_norm(vectors, dim=1)
    z = graph.atomic_numbers[graph.edge_dst], graph.atomic_numbers[graph.edge_src]
    species = network.species(graph.atomic_numbers)
    x = network.basis.relative(lengths, species[graph.edge_dst], species[graph.edge_src])
    value, ended = zbl_edge_energies(lengths, *z), polynomial_envelope(x, p)
    energies = torch.zeros(graph.n_atoms, dtype=torch.float64, device=lengths.device)
    energies.index_add_(0, graph.edge_dst, (value * ended).to(torch.float64))
    of_end = value * polynomial_envelope_slope(x, p) * (x / lengths)
    slope = zbl_edge_slopes(lengths, *z) * ended + of_end
    return energies, (slope / lengths).unsqueeze(1) * vectors


def pair_repulsion(network: NequIP, species: Tensor) -> PairRepulsion | None:
    """The same for kernels, of atoms of these species; None where there is none."""
    spec = network.spec
    if not spec.zbl:
        return None
    z = torch.tensor(network.atomic_numbers, dtype=torch.float64)
    strength, inverse_length = pair_constants(z.unsqueeze(1), z.unsqueeze(0))
    cutoffs = torch.full_like(strength, spec.cutoff_A)
    if spec.pair_cutoffs:
        cutoffs = network.basis.pair_cutoff.to("cpu", torch.float64)
    pairs = torch.stack([strength, inverse_length, cutoffs]).to(species.device)
    return PairRepulsion(pairs, SCREENING, int(spec.zbl_envelope_p), species)


def has_kernels_form(network: NequIP) -> bool:
    """Whether kernels can do the repulsion: the end of theirs has whole powers."""
    p = network.spec.zbl_envelope_p
    return not network.spec.zbl or (p >= 1 and p == int(p))
