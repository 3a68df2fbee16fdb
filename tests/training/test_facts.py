"""What a model file says of its training, and what a run beyond it is told."""

import pytest
from ase import Atoms
from ase.build import bulk

from fastequi.cli.info import about
from fastequi.limits import beyond_training, hottest_K
from fastequi.md.ramps import Ramp
from fastequi.model.facts import TrainingFacts, training_facts
from fastequi.model.file import read_model
from fastequi.training.config import load_train_config
from fastequi.training.session import train


def test_the_model_file_knows_its_training(train_toml, tmp_path, copper):
    (summary,) = train(load_train_config(train_toml(epochs=1))).members
    path = tmp_path / "out" / "model.safetensors"
    data = read_model(path)
    assert data.sha256 == summary["model_sha256"]  # facts are no part of it
    facts = training_facts(data.provenance)
    assert facts is not None
    assert facts.frames == 10
    assert list(facts.atoms) == ["Cu"]
    nearest = []
    for atoms in copper:
        distances = atoms.repeat(2).get_all_distances(mic=True)
        nearest.append(distances[distances > 0.0].min())
    # Ten of these are learnt from.
    assert facts.shortest_A["Cu-Cu"] == pytest.approx(sorted(nearest)[0], abs=0.15)
    assert facts.errors["validation"]["force_mae_meV_per_A"] == pytest.approx(
        summary["validation"]["force_mae_meV_per_A"]
    )
    shown = about(str(path))
    assert shown["shortest distances"].startswith("Cu-Cu 2.")
    assert "meV/Å (mean absolute)" in shown["validation errors"]
    assert "training_facts" not in shown


def test_there_and_back():
    facts = TrainingFacts(
        3, {"H": 6, "O": 3}, {"H-O": 0.93}, 4.0, (300.0, 600.0), None, {"test": {}}
    )
    assert training_facts({"training_facts": facts.to_json()}) == facts
    newer = facts.to_json().replace("{", '{"a later one": 1, ', 1)
    assert training_facts({"training_facts": newer}) == facts
    assert training_facts({}) is None
    assert training_facts({"training_facts": "[damaged"}) is None


FACTS = TrainingFacts(
    frames=5, atoms={"Cu": 500}, shortest_A={"Cu-Cu": 2.3}, temperatures_K=(300.0, 800.0),
    volumes_A3_per_atom=(11.0, 13.0),
)  # fmt: skip


@pytest.mark.parametrize(
    ("atoms", "temperature", "said"),
    [
        (bulk("Cu", a=3.6), 900.0, None),
        (bulk("Cu", a=3.6), 1200.0, "the run goes to 1200 K, training frames to 800 K"),
        (bulk("Cu", a=4.0), 300.0, "16 Å³ per atom in the structure, and 11 to 13"),
        (Atoms("Cu2", [[0, 0, 0], [0, 0, 2.0]]), 300.0, "Cu-Cu is 2 Å in the structure, and at l"),
        (Atoms("CuAg", [[0, 0, 0], [0, 0, 2.0]]), 300.0, "of Ag it knows at best what it was"),
    ],
)
def test_what_leaves_the_limits_is_named(atoms, temperature, said):
    found = list(beyond_training(FACTS, atoms, temperature))
    assert len(found) == (1 if said else 0)
    assert not said or said in found[0]


def test_the_hottest_of_all():
    assert hottest_K(300.0) == 300.0
    assert hottest_K(Ramp(300.0, 900.0, 10)) == 900.0
    assert hottest_K([300.0, Ramp(500.0, 100.0, 10)]) == 500.0
