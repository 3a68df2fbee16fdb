"""trajectory.h5: frames as H5MD 1.1 (de Buyl et al. 2014, doi:10.1016/j.cpc.2014.01.018).

Safe against a kill at any moment: every frame is one short session in HDF5's single-writer mode,
which orders its writes so that the file is readable after each of them; the step number goes in
last, so a frame is complete if and only if it has one. Between frames the file is closed, and any
program may open it while the run goes on.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress

from fastequi._version import __version__
from fastequi.errors import InputError
from fastequi.md.constraints.from_ase import fix_, fixed_atoms
from fastequi.md.state import set_velocities_A_per_fs, velocities_A_per_fs
from fastequi.storage.durable import fsync, replace_durably

#: Forces are stored in kJ/mol/Å: H5MD readers (MDAnalysis) know no eV.
KJ_PER_MOL_PER_eV = units.mol / units.kJ

GROUP = "particles/trajectory"

#: Time-dependent elements and their units; `_values` has what goes in, in this order.
ELEMENTS = {
    f"{GROUP}/box/edges": "Angstrom",
    f"{GROUP}/position": "Angstrom",
    f"{GROUP}/velocity": "Angstrom fs-1",
    f"{GROUP}/force": "kJ mol-1 Angstrom-1",
    "observables/potential_energy": "eV",
    "observables/stress": "eV Angstrom-3",
}
#: The name of the stage of a frame, in runs that have stages.
_STAGE = "observables/stage"
_STEP, _TIME = f"{GROUP}/position/step", f"{GROUP}/position/time"
_FIXED = f"{GROUP}/fixed"  # bool [atoms], ours: the standard has no word for it
_SMALL_CHUNK = 256  # frames per chunk of the numbers that a frame has only one of


class H5mdFile:
    """A binary trajectory that MDAnalysis and every HDF5 library read."""

    def __init__(self, path: Path, offset: int | None = None) -> None:
        """A new trajectory, or an old one cut back to `offset` frames.

        Raises InputError if the file is missing, unreadable or has fewer frames.
        """
        self.path = path
        self._n_frames = 0
        if offset is None:
            path.unlink(missing_ok=True)
        else:
            _cut(path, offset)
            self._n_frames = offset

    def append(self, record: Atoms) -> None:
        """Write one frame; the first one makes the file."""
        if self._n_frames == 0:
            with _replacing(self.path) as file:
                _create_layout(file, record)
        with _single_writer(self.path) as file:
            for path, value in zip(ELEMENTS, _values(record), strict=True):
                _put(_dataset(file, f"{path}/value"), self._n_frames, value)
            if "stage" in record.info:
                stage = record.info["stage"].encode()
                _put(_dataset(file, f"{_STAGE}/value"), self._n_frames, stage)
            _put(_dataset(file, _TIME), self._n_frames, record.info["time_ps"])
            file.flush()  # the data must be in the file before the step that vouches for it
            _put(_dataset(file, _STEP), self._n_frames, record.info["step"])
        self._n_frames += 1

    def sync(self) -> int:
        """fsync; the number of frames."""
        if self._n_frames:
            fsync(self.path)
        return self._n_frames

    def close(self) -> None:
        """Nothing is open between frames."""


def is_h5md(path: Path) -> bool:
    """Whether the name says that this is a trajectory.h5, under this name or another."""
    return path.suffix in (".h5", ".h5md")


def open_h5md(path: Path) -> h5py.File:
    """Open for reading, even if the program that wrote the file is running or was killed."""
    try:
        return h5py.File(path, "r", libver="latest", swmr=True, locking=False)
    except OSError as error:
        raise InputError(f"{path}: not a readable HDF5 file ({error})") from error


def _elements(file: h5py.File) -> list[str]:
    """What a file has of every frame."""
    return [*ELEMENTS, *([_STAGE] if _STAGE in file else [])]


def complete_frames(file: h5py.File) -> int:
    """How many frames are whole."""
    return len(_dataset(file, _STEP))


def _dataset(file: h5py.File, path: str) -> h5py.Dataset:
    found = file.get(path)
    if not isinstance(found, h5py.Dataset):
        raise InputError(f"{file.filename}: not a trajectory of fastequi (it has no {path})")
    return found


def _values(frame: Atoms) -> tuple[np.ndarray | float, ...]:
    """What `ELEMENTS` names, in their units; NaN stress where the cell has no volume."""
    results = frame.calc.results if frame.calc else {}
    voigt = results.get("stress", np.full(6, np.nan))
    return (
        frame.cell.array,
        frame.positions,
        velocities_A_per_fs(frame),
        results.get("forces", np.full((len(frame), 3), np.nan)) * KJ_PER_MOL_PER_eV,
        results.get("energy", np.nan),
        voigt_6_to_full_3x3_stress(voigt),
    )


def _create_layout(file: h5py.File, frame: Atoms) -> None:
    head = file.create_group("h5md")
    head.attrs["version"] = np.array([1, 1])
    head.create_group("author").attrs["name"] = "unknown"
    creator = head.create_group("creator")
    creator.attrs["name"], creator.attrs["version"] = "fastequi", __version__
    head.create_group("modules/units").attrs["version"] = np.array([1, 0])
    step = _growing(file, _STEP, (), np.int64)
    time = _growing(file, _TIME, (), np.float64)
    time.attrs["unit"] = "ps"
    for (path, unit), value in zip(ELEMENTS.items(), _values(frame), strict=True):
        _growing(file, f"{path}/value", np.shape(value), np.float64).attrs["unit"] = unit
        if f"{path}/step" not in file:  # all elements share one step and one time, by hard links
            file[f"{path}/step"], file[f"{path}/time"] = step, time
    if "stage" in frame.info:
        _growing(file, f"{_STAGE}/value", (), "S64")
        file[f"{_STAGE}/step"], file[f"{_STAGE}/time"] = step, time
    box = file[f"{GROUP}/box"]
    box.attrs["dimension"] = 3
    box.attrs["boundary"] = ["periodic" if periodic else "none" for periodic in frame.pbc]
    file[f"{GROUP}/species"] = frame.numbers
    file[f"{GROUP}/mass"] = frame.get_masses()
    file[f"{GROUP}/mass"].attrs["unit"] = "u"
    if fixed_atoms(frame).any():
        file[_FIXED] = fixed_atoms(frame)


def _growing(file: h5py.File, path: str, shape: tuple[int, ...], dtype: type | str) -> h5py.Dataset:
    chunk = (1, *shape) if len(shape) == 2 else (_SMALL_CHUNK,)
    return file.create_dataset(
        path, shape=(0, *shape), maxshape=(None, *shape), chunks=chunk, dtype=dtype
    )


def _put(dataset: h5py.Dataset, index: int, value: np.ndarray | float | bytes) -> None:
    dataset.resize(index + 1, axis=0)
    dataset[index] = value


@contextmanager
def _single_writer(path: Path) -> Iterator[h5py.File]:
    """Open an existing file in single-writer mode in one go.

    h5py's `swmr_mode = True` would leave a moment in which a kill makes the file unreadable. No
    lock is asked for, so that a reader that keeps the file open does not stop the run.
    """
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_LATEST, h5py.h5f.LIBVER_LATEST)
    access.set_file_locking(False, True)
    flags = h5py.h5f.ACC_RDWR | h5py.h5f.ACC_SWMR_WRITE
    with h5py.File(h5py.h5f.open(os.fsencode(path), flags, access)) as file:
        yield file


@contextmanager
def _replacing(path: Path) -> Iterator[h5py.File]:
    """Write a whole file beside `path` and put it in place at the end, or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    with h5py.File(temporary, "w", libver="latest", locking=False) as file:
        yield file
    replace_durably(temporary, path)


