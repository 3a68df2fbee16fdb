"""The fused network against the readable one: energies, forces, stress, conservation."""

from dataclasses import replace

import pytest
import torch
from ase import Atoms
from ase.build import bulk

from fastequi.conservation import assert_hessian_symmetric
from fastequi.engine import fused
from fastequi.engine.fused import FusedNequIP
from fastequi.engine.tables import radial_tables
from fastequi.graph import Graph
from fastequi.irreps import Parity
from fastequi.kernels.radial_grid import N_SEGMENTS
from fastequi.kernels.radial_table import SHORTEST_A, build_table, evaluate
from fastequi.md.neighbors import NeighborList
from fastequi.md.state import state_from_atoms
from fastequi.model.file import model_data, save_model, set_precision
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec

FAMILY = [(l_max, parity) for l_max in (1, 2, 3, 4) for parity in ("natural", "full", "even")]


def network_of(l_max: int, parity: Parity, **changes) -> NequIP:
    torch.manual_seed(0)
    spec = new_spec(
        [1, 8, 14], layers=3, l_max=l_max, channels=(8, 6, 4, 3, 2)[: l_max + 1], parity=parity,
        cutoff_A=4.0, radial_hidden=(16,),
    )  # fmt: skip
    network = NequIP(replace(spec, **changes))
    for layer in network.interactions():
        layer.message_scale.fill_(0.3)
    network.requires_grad_(False)
    return network


def systems() -> list[Atoms]:
    """A crystal smaller than two cutoffs, a molecule, an isolated atom."""
    crystal = bulk("Si", "diamond", 5.4, cubic=True)
    crystal.numbers[:] = [14, 8, 14, 14, 1, 14, 8, 14]
    crystal.rattle(0.15, seed=1)
    return [crystal, Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]), Atoms("Si")]


def graph_of(atoms: list[Atoms], cutoff: float = 4.0) -> Graph:
    s = state_from_atoms(atoms)
    return NeighborList(cutoff, 0.0).graph(
        s.positions, s.atomic_numbers, s.cell, s.pbc, s.system_idx
    )


def assert_same(network: NequIP, graph: Graph, energy: float, forces: float) -> None:
    exact, fused = network.compute(graph), FusedNequIP(network, "cpu").compute(graph)
    scale = float(exact.forces.abs().max())
    assert scale > 1e-3
    assert float((exact.energies - fused.energies).abs().max()) < energy
    assert float((exact.forces - fused.forces).abs().max()) < forces * scale
    stress = (exact.stress - fused.stress).nan_to_num().abs().max()
    assert float(stress) < forces * float(exact.stress.nan_to_num().abs().max())


@pytest.mark.parametrize(("l_max", "parity"), FAMILY)
def test_agrees_with_the_readable_network(l_max: int, parity: Parity):
    """Float64: what is left is the table, whose tolerance is 2e-7 in values, 2e-5 in slopes."""
    assert_same(network_of(l_max, parity), graph_of(systems()), energy=1e-6, forces=2e-5)


def test_float32():
    network = set_precision(network_of(2, "full"), torch.float32)
    assert_same(network, graph_of(systems()), energy=2e-6, forces=3e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"envelope": "xplor", "envelope_parameter": 3.2},
        {"zbl": True, "zbl_envelope_p": 5.0},
        {"pair_cutoffs": True},
        {"attributes": "one-hot"},
    ],
    ids=str,
)
def test_every_kind_of_model(changes: dict):
    if "attributes" in changes:
        spec = network_of(2, "full").spec
        changes["layers"] = tuple(replace(x, layer_norm=True) for x in spec.layers)
    network = network_of(2, "full", **changes)
    if "pair_cutoffs" in changes:
        network.basis.pair_cutoff.copy_(torch.tensor([[2.0, 3, 4], [3, 3.5, 4], [3.0, 4, 3.8]]))
    assert_same(network, graph_of(systems()), energy=1e-5, forces=1e-4)


