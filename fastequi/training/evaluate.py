"""Evaluate: what a potential says of labelled frames, beside what the labels say.

The frames stay in their order; everything is in eV, eV/Å and eV/Å³.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from fastequi.data import Dataset, Frame
from fastequi.data.frame_checks import not_finite, wrong_shapes
from fastequi.errors import InputError
from fastequi.potential import Potential, Prediction
from fastequi.training.metrics import ErrorSums

#: Edges of one batch, unless a single frame has more: enough to keep a GPU busy, small in memory.
EDGES_AT_ONCE = 100_000
#: So many energies per element are needed to see whether they differ by constants.
ENERGIES_PER_SHIFT = 4
#: Below this share of the RMSE, what is left beside constants per element is worth telling.
SHIFTED_BELOW = 0.5
#: Frames that a message names before it counts the rest.
NAMED_AT_MOST = 3


@dataclass(frozen=True, slots=True)
class Values:
    """Energies, forces and stress of all frames; NaN where unknown.

    energy  [frames]        eV
    forces  [atoms, 3]      eV/Å
    stress  [frames, 3, 3]  eV/Å³, ASE's sign
    """

    energy: NDArray[np.float64]
    forces: NDArray[np.float64]
    stress: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BesideShifts:
    """Energy errors beside a constant per element.

    errors     [frames] eV per atom; NaN where there is no label
    shifts_eV  of each element, predicted minus reference
    is_unique  whether the compositions of the frames determine each of them
    """

    errors: NDArray[np.float64]
    shifts_eV: dict[str, float]
    is_unique: bool

    def results(self, which: NDArray[np.bool_] | None = None) -> dict[str, float]:
        """Mean absolute and root mean square in meV per atom, of all or some frames [frames]."""
        errors = self.errors if which is None else self.errors[which]
        errors = 1000.0 * errors[np.isfinite(errors)]
        if len(errors) == 0:
            return {}
        mae, rmse = np.abs(errors).mean(), np.sqrt(np.square(errors).mean())
        return {
            "energy_mae_beside_shifts_meV_per_atom": float(mae),
            "energy_rmse_beside_shifts_meV_per_atom": float(rmse),
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Labelled frames, what was predicted of them, and the errors.

    n_atoms         [frames]
    atomic_numbers  [atoms]
    """

    frames: list[Frame]
    n_atoms: NDArray[np.int64]
    atomic_numbers: NDArray[np.int64]
    reference: Values
    predicted: Values
    errors: ErrorSums

    @property
    def energy_errors(self) -> NDArray[np.float64]:
        """Predicted minus reference energy per atom [frames] in eV."""
        return (self.predicted.energy - self.reference.energy) / self.n_atoms

    def beside_shifts(self) -> "BesideShifts | None":
        """What is left of the energy errors beside a constant per element.

        Reference data of another kind of calculation often differ by such constants, which say
        nothing about forces. None for too few energies to tell.
        """
        known = np.isfinite(self.energy_errors)
        elements, of_atom = np.unique(self.atomic_numbers, return_inverse=True)
        atoms = np.zeros((len(self.frames), len(elements)))
        np.add.at(atoms, (np.repeat(np.arange(len(self.frames)), self.n_atoms), of_atom), 1.0)
        if known.sum() < ENERGIES_PER_SHIFT * len(elements):
            return None
        shares = atoms / self.n_atoms[:, None]
        fitted, _, rank, _ = np.linalg.lstsq(shares[known], self.energy_errors[known], rcond=None)
        shifts = dict(zip([chemical_symbols[z] for z in elements], fitted.tolist(), strict=True))
        return BesideShifts(
            self.energy_errors - shares @ fitted, shifts, is_unique=bool(rank == len(elements))
        )

    @property
    def results(self) -> dict[str, Any]:
        """Errors overall, per species and per configuration type, with what they count.

        Where most of the energy errors are constants per element, what these leave is there, too.
        """
        sizes: dict[str, Any] = {"frames": len(self.frames), "atoms": int(self.n_atoms.sum())}
        report = sizes | self.errors.report()
        rmse, beside = report["energy_rmse_meV_per_atom"], self.beside_shifts()
        if beside is None or not beside.results():
            return report
        if beside.results()["energy_rmse_beside_shifts_meV_per_atom"] >= SHIFTED_BELOW * rmse:
            return report
        types = np.array([frame.config_type for frame in self.frames])
        for name, errors in report["per_config_type"].items():
            errors |= beside.results(types == name)
        return report | beside.results() | {"energy_shifts_eV": beside.shifts_eV}


