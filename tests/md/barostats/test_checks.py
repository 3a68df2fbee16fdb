"""Cells that a barostat cannot change, or only too fast, are refused with the way out."""

import re
from collections.abc import Callable

import ase.build
import numpy as np
import pytest
from ase import Atoms

from fastequi.errors import InputError, PhysicsError
from fastequi.md.integrators import CellRescaling, Integrator, MartynaTobiasKlein
from fastequi.md.simulation import Simulation
from fastequi.md.testing import LennardJones

ARGON = LennardJones(switch_A=5.0, cutoff=6.5)


def start(atoms: Atoms, integrator: Integrator) -> Simulation:
    return Simulation(atoms, ARGON, integrator)


def crystal() -> Atoms:
    return ase.build.bulk("Ar", "fcc", a=5.4, cubic=True).repeat(2)


def slab() -> Atoms:
    atoms = crystal()
    atoms.center(vacuum=10.0, axis=2)
    atoms.pbc = (True, True, False)
    return atoms


KINDS = [MartynaTobiasKlein, CellRescaling]


@pytest.mark.parametrize("kind", KINDS)
def test_a_molecule_has_no_volume(kind: Callable[..., Integrator]) -> None:
    with pytest.raises(InputError, match=r"system 0 has no volume: npt-.* three lattice vectors"):
        start(Atoms("Ar2", [[0, 0, 0], [4, 0, 0]]), kind(1.0, 300.0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_slab_may_change_in_its_plane_only(kind: Callable[..., Integrator]) -> None:
    message = 'system 0 is open along z, where npt-.*; barostat_axes = "xy" leaves the rest alone'
    with pytest.raises(InputError, match=message):
        start(slab(), kind(1.0, 300.0))
    simulation = start(slab(), kind(2.0, 30.0, coupling="flexible", barostat_axes="xy"))
    height = simulation.state.cell[0, 2].clone()
    simulation.run(30)
    assert simulation.state.cell[0, 2].tolist() == height.tolist()
    assert float(simulation.state.cell[0, 0, 0]) != 10.8


def test_the_axes_are_those_of_space() -> None:
    """A slab that lies across all of them has none that a barostat may change alone."""
    atoms = slab()
    atoms.rotate(40, (1, 1, 1), rotate_cell=True)
    with pytest.raises(InputError, match=r"open along x, y, z, .*; an ensemble that leaves"):
        start(atoms, MartynaTobiasKlein(1.0, 300.0))


def test_words_are_checked() -> None:
    with pytest.raises(InputError, match="coupling is 'cubic'; allowed: isotropic, axes, flexible"):
        MartynaTobiasKlein(1.0, 300.0, coupling="cubic")
    with pytest.raises(InputError, match="barostat_axes is 'zx'; allowed: xyz, xy, xz"):
        CellRescaling(1.0, 300.0, barostat_axes="zx")


@pytest.mark.parametrize(("kind", "power"), [(MartynaTobiasKlein, 1.0), (CellRescaling, 0.5)])
def test_a_barostat_too_fast_for_a_box_is_refused_and_the_time_it_names_is_taken(
    kind: Callable[..., Integrator], power: float
) -> None:
    primitive = ase.build.bulk("Ar", "fcc", a=5.4)
    primitive = primitive * (2, 1, 1)
    own = {"compressibility_per_GPa": 5.0} if kind is CellRescaling else {}
    message = r"too fast for this cell \(2 atoms, 78.7.* Å³\)"
    with pytest.raises(InputError, match=message) as caught:
        start(primitive, kind(2.0, 300.0, barostat_time_fs=20.0, **own))
    found = re.search(r"allowed: (\S+) fs or more", str(caught.value))
    assert found is not None
    needed = float(found[1])
    start(primitive, kind(2.0, 300.0, barostat_time_fs=1.05 * needed, **own))
    with pytest.raises(InputError, match="too fast"):
        start(primitive, kind(2.0, 300.0, barostat_time_fs=0.9 * needed, **own))
    start(primitive.repeat(4), kind(2.0, 300.0, barostat_time_fs=0.9 * needed, **own))


def test_a_cell_that_is_about_to_explode_is_stopped_before_it_does() -> None:
    """Compressed to 3 GPa, and told to be fifty times softer than it is."""
    atoms = crystal()
    atoms.set_cell(atoms.cell.array * 0.9, scale_atoms=True)
    simulation = start(
        atoms, CellRescaling(4.0, 30.0, barostat_time_fs=100.0, compressibility_per_GPa=5.0)
    )
    message = r"barostat is too fast: at step 1 .* the cell by \d+ % \(limit 10 %\).*last good step"
    with pytest.raises(PhysicsError, match=re.compile(message, re.DOTALL)):
        simulation.run(20)
    assert simulation.state.step == 0
    assert np.array_equal(simulation.state.positions.numpy(), atoms.positions)
    assert np.array_equal(simulation.state.cell[0].numpy(), atoms.cell.array)
