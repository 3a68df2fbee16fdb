"""NequIP models of many kinds, random weights: fastequi computes what NequIP computes."""

from pathlib import Path
from typing import Any

import ase.build
import numpy as np
import pytest
import torch
from agreement import assert_agrees, predict

from fastequi.importers.nequip import read_nequip
from fastequi.model.file import build_model

pytest.importorskip("nequip", reason="NequIP is not installed: pip install 'fastequi[peers]'")
from nequip_peer import build, evaluate, write_checkpoint, write_package

pytestmark = [pytest.mark.peers, pytest.mark.slow]

TYPES = ["O", "C", "H"]
ZBL = {"_target_": "nequip.nn.pair_potential.ZBL", "units": "metal", "chemical_species": TYPES}
COMMON: dict[str, Any] = {
    "_target_": "nequip.model.NequIPGNNModel",
    "type_names": TYPES,
    "r_max": 3.5,
    "l_max": 2,
    "num_layers": 3,
    "num_features": 4,
    "radial_mlp_width": 8,
    "avg_num_neighbors": 7.3,
    "per_type_energy_shifts": {"O": -3.0, "C": -2.0, "H": -1.0},
    "per_type_energy_scales": {"O": 1.3, "C": 0.7, "H": 1.1},
}
FULL = {
    "_target_": "nequip.model.FullNequIPGNNModel",
    "type_names": TYPES,
    "r_max": 3.5,
    "avg_num_neighbors": 7.3,
    "radial_mlp_depth": [1, 0, 2],
    "radial_mlp_width": [8, 4, 6],
    "type_embed_num_features": 3,
    "irreps_edge_sh": "0e+1o+2e",
}
CASES: dict[str, dict[str, Any]] = {
    **{
        f"l={l_max} parity={parity}": {
            **COMMON,
            "l_max": l_max,
            "parity": parity,
            "num_layers": 4 if l_max < 3 else 3,
            "num_features": [6, 4, 3, 2, 2][: l_max + 1],
        }
        for l_max in (1, 2, 3, 4)
        for parity in (True, False)
    },
    "l=0": {**COMMON, "l_max": 0},
    "one layer": {**COMMON, "num_layers": 1},
    "deep radial": {**COMMON, "radial_mlp_depth": 3, "radial_mlp_width": 5},
    "linear radial": {**COMMON, "radial_mlp_depth": 0},
    "type_embed": {**COMMON, "type_embed_num_features": 7, "parity": False},
    "bessel": {**COMMON, "bessel_trainable": True, "num_bessels": 5, "polynomial_cutoff_p": 5},
    "pair cutoffs": {**COMMON, "per_edge_type_cutoff": {"H": 2.0, "C": {"H": 3.0, "C": 2.5}}},
    "neighbours per type": {**COMMON, "avg_num_neighbors": {"O": 3.0, "C": 5.5, "H": 2.25}},
    "ZBL": {**COMMON, "pair_potential": ZBL},
    "ZBL, p": {**COMMON, "pair_potential": ZBL, "polynomial_cutoff_p": 4},
    "ZBL, pair cutoffs": {**COMMON, "pair_potential": ZBL, "per_edge_type_cutoff": {"H": 2.0}},
    "scalar scale and shift": {
        **COMMON,
        "per_type_energy_shifts": -1.5,
        "per_type_energy_scales": 2.5,
    },
    "no scale, no shift": {
        **COMMON,
        "per_type_energy_shifts": None,
        "per_type_energy_scales": None,
    },
    "trained scale and shift": {
        **COMMON,
        "per_type_energy_shifts_trainable": True,
        "per_type_energy_scales_trainable": True,
    },
    **{
        f"readout {word!r}": {
            **COMMON,
            "readout_mlp_hidden_layers_depth": 2,
            "readout_mlp_hidden_layers_width": 5,
            "readout_mlp_nonlinearity": word,
        }
        for word in ("silu", "mish", "gelu", "ssp", "tanh", None, "None")
    },
    "preset": {**COMMON, "_target_": "nequip.model.PresetNequIPGNNModel", "preset": "m"},
    "full, own order": {
        **FULL,
        "feature_irreps_hidden": ["3x1e+4x0e+2x1o", "2x2o+2x1o+3x1e+2x0o+4x0e+1x2e", "5x0e"],
    },
    "full, even": {
        **FULL,
        "irreps_edge_sh": "0e+1e+2e",
        "feature_irreps_hidden": ["4x0e+3x1e+2x2e", "4x0e+2x2e+3x1e", "5x0e"],
    },
    "full, learnable shift": {
        **FULL,
        "learnable_shift": True,
        "feature_irreps_hidden": ["4x0e+3x1o", "4x0e+2x0o+3x1o", "5x0e"],
    },
    "full, no self-connection": {
        **FULL,
        "convnet_sc": False,
        "feature_irreps_hidden": ["4x0e+3x1o", "4x0e+2x0o+3x1o", "5x0e"],
    },
}
CASES["preset"] |= {"num_layers": 3, "num_features": [4, 3, 2]}


@pytest.fixture(scope="module")
def systems() -> dict[str, ase.Atoms]:
    generator = np.random.default_rng(5)
    crystal = ase.build.bulk("C", "diamond", 3.6) * (2, 2, 2)
    crystal.numbers = generator.choice([8, 6, 1], len(crystal))
    strain = np.eye(3) + 0.08 * generator.normal(size=(3, 3))
    crystal.set_cell(crystal.cell @ strain, scale_atoms=True)
    crystal.positions += 0.1 * generator.normal(size=(len(crystal), 3))
    molecule = ase.build.molecule("CH3CH2OH")
    molecule.positions += 0.05 * generator.normal(size=(len(molecule), 3))
    return {"crystal": crystal, "molecule": molecule}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["checkpoint", "package"])
def test_computes_what_nequip_computes(
    case: str, kind: str, systems: dict[str, ase.Atoms], tmp_path: Path
) -> None:
    config = CASES[case]
    model = build(config)
    if kind == "checkpoint":
        path = tmp_path / "random.ckpt"
        write_checkpoint(path, model, config)
    else:
        path = tmp_path / "random.nequip.zip"
        write_package(path, model)
    potential = build_model(read_nequip(path), torch.float64)
    for name, atoms in systems.items():
        reference = evaluate(model, atoms)
        assert np.abs(reference.forces).max() > 1e-3, "a model that says nothing proves nothing"
        assert_agrees(predict(potential, atoms), reference, f"{case}, {name}")