def test_edges_beyond_the_cutoff_contribute_nothing():
    network = network_of(2, "full")
    fused = FusedNequIP(network, "cpu")
    exact, wide = fused.compute(graph_of(systems())), fused.compute(graph_of(systems(), 5.5))
    assert float((exact.forces - wide.forces).abs().max()) < 1e-12
    assert float((exact.energies - wide.energies).abs().max()) < 1e-12


@pytest.mark.parametrize("kind", ["plain", "species", "normed"])
def test_large_systems_keep_less_and_compute_the_same(kind: str, monkeypatch: pytest.MonkeyPatch):
    """Features that are computed again have the same bits."""
    spec = network_of(2, "full").spec
    connection = "species" if kind == "species" else "linear"
    layers = tuple(
        replace(x, self_connection=connection, layer_norm=kind == "normed") for x in spec.layers
    )
    engine = FusedNequIP(network_of(2, "full", layers=layers), "cpu")
    whole = engine.compute(graph_of(systems()))
    monkeypatch.setattr(fused, "LEAN_FROM", 0)
    lean = engine.compute(graph_of(systems()))
    assert torch.equal(whole.energies, lean.energies)
    assert torch.equal(whole.forces, lean.forces)
    assert torch.equal(whole.stress.nan_to_num(), lean.stress.nan_to_num())


def test_atoms_that_become_others_are_seen():
    """The order of species is kept from call to call."""
    engine, graph = FusedNequIP(network_of(2, "full"), "cpu"), graph_of(systems())
    before = engine.compute(graph)
    graph.atomic_numbers[:4] = torch.tensor([1, 1, 14, 8])
    after = engine.compute(graph)
    fresh = FusedNequIP(network_of(2, "full"), "cpu").compute(graph)
    assert torch.equal(after.forces, fresh.forces)
    assert not torch.equal(after.forces, before.forces)


def test_finished_potential_is_conservative():
    network = set_precision(network_of(2, "full"), torch.float32)
    assert_hessian_symmetric(FusedNequIP(network, "cpu"), graph_of(systems()[:1], 4.3))


def test_tables_meet_their_tolerance_and_vanish_at_the_cutoff():
    tables = radial_tables(network_of(2, "full"))
    assert all(t.value_error < 2e-7 and t.slope_error < 2e-5 for t in tables)
    r = torch.tensor([3.9999999, 4.0, 4.5], dtype=torch.float64, requires_grad=True)
    weights = evaluate(r, tables[0])
    (slope,) = torch.autograd.grad(weights.sum(), r)
    assert float(weights[1:].detach().abs().max()) == 0.0
    assert float(slope[1:].abs().max()) == 0.0
    assert float(weights[0].detach().abs().max()) < 1e-12


def test_table_errors_are_measured_not_assumed():
    """A function with a kink: the reported error is the true one, with and without a knot there."""

    def kinked(r: torch.Tensor) -> torch.Tensor:
        bump = (4.0 - r) ** 2 * torch.exp(-r)
        return torch.stack([bump, bump + 0.01 * (r - 3.1).clamp(min=0) ** 2 * (4 - r) ** 2], dim=1)

    blind = build_table(kinked, 4.0, torch.float64)
    aware = build_table(kinked, 4.0, torch.float64, kink=3.1)
    r = torch.linspace(SHORTEST_A, 3.99, 20011, dtype=torch.float64)
    for table in (blind, aware):
        true_error = float((evaluate(r, table) - kinked(r)).abs().max() / kinked(r).abs().max())
        assert true_error < 1.5 * table.value_error + 1e-12
    assert any(float(aware.grid.knots(k)[0]) == pytest.approx(3.1) for k in range(N_SEGMENTS))
    assert aware.slope_error < blind.slope_error


def test_solid_harmonics(tmp_path):
    """r^l Y_l: the radial table carries r^l."""
    from fastequi import load_model

    network = network_of(3, "full", normalize_harmonics=False)
    assert_same(network, graph_of(systems()), energy=1e-6, forces=2e-5)
    save_model(tmp_path / "old.safetensors", model_data(network))
    assert load_model(tmp_path / "old.safetensors", device="cpu").kernels == "cpu"
