"""NequIP files that NequIP itself trained and packaged: read, and in agreement with its numbers.

The files in `data/` are made by make_nequip_files.py; NequIP need not be installed here.
"""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from agreement import assert_agrees, load_references, predict

from fastequi.errors import InputError
from fastequi.importers.nequip import elements_of, read_nequip
from fastequi.importers.nequip_config import facts_from_config
from fastequi.model.file import build_model, read_model, save_model

DATA = Path(__file__).parent / "data"
SYSTEMS, REFERENCES = load_references(DATA / "nequip.json")
FILES = [f"nequip-{name}{kind}" for name in REFERENCES for kind in (".ckpt", ".nequip.zip")]


@pytest.mark.parametrize("file", FILES)
def test_agrees_with_nequip(file: str) -> None:
    potential = build_model(read_nequip(DATA / file), torch.float64)
    name = file.removeprefix("nequip-").split(".")[0]
    for structure, reference in REFERENCES[name].items():
        prediction = predict(potential, SYSTEMS[structure])
        assert_agrees(prediction, reference, f"{file}, {structure}")


@pytest.mark.parametrize("name", REFERENCES)
def test_checkpoint_and_package_are_the_same_model(name: str) -> None:
    checkpoint = read_nequip(DATA / f"nequip-{name}.ckpt")
    package = read_nequip(DATA / f"nequip-{name}.nequip.zip")
    assert checkpoint.sha256 == package.sha256
    assert checkpoint.provenance["EMA_weights"] == package.provenance["EMA_weights"] == "yes"


@pytest.mark.parametrize("name", REFERENCES)
def test_averaged_weights_matter(name: str, edited: Callable[..., Path]) -> None:
    """The raw weights are others: agreement would fail with them."""
    averaged = read_nequip(DATA / f"nequip-{name}.ckpt")
    raw = read_nequip(
        edited(f"nequip-{name}.ckpt", lambda c: c["state_dict"].pop("ema._extra_state"))
    )
    assert raw.provenance["EMA_weights"] == "no"
    difference = max(
        float((raw.tensors[key] - averaged.tensors[key]).abs().max()) for key in raw.tensors
    )
    assert difference > 1e-4


def test_survives_our_own_file(tmp_path: Path) -> None:
    data = read_nequip(DATA / "nequip-parity.ckpt")
    save_model(tmp_path / "model.safetensors", data)
    assert read_model(tmp_path / "model.safetensors").sha256 == data.sha256


@pytest.fixture
def edited(tmp_path: Path) -> Callable[..., Path]:
    """A copy of a checkpoint after a change to its contents."""

    def make(file: str, change: Callable[[dict[str, Any]], object]) -> Path:
        checkpoint = torch.load(DATA / file, map_location="cpu", weights_only=True)
        change(checkpoint)
        path = tmp_path / "edited.ckpt"
        torch.save(checkpoint, path)
        return path

    return make


