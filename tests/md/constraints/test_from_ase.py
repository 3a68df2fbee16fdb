"""Which constraints of ASE's Atoms and of files are taken over, which are refused by name."""

from pathlib import Path

import ase.build
import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian, FixCom, FixedPlane, FixScaled, Hookean

from fastequi.errors import InputError
from fastequi.md.constraints.from_ase import fix_, fixed_atoms, fixes_centre_of_mass, refused
from fastequi.md.state import EXACT_VELOCITIES, state_from_atoms, state_to_atoms
from fastequi.md.structure import read_structure
from fastequi.md.trajectory.extxyz import CHOSEN_COLUMNS, extxyz_text
from fastequi.md.trajectory.h5md import H5mdFile, open_h5md, read_frame


def silicon(*constraints: object) -> Atoms:
    atoms = ase.build.bulk("Si", cubic=True)
    atoms.set_constraint(list(constraints))
    return atoms


def test_what_fixes_whole_atoms_is_understood() -> None:
    atoms = silicon(
        FixAtoms([0, 5]), FixScaled(2, (True, True, True)), FixCartesian(3),
        FixCartesian(4, mask=(False, False, False)), FixCom(),
    )  # fmt: skip
    assert np.flatnonzero(fixed_atoms(atoms)).tolist() == [0, 2, 3, 5]
    assert fixes_centre_of_mass(atoms)
    assert refused(atoms) == []
    assert not fixed_atoms(silicon()).any()


def test_everything_else_is_refused_by_name() -> None:
    atoms = silicon(Hookean(0, 1, 5.0, rt=3.0), FixScaled([1, 2], (True, False, False)),
                    FixedPlane(3, (0, 0, 1)))  # fmt: skip
    spring, scaled, plane = refused(atoms)
    assert spring.startswith("constraints (Hookean) that the engine does not apply; it applies Fix")
    assert "(FixScaled) that the engine does not apply, because they leave some" in scaled
    assert "FixedPlane" in plane


def test_atoms_that_are_not_there() -> None:
    with pytest.raises(InputError, match="got 8, -1; the structure has the atoms 0 to 7"):
        fix_(silicon(), [0, 8, -1])


def test_a_state_and_back_keep_what_is_fixed_and_at_rest() -> None:
    moving = silicon()
    moving.set_velocities(np.ones((8, 3)))
    held = moving.copy()
    held.set_constraint([FixAtoms([1, 6])])
    centred = moving.copy()
    centred.set_constraint(FixCom())
    state = state_from_atoms([moving, held, centred])
    assert state.fixed_atoms is not None
    assert torch.nonzero(state.fixed_atoms).squeeze(1).tolist() == [9, 14]
    assert state.fixed_centre is not None
    assert state.fixed_centre.tolist() == [False, False, True]
    assert float(state.velocities[9].abs().sum()) == 0.0
    assert float(state.velocities[8].abs().sum()) > 0.0
    back = state_to_atoms(state)
    assert [np.flatnonzero(fixed_atoms(a)).tolist() for a in back] == [[], [1, 6], []]
    assert [fixes_centre_of_mass(a) for a in back] == [False, False, True]
    free = state_from_atoms(moving)
    assert free.fixed_atoms is free.fixed_centre is None


def test_selective_dynamics_of_a_poscar(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "POSCAR", silicon(FixAtoms([0, 3])), format="vasp")
    assert "Selective dynamics" in (tmp_path / "POSCAR").read_text()
    assert np.flatnonzero(fixed_atoms(read_structure(str(tmp_path / "POSCAR")))).tolist() == [0, 3]


@pytest.mark.parametrize("name", ["start.traj", "start.extxyz", "start.json"])
def test_supercells_multiply_what_a_file_and_the_toml_fix(tmp_path: Path, name: str) -> None:
    columns = ["symbols", "positions", "move_mask"]
    if name.endswith("extxyz"):
        ase.io.write(tmp_path / name, silicon(FixAtoms([2])), columns=columns)
    else:
        ase.io.write(tmp_path / name, silicon(FixAtoms([2])))
    atoms = read_structure(str(tmp_path / name), supercell=(1, 2, 1), fixed_atoms=[0])
    assert np.flatnonzero(fixed_atoms(atoms)).tolist() == [0, 2, 8, 10]
    assert fixes_centre_of_mass(read_structure(str(tmp_path / name), fixed_centre_of_mass=True))


def test_our_own_files_keep_fixed_atoms(tmp_path: Path) -> None:
    atoms = silicon(FixAtoms([1, 6]))
    atoms.info.update(step=0, time_ps=0.0)
    for columns in (CHOSEN_COLUMNS, (*CHOSEN_COLUMNS, EXACT_VELOCITIES), ()):
        path = tmp_path / "frame.extxyz"
        path.write_text(extxyz_text(atoms, columns))
        back = ase.io.read(path)
        assert isinstance(back, Atoms)
        assert np.flatnonzero(fixed_atoms(back)).tolist() == [1, 6]
        np.testing.assert_array_equal(back.positions, atoms.positions)
    file = H5mdFile(tmp_path / "frames.h5")
    file.append(atoms)
    file.append(atoms)
    file.close()
    H5mdFile(tmp_path / "frames.h5", offset=1).close()  # cut back: the layout is made anew
    with open_h5md(tmp_path / "frames.h5") as opened:
        assert np.flatnonzero(fixed_atoms(read_frame(opened, 0))).tolist() == [1, 6]
    assert "move_mask" not in extxyz_text(silicon())
