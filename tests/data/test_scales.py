"""Units that were declared wrongly are named by what they do to forces and energies."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule

from fastequi.data import Frame, check_frames, frame_from_atoms
from fastequi.data.scales import implausible_scales
from fastequi.errors import InputError

KCAL_PER_EV = 23.06


def water(n: int, file: str, unit: float = 1.0, seed: int = 0) -> list[Frame]:
    """Rattled water with usual energies and forces, read as if they were in another unit."""
    rng, found = np.random.default_rng(seed), []
    for k in range(n):
        atoms = molecule("H2O")
        atoms.rattle(0.05, rng=rng)
        forces = rng.normal(size=(3, 3))
        frame = frame_from_atoms(atoms, file=file, index=k)
        energy = -2080.0 + 0.1 * rng.normal()
        labels = {"energy": unit * energy, "forces": unit * (forces - forces.mean(axis=0))}
        found.append(replace(frame, **labels))
    return found


def test_usual_data_have_usual_scales():
    mixed = water(9, "a.xyz") + water(9, "b.xyz", seed=1)
    assert list(implausible_scales(mixed)) == []
    assert list(implausible_scales(water(9, "a.xyz", 1.0 / 27.2))) == []  # small is no sign
    assert list(implausible_scales([])) == []


def test_kcal_per_mol_read_as_eV():
    (warning,) = check_frames(water(20, "a.xyz", KCAL_PER_EV))
    assert "a.xyz: forces of 1" in warning
    assert "in kcal/mol per Å they would be usual" in warning


@pytest.mark.parametrize(("few", "many"), [("eV.xyz", "kcal.xyz"), ("kcal.xyz", "eV.xyz")])
def test_in_a_mixed_set_units_are_suspected_and_no_frames_given_up(few, many):
    """Whichever file has more frames: those of the other one are as good."""
    units = {"eV.xyz": 1.0, "kcal.xyz": KCAL_PER_EV}
    with pytest.raises(InputError) as caught:
        check_frames(water(20, many, units[many]) + water(6, few, units[few], seed=1))
    text = str(caught.value)
    assert f"so stand all frames of {few} beside those of {many}: units are suspected" in text
    assert "times those of eV.xyz" in text
    assert "kcal/mol per angstrom" in text
    assert "ignore" not in text


def test_a_few_absurd_frames_are_still_frames():
    frames = water(20, "a.xyz")
    frames[3] = replace(frames[3], energy=-5000.0)
    with pytest.raises(InputError, match=r'ignore = \["a.xyz:3"\]'):
        check_frames(frames)


def test_energies_that_scatter_more_than_chemistry():
    rng = np.random.default_rng(0)
    frames = [replace(f, energy=9.0 * rng.normal() * f.n_atoms) for f in water(30, "a.xyz")]
    (warning,) = implausible_scales(frames)
    assert "eV/atom about constants per element" in warning
