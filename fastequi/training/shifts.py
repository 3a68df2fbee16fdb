"""Energies of the elements that a training begins with, and whether they fit the data at all.

A model to start from has its own zero of energy, and so have the data: total energies of another
code or functional, or none at all. Where the two differ by constants, which say nothing of forces,
the model is given the data's zero. Kept apart, the difference would be all that is learnt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from fastequi.data import Dataset, Frame, fit_baseline
from fastequi.data.baseline import Baseline, fractions
from fastequi.engine.loaded import loaded
from fastequi.errors import InputError
from fastequi.kernels.backend import choose_kernels
from fastequi.model.file import model_data
from fastequi.model.nequip import NequIP
from fastequi.training.config import ModelConfig
from fastequi.training.evaluate import ENERGIES_PER_SHIFT, evaluate

#: The zeros differ if constants leave less than this share of what a model misses of energies.
DIFFERS_BELOW = 0.5
#: eV per atom: no two ways to compute an energy differ so much, only zeros and units do.
CANNOT_BE_KEPT_eV = 1.0
#: eV per atom: energies of free atoms are off by the energy of cohesion, which is less.
CANNOT_BE_MEANT_eV = 20.0


def set_shifts_(network: NequIP, config: ModelConfig, train: Dataset) -> str:
    """Set the energy of each element where the network says 0; how, in words.

    Raises InputError where the choice of the user cannot be meant.
    """
    how = config.energy_shift
    if isinstance(how, dict):
        _set_given_(network, how, train)
        return _given_in_words(_residuals(network, train) if config.start_from else None)
    if not config.start_from:
        _add_fitted_(network, train.frames, "least-squares" if how == "auto" else how)
        return str(how)
    residuals = _residuals(network, train)
    off = offset_of(residuals)
    if off is None:
        return "kept: no frame has an energy"
    if how == "keep" and off.differs and abs(off.mean) > CANNOT_BE_KEPT_eV:
        raise InputError(
            f'model.energy_shift: got "keep", but the energies of the data are {off.mean:+.4g} '
            f"eV/atom off those of {config.start_from}, and nothing else would be learnt; leave "
            'the key away, or write "least-squares" (and if data.units are wrong, mend them)'
        )
    if how == "auto":
        how = off.remedy
    if how != "keep":
        _add_fitted_(network, residuals, how)
    return _in_words(how, off)


@dataclass(frozen=True)
class Offset:
    """What the data's energies are above the model's, eV per atom.

    mean, rmse  over the frames
    beside      root mean square of what constants per element leave
    remedy      of energy_shift: keep, least-squares, or mean where there are too few frames
    """

    mean: float
    rmse: float
    beside: float
    remedy: str

    @property
    def differs(self) -> bool:
        """Whether constants account for most of it."""
        return self.beside < DIFFERS_BELOW * self.rmse


def offset_of(residuals: Sequence[Frame]) -> Offset | None:
    """Of frames whose energies are what the model misses; None where none has an energy."""
    residuals = [frame for frame in residuals if frame.energy is not None]
    baseline = fit_baseline(residuals)
    if baseline is None:
        return None
    missed = np.array([(frame.energy or 0.0) / frame.n_atoms for frame in residuals])
    determined = len(residuals) >= ENERGIES_PER_SHIFT * len(baseline.singular)
    left = missed - (_of(baseline, residuals) if determined else missed.mean())
    rmse, beside = (float(np.sqrt(np.square(x).mean())) for x in (missed, left))
    fitting = "least-squares" if determined else "mean"
    remedy = fitting if beside < DIFFERS_BELOW * rmse else "keep"
    return Offset(float(missed.mean()), rmse, beside, remedy)


def _of(baseline: Baseline, frames: Sequence[Frame]) -> np.ndarray:
    return fractions(frames, baseline.species) @ baseline.energies


def _in_words(how: str, off: Offset) -> str:
    found = f"the data's energies are {off.mean:+.4g} eV/atom off the model's"
    if how == "keep":
        return f"kept ({found}, root mean square {off.rmse:.3g})"
    fitted = "least squares" if how == "least-squares" else "one constant"
    return f"{found}: moved to theirs ({fitted}, {1000 * off.beside:.3g} meV/atom are left)"


def _given_in_words(residuals: Sequence[Frame] | None) -> str:
    off = offset_of(residuals) if residuals else None
    if off and abs(off.mean) > CANNOT_BE_MEANT_eV:
        raise InputError(
            f"model.energy_shift: with these energies of the elements the data are {off.mean:+.4g} "
            'eV/atom off the model; give others, in eV, or let "least-squares" find them'
        )
    return "as given" + (f" (the data are {off.mean:+.4g} eV/atom off)" if off else "")


def _set_given_(network: NequIP, energies: dict[str, float], train: Dataset) -> None:
    """Of a table with more elements than the model knows, those that it knows."""
    given = {atomic_numbers[symbol]: energy for symbol, energy in energies.items()}
    missing = sorted(set(train.species) - set(given))
    if missing:
        raise InputError(
            f"model.energy_shift: no energy for {', '.join(chemical_symbols[z] for z in missing)}, "
            'which the data hold; add it, or let "least-squares" find the energies'
        )
    for place, number in enumerate(network.atomic_numbers):
        if number in given:
            network.shift[place] = given[number]


def _add_fitted_(network: NequIP, frames: Sequence[Frame], how: str) -> None:
    """Add the energies of the elements by least squares, or the mean energy per atom to all."""
    labelled = [(f.energy, f.n_atoms) for f in frames if f.energy is not None]
    baseline = fit_baseline(frames)
    if baseline is None:
        return
    mean = sum(energy for energy, _ in labelled) / sum(n_atoms for _, n_atoms in labelled)
    for z, energy in zip(baseline.species.tolist(), baseline.energies.tolist(), strict=True):
        place = network.atomic_numbers.index(z)
        network.shift[place] += mean if how == "mean" else energy


def _residuals(network: NequIP, train: Dataset) -> list[Frame]:
    """The frames with what the network misses of their energies."""
    kernels = choose_kernels("auto", network.device)
    potential = loaded(model_data(network), "start", network.device, "float32", kernels)
    found = evaluate(potential, train)
    missed = found.reference.energy - found.predicted.energy
    return [
        replace(frame, energy=float(energy))
        for frame, energy in zip(train.frames, missed, strict=True)
        if np.isfinite(energy)
    ]
