"""Energies per species by least squares: where a model starts from, and what is absurd.

Every frame gives one equation, its energy per atom as the mean of its atoms' energies. A set of one
composition, or of few, does not determine the energies of the species: then the solution that
deviates least from the mean energy per atom is taken, so that for one composition all species have
that mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastequi.data.frames import Frame


@dataclass(frozen=True, slots=True)
class Baseline:
    """E/atoms = fractions @ energies, roughly.

    species     [species]           atomic numbers, in order
    energies    [species]           eV per atom
    determined  [rank, species]     orthonormal; compositions in their span are determined
    singular    [rank]              singular values of the compositions in these directions
    n_frames    that it was fitted to
    """

    species: NDArray[np.int64]
    energies: NDArray[np.float64]
    determined: NDArray[np.float64]
    singular: NDArray[np.float64]
    n_frames: int

    @property
    def is_unique(self) -> bool:
        """Whether the frames determine the energy of each species."""
        return len(self.determined) == len(self.species)

    def per_atom(self, frame: Frame) -> tuple[float, float] | None:
        """eV per atom of a frame, and its leverage; None where the composition is not determined.

        The variance of the prediction is the leverage times that of the data; it is above 1 for a
        composition unlike those of the fit.
        """
        fraction = fractions([frame], self.species)[0]
        along = self.determined @ fraction
        # An element that is not among the species is missing from the sum.
        if abs(fraction.sum() - 1.0) > 1e-9:
            return None
        if np.abs(fraction - self.determined.T @ along).max() > 1e-6:
            return None
        leverage = np.square(along / self.singular).sum()
        return float(fraction @ self.energies), float(leverage)


def fractions(frames: Sequence[Frame], species: NDArray[np.int64]) -> NDArray[np.float64]:
    """The share of every species in every frame: [frames, species]."""
    return np.stack([(f.atomic_numbers[:, None] == species).mean(axis=0) for f in frames])


def fit_baseline(frames: Sequence[Frame], robust: bool = False) -> Baseline | None:
    """From the frames that have an energy; None if there are none.

    robust  minimise the sum of absolute deviations instead of squares, so that a few absurd
            energies do not show
    """
    frames = [frame for frame in frames if frame.energy is not None]
    if not frames:
        return None
    species = np.unique(np.concatenate([frame.atomic_numbers for frame in frames]))
    a = fractions(frames, species)
    per_atom = np.array([frame.energy or 0.0 for frame in frames])
    per_atom /= [frame.n_atoms for frame in frames]
    energies = _solve(a, per_atom, np.ones(len(a)), np.mean(per_atom))
    # Sums of absolute deviations by reweighted least squares (Schlossmacher 1973).
    for _ in range(30 if robust else 0):
        deviation = np.abs(per_atom - a @ energies)
        weights = 1.0 / np.maximum(deviation, 1e-6)
        energies = _solve(a, per_atom, weights, np.median(per_atom))
    singular, directions = np.linalg.svd(a, full_matrices=False)[1:]
    large = singular > _RANK * singular[0]
    return Baseline(species, energies, directions[large], singular[large], len(frames))


#: Singular values below this share of the largest are zero.
_RANK = 1e-9


def _solve(
    a: NDArray[np.float64],
    per_atom: NDArray[np.float64],
    weights: NDArray[np.float64],
    mean: np.floating,
) -> NDArray[np.float64]:
    """Weighted least squares; where they leave a choice, nearest to `mean` for all species."""
    root = np.sqrt(weights / weights.max())
    deviation = np.linalg.lstsq(root[:, None] * a, root * (per_atom - mean), rcond=_RANK)[0]
    return mean + deviation
