"""Train two tiny models with NequIP's own commands and write down what NequIP says of them.

    python tests/importers/make_nequip_files.py [DIRECTORY]

needs an environment with nequip (0.19.1 made the files in `data/`) and takes about a minute.
Per model: a checkpoint `nequip-NAME.ckpt` with averaged (EMA) weights, the package
`nequip-NAME.nequip.zip` made from it, and in `nequip.json` NequIP's energies, forces and stress
of three structures. The data is copper-aluminium by ASE's EMT potential, so nothing is downloaded.

Of the packages in `data/` only what describes the model is kept, compressed (`slim`): NequIP adds
its own source code and a second copy of the model, 0.7 MB that fastequi never opens.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import ase.build
import ase.io
import numpy as np
import yaml
from agreement import Reference, save_references
from ase.calculators.emt import EMT

DATA = Path(__file__).parent / "data"
TYPES = ["Cu", "Al"]
CUTOFF_A = 4.0
#: NequIPGNNModel's arguments: odd scalars need four layers at l_max = 1.
MODELS: dict[str, dict[str, Any]] = {
    "parity": {
        "l_max": 1,
        "parity": True,
        "num_layers": 4,
        "num_features": 3,
        "radial_mlp_width": 6,
        "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
        "per_type_energy_shifts": "${training_data_stats:per_atom_energy_mean}",
        "per_type_energy_scales": "${training_data_stats:forces_rms}",
        "pair_potential": {
            "_target_": "nequip.nn.pair_potential.ZBL",
            "units": "metal",
            "chemical_species": TYPES,
        },
    },
    "natural": {
        "l_max": 2,
        "parity": False,
        "num_layers": 3,
        "num_features": [5, 3, 2],
        "type_embed_num_features": 4,
        "radial_mlp_depth": 2,
        "radial_mlp_width": 6,
        "num_bessels": 6,
        "bessel_trainable": True,
        "polynomial_cutoff_p": 5,
        "per_edge_type_cutoff": {"Al": 3.5},
        "avg_num_neighbors": {"Cu": 17.0, "Al": 15.5},
        "readout_mlp_hidden_layers_depth": 1,
        "readout_mlp_hidden_layers_width": 4,
        "per_type_energy_shifts": {"Cu": 0.05, "Al": 0.1},
        "per_type_energy_scales": {"Cu": 0.9, "Al": 1.1},
        "per_type_energy_shifts_trainable": True,
    },
}


def structures() -> dict[str, ase.Atoms]:
    """A crystal, a triclinic strained one, and a cluster without a cell."""
    generator = np.random.default_rng(11)
    bulk = ase.build.bulk("Cu", "fcc", 3.8, cubic=True) * (2, 2, 1)
    triclinic = ase.build.bulk("Cu", "fcc", 3.8) * (2, 2, 2)
    strain = np.eye(3) + 0.06 * generator.normal(size=(3, 3))
    triclinic.set_cell(triclinic.cell @ strain, scale_atoms=True)
    cluster = ase.build.bulk("Cu", "fcc", 3.8, cubic=True) * (2, 1, 1)
    cluster.set_cell(None)
    cluster.pbc = False
    result = {"bulk": bulk, "triclinic": triclinic, "cluster": cluster}
    for atoms in result.values():
        atoms.numbers = generator.choice([29, 13], len(atoms))
        atoms.positions += 0.1 * generator.normal(size=(len(atoms), 3))
    return result


def write_training_data(path: Path) -> None:
    """Twelve distorted copper-aluminium crystals with EMT's energies, forces and stress."""
    generator = np.random.default_rng(7)
    frames = []
    for _ in range(12):
        atoms = ase.build.bulk("Cu", "fcc", 3.8, cubic=True) * (2, 2, 2)
        atoms.numbers = generator.choice([29, 13], len(atoms))
        atoms.positions += 0.1 * generator.normal(size=(len(atoms), 3))
        atoms.calc = EMT()
        atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        frames.append(atoms)
    ase.io.write(path, frames, format="extxyz")


