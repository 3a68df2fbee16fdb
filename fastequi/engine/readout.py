"""From the last features to the energies of atoms, by hand in the first pass."""

from typing import Any

from torch import Tensor

from fastequi.engine.blocks import Blocks
from fastequi.engine.differentiated import Differentiated
from fastequi.model.activations import ACTIVATIONS
from fastequi.model.nequip import NequIP


class Readout(Differentiated):
    """A `Part`: scalars [atoms, 1, channels] -> energies [atoms] in eV, float64.

    Nuclear repulsion has no features and is left out.
    """

    def __init__(self, network: NequIP, species: Tensor) -> None:
        super().__init__(lambda x: [network.atom_energies(x, species)])
        self.network, self.species = network, species

    def forward(self, *inputs: Blocks) -> tuple[Blocks, Any]:
        mlp, slopes = self.network.readout, []
        activation, scale = ACTIVATIONS[mlp.spec.activation], mlp.spec.activation_scale
        h = inputs[0][0].squeeze(1)
        for k, weight in enumerate(mlp.scaled_weights()):
            h = h @ weight
            if k == 0 and mlp.bias is not None:
                h = h + mlp.bias
            if k < len(mlp.scales) - 1:
                h, slope, _ = activation.derivatives(h)
                h, slope = h * scale, slope * scale
                slopes.append(slope)
        return [self.network.scaled_energies(h, self.species)], slopes

    def vjp(self, kept: Any, g: Blocks, onto: Blocks | None = None) -> list[Blocks]:
        mlp = self.network.readout
        gh = (g[0] * self.network.scale[self.species]).to(self.network.dtype).unsqueeze(1)
        weights = mlp.scaled_weights()
        for weight, slope in zip(reversed(weights[1:]), reversed(kept), strict=True):
            gh = (gh @ weight.T) * slope
        return [[(gh @ weights[0].T).unsqueeze(1)]]
