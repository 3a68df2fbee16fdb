"""The frames of `benchmarks.reaction`: who is learnt from, and who is tested on."""

import numpy as np
import pytest

from benchmarks.reaction.cases import CASES
from benchmarks.reaction.paths import angle_deg, frames_in, transfer_A
from benchmarks.training_cases import data_folder

DATA = data_folder()
pytestmark = pytest.mark.skipif(
    not (DATA / "3bpa").is_dir(), reason=f"no {DATA / '3bpa'}; FASTEQUI_DATA names the folder"
)


def test_no_test_has_a_frame_of_the_training():
    sizes = {
        (name, temperature): len(case.held_out(temperature, DATA))
        for name, case in CASES.items() for temperature in case.tests
    }  # fmt: skip
    assert sizes == {
        ("acac", "300 K"): 650, ("acac", "600 K"): 500,
        ("3bpa", "300 K"): 136, ("3bpa", "600 K"): 167, ("3bpa", "1200 K"): 166,
        ("3bpa-mixed", "300 K"): 469,
    }  # fmt: skip


def test_temperatures_of_mixed_frames_are_where_their_energies_rise():
    """Energies of a harmonic molecule are 3 N k T / 2 above the lowest: twice and four times."""
    parts = CASES["3bpa"].tests
    energies = {
        name: np.array([frame.energy for frame in part.frames(DATA)], np.float64)
        for name, part in parts.items()
    }
    assert sum(map(len, energies.values())) == 500
    assert energies["300 K"].max() < energies["600 K"].mean()
    assert energies["600 K"].max() < energies["1200 K"].mean()
    means = [energies[f"{kelvin} K"].mean() for kelvin in (300, 600, 1200)]
    assert (means[2] - means[1]) / (means[1] - means[0]) == pytest.approx(2.0, abs=0.35)


def test_paths_run_from_one_end_to_the_other():
    along = transfer_A(frames_in(DATA / CASES["acac"].paths["transfer"]))
    assert (np.diff(along) > 0).all() or (np.diff(along) < 0).all()
    assert along[0] == pytest.approx(-along[-1], abs=0.05)
    angles = angle_deg(frames_in(DATA / CASES["acac"].paths["dihedral"]))
    assert (np.diff(angles) > 0).all()
