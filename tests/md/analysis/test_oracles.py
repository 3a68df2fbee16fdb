"""Analyses beside MDAnalysis and beside sums written out, on the same frames.

MDAnalysis keeps positions in float32, so these frames have positions and cells that fit in one.
"""

from itertools import product

import ase.units
import MDAnalysis
import numpy as np
import pytest
from ase import Atoms
from MDAnalysis.analysis.msd import EinsteinMSD
from MDAnalysis.analysis.rdf import InterRDF
from MDAnalysis.lib.mdamath import triclinic_vectors
from scipy.integrate import trapezoid

from fastequi.md.analysis import (
    ANALYSES,
    angular_distribution,
    coordination_numbers,
    radial_distribution,
)
from fastequi.md.state import set_velocities_A_per_fs
from fastequi.units import LIGHT_CM_PER_FS

BOXES = {
    "orthogonal": [11.0, 12.5, 14.0, 90.0, 90.0, 90.0],
    "triclinic": [12.0, 12.5, 13.0, 75.0, 100.0, 110.0],
}
FORMULAS = {"one element": "Ar24", "three elements": "H12O6Na6"}
INTERVAL_FS = 2.0


@pytest.fixture(params=BOXES)
def box(request) -> np.ndarray:
    """Lengths in Å and angles in degrees."""
    return np.array(BOXES[request.param], dtype=np.float32)


@pytest.fixture(params=FORMULAS)
def frames(request, box) -> list[Atoms]:
    """Atoms that wander through a box at random."""
    rng = np.random.default_rng(5)
    cell = triclinic_vectors(box).astype(np.float64)
    formula = FORMULAS[request.param]
    n = len(Atoms(formula))
    positions = rng.uniform(-0.5, 1.5, (n, 3)) @ cell
    found = []
    for k in range(16):
        velocities = rng.normal(0.0, 0.05, (n, 3))
        positions = (positions + velocities * INTERVAL_FS).astype(np.float32).astype(np.float64)
        atoms = Atoms(formula, positions, cell=cell, pbc=True)
        set_velocities_A_per_fs(atoms, velocities)
        atoms.info["time_ps"] = 1e-3 * INTERVAL_FS * k
        found.append(atoms)
    return found


def universe(frames: list[Atoms], box: np.ndarray) -> MDAnalysis.Universe:
    found = MDAnalysis.Universe.empty(len(frames[0]), trajectory=True)
    found.add_TopologyAttr("type", frames[0].get_chemical_symbols())
    coordinates = np.array([frame.positions for frame in frames], dtype=np.float32)
    found.load_new(coordinates, order="fac", dimensions=np.tile(box, (len(frames), 1)))
    return found


def test_rdf_is_that_of_mdanalysis(frames, box) -> None:
    everything = universe(frames, box)
    r, g = radial_distribution(frames, 5.0, bins=50)
    assert g
    for (a, b), values in g.items():
        block = (1, 1) if a == b else None
        theirs = InterRDF(
            everything.select_atoms(f"type {a}"), everything.select_atoms(f"type {b}"),
            nbins=50, range=(0.0, 5.0), exclusion_block=block,
        ).run()  # fmt: skip
        np.testing.assert_allclose(r, theirs.results.bins, rtol=1e-12)
        # the volume that MDAnalysis makes of a box in float32 is right to 1e-7
        np.testing.assert_allclose(values, theirs.results.rdf, rtol=1e-6)


def test_msd_is_that_of_mdanalysis(frames, box) -> None:
    """Without motion of the centre of mass, which our analysis takes away.

    To keep that in float32, positions are those of a walk around the origin.
    """
    resting = still(frames)
    columns = ANALYSES["msd"](resting)
    everything = universe(resting, box)
    for symbol in set(frames[0].get_chemical_symbols()):
        theirs = EinsteinMSD(everything, select=f"type {symbol}", fft=False).run()
        np.testing.assert_allclose(
            columns[f"msd_{symbol}_A2"], theirs.results.timeseries, rtol=1e-6, atol=1e-9
        )


