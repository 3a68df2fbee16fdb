"""NequIP itself, on ASE structures, and its models written to files without training."""

import io
import warnings
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch
import yaml
from agreement import Reference


def build(config: dict[str, Any], seed: int = 0) -> torch.nn.Module:
    """A NequIP model in float64 whose weights, trained or not by default, are all random."""
    import nequip.model
    from nequip.utils.global_state import set_global_state

    set_global_state()
    arguments = {**config, "seed": seed, "model_dtype": "float64"}
    name = arguments.pop("_target_").rpartition(".")[2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(nequip.model, name)(**arguments)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter += 0.05 * noise
    return model.eval()


def evaluate(model: Any, atoms: ase.Atoms) -> Reference:
    """What NequIP's own ASE calculator says."""
    from nequip.integrations.ase import NequIPCalculator
    from nequip.integrations.utils import basic_transforms

    metadata = model.metadata
    names = metadata["type_names"].split(" ")
    transforms = basic_transforms(
        metadata, float(metadata["r_max"]), names, {name: name for name in names}
    )
    calculator = NequIPCalculator(model.eval(), "cpu", transforms=transforms)
    copy = atoms.copy()
    copy.calc = calculator
    stress = copy.get_stress(voigt=False) if atoms.pbc.all() else None
    return Reference(
        float(copy.get_potential_energy()),
        np.array(copy.get_potential_energies()),
        np.array(copy.get_forces()),
        stress,
    )


def write_checkpoint(path: Path, model: torch.nn.Module, config: dict[str, Any]) -> None:
    """A checkpoint with what NequIP's training would put there, but for the optimizer."""
    info = {"versions": {"nequip": "0.19.1"}, "data": {}, "training_module": {"_target_": "x"}}
    content = {
        "state_dict": {f"model.sole_model.{k}": v for k, v in model.state_dict().items()},
        "hyper_parameters": {"model": {"model_dtype": "float64", **config}, "info_dict": info},
    }
    torch.save(content, path)


def write_package(path: Path, model: torch.nn.Module) -> None:
    """A package laid out as NequIP's, but without the source code that it would carry."""
    from torch.package.package_exporter import PackageExporter

    metadata = {"versions": {"nequip": "0.19.1"}, "package_version_id": 2}
    config = {"data": {}, "training_module": {"_target_": "nequip.train.NequIPLightningModule"}}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with PackageExporter(buffer) as exporter:
            exporter.extern("**")
            models = torch.nn.ModuleDict({"sole_model": model})
            exporter.save_pickle("model", "eager_model.pkl", models)
            exporter.save_text("model", "package_metadata.txt", yaml.safe_dump(metadata))
            exporter.save_text("model", "config.yaml", yaml.safe_dump(config))
    path.write_bytes(buffer.getvalue())