def training_config(model: dict[str, Any], data: Path) -> dict[str, Any]:
    """NequIP's configuration: two epochs, with an exponential moving average of the weights."""
    metrics = {
        "_target_": "nequip.train.EnergyForceStressMetrics",
        "coeffs": {"total_energy_mae": 1.0, "forces_mae": 1.0, "stress_mae": 1.0},
    }
    loss = {
        "_target_": "nequip.train.EnergyForceStressLoss",
        "per_atom_energy": True,
        "coeffs": {"total_energy": 1.0, "forces": 1.0, "stress": 1.0},
    }
    builder = {
        "_target_": "nequip.model.NequIPGNNModel",
        "seed": 3,
        "model_dtype": "float64",
        "type_names": TYPES,
        "r_max": CUTOFF_A,
    }
    checkpoints = {
        "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
        "dirpath": "${hydra:runtime.output_dir}",
        "filename": "last",
    }
    return {
        "run": ["train"],
        "data": _data_config(data),
        "trainer": {
            "_target_": "lightning.Trainer",
            "max_epochs": 2,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "logger": False,
            "callbacks": [checkpoints],
        },
        "training_module": {
            "_target_": "nequip.train.EMALightningModule",
            "ema_decay": 0.9,
            "loss": loss,
            **dict.fromkeys(("train_metrics", "val_metrics", "test_metrics"), metrics),
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.02},
            "model": builder | model,
        },
    }


def _data_config(data: Path) -> dict[str, Any]:
    transforms = [
        {
            "_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
            "model_type_names": TYPES,
            "chemical_species_to_atom_type_map": {name: name for name in TYPES},
        },
        {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": CUTOFF_A},
    ]
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": 2}
    return {
        "_target_": "nequip.data.datamodule.ASEDataModule",
        "seed": 1,
        "split_dataset": {"file_path": str(data), "train": 8, "val": 4, "test": 0},
        "transforms": transforms,
        "train_dataloader": loader,
        "val_dataloader": loader,
        "stats_manager": {
            "_target_": "nequip.data.CommonDataStatisticsManager",
            "type_names": TYPES,
        },
    }


def train(name: str, directory: Path) -> tuple[Path, Path]:
    """Train and package one of MODELS; the checkpoint and the package."""
    data, config = directory / "cual.extxyz", directory / f"{name}.yaml"
    write_training_data(data)
    config.write_text(yaml.safe_dump(training_config(MODELS[name], data)))
    commands, run = Path(sys.executable).parent, directory / name
    _run(commands / "nequip-train", "-cp", directory, "-cn", name, f"hydra.run.dir={run}")
    package = directory / f"nequip-{name}.nequip.zip"
    _run(commands / "nequip-package", "build", run / "last.ckpt", package)
    return (run / "last.ckpt").rename(directory / f"nequip-{name}.ckpt"), package


def _run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


def slim(package: Path, out: Path) -> None:
    """Copy of a package without source code and without the copy of the model for compilation."""
    with (
        zipfile.ZipFile(package) as source,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target,
    ):
        for member in source.namelist():
            if not member.endswith((".py", "compile_model.pkl", "example_data.pkl")):
                target.writestr(member, source.read(member))


def nequip_says(path: Path) -> dict[str, Reference]:
    """NequIP's own numbers for the structures, from one of its files."""
    from nequip.model.saved_models.load_utils import load_saved_model
    from nequip.utils.global_state import set_global_state
    from nequip_peer import evaluate

    set_global_state()
    model = load_saved_model(path)
    return {name: evaluate(model, atoms) for name, atoms in structures().items()}


def main(out: Path) -> None:
    """Make all files of `data/`."""
    references = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in MODELS:
            checkpoint, package = train(name, Path(scratch))
            references[name] = nequip_says(checkpoint)
            (out / checkpoint.name).write_bytes(checkpoint.read_bytes())
            slim(package, out / package.name)
    save_references(out / "nequip.json", structures(), references)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
