"""trajectory.extxyz and final.extxyz: frames as text, one whole frame per write.

Every number has as many digits as it takes to read the same one back (15 to 17 of them), where
ASE's own writer stops after eight decimals: a run that starts from a frame starts from that frame.
ASE pads its eight decimals to 17 characters, so a trajectory is a tenth larger, no more.

Velocities in Å/fs, without which the last bit of the momenta's is lost, would be a third more. They
are in the files of one frame that runs are started from, final.extxyz and last_good.extxyz, and not
in trajectories.
"""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io.extxyz import write_extxyz

from fastequi.md.constraints.from_ase import fixed_atoms
from fastequi.md.state import EXACT_VELOCITIES
from fastequi.storage.appending import AppendFile

#: Columns of numbers that a trajectory may do without.
CHOSEN_COLUMNS = ("masses", "momenta", "forces")


def extxyz_text(frame: Atoms, columns: Sequence[str] = (*CHOSEN_COLUMNS, EXACT_VELOCITIES)) -> str:
    """A frame as text: symbols, positions and what it has of `columns`.

    Cell, energy, stress, step, time_ps are in its header.
    Where atoms are fixed, a last column, move_mask, says which are not; ASE reads FixAtoms there.
    """
    arrays = {**frame.arrays, **(frame.calc.results if frame.calc else {})}
    columns = [name for name in ("positions", *columns) if name in arrays]
    table = np.column_stack([arrays[name] for name in columns])
    fixed = fixed_atoms(frame)
    ends = [" F" if held else " T" for held in fixed] if fixed.any() else [""] * len(frame)
    rows = zip(frame.get_chemical_symbols(), table.tolist(), ends, strict=True)
    lines = [f"{symbol:<2} {' '.join(map(repr, numbers))}{end}\n" for symbol, numbers, end in rows]
    header = _header(frame, columns, bool(fixed.any()))
    return f"{len(frame)}\n{header}\n{''.join(lines)}"


def _header(frame: Atoms, columns: list[str], has_fixed: bool) -> str:
    """The second line of a frame, as ASE writes it for the first atom alone, as if it were fixed
    where any is."""
    atom = frame[:1]
    atom.set_constraint(FixAtoms([0]) if has_fixed else None)
    results = frame.calc.results if frame.calc else {}
    if "forces" in results:
        results = results | {"forces": results["forces"][:1]}
    atom.calc = SinglePointCalculator(atom, **results)
    text = StringIO()
    mask = ["move_mask"] if has_fixed else []
    write_extxyz(text, [atom], columns=["symbols", *columns, *mask])
    return text.getvalue().splitlines()[1]


class ExtxyzFile:
    """A text trajectory that ASE, OVITO and MDAnalysis read."""

    def __init__(
        self, path: Path, offset: int | None = None, columns: Sequence[str] = CHOSEN_COLUMNS
    ) -> None:
        """A new trajectory, or an old one cut back to `offset` bytes."""
        self.path, self._columns = path, columns
        self._file = AppendFile(path, offset)

    def append(self, record: Atoms) -> None:
        """Write one frame."""
        self._file.write(extxyz_text(record, self._columns).encode())

    def sync(self) -> int:
        """fsync; the length in bytes."""
        return self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
