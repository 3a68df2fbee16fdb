"""Labels whose size says that their units are not what was declared.

Nothing is refused here: a warning names the file, the size, and the unit that would explain it.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from fastequi.data.baseline import fit_baseline, fractions
from fastequi.data.frames import Frame
from fastequi.data.units import ENERGIES, LENGTHS

#: Root mean square of force components in eV/Å that is rare even in melts at 5000 K.
LARGE_FORCES_eV_PER_A = 8.0
#: eV per atom by which energies scatter about constants per element in no usual set.
LARGE_SCATTER_eV = 2.0
#: A ratio of two files is that of two units if it is nearer than this factor, and far from 1.
_NEARER, _FAR = 1.5, 8.0
#: Frames that a file needs for its size to mean something.
_FEWEST = 3

#: eV/Å per unit of force, the smaller of a pair of names first where they are the same.
_FORCE_UNITS = {
    f"{energy} per {length}": eV / angstrom
    for energy, eV in ENERGIES.items()
    for length, angstrom in LENGTHS.items()
    if length != "nm" and energy not in ("eV", "meV", "rydberg")
}


def implausible_scales(frames: Sequence[Frame]) -> Iterator[str]:
    """Warnings about files whose forces, or whose energies, are of another size than matter has."""
    sizes = force_sizes(frames)
    yield from _apart(sizes)
    for file, size in sizes.items():
        if size > LARGE_FORCES_eV_PER_A:
            yield (
                f"{Path(file).name}: forces of {size:.3g} eV/Å (root mean square) are too large "
                f"for atoms at any usual temperature; in {_likely(size)} they would be usual: do "
                "data.units say what the file has?"
            )
    scatter = _energy_scatter(frames)
    if scatter is not None and scatter > LARGE_SCATTER_eV:
        yield (
            f"energies scatter by {scatter:.3g} eV/atom about constants per element, which is more "
            "than chemistry does: are they in another unit than data.units say, or of several "
            "kinds of calculation?"
        )


def force_sizes(frames: Sequence[Frame]) -> dict[str, float]:
    """Root mean square of the force components of each file in eV/Å, the median over its frames."""
    each: dict[str, list[float]] = {}
    for frame in frames:
        if frame.forces is not None and frame.n_atoms > 1:
            size = float(np.sqrt(np.square(frame.forces).mean()))
            each.setdefault(frame.file, []).append(size)
    return {file: float(np.median(s)) for file, s in each.items() if len(s) >= _FEWEST}


def _apart(sizes: Mapping[str, float]) -> Iterator[str]:
    """Two files whose forces differ by about what two units do."""
    if len(sizes) < 2:
        return
    small, large = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    ratio = sizes[large] / max(sizes[small], 1e-12)
    names = [name for name, value in _FORCE_UNITS.items() if _is_near(ratio, value)]
    if ratio > _FAR and names:
        yield (
            f"forces of {Path(large).name} are {ratio:.3g} times those of {Path(small).name}: is "
            f"one of them in {' or '.join(names)} and the other in eV/Å? data.units hold for all "
            "files; convert one of them"
        )


def _is_near(ratio: float, unit: float) -> bool:
    """Whether it is the size of a unit, which may be smaller or larger than eV/Å."""
    return any(1.0 / _NEARER < ratio / factor < _NEARER for factor in (unit, 1.0 / unit))


def _likely(size: float) -> str:
    """The usual other unit."""
    return "kcal/mol per Å" if size < 60.0 else "kJ/mol per Å"


def _energy_scatter(frames: Sequence[Frame]) -> float | None:
    """Robust standard deviation in eV per atom of what constants per element leave."""
    known = [f for f in frames if f.energy is not None and f.n_atoms > 1]
    baseline = fit_baseline(known, robust=True)
    if baseline is None or len(known) < 4 * len(baseline.singular):
        return None
    per_atom = np.array([(f.energy or 0.0) / f.n_atoms for f in known])
    left = per_atom - fractions(known, baseline.species) @ baseline.energies
    return float(1.4826 * np.median(np.abs(left)))
