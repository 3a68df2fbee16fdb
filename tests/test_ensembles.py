"""What an ensemble must do, for each row of the table; and that a new one is a file and a row."""

import csv
import importlib.util
import math
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms, FixCom

from fastequi.errors import InputError, PhysicsError
from fastequi.graph import Graph
from fastequi.md.config import DynamicsConfig, SharedDynamics
from fastequi.md.ensemble_keys import with_own_keys
from fastequi.md.integrators import INTEGRATORS, Integrator, LangevinBAOAB, VelocityVerlet
from fastequi.md.integrators.integrator import parameters
from fastequi.md.ramps import Ramp
from fastequi.md.simulation import Simulation
from fastequi.md.state import State, state_from_atoms
from fastequi.md.testing import LennardJones
from fastequi.md.trajectory.checkpoint import checkpoint_of, state_of
from fastequi.md.velocities import maxwell_boltzmann_
from fastequi.potential import Prediction
from fastequi.storage.checkpoint import read_checkpoint, write_checkpoint

TOY = Path(__file__).with_name("toy_ensemble.py")


def toy_kind() -> type[Integrator]:
    """The toy's class, without its row."""
    spec = importlib.util.spec_from_file_location("toy_ensemble", TOY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there for their annotations
    spec.loader.exec_module(module)
    return module.ToyThermostat


ToyThermostat = toy_kind()
EVERY = {**INTEGRATORS, ToyThermostat.ensemble: ToyThermostat}
Dynamics = with_own_keys(SharedDynamics, EVERY)

#: Limits that no minimisation reaches in the steps of these tests.
TIGHT = {"force_limit_eV_per_A": 1e-13, "stress_limit_GPa": 1e-13}

#: Parameters with which an ensemble does what it does not by default.
VARIANTS: list[tuple[str, dict[str, object]]] = [
    *((name, {}) for name in EVERY),
    ("nvt-nose-hoover", {"chain_length": 5, "temperature_K": Ramp(20.0, 80.0, 25)}),
    ("nvt-csvr", {"temperature_K": [Ramp(20.0, 80.0, 25), 60.0], "thermostat_time_fs": 20.0}),
    ("npt-scr", {"coupling": "axes", "pressure_GPa": Ramp(0.0, 0.5, 25)}),
    ("npt-scr", {"coupling": "flexible", "compressibility_per_GPa": 0.3}),
    ("npt-mtk", {"coupling": "axes", "pressure_GPa": [0.1, 0.3], "barostat_axes": "xy"}),
    ("npt-mtk", {"coupling": "flexible", "temperature_K": Ramp(60.0, 30.0, 25)}),
    ("minimize", {"optimizer": "fire", "coupling": "axes", "barostat_axes": "xz", **TIGHT}),
    ("minimize", {"coupling": "flexible", "pressure_GPa": [0.1, 0.3], **TIGHT}),
]


SHEAR = np.eye(3) + 0.03 * np.array([[0, 1, 0], [1, 0, 0.5], [0, 0.5, 1]])


def argon() -> State:
    systems = [bulk("Ar", a=5.3, cubic=True).repeat(2), bulk("Ar").repeat(3)]
    for atoms in systems:
        atoms.rattle(0.05, seed=1)
    state = state_from_atoms(systems)
    maxwell_boltzmann_(state, 60.0, seed=1)
    return state


def integrator_of(name: str, **own: object) -> Integrator:
    """With its defaults, as md.toml makes it, and parameters of its own."""
    settings = Dynamics(ensemble=name, steps=1)
    defaults = {key: getattr(settings, key) for key in parameters(EVERY[name])}
    if name == "minimize":
        defaults |= TIGHT
    if not EVERY[name].is_dynamics:
        own.pop("timestep_fs", None)
    return EVERY[name](**{**defaults, **own})


def same_bits(a: State, b: State) -> bool:
    """Whether two states are the same to the last bit, the extra tensors included."""

    def bits(state: State) -> dict[str, object]:
        values = {f.name: getattr(state, f.name) for f in fields(state) if f.name != "extra"}
        return {
            name: (v.dtype, tuple(v.shape), v.numpy().tobytes()) if torch.is_tensor(v) else v
            for name, v in {**values, **state.extra}.items()
        }

    return bits(a) == bits(b)


@dataclass(frozen=True)
class FailsAtTheEnd(LennardJones):
    """Argon, with forces that are infinite in the last of so many calls."""

    countdown: tuple[int, ...] = ()

    def compute(self, graph: Graph) -> Prediction:
        object.__setattr__(self, "countdown", self.countdown[1:])
        found = super().compute(graph)
        if not self.countdown:
            found.forces[0] = math.inf
        return found


# -- every row of the table ----------------------------------------------------------------------


@pytest.mark.parametrize(("name", "own"), VARIANTS)
def test_a_restart_from_the_disk_is_no_restart(
    name: str, own: dict[str, object], tmp_path: Path
) -> None:
    """With an integrator of its own: whatever it does not declare is lost, and this shows."""
    whole = Simulation(argon(), LennardJones(), integrator_of(name, **own))
    whole.run(30)
    first = Simulation(argon(), LennardJones(), integrator_of(name, **own))
    first.run(13)
    path = write_checkpoint(tmp_path, checkpoint_of(first.state, {}, {}))
    again = integrator_of(name, **own)
    second = Simulation(state_of(read_checkpoint(path)), LennardJones(), again)
    second.forces_are_current = True
    second.run(17)
    assert same_bits(second.state, whole.state)


@pytest.mark.parametrize("name", EVERY)
def test_a_failure_goes_back_to_the_last_good_step(name: str) -> None:
    good = Simulation(argon(), LennardJones(), integrator_of(name))
    good.run(6)
    # Forces are computed once before the first step and once in each: the eighth is step 7.
    failing = Simulation(argon(), FailsAtTheEnd(countdown=(0,) * 8), integrator_of(name))
    with pytest.raises(PhysicsError, match="failed at step 7"):
        failing.run(10)
    assert same_bits(failing.state, good.state)
    failing.potential = LennardJones()
    failing.run(9)
    good.run(9)
    assert same_bits(failing.state, good.state)


@pytest.mark.parametrize(("name", "own"), [
    *((name, {}) for name in EVERY),
    ("npt-scr", {"coupling": "flexible", "compressibility_per_GPa": 0.3}),
    ("npt-mtk", {"coupling": "flexible", "pressure_GPa": 0.2}),
    ("minimize", {"optimizer": "fire"}),
    ("minimize", {"coupling": "flexible", "pressure_GPa": 0.2}),
])  # fmt: skip
def test_a_system_of_a_batch_moves_as_it_does_alone(name: str, own: dict[str, object]) -> None:
    """Systems of different size, shape, temperature; the noise of a system is that of its seed."""
    systems = [bulk("Ar", a=5.3, cubic=True).repeat(2), bulk("Ar").repeat(3), bulk("Ar").repeat(2)]
    systems[1].set_cell(systems[1].cell.array @ SHEAR, scale_atoms=True)
    for k, atoms in enumerate(systems):
        atoms.rattle(0.05, seed=k)
    temperatures, seeds = [60.0, 30.0, 90.0], [5, 6, 7]
    seeded = "seed" in parameters(EVERY[name])

    def moved(chosen: slice) -> State:
        state = state_from_atoms(systems[chosen])
        maxwell_boltzmann_(state, temperatures[chosen], seeds[chosen])
        seed = {"seed": seeds[chosen]} if seeded else {}
        integrator = integrator_of(name, timestep_fs=3.0, **seed, **own)
        Simulation(state, LennardJones(), integrator).run(40)
        return state

    batch = moved(slice(0, 3))
    for k in range(3):
        alone, mine = moved(slice(k, k + 1)), batch.system_idx == k
        torch.testing.assert_close(batch.positions[mine], alone.positions, rtol=0.0, atol=1e-10)
        torch.testing.assert_close(batch.velocities[mine], alone.velocities, rtol=0.0, atol=1e-12)
        torch.testing.assert_close(batch.cell[k], alone.cell[0], rtol=0.0, atol=1e-10)


@pytest.mark.parametrize("name", EVERY)
def test_fixed_atoms_stay_through_a_restart_from_the_disk(name: str, tmp_path: Path) -> None:
    """Where an ensemble cannot hold them, it says so; beside them, a system moves as it does alone.

    A fixed centre of mass goes through the same.
    """
    held, free = bulk("Ar", a=5.3, cubic=True).repeat(2), bulk("Ar").repeat(3)
    free.rattle(0.05, seed=1)
    held.rattle(0.05, seed=2)
    held.set_constraint(FixAtoms(range(8)))
    free.set_constraint(FixCom())

    def start(systems: list[Atoms], seeds: list[int]) -> Simulation:
        state = state_from_atoms(systems)
        maxwell_boltzmann_(state, 60.0, seeds)
        seeded = {"seed": seeds} if "seed" in parameters(EVERY[name]) else {}
        return Simulation(state, LennardJones(), integrator_of(name, timestep_fs=3.0, **seeded))

    if name.startswith("npt"):
        with pytest.raises(InputError, match=f"atoms are fixed, which {name} cannot hold"):
            start([held, free], [5, 6])
        return
    whole, first, alone = (
        start([held, free], [5, 6]),
        start([held, free], [5, 6]),
        start([free], [6]),
    )
    whole.run(30)
    first.run(13)
    path = write_checkpoint(tmp_path, checkpoint_of(first.state, {}, {}))
    second = start([held, free], [5, 6])
    second = Simulation(state_of(read_checkpoint(path)), LennardJones(), second.integrator)
    second.forces_are_current = True
    second.run(17)
    assert same_bits(second.state, whole.state)
    assert np.array_equal(whole.state.positions[:8].numpy(), held.positions[:8])
    assert float(whole.state.velocities[:8].abs().max()) == 0.0
    assert float((whole.state.positions[8:32] - torch.tensor(held.positions[8:])).abs().min()) > 0.0
    alone.run(30)
    torch.testing.assert_close(
        whole.state.positions[32:], alone.state.positions, rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("name", EVERY)
def test_it_knows_its_name_and_cannot_remember(name: str) -> None:
    integrator = integrator_of(name)
    assert integrator.ensemble == name
    assert list(integrator.description()) == ["ensemble", *parameters(EVERY[name])]
    for key in ("timestep_fs", "memory"):
        with pytest.raises(AttributeError):
            setattr(integrator, key, 2.0)


def test_what_is_not_frozen_cannot_be_made() -> None:
    class Forgetful(VelocityVerlet):
        def __init__(self) -> None:
            super().__init__(1.0)
            self.chain = torch.zeros(3)

    with pytest.raises(AttributeError, match=r"chain cannot be set.*frozen.*extra_state"):
        Forgetful()


# -- extra state ---------------------------------------------------------------------------------


def test_a_state_of_another_ensemble_is_refused() -> None:
    simulation = Simulation(argon(), LennardJones(), LangevinBAOAB(4.0, 60.0))
    simulation.run(3)
    with pytest.raises(InputError, match=r"nve cannot .*step 3.*it needs nothing.*heat': \[2\]"):
        Simulation(simulation.state, LennardJones(), VelocityVerlet(4.0))
    simulation.state.extra = {}
    Simulation(simulation.state, LennardJones(), VelocityVerlet(4.0))
    with pytest.raises(InputError, match=r"nvt-langevin cannot go on.*extra_state.state. starts"):
        Simulation(simulation.state, LennardJones(), LangevinBAOAB(4.0, 60.0))


def test_extra_state_moves_with_the_state() -> None:
    state = argon()
    integrator_of("nvt-toy").start_(state)
    moved = state.to("meta")
    assert {name: t.device.type for name, t in moved.extra.items()} == dict.fromkeys(
        ("friction", "work", "kicks"), "meta"
    )
    assert moved.extra["kicks"].dtype == torch.int64
    assert moved.step == state.step


# -- keys of [dynamics] --------------------------------------------------------------------------


def test_keys_belong_to_their_ensemble() -> None:
    toy = Dynamics(ensemble="nvt-toy", steps=1).model_dump()
    assert (toy["toy_time_fs"], toy["friction_per_ps"]) == (40.0, None)
    others = {"steps": 1, "toy_time_fs": 7.0}
    langevin = Dynamics.model_validate(others).model_dump()
    assert (langevin["toy_time_fs"], langevin["friction_per_ps"]) == (None, 1.0)
    with pytest.raises(ValueError, match="greater than 0"):
        Dynamics.model_validate({"ensemble": "nve", "steps": 1, "toy_time_fs": -1.0})
    info = Dynamics.model_fields["toy_time_fs"]
    assert info.description == "fs, in which it answers, of nvt-toy"
    meaning = Dynamics.model_fields["ensemble"].description
    assert meaning is not None
    assert meaning.startswith("nve (velocity Verlet), nvt-langevin (BAOAB), ")
    assert meaning.endswith(" or nvt-toy (a toy)")
    assert next(iter(Dynamics.model_fields)) == "ensemble"


def test_a_row_changes_nothing_for_the_others() -> None:
    for name in INTEGRATORS:
        with_toy = Dynamics(ensemble=name, steps=5).model_dump(exclude_none=True)
        assert with_toy == DynamicsConfig(ensemble=name, steps=5).model_dump(exclude_none=True)


def test_one_key_has_one_meaning() -> None:
    @dataclass(frozen=True)
    class Other(LangevinBAOAB):
        friction_per_ps: float = 2.0

    with pytest.raises(TypeError, match="friction_per_ps of other is declared differently"):
        with_own_keys(SharedDynamics, {**INTEGRATORS, "other": Other})


# -- a toy from md.toml to a restart -------------------------------------------------------------

TOML = """
[system]
structure = "ar.extxyz"
[model]
name = "sevennet-0"
dtype = "float64"
[dynamics]
ensemble = "nvt-toy"
timestep_fs = 4.0
steps = {steps}
temperature_K = 60.0
toy_time_fs = {time}
friction_per_ps = 5.0
device = "cpu"
[output]
directory = "run"
log_every = 1
trajectory_every = 5
checkpoint_every = 20
"""


def run_toy(folder: Path, steps: int, *options: str, time: str = "30.0") -> tuple[int, str]:
    folder.mkdir(exist_ok=True)
    atoms: Atoms = bulk("Ar", a=5.3, cubic=True).repeat(2)
    atoms.write(folder / "ar.extxyz")
    (folder / "md.toml").write_text(TOML.format(steps=steps, time=time))
    command = [sys.executable, str(TOY), "run", str(folder / "md.toml"), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_a_new_ensemble_is_one_file_and_one_row(tmp_path: Path) -> None:
    code, out = run_toy(tmp_path / "whole", 47)
    assert code == 0, out
    assert "nvt-toy, timestep 4 fs, temperature 60 K, toy time 30 fs" in out
    assert "conserved energy drift" in out
    assert run_toy(tmp_path / "parts", 23)[0] == 0
    code, out = run_toy(tmp_path / "parts", 47, "--resume")
    assert code == 0, out
    whole, parts = tmp_path / "whole" / "run", tmp_path / "parts" / "run"
    for name in ("log.csv", "trajectory.extxyz", "final.extxyz"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes(), name
    states = [
        state_of(read_checkpoint(folder / "checkpoints" / "step-000000047.safetensors"))
        for folder in (whole, parts)
    ]
    assert same_bits(*states)
    assert float(states[0].extra["friction"].abs()) > 0.0
    assert set(states[0].extra["kicks"].tolist()) == {94}
    resolved = (whole / "md.resolved.toml").read_text()
    assert "toy_time_fs = 30.0" in resolved
    assert "friction_per_ps" not in resolved  # without effect here
    with (whole / "log.csv").open() as file:
        conserved = np.array([float(row["conserved_eV"]) for row in csv.DictReader(file)])
    assert np.ptp(conserved) / 32 < 1e-5


def test_its_keys_are_checked_and_part_of_the_run(tmp_path: Path) -> None:
    code, out = run_toy(tmp_path, 3, time='"long"')
    assert code == 2
    assert 'dynamics.toy_time_fs: got "long"; allowed: a number without quotes' in out
    assert run_toy(tmp_path, 3)[0] == 0
    code, out = run_toy(tmp_path, 5, "--resume", time="31.0")
    assert code == 2
    assert "dynamics.toy_time_fs: 30.0 -> 31.0" in out


def test_a_constant_pressure_run_with_ramps_from_md_toml(tmp_path: Path) -> None:
    """What it says, writes and conserves; over more steps it would be another ramp."""
    npt = """
    temperature_K = [30.0, 60.0]
    pressure_GPa = [0.0, 0.4]
    coupling = "flexible"
    barostat_time_fs = 400.0
    """
    toml = TOML.replace("toy_time_fs = {time}\nfriction_per_ps = 5.0\n", npt)
    toml = toml.replace("nvt-toy", "npt-mtk").replace("temperature_K = 60.0\n", "")
    assert "toy" not in toml
    atoms: Atoms = bulk("Ar", a=5.3, cubic=True).repeat(2)

    atoms.write(tmp_path / "ar.extxyz")

    def run(steps: int, *options: str) -> tuple[int, str]:
        (tmp_path / "md.toml").write_text(toml.format(steps=steps))
        command = [sys.executable, str(TOY), "run", str(tmp_path / "md.toml"), *options]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    code, out = run(40)
    assert code == 0, out
    assert "npt-mtk, timestep 4 fs, temperature 30 to 60 K, pressure 0 to 0.4 GPa" in out
    assert "pressure " in out.split("conserved")[0]
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    conserved = np.array([float(row["conserved_eV"]) for row in rows])
    total = np.array([float(row["total_energy_eV"]) for row in rows])
    assert np.ptp(conserved) < 0.01 * np.ptp(total)
    assert float(rows[-1]["volume_A3"]) != float(rows[0]["volume_A3"])
    resolved = (tmp_path / "run" / "md.resolved.toml").read_text()
    assert "temperature_K = [30.0, 60.0]" in resolved
    code, out = run(60, "--resume")
    assert code == 2
    assert "dynamics.steps: 40 -> 60" in out