def evaluate(
    potential: Potential,
    dataset: Dataset,
    progress: Callable[[int, int], None] | None = None,
    batch_size: int | None = None,
) -> Evaluation:
    """Predict every frame and compare.

    progress    called with (frames done, frames in all) after each batch
    batch_size  frames computed together; as many as make `EDGES_AT_ONCE` if not given

    Take the frames of unknown files through `check_evaluable` first.
    """
    if dataset.cutoff < potential.cutoff:
        raise ValueError(
            f"the data set has edges up to {dataset.cutoff} Å, the potential needs "
            f"{potential.cutoff} Å"
        )
    errors, predictions, done = ErrorSums(), [], 0
    for indices in _batches(dataset, batch_size):
        batch = dataset.collate(indices).to(potential.device)
        prediction = potential.compute(batch.graph)
        errors.add(prediction, batch)
        predictions.append(_values(prediction))
        done += len(indices)
        if progress:
            progress(done, len(dataset))
    return Evaluation(
        frames=dataset.frames,
        n_atoms=dataset.n_atoms,
        atomic_numbers=np.concatenate([frame.atomic_numbers for frame in dataset.frames]),
        reference=_reference(dataset.frames),
        predicted=Values(
            np.concatenate([values.energy for values in predictions]),
            np.concatenate([values.forces for values in predictions]),
            np.concatenate([values.stress for values in predictions]),
        ),
        errors=errors,
    )


def evaluate_sets(
    potential: Potential, sets: Mapping[str, Dataset], count: Callable[[str, int, int], None]
) -> dict[str, Evaluation]:
    """`evaluate` on each set; count is called with ('test errors', frames done, frames in all)."""
    return {
        name: evaluate(potential, dataset, partial(count, f"{name} errors"))
        for name, dataset in sets.items()
    }


def _batches(dataset: Dataset, batch_size: int | None) -> Iterator[list[int]]:
    """Consecutive frames, by number or by the edges that they have."""
    batch: list[int] = []
    edges = 0
    for k, n_edges in enumerate(dataset.n_edges.tolist()):
        full = edges + n_edges > EDGES_AT_ONCE if batch_size is None else len(batch) == batch_size
        if batch and full:
            yield batch
            batch, edges = [], 0
        batch.append(k)
        edges += n_edges
    yield batch


def _values(prediction: Prediction) -> Values:
    energy, forces, stress = prediction.energy, prediction.forces, prediction.stress
    return Values(energy.cpu().numpy(), forces.cpu().numpy(), stress.cpu().numpy())


def _reference(frames: list[Frame]) -> Values:
    nan = np.full((3, 3), np.nan)
    return Values(
        np.array([np.nan if f.energy is None else f.energy for f in frames]),
        np.concatenate(
            [np.full((f.n_atoms, 3), np.nan) if f.forces is None else f.forces for f in frames]
        ),
        np.stack([nan if f.stress is None else f.stress for f in frames]),
    )


def check_evaluable(frames: Sequence[Frame], potential: Potential) -> None:
    """Raise InputError if frames are damaged, or hold elements that the potential does not know.

    Frames may lack labels, but not all of them.
    """
    for check in (wrong_shapes, not_finite):
        problems = [f"{f.source}: {' '.join(found)}" for f in frames for found in check(f)]
        if problems:
            raise InputError(f"frames that cannot be used: {_some(problems)}")
    if not any(
        f.energy is not None or f.forces is not None or f.stress is not None for f in frames
    ):
        raise InputError(f"no frame has energy, forces or stress to compare with{_unread(frames)}")
    _check_elements(frames, potential)


def _unread(frames: Sequence[Frame]) -> str:
    unread = sorted({name for frame in frames for name in frame.unread})
    return f"; there is {', '.join(unread)}: say by keys which is which" if unread else ""


def _check_elements(frames: Sequence[Frame], potential: Potential) -> None:
    known = potential.atomic_numbers
    if known is None:
        return
    foreign = {k: set(f.atomic_numbers.tolist()) - set(known) for k, f in enumerate(frames)}
    unknown = sorted(set().union(*foreign.values()))
    if unknown:
        where = _some([frames[k].source for k, elements in foreign.items() if elements])
        raise InputError(
            f"the potential does not know {_symbols(unknown)} ({where}); it knows "
            f"{_symbols(sorted(known))}"
        )


def _symbols(numbers: Sequence[int]) -> str:
    return ", ".join(chemical_symbols[z] for z in numbers)


def _some(names: Sequence[str]) -> str:
    more = f"; and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
    return "; ".join(names[:NAMED_AT_MOST]) + more
