"""Readers of data files: one per format, chosen by the suffix; ASE reads all others."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fastequi.data.frames import Frame
from fastequi.data.labels import Keys
from fastequi.data.readers.ase_files import read_ase_database, read_ase_file
from fastequi.data.readers.hdf5 import read_hdf5
from fastequi.data.readers.npz import read_npz
from fastequi.data.units import Units, parse_units
from fastequi.errors import InputError
from fastequi.md.structure import similar_files

Reader = Callable[[Path, Units | None, Keys | None], list[Frame]]

READERS: dict[str, Reader] = {
    ".npz": read_npz,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    ".db": read_ase_database,
}


def read_frames(
    path: str | Path | Sequence[str | Path],
    units: Mapping[str, str] | None = None,
    keys: Keys | None = None,
) -> list[Frame]:
    """Every frame of a file, or of several in their order.

    units  of the numbers in all these files, see `fastequi.data.units`; needed for npz and HDF5,
           and eV and Å for what ASE reads unless given
    keys   names of labels that are not the usual, see `fastequi.data.labels`

    Raises InputError for a missing, unreadable or empty file.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    factors = parse_units(units)
    return [frame for one in paths for frame in _read(Path(one), factors, keys)]


def _read(path: Path, units: Units | None, keys: Keys | None) -> list[Frame]:
    if not path.is_file():
        raise InputError(f"no file {path}{similar_files(path)}")
    reader = READERS.get(path.suffix.lower(), read_ase_file)
    frames = reader(path, units, keys)
    if not frames:
        raise InputError(f"{path} holds no frames")
    return frames
