"""NequIP's own recipe for a molecule, as the config of `nequip-train`.

Optimizer, plateau schedule, loss, batch and moving average are those of the tutorial config in
NequIP's repository (configs/tutorial.yaml), with AMSGrad as in the paper (Batzner et al. 2022) and
the architecture of train.toml's defaults.
"""

from pathlib import Path
from typing import Any

CUTOFF_A = 5.0
EMA_DECAY = 0.999
LEARNING_RATE, BATCH = 0.01, 5
PLATEAU = {"factor": 0.6, "patience": 5, "minimum": 1e-6}
_MONITORED = "val0_epoch/weighted_sum"


def config(folder: Path, elements: list[str], minutes: float, seed: int) -> dict[str, Any]:
    """Train on folder/train.extxyz for so long, then test; files go to folder/nequip."""
    errors = {
        "_target_": "nequip.train.EnergyForceMetrics",
        "coeffs": {"total_energy_mae": 1.0, "forces_mae": 1.0},
    }
    return {
        "run": ["train", "test"],
        "data": _data(folder, elements, seed),
        "trainer": _trainer(folder / "nequip", minutes),
        "training_module": {
            "_target_": "nequip.train.EMALightningModule",
            "ema_decay": EMA_DECAY,
            "loss": {
                "_target_": "nequip.train.EnergyForceLoss",
                "per_atom_energy": True,
                "coeffs": {"total_energy": 1.0, "forces": 1.0},
            },
            "val_metrics": errors,
            "test_metrics": errors,
            "optimizer": {"_target_": "torch.optim.Adam", "lr": LEARNING_RATE, "amsgrad": True},
            "lr_scheduler": {
                "scheduler": {
                    "_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau",
                    "factor": PLATEAU["factor"],
                    "patience": PLATEAU["patience"],
                    "threshold": 0.2,
                    "min_lr": PLATEAU["minimum"],
                },
                "monitor": _MONITORED,
                "interval": "epoch",
                "frequency": 1,
            },
            "model": _model(elements, seed),
        },
    }


def _model(elements: list[str], seed: int) -> dict[str, Any]:
    return {
        "_target_": "nequip.model.NequIPGNNModel",
        "seed": seed,
        "model_dtype": "float32",
        "type_names": elements,
        "r_max": CUTOFF_A,
        "num_layers": 4,
        "l_max": 2,
        "parity": True,
        "num_features": 64,
        "radial_mlp_depth": 1,
        "radial_mlp_width": 128,
        "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
        "per_type_energy_shifts": "${training_data_stats:per_atom_energy_mean}",
        "per_type_energy_scales": "${training_data_stats:forces_rms}",
    }


def _trainer(output: Path, minutes: float) -> dict[str, Any]:
    whole, seconds = divmod(round(60 * minutes), 60)
    days, hours = divmod(whole // 60, 24)
    return {
        "_target_": "lightning.Trainer",
        "accelerator": "cpu",
        "max_epochs": 100_000,
        "max_time": f"{days:02}:{hours:02}:{whole % 60:02}:{seconds:02}",
        "enable_progress_bar": False,
        "num_sanity_val_steps": 0,
        "logger": {
            "_target_": "lightning.pytorch.loggers.CSVLogger",
            "save_dir": str(output),
            "name": "log",
            "version": "",
        },
        "callbacks": [
            {
                "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
                "monitor": _MONITORED,
                "dirpath": str(output),
                "filename": "best",
                "save_last": False,
            }
        ],
    }


def _data(folder: Path, elements: list[str], seed: int) -> dict[str, Any]:
    transforms = [
        {
            "_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
            "model_type_names": elements,
            "chemical_species_to_atom_type_map": {name: name for name in elements},
        },
        {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": CUTOFF_A},
    ]
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": BATCH}
    return {
        "_target_": "nequip.data.datamodule.ASEDataModule",
        "seed": seed,
        "train_file_path": str(folder / "train.extxyz"),
        "val_file_path": str(folder / "validation.extxyz"),
        "test_file_path": str(folder / "test.extxyz"),
        "transforms": transforms,
        "train_dataloader": loader | {"shuffle": True},
        "val_dataloader": loader | {"batch_size": 10},
        "test_dataloader": loader | {"batch_size": 10},
        "stats_manager": {
            "_target_": "nequip.data.CommonDataStatisticsManager",
            "type_names": elements,
        },
    }
