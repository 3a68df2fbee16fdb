"""The engine: skins, batches, restarts, observers, stops, failures."""

from dataclasses import dataclass, field, replace

import ase.build
import numpy as np
import pytest
import torch
from ase import Atoms, units

from fastequi.errors import PhysicsError
from fastequi.graph import Graph
from fastequi.md.integrators import Integrator, LangevinBAOAB, VelocityVerlet
from fastequi.md.observers import thermodynamics
from fastequi.md.simulation import Simulation
from fastequi.md.state import State, state_from_atoms, state_to_atoms
from fastequi.md.testing import LennardJones, NoForces
from fastequi.md.velocities import maxwell_boltzmann_
from fastequi.potential import Prediction

SHORT = LennardJones(switch_A=4.5, cutoff=5.5)


def argon(temperature_K: float = 80.0, shear: float = 0.0, repeat: int = 2, seed: int = 1) -> State:
    atoms = ase.build.bulk("Ar", "fcc", a=5.5, cubic=True).repeat(repeat)
    strained = atoms.cell.array @ np.array([[1, shear, 0], [0, 1, -shear], [shear, 0, 1.0]])
    atoms.set_cell(strained, scale_atoms=True)
    state = state_from_atoms(atoms)
    maxwell_boltzmann_(state, temperature_K, seed)
    return state


def after(state: State, integrator: Integrator, steps: int, skin_A: float = 1.0) -> Simulation:
    simulation = Simulation(state, SHORT, integrator, skin_A=skin_A)
    simulation.run(steps)
    return simulation


@dataclass
class Recorder:
    """Remembers the steps at which it was called."""

    every: int
    steps: list[int] = field(default_factory=list)

    def __call__(self, simulation: Simulation) -> None:
        self.steps.append(simulation.state.step)


@dataclass(frozen=True)
class Broken(LennardJones):
    """Lennard-Jones until it has been asked `good` times; then NaN on one atom."""

    good: int = 3
    atom: int = 5
    calls: list[None] = field(default_factory=list)

    def compute(self, graph: Graph) -> Prediction:
        prediction = LennardJones.compute(self, graph)
        self.calls.append(None)
        if len(self.calls) > self.good:
            prediction.forces[self.atom, 1] = torch.nan
        return prediction


@pytest.mark.parametrize("shear", [0.0, 0.15], ids=["cubic", "triclinic"])
@pytest.mark.parametrize(
    "integrator", [VelocityVerlet(4.0), LangevinBAOAB(4.0, 80.0, 5.0, seed=3)],
    ids=["nve", "langevin"],
)  # fmt: skip
def test_the_skin_does_not_show_in_the_trajectory(integrator: Integrator, shear: float) -> None:
    with_skin = after(argon(shear=shear), integrator, 200, skin_A=1.0)
    without = after(argon(shear=shear), integrator, 200, skin_A=0.0)
    assert torch.equal(with_skin.state.positions, without.state.positions)
    assert torch.equal(with_skin.state.velocities, without.state.velocities)
    assert torch.equal(with_skin.state.stress, without.state.stress)
    assert 1 < with_skin.neighbors.rebuilds < 200 / 3
    assert without.neighbors.rebuilds == without.neighbors.queries == 201


@dataclass
class Squeeze:
    """Compresses and shears cell and atoms a little at every step, as a barostat would."""

    every: int = 1

    def __call__(self, simulation: Simulation) -> None:
        strain = 0.9995 * torch.eye(3, dtype=torch.float64)
        strain[0, 1] = 4e-4
        simulation.state.cell = simulation.state.cell @ strain
        simulation.state.positions = simulation.state.positions @ strain


def test_the_skin_does_not_show_while_the_cell_deforms() -> None:
    ends = []
    for skin_A in (0.0, 0.6, 1.0):
        simulation = Simulation(
            argon(), SHORT, VelocityVerlet(4.0), skin_A=skin_A, observers=[Squeeze()]
        )
        simulation.run(200)
        ends.append(simulation)
    assert torch.equal(ends[0].state.positions, ends[1].state.positions)
    assert torch.equal(ends[0].state.positions, ends[2].state.positions)
    assert 3 < ends[2].neighbors.rebuilds < 200 / 3


@pytest.mark.parametrize("langevin", [False, True], ids=["nve", "langevin"])
def test_a_system_moves_in_a_batch_as_it_moves_alone(langevin: bool) -> None:
    atoms = [state_to_atoms(argon(t, seed=s))[0] for t, s in ((40, 1), (90, 2), (150, 3))]
    atoms[1] = atoms[1][:20]  # systems of different size

    def integrator(seeds: list[int]) -> Integrator:
        return LangevinBAOAB(4.0, 80.0, 5.0, seed=seeds) if langevin else VelocityVerlet(4.0)

    batch = Simulation(atoms, SHORT, integrator([7, 8, 9]))
    batch.run(100)
    for k, seed in enumerate((7, 8, 9)):
        alone = Simulation(atoms[k], SHORT, integrator([seed]))
        alone.run(100)
        mine = batch.state.system_idx == k
        difference = (batch.state.positions[mine] - alone.state.positions).abs().max()
        assert float(difference) < 1e-10
        for name, value in thermodynamics(alone).items():
            assert thermodynamics(batch, k)[name] == pytest.approx(value, rel=1e-10), name