def _cut(path: Path, n_frames: int) -> None:
    """Leave the first `n_frames` in a clean file. The rest, half frames too, is dropped."""
    if n_frames == 0:
        path.unlink(missing_ok=True)
        return
    if not path.is_file():
        raise InputError(f"{path}: missing, but the checkpoint goes on from its frame {n_frames}")
    is_clean = _closed_cleanly(path)  # while it is open here, HDF5 would not look
    with open_h5md(path) as old:
        found = complete_frames(old)
        if found < n_frames:
            raise InputError(
                f"{path}: has {found} frames, but the checkpoint goes on from frame {n_frames}; "
                "it was cut or replaced since. Start anew with --overwrite or another directory"
            )
        lengths = {len(_dataset(old, f"{element}/value")) for element in _elements(old)}
        if lengths == {n_frames} and found == n_frames and is_clean:
            return
        with _replacing(path) as new:
            _copy_frames(old, new, n_frames)


def _closed_cleanly(path: Path) -> bool:
    try:
        h5py.File(path, "r", locking=False).close()
    except OSError:
        return False
    return True


def _copy_frames(old: h5py.File, new: h5py.File, n_frames: int) -> None:
    first = read_frame(old, 0)
    _create_layout(new, first)
    names = [f"{element}/value" for element in _elements(old)] + [_TIME, _STEP]
    for name in names:
        source, target = _dataset(old, name), _dataset(new, name)
        target.resize(n_frames, axis=0)
        step = (source.chunks or (_SMALL_CHUNK,))[0]
        for start in range(0, n_frames, step):
            stop = min(start + step, n_frames)
            target[start:stop] = source[start:stop]


def read_frame(file: h5py.File, index: int) -> Atoms:
    """Frame `index` of an open trajectory, as `fastequi.md.trajectory.frame.frame_of` made it.

    Positions, velocities and cell are the same to the last bit. Negative indices count whole frames
    from the end; InputError if there is no such frame.
    """
    whole = complete_frames(file)
    if not -whole <= index < whole:
        raise InputError(f"{file.filename}: has no frame {index}; it has {whole} whole frames")
    index %= whole
    boundary = np.asarray(file[f"{GROUP}/box"].attrs["boundary"]).tolist()
    cell, positions, velocities, forces, energy, stress = (
        _dataset(file, f"{path}/value")[index] for path in ELEMENTS
    )
    atoms = Atoms(
        numbers=_dataset(file, f"{GROUP}/species")[()],
        positions=positions,
        masses=_dataset(file, f"{GROUP}/mass")[()],
        cell=cell,
        pbc=[name in ("periodic", b"periodic") for name in boundary],
        info={
            "step": int(_dataset(file, _STEP)[index]),
            "time_ps": float(_dataset(file, _TIME)[index]),
        },
    )
    if _STAGE in file:
        atoms.info["stage"] = _dataset(file, f"{_STAGE}/value")[index].decode()
    set_velocities_A_per_fs(atoms, velocities)
    if _FIXED in file:
        fix_(atoms, np.flatnonzero(_dataset(file, _FIXED)[()]).tolist())
    results = {"energy": float(energy), "forces": forces / KJ_PER_MOL_PER_eV}
    if np.isfinite(stress).all():
        results["stress"] = full_3x3_to_voigt_6_stress(stress)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