def still(frames: list[Atoms]) -> list[Atoms]:
    """Displacements of half of the atoms, in multiples of 2^-16 Å; the others' are opposite."""
    found = []
    for frame in frames:
        copy = frame.copy()
        moved = np.round((frame.positions - frames[0].positions) * 2.0**16) / 2.0**16
        half = len(moved) // 2
        copy.positions = np.concatenate([moved[:half], -moved[:half]])
        copy.arrays["masses"] = np.ones(len(copy))
        found.append(copy)
    return found


# -- sums written out ----------------------------------------------------------------------------


def images(frame: Atoms, reach: int = 3) -> list[np.ndarray]:
    """Lattice vectors of all images near by."""
    ranges = [range(-reach, reach + 1) if periodic else (0,) for periodic in frame.pbc]
    return [np.array(shift) @ frame.cell.array for shift in product(*ranges)]


def neighbours(frame: Atoms, i: int, r_max: float):
    """(index, vector) of each atom and image within r_max of atom i."""
    for j in range(len(frame)):
        for shift in images(frame):
            vector = frame.positions[j] + shift - frame.positions[i]
            if 1e-9 < np.linalg.norm(vector) < r_max:
                yield j, vector


@pytest.fixture(params=[(True, True, True), (True, True, False), (False, False, False)], ids=str)
def small(request) -> list[Atoms]:
    """Small triclinic cells that change, so that atoms have many images; any periodicity."""
    rng = np.random.default_rng(8)
    found = []
    for k in range(3):
        cell = np.array([[4.03, 0.0, 0.0], [1.5, 3.8, 0.0], [-1.0, 0.7, 4.5]]) * (1 + 0.03 * k)
        scaled = rng.uniform(0, 1, (5, 3))
        found.append(Atoms("O2H3", cell=cell, pbc=request.param, scaled_positions=scaled))
    return found


def test_coordination_and_rdf_of_small_cells(small) -> None:
    r_max, bins = 5.0, 25
    edges = np.linspace(0.0, r_max, bins + 1)
    counts = {(a, b): np.zeros(bins) for a in "HO" for b in "HO"}
    density = {pair: np.zeros(bins) for pair in counts}
    for frame in small:
        for i in range(5):
            for j, vector in neighbours(frame, i, r_max):
                pair = frame.symbols[i], frame.symbols[j]
                bin_ = np.searchsorted(edges, np.linalg.norm(vector)) - 1
                counts[pair][bin_] += 1
                density[pair][bin_] += abs(np.linalg.det(frame.cell.array)) / len(small)
    r, around = coordination_numbers(small, r_max, bins)
    np.testing.assert_allclose(r, edges[1:])
    size = {"H": 3, "O": 2}
    for (a, b), found in counts.items():
        np.testing.assert_allclose(around[a, b], found.cumsum() / (size[a] * len(small)))
    if small[0].pbc.all():
        _, g = radial_distribution(small, r_max, bins)
        shells = 4 / 3 * np.pi * np.diff(edges**3)
        for a, b in (("H", "H"), ("H", "O"), ("O", "O")):
            expected = density[a, b] / (size[a] * size[b] * shells)
            np.testing.assert_allclose(g[a, b], expected, rtol=1e-9)


def test_angles_of_small_cells(small) -> None:
    cutoffs = {("H", "H"): 2.0, ("H", "O"): 2.5, ("O", "O"): 3.0}
    bins = 36
    expected: dict[tuple, np.ndarray] = {}
    for frame in small:
        for i in range(5):
            middle = frame.symbols[i]
            near = [
                (j, v) for j, v in neighbours(frame, i, 3.0)
                if np.linalg.norm(v) < cutoffs[tuple(sorted((middle, frame.symbols[j])))]
            ]  # fmt: skip
            for m, (j, v) in enumerate(near):
                for k, w in near[m + 1 :]:
                    cosine = v @ w / np.linalg.norm(v) / np.linalg.norm(w)
                    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
                    a, c = sorted((frame.symbols[j], frame.symbols[k]))
                    row = expected.setdefault((a, middle, c), np.zeros(bins))
                    row[min(int(angle / 5.0), bins - 1)] += 1
    angles, density = angular_distribution(small, cutoffs, bins)
    assert set(density) == set(expected)
    assert len(expected) > 2
    for name, values in expected.items():
        np.testing.assert_allclose(density[name], values / values.sum() / 5.0, rtol=1e-9)
        assert density[name].sum() * (angles[1] - angles[0]) == pytest.approx(1.0)


