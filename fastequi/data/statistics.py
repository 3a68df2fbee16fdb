"""Statistics of a data set (float64): what a new model is scaled and shifted by."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastequi.data.baseline import fit_baseline, fractions
from fastequi.data.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of the training frames; per-species values in the order of `species`, NaN where unknown.

    species               atomic numbers, in order
    n_frames, n_atoms     how many
    n_neighbors           edges received per atom, the mean over all atoms
    n_neighbors_of        [species]
    energy_of             [species] eV per atom, see `fastequi.data.baseline`
    energy_is_unique      whether the frames determine energy_of
    energy_std            eV per atom, of what energy_of leaves
    force_rms             eV/Å, over all components
    force_rms_of          [species] eV/Å
    """

    species: tuple[int, ...]
    n_frames: int
    n_atoms: int
    n_neighbors: float
    n_neighbors_of: tuple[float, ...]
    energy_of: tuple[float, ...]
    energy_is_unique: bool
    energy_std: float
    force_rms: float
    force_rms_of: tuple[float, ...]


def statistics(dataset: Dataset) -> Statistics:
    """Statistics of all frames of a data set."""
    frames = dataset.frames
    species = np.array(dataset.species)
    numbers = np.concatenate([frame.atomic_numbers for frame in frames])
    neighbors = dataset.neighbors_per_atom().astype(np.float64)
    forced = np.concatenate([np.full(frame.n_atoms, frame.forces is not None) for frame in frames])
    known = [frame.forces for frame in frames if frame.forces is not None]
    forces = np.concatenate(known or [np.empty((0, 3))])
    energy_of, is_unique, energy_std = _energies(dataset, species)
    return Statistics(
        species=dataset.species,
        n_frames=len(frames),
        n_atoms=len(numbers),
        n_neighbors=float(neighbors.mean()),
        n_neighbors_of=tuple(float(neighbors[numbers == z].mean()) for z in species),
        energy_of=energy_of,
        energy_is_unique=is_unique,
        energy_std=energy_std,
        force_rms=_rms(forces),
        force_rms_of=tuple(_rms(forces[numbers[forced] == z]) for z in species),
    )


def _energies(
    dataset: Dataset, species: NDArray[np.int64]
) -> tuple[tuple[float, ...], bool, float]:
    """Per species, whether they are unique, and the deviation per atom that is left."""
    baseline = fit_baseline(dataset.frames)
    if baseline is None:
        return (float("nan"),) * len(species), False, float("nan")
    of = dict(zip(baseline.species.tolist(), baseline.energies.tolist(), strict=True))
    labelled = [frame for frame in dataset.frames if frame.energy is not None]
    per_atom = np.array([(frame.energy or 0.0) / frame.n_atoms for frame in labelled])
    left = per_atom - fractions(labelled, baseline.species) @ baseline.energies
    known = baseline.is_unique and len(baseline.species) == len(species)
    return tuple(of.get(z, float("nan")) for z in species.tolist()), known, float(np.std(left))


def _rms(forces: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.square(forces).mean())) if forces.size else float("nan")
