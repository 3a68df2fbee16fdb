"""Both trajectory formats give back what was written: to us, to ASE, to MDAnalysis."""

import shutil

import ase.io
import h5py
import MDAnalysis
import numpy as np
import pytest
import torch
from ase import Atoms
from MDAnalysis.coordinates.H5MD import H5MDReader

from fastequi.errors import InputError
from fastequi.md.state import state_from_atoms
from fastequi.md.trajectory.extxyz import ExtxyzFile, extxyz_text
from fastequi.md.trajectory.frame import frame_of
from fastequi.md.trajectory.h5md import H5mdFile, KJ_PER_MOL_PER_eV
from fastequi.md.trajectory.reader import read_trajectory, spread_frames
from fastequi.units import ASE_VELOCITY_A_PER_FS

#: H5MD has forces in a unit of its own; everything else is exact.
FORMATS = {"extxyz": (ExtxyzFile, "t.extxyz", 0.0), "h5md": (H5mdFile, "t.h5", 1e-13)}


@pytest.fixture(params=FORMATS)
def kind(request):
    """(class, file name, absolute tolerance of forces) of a format."""
    return FORMATS[request.param]


def write(simulation, kind, folder, n_frames=4):
    """Frames at steps 0, 5, 10, ...; the frames, the file, the offset after each frame."""
    file, frames, offsets = kind[0](folder / kind[1]), [], []
    for _ in range(n_frames):
        frames.append(frame_of(simulation))
        file.append(frames[-1])
        offsets.append(file.sync())
        simulation.run(5)
    file.close()
    return frames, folder / kind[1], offsets


def assert_same(read, written, tolerance):
    """Frames to the last bit, except that forces may be off by `tolerance` in eV/Å."""
    assert len(read) == len(written)
    for a, b in zip(read, written, strict=True):
        assert a.info == b.info
        assert (a.numbers == b.numbers).all()
        assert (a.get_masses() == b.get_masses()).all()
        assert (a.pbc == b.pbc).all()
        np.testing.assert_array_equal(a.positions, b.positions)
        np.testing.assert_array_equal(a.cell.array, b.cell.array)
        np.testing.assert_array_equal(a.get_momenta(), b.get_momenta())
        np.testing.assert_allclose(a.get_forces(), b.get_forces(), rtol=0, atol=tolerance)
        np.testing.assert_array_equal(a.get_stress(), b.get_stress())
        assert a.get_potential_energy() == b.get_potential_energy()


def test_reads_back(simulation, kind, tmp_path):
    frames, path, _ = write(simulation, kind, tmp_path)
    assert [frame.info["step"] for frame in frames] == [0, 5, 10, 15]
    assert_same(read_trajectory(path), frames, kind[2])


def test_a_state_comes_back_to_the_last_bit(simulation, kind, tmp_path):
    """From a file of one frame and from H5MD: velocities too, which momenta do not give back."""
    simulation.state.masses[::2] = 11.9  # no sum of a few powers of two
    simulation.run(5)
    frame, path = frame_of(simulation), tmp_path / kind[1]
    if kind[0] is H5mdFile:
        H5mdFile(path).append(frame)
    else:
        path.write_text(extxyz_text(frame))
    back = state_from_atoms(read_trajectory(path))
    for name in ("positions", "velocities", "masses", "cell"):
        assert torch.equal(getattr(back, name), getattr(simulation.state, name)), name
    del frame.arrays["velocities_A_per_fs"]
    assert not torch.equal(state_from_atoms(frame).velocities, simulation.state.velocities)


def test_frame_is_a_copy(simulation):
    frame = frame_of(simulation)
    before = frame.positions.copy()
    simulation.run(5)
    assert (frame.positions == before).all()


def test_positions_are_not_wrapped(simulation, kind, tmp_path):
    simulation.state.positions += 100.0
    simulation.run(0)
    _, path, _ = write(simulation, kind, tmp_path, 1)
    assert read_trajectory(path)[0].positions.min() > 90


def test_ase_reads_extxyz(simulation, tmp_path):
    frames, path, _ = write(simulation, FORMATS["extxyz"], tmp_path)
    assert_same(ase.io.read(path, index=":"), frames, 0.0)


def test_mdanalysis_reads_extxyz(simulation, tmp_path):
    frames, path, _ = write(simulation, FORMATS["extxyz"], tmp_path)
    universe = MDAnalysis.Universe(str(path), format="XYZ", topology_format="XYZ")
    assert len(universe.trajectory) == len(frames)
    for step, frame in zip(universe.trajectory, frames, strict=True):
        np.testing.assert_allclose(step.positions, frame.positions, atol=1e-5)


