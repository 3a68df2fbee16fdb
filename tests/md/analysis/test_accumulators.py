"""On the fly is as if all frames had been kept: the same columns, and the same after a restart."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from fastequi.errors import InputError
from fastequi.md.analysis import ANALYSES
from fastequi.md.analysis.accumulators import ACCUMULATORS
from fastequi.md.analysis.accumulators.msd import MsdSums
from fastequi.md.state import set_velocities_A_per_fs

#: Triclinic, and too small for the distances that are looked at.
CELL = np.array([[7.0, 0.0, 0.0], [1.5, 6.5, 0.0], [-1.0, 2.0, 8.0]])
SETTINGS = {
    "rdf": {"r_max_A": 6.5},
    "adf": {"cutoff_A": 3.0},
    "msd": {},
    "vacf": {},
    "viscosity": {},
}


def trajectory(cell: str, frames: int = 24) -> list[Atoms]:
    """Silica that diffuses and drifts, with velocities; the cell rests, breathes, or is none."""
    rng = np.random.default_rng(1)
    positions = rng.uniform(0.0, 7.0, (18, 3))
    made = []
    for k in range(frames):
        positions = positions + rng.normal(scale=0.2, size=positions.shape) + [0.1, 0.0, 0.0]
        strain = 1.0 + 0.02 * np.sin(k) if cell == "breathes" else 1.0
        atoms = Atoms(
            "Si6O12", positions * strain, cell=None if cell == "none" else CELL * strain,
            pbc=cell != "none",
        )  # fmt: skip
        set_velocities_A_per_fs(atoms, rng.normal(scale=0.01, size=positions.shape))
        atoms.info["time_ps"] = 0.01 * k
        if cell != "none":
            atoms.calc = SinglePointCalculator(atoms, stress=rng.normal(scale=0.01, size=6))
        made.append(atoms)
    return made


@pytest.mark.parametrize("cell", ["rests", "breathes", "none"])
@pytest.mark.parametrize("kind", ACCUMULATORS)
def test_equals_the_analysis_of_the_same_frames(kind, cell):
    frames = trajectory(cell)
    sums = ACCUMULATORS[kind](**SETTINGS[kind])
    if kind == "viscosity" and cell == "none":
        with pytest.raises(InputError, match="three periodic directions"):
            sums.add(frames[0])
        return
    for frame in frames:
        sums.add(frame)
    expected, found = ANALYSES[kind](frames, **SETTINGS[kind]), sums.columns()
    assert list(found) == list(expected)
    for name, values in expected.items():
        rows = min(len(values), len(found[name]))
        assert rows > 12
        np.testing.assert_allclose(found[name][:rows], values[:rows], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ACCUMULATORS)
def test_goes_on_to_the_last_bit(kind):
    """After any frame, and where a window of few frames is full."""
    frames = trajectory("breathes")
    settings = SETTINGS[kind] or {"lags": 7}
    whole = ACCUMULATORS[kind](**settings)
    for k, frame in enumerate(frames):
        if k in (0, 1, 6, 15):
            other = ACCUMULATORS[kind](**settings)
            other.restore(whole.memory)
            whole = other
        whole.add(frame)
    at_once = ACCUMULATORS[kind](**settings)
    for frame in frames:
        at_once.add(frame)
    assert whole.frames == 24
    for name, values in at_once.columns().items():
        assert np.array_equal(values, whole.columns()[name])
    for name, values in at_once.memory.items():
        assert np.array_equal(values, whole.memory[name], equal_nan=True)


def test_few_lags_are_the_first_of_many():
    frames = trajectory("rests")
    few, many = MsdSums(lags=5), MsdSums()
    for frame in frames:
        few.add(frame)
        many.add(frame)
    assert len(few.columns()["time_ps"]) == 5
    np.testing.assert_allclose(
        few.columns()["msd_O_A2"], many.columns()["msd_O_A2"][:5], rtol=1e-13
    )


@pytest.mark.parametrize("kind", ["msd", "vacf", "viscosity"])
def test_another_timestep_begins_anew(kind):
    frames = trajectory("rests")
    sums, late = ACCUMULATORS[kind](), ACCUMULATORS[kind]()
    for k, frame in enumerate(frames):
        if k > 9:
            frame.info["time_ps"] = 0.09 + 0.03 * (k - 9)
        sums.add(frame)
        if k > 9:
            late.add(frame)
    assert sums.frames == late.frames == 14
    for name, values in late.columns().items():
        np.testing.assert_array_equal(sums.columns()[name], values)


def test_one_frame_has_columns_too():
    for kind, settings in SETTINGS.items():
        sums = ACCUMULATORS[kind](**settings)
        sums.add(trajectory("rests", 1)[0])
        assert all(np.isfinite(values).all() for values in sums.columns().values())


def test_frames_without_a_time():
    frame = trajectory("rests", 1)[0]
    del frame.info["time_ps"]
    with pytest.raises(InputError, match="no time_ps"):
        ACCUMULATORS["vacf"]().add(frame)