def _set_model(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda checkpoint: checkpoint["hyper_parameters"]["model"].update(changes)


REFUSED = {
    "convnet_resnet": _set_model(convnet_resnet=True),
    "convnet_nonlinearity_type": _set_model(convnet_nonlinearity_type="norm"),
    "convnet_nonlinearity_scalars": _set_model(
        convnet_nonlinearity_scalars={"e": "ssp", "o": "tanh"}
    ),
    "categorical_graph_field_embed": _set_model(
        categorical_graph_field_embed=[{"field": "charge"}]
    ),
    "LennardJones": _set_model(
        pair_potential={"_target_": "nequip.nn.pair_potential.LennardJones"}
    ),
    "AllegroModel": _set_model(_target_="allegro.model.AllegroModel"),
    "bfloat16": _set_model(model_dtype="bfloat16"),
    "nequip-package build": _set_model(_target_="nequip.model.ModelFromPackage"),
    "'Cu1' is not one chemical element": _set_model(type_names=["Cu1", "Al"]),
    "brand_new_option": _set_model(brand_new_option=3),
    "'sigmoid'": _set_model(readout_mlp_nonlinearity="sigmoid"),
    "not a NequIP file that is known": _set_model(num_features=4),
    "num_features": _set_model(num_features=[3, 3, 3]),
    "middle of a validation": lambda c: c["state_dict"]["ema._extra_state"].update(
        is_holding_ema_weights=False
    ),
    "do not fit its model": lambda c: c["state_dict"].pop("ema.ema_weight_3"),
    "schedule-free": lambda c: c.update(schedulefree_optimizer_state_dict={}),
    "not one of NequIP": lambda c: c.pop("hyper_parameters"),
    "or none of NequIP": lambda c: c["state_dict"].clear(),
    "units other than metal": lambda c: c["state_dict"][
        "model.sole_model.model.func.pair_potential._qqr2exesquare"
    ].mul_(23.06),
    "elements of its ZBL": lambda c: c["state_dict"][
        "model.sole_model.model.func.pair_potential.atomic_numbers"
    ].add_(1),
}


@pytest.mark.parametrize("feature", REFUSED)
def test_refuses_by_name(feature: str, edited: Callable[..., Path]) -> None:
    path = edited("nequip-parity.ckpt", REFUSED[feature])
    with pytest.raises(InputError, match="(?s)edited.ckpt.*" + feature.replace("(", r"\(")):
        read_nequip(path)


@pytest.mark.parametrize("name", ["a.nequip.pth", "a.nequip.pt2", "a.nequip.lmp.pt"])
def test_compiled_files_name_the_way_out(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(InputError, match=r"nequip\.zip package or the \.ckpt"):
        read_nequip(tmp_path / name)


@pytest.mark.parametrize("size", [0, 10, 2000, 40000])
@pytest.mark.parametrize("file", ["nequip-natural.ckpt", "nequip-natural.nequip.zip"])
def test_truncated_files(file: str, size: int, tmp_path: Path) -> None:
    path = tmp_path / file
    path.write_bytes((DATA / file).read_bytes()[:size])
    with pytest.raises(InputError, match=file):
        read_nequip(path)


def test_misnamed_files(tmp_path: Path) -> None:
    checkpoint = tmp_path / "really-a-checkpoint.nequip.zip"
    shutil.copy(DATA / "nequip-natural.ckpt", checkpoint)
    with pytest.raises(InputError, match="not a NequIP package"):
        read_nequip(checkpoint)
    package = tmp_path / "really-a-package.ckpt"
    shutil.copy(DATA / "nequip-natural.nequip.zip", package)
    with pytest.raises(InputError, match="not a torch checkpoint"):
        read_nequip(package)
    other = tmp_path / "other.nequip.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme", "hello")
    with pytest.raises(InputError, match="not a NequIP package"):
        read_nequip(other)


def test_modifiers_are_unwrapped(edited: Callable[..., Path]) -> None:
    """Fine-tuning wraps the builder; new shifts are in the weights already."""

    def wrap(checkpoint: dict[str, Any]) -> None:
        checkpoint["hyper_parameters"]["model"] = {
            "_target_": "nequip.model.modify",
            "modifiers": [
                {"modifier": "modify_PerTypeScaleShift", "shifts_trainable": True, "shifts": {}},
                {"modifier": "enable_OpenEquivariance"},
            ],
            "model": {
                **checkpoint["hyper_parameters"]["model"],
                "per_type_energy_shifts_trainable": False,
            },
        }

    plain = read_nequip(DATA / "nequip-natural.ckpt")
    assert read_nequip(edited("nequip-natural.ckpt", wrap)).sha256 == plain.sha256


def test_types_by_the_map_of_the_training() -> None:
    assert elements_of(("copper", "Al"), {"Cu": "copper"}) == (29, 13)
    assert elements_of(("O", "H"), {}) == (8, 1)
    for names, species_map in [
        (("X",), {}),
        (("C1", "C2"), {}),
        (("metal",), {"Cu": "metal", "Ag": "metal"}),
        (("C", "carbon"), {"C": "carbon"}),
    ]:
        with pytest.raises(InputError, match="not supported"):
            elements_of(names, species_map)


OLD = {
    "_target_": "nequip.model.NequIPGNNModel",
    "model_dtype": "float32",
    "type_names": ["H"],
    "r_max": 4.0,
    "l_max": 1,
    "num_features": 2,
    "num_layers": 2,
    "polynomial_cutoff_p": 5,
    "pair_potential": {"_target_": "nequip.nn.pair_potential.ZBL"},
}


def test_releases_before_0_16() -> None:
    """There, parities are the outer loop, without parity all is even, ZBL ends like the network."""
    facts = facts_from_config({**OLD, "parity": True}, "0.15.0")
    assert facts.hidden_irreps[0] == "2x0e+2x1e+2x0o+2x1o"
    assert facts.edge_irreps == "1x0e+1x1o"
    assert facts.zbl_p == 5
    assert facts.sender_scale == (1.0,)
    facts = facts_from_config({**OLD, "parity": False}, "0.15.0")
    assert facts.hidden_irreps[0] == "2x0e+2x1e"
    assert facts.edge_irreps == "1x0e+1x1e"
    facts = facts_from_config({**OLD, "parity": False, "avg_num_neighbors": 4}, "0.19.1")
    assert facts.hidden_irreps[0] == "2x0e+2x1o"
    assert facts.zbl_p == 6
    assert facts.sender_scale == (0.5,)