def test_mdanalysis_reads_h5md(simulation, tmp_path):
    frames, path, _ = write(simulation, FORMATS["h5md"], tmp_path)
    for step, frame in zip(H5MDReader(str(path)), frames, strict=True):
        assert step.time == pytest.approx(frame.info["time_ps"])
        assert step.data["step"] == frame.info["step"]
        np.testing.assert_allclose(step.positions, frame.positions, atol=1e-5)
        np.testing.assert_allclose(step.dimensions, frame.cell.cellpar(), rtol=1e-5)
        velocities = frame.get_velocities() * ASE_VELOCITY_A_PER_FS * 1e3  # to Å/ps
        np.testing.assert_allclose(step.velocities, velocities, rtol=1e-5, atol=1e-6)
        forces = frame.get_forces() * KJ_PER_MOL_PER_eV
        np.testing.assert_allclose(step.forces, forces, rtol=1e-5, atol=1e-6)


def test_molecule_without_a_cell(simulation, kind, tmp_path):
    simulation.state.pbc[:] = False
    simulation.state.cell[:] = 0.0
    simulation.compute_forces_()
    frames, path, _ = write(simulation, kind, tmp_path, 2)
    (read, _) = read_trajectory(path)
    assert not read.pbc.any()
    assert read.calc is not None
    assert "stress" not in read.calc.results
    np.testing.assert_array_equal(read.positions, frames[0].positions)


@pytest.mark.parametrize("keep", [0, 1, 2, 4])
def test_cut_back_and_continued_is_the_same(simulation, kind, tmp_path, keep):
    frames, path, offsets = write(simulation, kind, tmp_path)
    whole = tmp_path / f"whole{path.suffix}"
    shutil.copy(path, whole)
    file = kind[0](path, offsets[keep - 1] if keep else 0)
    for frame in frames[keep:]:
        file.append(frame)
    file.close()
    if path.suffix == ".extxyz":
        assert path.read_bytes() == whole.read_bytes()
    else:
        assert h5_contents(path) == h5_contents(whole)


def h5_contents(path):
    """Everything in an HDF5 file as bytes."""
    contents = {}

    def visit(name, item):
        attributes = {key: np.asarray(value).tolist() for key, value in item.attrs.items()}
        data = item[()].tobytes() if isinstance(item, h5py.Dataset) else b""
        contents[name] = (attributes, data)

    with h5py.File(path) as file:
        file.visititems(visit)
    return contents


def test_shorter_than_its_offset(simulation, kind, tmp_path):
    _, path, offsets = write(simulation, kind, tmp_path)
    with pytest.raises(InputError, match=f"{path.name}: has"):
        kind[0](path, offsets[-1] + 1)
    path.unlink()
    with pytest.raises(InputError, match=f"{path.name}: missing"):
        kind[0](path, offsets[-1])


def test_damaged_h5md(tmp_path):
    (tmp_path / "t.h5").write_bytes(b"not HDF5")
    with pytest.raises(InputError, match=r"t\.h5: not a readable HDF5 file"):
        H5mdFile(tmp_path / "t.h5", 3)
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(InputError, match="not a trajectory of fastequi"):
        read_trajectory(tmp_path / "t.h5")


def test_extxyz_cut_short_is_read_up_to_the_cut(simulation, tmp_path):
    frames, path, offsets = write(simulation, FORMATS["extxyz"], tmp_path)
    for length in (offsets[2] - 1, offsets[1] + 1, offsets[1] + 40):
        path.write_bytes(path.read_bytes()[:length])
        with pytest.warns(UserWarning, match="frame 2 is cut short"):
            assert_same(read_trajectory(path), frames[:2], 0.0)


def test_other_files(tmp_path):
    with pytest.raises(InputError, match="no file"):
        read_trajectory(tmp_path / "t.extxyz")
    (tmp_path / "t.dcd").write_bytes(b"")
    with pytest.raises(InputError, match=r"got the suffix \.dcd; allowed: \.extxyz, \.h5"):
        read_trajectory(tmp_path / "t.dcd")


@pytest.mark.parametrize("name", ["trajectory.extxyz", "trajectory.h5"])
def test_a_glance_takes_evenly_spaced_frames_with_the_last(tmp_path, name):
    """A file half written at its end, as one finds it while a run goes on."""
    path, record = tmp_path / name, []
    file = (H5mdFile if name.endswith("h5") else ExtxyzFile)(path)
    for k in range(11):
        atoms = Atoms("He2", positions=[[0, 0, k], [0, 0, -1.0 - k]])
        atoms.info.update(step=k, time_ps=0.1 * k)
        file.append(atoms)
        record.append(atoms)
    file.close()
    if name.endswith("extxyz"):
        with path.open("a") as text:
            text.write("2\nhalf")
    for most, chosen in ((8, [1, 4, 7, 10]), (1, [10]), (100, list(range(11)))):
        frames, there = spread_frames(path, most)
        assert there == 11
        assert [frame.info["step"] for frame in frames] == chosen
        for frame, k in zip(frames, chosen, strict=True):
            np.testing.assert_array_equal(frame.positions, record[k].positions)
