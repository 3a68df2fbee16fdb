"""Nuclear repulsion at short range: the universal potential of Ziegler, Biersack and Littmark."""

import torch
from torch import Tensor

# LAMMPS pair_zbl: screening exponent, length (Å), and the four exponentials.
_EXPONENT, _LENGTH_A = 0.23, 0.46850
SCREENING = ((0.02817, 0.20162), (0.28022, 0.40290), (0.50986, 0.94229), (0.18175, 3.19980))
#: e^2 / (4 pi epsilon_0) in eV Å, LAMMPS 'metal' units.
COULOMB_eV_A = 14.399645


def zbl_edge_energies(lengths: Tensor, z_dst: Tensor, z_src: Tensor) -> Tensor:
    """Half the pair energy [edges] in eV (each pair is two directed edges), without a cutoff.

    lengths [edges] in Å; z atomic numbers [edges].
    """
    strength, inverse_length = pair_constants(z_dst.to(lengths.dtype), z_src.to(lengths.dtype))
    return strength / lengths * screening(inverse_length * lengths)[0]


def zbl_edge_slopes(lengths: Tensor, z_dst: Tensor, z_src: Tensor) -> Tensor:
    """Their derivatives by the length [edges], eV/Å."""
    strength, inverse_length = pair_constants(z_dst.to(lengths.dtype), z_src.to(lengths.dtype))
    value, slope = screening(inverse_length * lengths)
    return strength / lengths * (inverse_length * slope - value / lengths)


def pair_constants(z_dst: Tensor, z_src: Tensor) -> tuple[Tensor, Tensor]:
    """Half of the Coulomb energy at 1 Å, in eV Å, and one over the screening length, in 1/Å."""
    inverse_length = (z_dst**_EXPONENT + z_src**_EXPONENT) / _LENGTH_A
    return 0.5 * COULOMB_eV_A * z_dst * z_src, inverse_length


def screening(x: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of four exponentials, and its derivative."""
    value, slope = torch.zeros_like(x), torch.zeros_like(x)
    for amplitude, decay in SCREENING:
        term = amplitude * torch.exp(-decay * x)
        value, slope = value + term, slope - decay * term
    return value, slope