@pytest.mark.parametrize(
    "integrator", [VelocityVerlet(4.0), LangevinBAOAB(4.0, 80.0, 5.0, seed=3)],
    ids=["nve", "langevin"],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_restart_is_no_restart_bit_for_bit(integrator: Integrator, dtype: torch.dtype) -> None:
    potential = replace(SHORT, dtype=dtype)
    whole = Simulation(argon(), potential, integrator)
    whole.run(70)
    first = Simulation(argon(), potential, integrator)
    first.run(33)
    second = Simulation(replace(first.state.snapshot()), potential, type(integrator)(**{
        k: v for k, v in integrator.description().items() if k != "ensemble"}))  # fmt: skip
    second.forces_are_current = True
    calls = second.neighbors.queries
    second.run(37)
    assert second.neighbors.queries - calls == 37  # the forces were not computed again
    for name in ("positions", "velocities", "forces", "energy", "step"):
        got, expected = getattr(second.state, name), getattr(whole.state, name)
        assert torch.equal(torch.as_tensor(got), torch.as_tensor(expected)), name
    assert set(second.state.extra) == set(whole.state.extra)
    for name, expected in whole.state.extra.items():
        assert torch.equal(second.state.extra[name], expected), name


def test_observers_see_step_zero_once_and_then_every_so_often() -> None:
    often, seldom = Recorder(2), Recorder(5)
    simulation = Simulation(argon(), SHORT, VelocityVerlet(2.0), observers=[often, seldom])
    simulation.run(0)
    assert often.steps == seldom.steps == [0]
    simulation.run(3)
    simulation.run(7)
    assert often.steps == [0, 2, 4, 6, 8, 10]
    assert seldom.steps == [0, 5, 10]
    later = Simulation(simulation.state, SHORT, VelocityVerlet(2.0), observers=[often])
    later.run(2)
    assert often.steps == [0, 2, 4, 6, 8, 10, 12]


def test_a_restart_at_step_zero_need_not_be_observed_again() -> None:
    recorder = Recorder(1)
    simulation = Simulation(argon(), SHORT, VelocityVerlet(2.0), observers=[recorder])
    simulation.observe_start = False
    simulation.run(1)
    assert recorder.steps == [1]


@dataclass
class Stopper:
    at: int
    every: int = 1

    def __call__(self, simulation: Simulation) -> None:
        if simulation.state.step == self.at:
            simulation.request_stop()


def test_a_requested_stop_ends_the_run_after_the_current_step() -> None:
    simulation = Simulation(argon(), SHORT, VelocityVerlet(2.0), observers=[Stopper(4)])
    simulation.run(10)
    assert (simulation.state.step, simulation.stopped) == (4, True)
    simulation.run(3)
    assert (simulation.state.step, simulation.stopped) == (7, False)
    simulation.request_stop()  # before the run begins
    simulation.run(3)
    assert (simulation.state.step, simulation.stopped) == (7, True)


def test_times_are_accounted_for() -> None:
    simulation = Simulation(argon(), SHORT, VelocityVerlet(2.0), observers=[Recorder(1)])
    simulation.run(20)
    assert set(simulation.phases_s) == {"model", "neighbors", "integrate", "output"}
    assert all(seconds > 0.0 for seconds in simulation.phases_s.values())
    total = sum(simulation.phases_s.values())
    assert total <= simulation.wall_s
    assert total > 0.8 * simulation.wall_s


def test_thermodynamics_has_the_columns_of_the_log() -> None:
    simulation = after(argon(), LangevinBAOAB(4.0, 80.0, 5.0), 10)
    row = thermodynamics(simulation)
    assert ",".join(row) == (
        "step,time_ps,potential_energy_eV,kinetic_energy_eV,total_energy_eV,temperature_K,"
        "pressure_GPa,volume_A3,conserved_eV"
    )
    (atoms,) = state_to_atoms(simulation.state)
    assert (row["step"], row["time_ps"]) == (10, pytest.approx(0.04))
    assert row["potential_energy_eV"] == pytest.approx(atoms.get_potential_energy())
    assert row["kinetic_energy_eV"] == pytest.approx(atoms.get_kinetic_energy())
    assert row["total_energy_eV"] == pytest.approx(atoms.get_total_energy())
    assert row["temperature_K"] == pytest.approx(atoms.get_temperature())
    assert row["volume_A3"] == pytest.approx(atoms.get_volume())
    heat = float(simulation.state.extra["heat"][0])
    assert row["conserved_eV"] == pytest.approx(row["total_energy_eV"] - heat)


def test_nve_takes_a_drift_of_the_whole_for_no_heat() -> None:
    """Systems of a batch that fly along, each at its own speed, are as warm and press as much."""
    atoms = [state_to_atoms(argon(t, seed=s))[0] for t, s in ((40, 1), (90, 2))]
    atoms[1] = atoms[1][:5]
    rows = []
    for drift_A_per_fs in (0.0, 3e-3):
        state = state_from_atoms(atoms)
        state.velocities += drift_A_per_fs * (1.0 + state.system_idx).unsqueeze(1)
        simulation = Simulation(state, SHORT, VelocityVerlet(4.0))
        for _ in range(2):
            simulation.run(20)
            rows += [thermodynamics(simulation, k) for k in (0, 1)]
    for still, flying in zip(rows[:4], rows[4:], strict=True):
        for name in ("temperature_K", "pressure_GPa", "potential_energy_eV"):
            assert flying[name] == pytest.approx(still[name], rel=1e-9), name
        assert flying["kinetic_energy_eV"] > 1.2 * still["kinetic_energy_eV"]
        conserved = flying["potential_energy_eV"] + flying["kinetic_energy_eV"]
        assert flying["conserved_eV"] == flying["total_energy_eV"] == conserved


def test_all_motion_of_an_atom_alone_is_heat() -> None:
    state = state_from_atoms(Atoms("Ar", cell=[20.0] * 3, pbc=True))
    state.velocities[:] = 2e-3
    row = thermodynamics(after(state, VelocityVerlet(1.0), 1))
    kT = 39.948 * 2e-3**2 * units.fs**-2  # m v² of one of three like components
    assert row["temperature_K"] == pytest.approx(kT / units.kB)
    assert row["pressure_GPa"] == pytest.approx(kT / 20.0**3 / units.GPa)


def test_forces_that_are_not_finite_stop_the_run_at_the_last_good_step() -> None:
    simulation = Simulation(argon(), Broken(), VelocityVerlet(2.0))
    reference = Simulation(argon(), LennardJones(), VelocityVerlet(2.0))
    reference.run(2)
    with pytest.raises(PhysicsError) as caught:
        simulation.run(10)
    message = str(caught.value)
    assert "failed at step 3" in message
    assert "atom 5 (Ar): energy" in message
    assert "nan" in message
    assert "The last good step is 2" in message
    assert "timestep_fs (now 2)" in message
    assert simulation.state.step == 2
    for name in ("positions", "velocities", "forces", "energy", "stress"):
        assert torch.equal(getattr(simulation.state, name), getattr(reference.state, name)), name


def test_forces_that_are_not_finite_at_the_start() -> None:
    simulation = Simulation(argon(), Broken(good=0), VelocityVerlet(2.0))
    with pytest.raises(PhysicsError, match="failed at step 0"):
        simulation.run(1)
    assert simulation.state.step == 0


def test_an_explosion_names_its_atoms_and_counts_the_rest() -> None:
    atoms = ase.build.bulk("Ar", "fcc", a=5.5, cubic=True).repeat(2)
    atoms.positions[7] = atoms.positions[3] + [0.0, 0.0, 1.0]  # deep in the repulsive wall
    simulation = Simulation([atoms.copy(), atoms], SHORT, VelocityVerlet(2.0))
    simulation.observe_start = False  # what goes on from step 0 is not asked about its first step
    with pytest.raises(PhysicsError, match=r"system 0: .* step 1:\n- atom 3 \(Ar\): moved"):
        simulation.run(10)
    assert torch.isfinite(simulation.state.positions).all()
    frames = state_to_atoms(simulation.state)
    assert all(np.isfinite(frame.get_forces()).all() for frame in frames)


def test_flying_apart_is_reported_for_five_atoms_at_most() -> None:
    state = argon()
    state.velocities.fill_(2.0)
    simulation = Simulation(state, NoForces(), VelocityVerlet(1.0))
    simulation.observe_start = False
    with pytest.raises(PhysicsError, match="and 27 more atoms") as caught:
        simulation.run(1)
    assert str(caught.value).count("moved 3.46 Å") == 5


def test_a_float32_model_moves_a_float64_state() -> None:
    single = Simulation(argon(), replace(SHORT, dtype=torch.float32), VelocityVerlet(4.0))
    double = Simulation(argon(), SHORT, VelocityVerlet(4.0))
    single.run(50)
    double.run(50)
    difference = float((single.state.positions - double.state.positions).abs().max())
    assert 0.0 < difference < 1e-4
    assert single.state.positions.dtype == single.state.forces.dtype == torch.float64


def test_molecules_slabs_and_atoms_alone_run_side_by_side() -> None:
    slab = ase.build.fcc111("Ar", (2, 2, 2), a=5.3, vacuum=None)
    slab.pbc = [True, True, False]
    systems = [
        Atoms("Ar2", [[0, 0, 0], [3.9, 0, 0]]),
        slab,
        Atoms("Ar"),
        Atoms("Ar", cell=[3.6] * 3, pbc=True),
    ]
    simulation = Simulation(systems, SHORT, VelocityVerlet(4.0))
    simulation.run(50)
    assert torch.isfinite(simulation.state.energy).all()
    assert float(simulation.state.energy[2]) == 0.0
    assert thermodynamics(simulation, 0)["volume_A3"] == 0.0
    assert np.isnan(thermodynamics(simulation, 0)["pressure_GPa"])
    assert np.isfinite(thermodynamics(simulation, 3)["pressure_GPa"])
