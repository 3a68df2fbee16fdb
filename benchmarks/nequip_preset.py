"""NequIP's M preset for silicon as files, made by NequIP's own commands and kept in a folder.

One epoch of `nequip-train` on eight small crystals makes a checkpoint with as good as random
weights; `nequip-compile` makes the AOT-compiled form of it, which takes minutes. Both are made
once per folder and version of nequip and torch.
"""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

CUTOFF_A = 5.0
MODEL = {
    "_target_": "nequip.model.PresetNequIPGNNModel",
    "preset": "M",
    "seed": 1,
    "model_dtype": "float32",
    "type_names": ["Si"],
    "r_max": CUTOFF_A,
    "avg_num_neighbors": 28.0,
}


def checkpoint(cache: Path) -> Path:
    """The checkpoint, trained now if it is not in the folder."""
    path = _folder(cache) / "last.ckpt"
    if not path.exists():
        import yaml

        folder = path.parent
        folder.mkdir(parents=True, exist_ok=True)
        _write_training_data(folder / "silicon.extxyz")
        config = _training_config(folder / "silicon.extxyz", folder)
        (folder / "train.yaml").write_text(yaml.safe_dump(config))
        run = f"hydra.run.dir={folder / 'train'}"
        _run("nequip-train", "-cp", folder, "-cn", "train", run, log=folder / "train.log")
    return path


def compiled(cache: Path, device: str = "cpu") -> Path:
    """The AOT-compiled form for ASE, compiled now if it is not in the folder."""
    source = checkpoint(cache)
    path = source.with_name(f"{device}.nequip.pt2")
    if not path.exists():
        partial = source.with_name(f"{device}-partial.nequip.pt2")
        options = ["--mode", "aotinductor", "--device", device, "--target", "ase"]
        _run("nequip-compile", source, partial, *options, log=source.with_name("compile.log"))
        partial.rename(path)
    return path


def _folder(cache: Path) -> Path:
    return cache.absolute() / f"nequip-{version('nequip')}-torch-{version('torch')}"


def _run(command: str, *arguments: object, log: Path) -> None:
    program = Path(sys.executable).parent / command
    with log.open("w") as out:
        words = [str(word) for word in (program, *arguments)]
        code = subprocess.run(words, stdout=out, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        raise RuntimeError(f"{command} failed with {code}; its output is in {log}")


def _write_training_data(path: Path) -> None:
    """Silicon crystals with random energies and forces: the weights matter to nobody."""
    generator = np.random.default_rng(0)
    frames = []
    for _ in range(8):
        atoms = bulk("Si", cubic=True)
        atoms.positions += 0.05 * generator.normal(size=(len(atoms), 3))
        energy, forces = generator.normal(), generator.normal(size=(len(atoms), 3))
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        frames.append(atoms)
    ase.io.write(path, frames, format="extxyz")


def _training_config(data: Path, folder: Path) -> dict[str, Any]:
    targets = {"total_energy": 1.0, "forces": 1.0}
    errors = {
        "_target_": "nequip.train.EnergyForceMetrics",
        "coeffs": {f"{name}_mae": weight for name, weight in targets.items()},
    }
    return {
        "run": ["train"],
        "data": _data_config(data),
        "trainer": {
            "_target_": "lightning.Trainer",
            "max_epochs": 1,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "logger": False,
            "callbacks": [
                {
                    "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "dirpath": str(folder),
                    "filename": "last",
                }
            ],
        },
        "training_module": {
            "_target_": "nequip.train.NequIPLightningModule",
            "loss": {"_target_": "nequip.train.EnergyForceLoss", "coeffs": targets},
            **dict.fromkeys(("train_metrics", "val_metrics", "test_metrics"), errors),
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 1e-3},
            "model": MODEL,
        },
    }


def _data_config(data: Path) -> dict[str, Any]:
    transforms = [
        {
            "_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
            "model_type_names": ["Si"],
            "chemical_species_to_atom_type_map": {"Si": "Si"},
        },
        {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": CUTOFF_A},
    ]
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": 1}
    return {
        "_target_": "nequip.data.datamodule.ASEDataModule",
        "seed": 1,
        "split_dataset": {"file_path": str(data), "train": 6, "val": 2, "test": 0},
        "transforms": transforms,
        "train_dataloader": loader,
        "val_dataloader": loader,
        "stats_manager": {
            "_target_": "nequip.data.CommonDataStatisticsManager",
            "type_names": ["Si"],
        },
    }
