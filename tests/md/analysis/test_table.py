"""All analyses in one form; and that a new one is a file and a row."""

import inspect

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from fastequi.errors import InputError
from fastequi.md.analysis import (
    ANALYSES,
    interval_fs,
    mean_squared_displacement,
    positions_of,
    radial_distribution,
    velocities_of,
    vibrational_spectrum,
    without_drift,
    without_timestep_error,
)
from fastequi.md.analysis.analysis import Analysis, Column, Columns
from fastequi.md.state import set_velocities_A_per_fs


@pytest.fixture(scope="module")
def frames() -> list[Atoms]:
    """Sodium chloride in oscillation, twenty frames of 2 fs each."""
    rng = np.random.default_rng(7)
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    amplitude, phase = rng.normal(0.0, 0.2, (8, 3)), rng.uniform(0.0, 6.0, (8, 3))
    found = []
    for k in range(20):
        frame = atoms.copy()
        frame.positions += amplitude * np.sin(0.3 * 2.0 * k + phase)
        set_velocities_A_per_fs(frame, 0.3 * amplitude * np.cos(0.3 * 2.0 * k + phase))
        frame.info["time_ps"] = 2e-3 * k
        frame.calc = SinglePointCalculator(frame, stress=rng.normal(size=6))
        found.append(frame)
    return found


@pytest.mark.parametrize("name", ANALYSES)
def test_every_row_gives_the_columns_that_it_declares(name: str, frames: list[Atoms]) -> None:
    analysis = ANALYSES[name]
    columns = analysis(frames)
    declared = [analysis.column(column) for column in columns]
    assert declared[0] is analysis.columns[0]
    assert set(declared) == set(analysis.columns)
    assert all(np.isfinite(values).all() for values in columns.values())
    first, *settings = inspect.signature(analysis.function).parameters.values()
    assert first.name == "frames"
    assert all(setting.default is not inspect.Parameter.empty for setting in settings)
    with pytest.raises(InputError):
        analysis([])


def test_rdf(frames: list[Atoms]) -> None:
    r, g = radial_distribution(frames, 2.5, 40)
    columns = ANALYSES["rdf"](frames, r_max_A=2.5, bins=40)
    assert list(columns) == ["r_A", "Na-Na", "Na-Cl", "Cl-Cl"]
    np.testing.assert_array_equal(columns["r_A"], r)
    np.testing.assert_array_equal(columns["Na-Cl"], g["Na", "Cl"])
    furthest = ANALYSES["rdf"](frames)["r_A"]
    assert furthest[-1] + 0.5 * (furthest[1] - furthest[0]) == pytest.approx(6.0)
    molecule = Atoms("NaCl", [[0, 0, 0], [2, 0, 0]])
    seen = ANALYSES["rdf"]([molecule])
    assert list(seen) == ["r_A", "Na-Cl"]
    assert seen["r_A"][seen["Na-Cl"].argmax()] == pytest.approx(2.0, abs=0.02)


def test_msd(frames: list[Atoms]) -> None:
    columns = ANALYSES["msd"](frames)
    assert list(columns) == ["time_ps", "msd_A2", "msd_Na_A2", "msd_Cl_A2"]
    np.testing.assert_allclose(columns["time_ps"], 2e-3 * np.arange(20), atol=1e-15)
    positions = without_drift(positions_of(frames), frames[0].get_masses())
    chlorine = positions[:, frames[0].numbers == 17]
    np.testing.assert_array_equal(columns["msd_Cl_A2"], mean_squared_displacement(chlorine))
    np.testing.assert_allclose(
        columns["msd_A2"], 0.5 * (columns["msd_Na_A2"] + columns["msd_Cl_A2"]), atol=1e-12
    )


def test_spectrum(frames: list[Atoms]) -> None:
    wavenumbers, density = vibrational_spectrum(
        velocities_of(frames), frames[0].get_masses(), interval_fs(frames), 10.0
    )
    columns = ANALYSES["spectrum"](frames, timestep_fs=2.0)
    np.testing.assert_allclose(columns["density_cm"], density, rtol=1e-14)
    np.testing.assert_array_equal(
        columns["wavenumber_per_cm"], without_timestep_error(wavenumbers, 2.0)
    )


# -- a toy ---------------------------------------------------------------------------------------


def toy_columns(frames: list[Atoms], power: float = 1.0) -> Columns:
    """Mean speed to a power, of each element."""
    speeds = np.sqrt((velocities_of(frames) ** 2).sum(axis=2)) ** power
    symbols = np.array(frames[0].get_chemical_symbols())
    columns = {"time_ps": np.array([frame.info["time_ps"] for frame in frames])}
    for symbol in ("Na", "Cl"):
        mine = speeds[:, symbols == symbol]
        columns[f"speed_{symbol}_A_per_fs"] = np.array([speed.mean() for speed in mine])
    return columns


TOY = Analysis(
    toy_columns,
    (Column("time_ps", "ps", "time"), Column("speed_*_A_per_fs", "Å/fs", "mean speed")),
)


def test_a_new_analysis_is_one_function_and_one_row(
    monkeypatch: pytest.MonkeyPatch, frames: list[Atoms]
) -> None:
    monkeypatch.setitem(ANALYSES, "speed", TOY)
    columns = ANALYSES["speed"](frames, power=2.0)
    assert list(columns) == ["time_ps", "speed_Na_A_per_fs", "speed_Cl_A_per_fs"]
    column = ANALYSES["speed"].column("speed_Na_A_per_fs")
    assert column is not None
    assert f"{column.meaning} in {column.unit}" == "mean speed in Å/fs"
    assert ANALYSES["speed"].column("speed") is None


def test_what_is_not_declared_is_noticed(frames: list[Atoms]) -> None:
    with pytest.raises(AssertionError, match="time_ps"):
        Analysis(toy_columns, TOY.columns[1:])(frames)
    uneven = Analysis(lambda frames: {"a": np.zeros(2), "b": np.zeros(3)},
                      (Column("*", "", "anything"),))  # fmt: skip
    with pytest.raises(AssertionError, match="length"):
        uneven(frames)
