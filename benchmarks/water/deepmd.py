"""The boxes of water as extxyz: from DeePMD-kit's arrays, or from one file, into two sets.

    python -m benchmarks.water.deepmd deepmd-kit/examples/water/data

reads coord, box, energy and force of every data_*/set.* (eV and Å) and writes train-100.extxyz and
test.extxyz into the folder in which it is run: what the bundled potential `water` was trained on.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from benchmarks.water.frames import N_HELD_OUT, write_sets

#: What `type.raw` numbers, as `type_map.raw` has it.
SYMBOLS = ("O", "H")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path, help="a folder of data_*/set.*")
    parser.add_argument("--frames", type=int, default=100, help="to learn from")
    parser.add_argument("--output", type=Path, default=Path())
    options = parser.parse_args(arguments)
    frames = list(frames_of(options.data))
    write_sets(options.output, (options.frames,), frames)
    print(f"wrote {len(frames)} frames, the last {N_HELD_OUT} in time as test.extxyz")


def frames_of(folder: Path) -> Iterator[Atoms]:
    """Every frame with its labels; InputError is ASE's or NumPy's where a file is missing."""
    for part in sorted(folder.glob("data_*/set.*")):
        kinds = np.loadtxt(part.parent / "type.raw", dtype=int)
        names = ("coord", "box", "energy", "force")
        arrays = [np.load(part / f"{name}.npy").astype(float) for name in names]
        for coord, box, energy, force in zip(*arrays, strict=True):
            atoms = Atoms(
                [SYMBOLS[kind] for kind in kinds], coord.reshape(-1, 3),
                cell=box.reshape(3, 3), pbc=True,
            )  # fmt: skip
            atoms.calc = SinglePointCalculator(
                atoms, energy=float(energy.squeeze()), forces=force.reshape(-1, 3)
            )
            yield atoms


if __name__ == "__main__":
    main()
