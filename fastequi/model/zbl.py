"""Nuclear repulsion at short range: the universal potential of Ziegler, Biersack and Littmark."""

import torch
from torch import Tensor

# LAMMPS pair_zbl: screening exponent, length (Å), and the four exponentials.
_EXPONENT, _LENGTH_A = 0.23, 0.46850
_AMPLITUDES = (0.02817, 0.28022, 0.50986, 0.18175)
_DECAYS = (0.20162, 0.40290, 0.94229, 3.19980)
#: e^2 / (4 pi epsilon_0) in eV Å, LAMMPS 'metal' units.
COULOMB_eV_A = 14.399645


def zbl_edge_energies(lengths: Tensor, z_dst: Tensor, z_src: Tensor) -> Tensor:
    """Half the pair energy [edges] in eV (each pair is two directed edges), without a cutoff.

    lengths [edges] in Å; z atomic numbers [edges].
    """
    z_dst, z_src = z_dst.to(lengths.dtype), z_src.to(lengths.dtype)
    x = (z_dst**_EXPONENT + z_src**_EXPONENT) * lengths / _LENGTH_A
    screening = torch.zeros_like(x)
    for amplitude, decay in zip(_AMPLITUDES, _DECAYS, strict=True):
        screening = screening + amplitude * torch.exp(-decay * x)
    return 0.5 * COULOMB_eV_A * z_dst * z_src / lengths * screening