def test_structure_factor_is_the_sum_over_atoms(frames) -> None:
    columns = ANALYSES["structure_factor"](frames, q_max_per_A=1.5, vectors_per_bin=10**6)
    numbers, cell = frames[0].numbers, frames[0].cell.array
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T
    sums: dict[int, list[np.ndarray]] = {}
    for hkl in product(range(-5, 6), repeat=3):
        q = np.array(hkl) @ reciprocal
        if 0 < np.linalg.norm(q) < 1.5:
            waves = [np.exp(1j * frame.positions @ q) for frame in frames]
            total = np.mean([abs(w.sum()) ** 2 for w in waves]) / len(numbers)
            first = np.mean([abs(w[numbers == numbers[0]].sum()) ** 2 for w in waves])
            first /= (numbers == numbers[0]).sum()
            row = np.array([np.linalg.norm(q), total, first])
            sums.setdefault(int(np.linalg.norm(q) / 0.1), []).append(row)
    expected = np.array([np.mean(rows, axis=0) for _, rows in sorted(sums.items())])
    symbol = frames[0].symbols[0]
    for column, name in enumerate(("q_per_A", "all", f"{symbol}-{symbol}")):
        np.testing.assert_allclose(columns[name], expected[:, column], rtol=1e-9, atol=1e-9)


def test_partial_structure_factors_make_the_whole(frames) -> None:
    columns = ANALYSES["structure_factor"](frames, q_max_per_A=3.0)
    symbols = np.array(frames[0].get_chemical_symbols())
    whole = np.zeros(len(columns["all"]))
    for name, values in list(columns.items())[2:]:
        a, b = name.split("-")
        n_a, n_b = (np.sum(symbols == symbol) for symbol in (a, b))
        weight = np.sqrt(n_a * n_b) / len(symbols)
        whole += (1 if a == b else 2) * weight * values
    np.testing.assert_allclose(whole, columns["all"], rtol=1e-9)


def test_velocity_autocorrelation_is_the_double_loop(frames) -> None:
    columns = ANALYSES["vacf"](frames)
    velocities = np.array([frame.get_velocities() for frame in frames])
    velocities *= ase.units.fs
    symbols = np.array(frames[0].get_chemical_symbols())
    for symbol in set(symbols):
        mine = velocities[:, symbols == symbol]
        for lag in range(len(columns["time_ps"])):
            products = [
                mine[k, i] @ mine[k + lag, i]
                for k in range(len(mine) - lag) for i in range(mine.shape[1])
            ]  # fmt: skip
            found = columns[f"vacf_{symbol}_A2_per_fs2"][lag]
            assert found == pytest.approx(np.mean(products), rel=1e-9, abs=1e-15)


def test_density_of_states_is_the_fourier_sum(frames) -> None:
    columns = ANALYSES["spectrum"](frames, resolution_per_cm=0.0)
    n, masses = len(frames), frames[0].get_masses()
    velocities = np.array([frame.get_velocities() for frame in frames]) * ase.units.fs
    window = np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2
    power = np.zeros((n // 2 + 1, len(masses)))
    for m in range(n // 2 + 1):
        for i in range(len(masses)):
            for axis in range(3):
                wave = np.exp(-2j * np.pi * m * np.arange(n) / n)
                power[m, i] += masses[i] * abs((window * velocities[:, i, axis] * wave).sum()) ** 2
    wavenumbers = np.arange(n // 2 + 1) / (n * INTERVAL_FS * LIGHT_CM_PER_FS)
    area = trapezoid(power.sum(axis=1), wavenumbers)
    np.testing.assert_allclose(columns["wavenumber_per_cm"], wavenumbers)
    symbols = np.array(frames[0].get_chemical_symbols())
    for symbol in set(symbols):
        part = power[:, symbols == symbol].sum(axis=1) * 3 * len(masses) / area
        np.testing.assert_allclose(columns[f"density_{symbol}_cm"], part, rtol=1e-9)
