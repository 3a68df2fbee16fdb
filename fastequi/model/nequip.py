"""NequIP: energies of atoms from their surroundings, by equivariant message passing.

Batzner et al., Nat. Commun. 13, 2453 (2022). Plain torch, float32 or float64, any device; forces
and stress are the exact derivatives, by autograd through the edge vectors.
"""

import torch
from torch import Tensor, nn

from fastequi.errors import InputError
from fastequi.graph import Graph, edge_vectors
from fastequi.kernels.convolution.reference import convolution
from fastequi.kernels.spherical_harmonics import spherical_harmonics
from fastequi.model.interaction import Interaction
from fastequi.model.mlp import ScalarMLP
from fastequi.model.radial import RadialBasis, polynomial_envelope
from fastequi.model.spec import ModelSpec
from fastequi.model.zbl import zbl_edge_energies
from fastequi.potential import Prediction, prediction_from_edges

_N_ELEMENTS = 119


class NequIP(nn.Module):
    """A member of the family described by `spec`; random weights until a state is loaded.

    It is a `Potential`: `compute(graph)` gives energies, forces and stress.
    """

    scale: Tensor
    shift: Tensor
    species_of: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        n_species = len(spec.atomic_numbers)
        shapes = spec.shapes()
        self.embedding = nn.Parameter(
            torch.randn(n_species, spec.embedding_channels, dtype=torch.float64)
        )
        self.basis = RadialBasis(spec)
        self.layers = nn.ModuleList(
            Interaction(spec, layer, shape)
            for layer, shape in zip(spec.layers, shapes, strict=True)
        )
        self.readout = ScalarMLP(shapes[-1].irreps_out.dim, spec.readout, 1, spec.readout_bias)
        self.register_buffer("scale", torch.ones(n_species, dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(n_species, dtype=torch.float64))
        lookup = torch.full((_N_ELEMENTS,), -1)
        lookup[list(spec.atomic_numbers)] = torch.arange(n_species)
        self.register_buffer("species_of", lookup, persistent=False)
        self._checked: Tensor | None = None

    # -- Potential ---------------------------------------------------------------------------

    @property
    def cutoff(self) -> float:
        return self.spec.cutoff_A

    @property
    def atomic_numbers(self) -> tuple[int, ...]:
        return self.spec.atomic_numbers

    @property
    def device(self) -> torch.device:
        return self.embedding.device

    @property
    def dtype(self) -> torch.dtype:
        """Arithmetic of the network; energies are summed in float64."""
        return self.embedding.dtype

    def compute(self, graph: Graph) -> Prediction:
        """Energies, forces and stress; keeps no autograd graph."""
        graph = graph.to(self.device)
        vectors = edge_vectors(graph).detach()
        leaf = vectors.to(self.dtype, copy=True).requires_grad_(True)
        with torch.enable_grad():
            energies = self(graph, leaf)
            (gradient,) = torch.autograd.grad(energies.sum(), leaf)
        return prediction_from_edges(graph, energies.detach(), vectors, gradient)

    # -- the network -------------------------------------------------------------------------

    def forward(self, graph: Graph, vectors: Tensor) -> Tensor:
        """Energy of each atom [atoms] in eV, float64; vectors [edges, 3] in the model's dtype."""
        species = self.species(graph.atomic_numbers)
        edges = graph.edge_src, graph.edge_dst
        lengths = torch.linalg.vector_norm(vectors, dim=1)
        basis = self.basis(lengths, species[graph.edge_dst], species[graph.edge_src])
        directions = vectors / lengths.unsqueeze(1) if self.spec.normalize_harmonics else vectors
        harmonics = spherical_harmonics(directions, self.spec.l_max)
        x = [self.embedding[species].unsqueeze(1)]
        for layer in self.interactions():
            summed = convolution(
                layer.send(x, species), harmonics, layer.weights(basis), *edges,
                layer.shapes.instructions,
            )  # fmt: skip
            x = layer.update(summed, x, species, self.attributes())
        return self.energies(x, graph, lengths)

    def interactions(self) -> list[Interaction]:
        """The layers."""
        return [layer for layer in self.layers if isinstance(layer, Interaction)]

    def attributes(self) -> Tensor:
        """What species self-connections mix with, [species, attributes]."""
        if self.spec.attributes == "embedding":
            return self.embedding
        return torch.eye(len(self.embedding), dtype=self.dtype, device=self.device)

    def energies(self, x: list[Tensor], graph: Graph, lengths: Tensor) -> Tensor:
        """Readout, scale, shift and nuclear repulsion: [atoms] in eV, float64."""
        energies = self.atom_energies(x, self.species(graph.atomic_numbers))
        return energies + self.repulsion(graph, lengths) if self.spec.zbl else energies

    def atom_energies(self, x: list[Tensor], species: Tensor) -> Tensor:
        """Readout, scale and shift: [atoms] in eV, float64."""
        return self.scaled_energies(self.readout(x[0].squeeze(1)), species)

    def scaled_energies(self, read: Tensor, species: Tensor) -> Tensor:
        """From what is read out, [atoms, 1]: [atoms] in eV, float64."""
        return self.scale[species] * read.squeeze(1).to(torch.float64) + self.shift[species]

    def repulsion(self, graph: Graph, lengths: Tensor) -> Tensor:
        """Nuclear repulsion [atoms] in eV, float64."""
        species, src, dst = self.species(graph.atomic_numbers), graph.edge_src, graph.edge_dst
        pair = zbl_edge_energies(lengths, graph.atomic_numbers[dst], graph.atomic_numbers[src])
        relative = self.basis.relative(lengths, species[dst], species[src])
        pair = pair * polynomial_envelope(relative, self.spec.zbl_envelope_p)
        zeros = torch.zeros(graph.n_atoms, dtype=torch.float64, device=lengths.device)
        return zeros.index_add(0, dst, pair.to(torch.float64))

    def species(self, atomic_numbers: Tensor) -> Tensor:
        """Row of the embedding for each atom. Raises InputError for an element not known."""
        species = self.species_of[atomic_numbers]
        if self._checked is not atomic_numbers:  # looked at once per system, not at every step
            if bool((species < 0).any()):
                raise InputError(
                    _unknown_elements(atomic_numbers[species < 0], self.atomic_numbers)
                )
            self._checked = atomic_numbers
        return species


def _unknown_elements(found: Tensor, known: tuple[int, ...]) -> str:
    from ase.data import chemical_symbols

    got = ", ".join(chemical_symbols[z] for z in sorted(set(found.tolist())))
    allowed = ", ".join(chemical_symbols[z] for z in sorted(known))
    return f"the model does not know {got}; it knows {allowed}"
