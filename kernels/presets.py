"""Middle layers of published models, for kernels that are compiled or timed without a model."""

from fastequi.irreps import Parity, hidden_irreps
from fastequi.kernels.instructions import Instructions, make_instructions

#: Channels per degree of a middle layer, and parity.
PRESETS: dict[str, tuple[tuple[int, ...], Parity]] = {
    "sevennet-0": ((128, 64, 32), "even"),
    "sevennet-l3i5": ((128, 64, 32, 32), "even"),
    "nequip-m": ((128, 64, 32), "natural"),
    "nequip-l": ((128, 64, 32, 32), "natural"),
    "nequip-xl": ((320, 96, 64, 32, 32), "natural"),
}


def middle_layer(preset: str) -> Instructions:
    """The convolution of a layer with the same irreps before and after."""
    channels, parity = PRESETS[preset]
    irreps = hidden_irreps(channels, parity)
    edge_parity = "even" if parity == "even" else "natural"
    return make_instructions(irreps, len(channels) - 1, edge_parity, irreps)
