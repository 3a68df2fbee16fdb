"""What frames of water say of its structure: distributions, and where their first peaks are."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from fastequi.md.analysis import angular_distribution, radial_distribution

#: Half the box, in Å; bins of 0.025 Å.
R_MAX_A, BINS = 6.2, 248
#: O-O up to the first minimum of g, O-H within a molecule: neighbours of an angle.
NEIGHBORS_A = {("O", "O"): 3.4, ("H", "O"): 1.25}
ANGLES, ANGLE_BINS = (("O", "O", "O"), ("H", "O", "H")), 90
#: Where the first peak between molecules is looked for, in Å.
WINDOWS_A = {"O-O": (2.4, 3.2), "H-O": (1.4, 2.3), "H-H": (2.0, 2.8)}
#: A parabola through so much on both sides of the highest bin gives the peak, in Å.
_HALF_WIDTH_A = 0.13
#: Parts of the time whose peaks differ by their errors.
BLOCKS = 5


@dataclass(frozen=True)
class Peak:
    """The first maximum of g(r) between molecules; errors (one sigma) from blocks of the time."""

    place_A: float
    height: float
    place_error_A: float
    height_error: float


@dataclass(frozen=True)
class Structure:
    """Distributions g [bins] by pair and densities of angles [angle bins] by triplet, and peaks.

    bond_A, bond_spread_A  mean and standard deviation of O-H bonds
    ions                   share of frames where some oxygen has not two hydrogens nearest to it
    """

    r_A: NDArray[np.float64]
    g: dict[str, NDArray[np.float64]]
    angle_deg: NDArray[np.float64]
    angles: dict[str, NDArray[np.float64]]
    peaks: dict[str, Peak]
    bond_A: float
    bond_spread_A: float
    ions: float

    def as_json(self) -> dict[str, Any]:
        """Curves as lists, rounded to what they are worth."""
        curves = {"r_A": self.r_A, **self.g}, {"angle_deg": self.angle_deg, **self.angles}
        g, angles = ({k: np.round(v, 5).tolist() for k, v in curve.items()} for curve in curves)
        peaks = {pair: asdict(peak) for pair, peak in self.peaks.items()}
        bonds = {"bond_A": self.bond_A, "bond_spread_A": self.bond_spread_A}
        bonds["ions"] = self.ions
        return {"g": g, "angles": angles, "peaks": peaks, **bonds}


def structure(frames: Sequence[Atoms]) -> Structure:
    """Of frames in the order of time."""
    r, g = _g(frames)
    angle_deg, found = angular_distribution(frames, NEIGHBORS_A, ANGLE_BINS)
    angles = {"-".join(triplet): found[triplet] for triplet in ANGLES}
    parts = np.array_split(np.arange(len(frames)), BLOCKS)
    blocks = [_g([frames[k] for k in part])[1] for part in parts]
    peaks = {pair: _peak(r, pair, g[pair], [block[pair] for block in blocks]) for pair in g}
    bonds = bond_lengths(frames)
    return Structure(r, g, angle_deg, angles, peaks, float(bonds.mean()), float(bonds.std()),
                     float(np.mean([has_ions(frame) for frame in frames])))  # fmt: skip


def _g(frames: Sequence[Atoms]) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    r, found = radial_distribution(frames, R_MAX_A, BINS)
    return r, {"-".join(pair): values for pair, values in found.items()}


def _peak(
    r: NDArray[np.float64], pair: str, g: NDArray[np.float64], blocks: list[NDArray[np.float64]]
) -> Peak:
    place, height = top(r, g, WINDOWS_A[pair])
    of_blocks = np.array([top(r, block, WINDOWS_A[pair]) for block in blocks])
    errors = of_blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks))
    return Peak(place, height, float(errors[0]), float(errors[1]))


def top(
    r: NDArray[np.float64], g: NDArray[np.float64], window_A: tuple[float, float]
) -> tuple[float, float]:
    """Place in Å and height of the peak of g [bins] within a window: of a parabola around it."""
    inside = (r >= window_A[0]) & (r <= window_A[1])
    highest = r[inside][g[inside].argmax()]
    near = np.abs(r - highest) <= _HALF_WIDTH_A
    second, first, zeroth = np.polyfit(r[near] - highest, g[near], 2)
    return float(highest - 0.5 * first / second), float(zeroth - 0.25 * first**2 / second)


def bond_lengths(frames: Sequence[Atoms]) -> NDArray[np.float64]:
    """Of all O-H bonds in all frames, in Å; boxes are rectangular."""
    found = [distances[distances < NEIGHBORS_A["H", "O"]] for distances in map(_apart, frames)]
    return np.concatenate(found)


def has_ions(frame: Atoms) -> bool:
    """Whether an oxygen is the nearest of more or less than two hydrogens."""
    distances = _apart(frame)
    mine = np.bincount(distances.argmin(axis=0), minlength=len(distances))
    return bool((mine != 2).any())


def _apart(frame: Atoms) -> NDArray[np.float64]:
    """Distances [oxygens, hydrogens] in Å of nearest images."""
    oxygen, hydrogen = (frame.positions[frame.numbers == z] for z in (8, 1))
    vectors = oxygen[:, None] - hydrogen
    lengths = frame.cell.lengths()
    vectors -= lengths * np.round(vectors / lengths)
    return np.linalg.norm(vectors, axis=2)
