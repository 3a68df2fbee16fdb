"""Frame: one labelled structure of a data set, and its identity.

Everything is in eV, Å, eV/Å and eV/Å³; readers convert at the door.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

#: Coordinates that agree to so many decimals (Å) are the same: files round at the 8th.
SAME_DECIMALS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One structure with what is known of it.

    atomic_numbers  [atoms]     int64
    positions       [atoms, 3]  float64, Å, not wrapped
    cell            [3, 3]      float64, Å, rows are lattice vectors; zero where absent
    pbc             [3]         bool
    energy          eV, or None
    forces          [atoms, 3]  float64, eV/Å, or None
    stress          [3, 3]      float64, eV/Å³, ASE's sign (tension > 0), or None
    weight          factor of this frame in the loss
    config_type     a group that errors may be reported by
    temperature_K   of the simulation that it is from, or None
    converged       False where the file says that the electrons did not converge
    file, index     where it comes from; frames count from 0
    unread          names in the file that sound like labels and were not asked for
    """

    atomic_numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    cell: NDArray[np.float64]
    pbc: NDArray[np.bool_]
    energy: float | None = None
    forces: NDArray[np.float64] | None = None
    stress: NDArray[np.float64] | None = None
    weight: float = 1.0
    config_type: str = ""
    temperature_K: float | None = None
    converged: bool = True
    file: str = ""
    index: int = 0
    unread: tuple[str, ...] = ()

    @property
    def n_atoms(self) -> int:
        return len(self.atomic_numbers)

    @property
    def volume(self) -> float:
        """Å³; 0 where a lattice vector is missing. Then a stress has no meaning and is not used."""
        return abs(float(np.linalg.det(self.cell)))

    @property
    def source(self) -> str:
        """'train.extxyz, frame 12', for messages."""
        return f"{Path(self.file).name or 'memory'}, frame {self.index}"


def frame_key(frame: Frame) -> bytes:
    """Hash of species, positions and periodic lattice vectors: equal for the same structure.

    Labels and the order of frames do not enter; the order of atoms does.
    """
    digest = hashlib.sha256()
    lattice = np.where(frame.pbc[:, None], frame.cell, 0.0)
    for values in (frame.positions, lattice):
        # + 0.0 turns -0.0 into 0.0
        digest.update((np.round(values, SAME_DECIMALS) + 0.0).tobytes())
    digest.update(frame.atomic_numbers.tobytes() + frame.pbc.tobytes())
    return digest.digest()
