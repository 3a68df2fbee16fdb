"""Whole models as ASE calculators: fastequi's and those of the packages they come from.

Every function imports its package when it is called. Calculators compute in float32 on a CPU
unless a device is given.
"""

import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ase.calculators.calculator import Calculator

from benchmarks import nequip_preset
from benchmarks.common import ROOT


@dataclass(frozen=True)
class Setting:
    """Where calculators run and keep what they make. cache: folder; device: 'cpu' or 'cuda'."""

    cache: Path
    device: str = "cpu"


Maker = Callable[[Setting], Calculator]


@dataclass(frozen=True)
class Comparison:
    """A model, the size of its silicon crystal, who computes it, and what that needs.

    quick_atoms  for a run that only shows that all works
    """

    atoms: int
    quick_atoms: int
    ours: Maker
    peers: dict[str, Maker]
    modules: tuple[str, ...]

    def obstacle(self) -> str:
        """Why it cannot run here; '' if it can."""
        missing = [module for module in self.modules if find_spec(module) is None]
        return f"not installed: {', '.join(missing)}" if missing else ""


def fastequi(model: str, setting: Setting) -> Calculator:
    """Ours; the neighbour list is searched at every call, as others do."""
    from fastequi import FastEquiCalculator

    return FastEquiCalculator(model, skin_A=0.0, device=setting.device)


def fastequi_nequip(setting: Setting) -> Calculator:
    return fastequi(str(nequip_preset.checkpoint(setting.cache)), setting)


def fastequi_nequix(setting: Setting) -> Calculator:
    return fastequi(str(nequix_weights()), setting)


def sevennet(name: str, setting: Setting) -> Calculator:
    """SevenNet's own."""
    from sevenn.calculator import SevenNetCalculator

    from fastequi.importers.sevennet import find_pretrained

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SevenNetCalculator(str(find_pretrained(name)), device=setting.device)


def nequip_eager(setting: Setting) -> Calculator:
    """NequIP's, without compilation."""
    from nequip.integrations.ase import NequIPCalculator
    from nequip.integrations.utils import basic_transforms
    from nequip.model.saved_models.load_utils import load_saved_model
    from nequip.utils.global_state import set_global_state

    set_global_state()
    model: Any = load_saved_model(nequip_preset.checkpoint(setting.cache))
    names = nequip_preset.MODEL["type_names"]
    types = {name: name for name in names}
    transforms = basic_transforms(model.metadata, nequip_preset.CUTOFF_A, names, types)
    return NequIPCalculator(model.eval(), setting.device, transforms=transforms)


def nequip_compiled(setting: Setting) -> Calculator:
    """NequIP's, AOT-compiled by its own command."""
    from nequip.integrations.ase import NequIPCalculator

    path = nequip_preset.compiled(setting.cache, setting.device)
    types = {name: name for name in nequip_preset.MODEL["type_names"]}
    return NequIPCalculator.from_compiled_model(
        str(path), device=setting.device, chemical_species_to_atom_type_map=types
    )


def nequix_torch(setting: Setting) -> Calculator:
    """nequix's torch model; it converts its weights into the folder that they lie in."""
    from nequix.calculator import NequixCalculator

    folder = setting.cache.absolute() / "nequix"
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / nequix_weights().name
    shutil.copy(nequix_weights(), weights)
    return NequixCalculator(model_path=str(weights), backend="torch", use_kernel=False)


def nequix_weights() -> Path:
    """nequix-mp-1.nqx in the folder of reference data."""
    folder = Path(os.environ.get("FASTEQUI_DATA", ROOT.parent / "shared" / "data"))
    return folder / "nequix" / "nequix-mp-1.nqx"


COMPARISONS = {
    "sevennet-0": Comparison(
        1000,
        64,
        lambda setting: fastequi("sevennet-0", setting),
        {"sevenn": lambda setting: sevennet("sevennet-0", setting)},
        ("sevenn", "torch_geometric"),
    ),
    "sevennet-l3i5": Comparison(
        216,
        64,
        lambda setting: fastequi("sevennet-l3i5", setting),
        {"sevenn": lambda setting: sevennet("sevennet-l3i5", setting)},
        ("sevenn", "torch_geometric"),
    ),
    "nequip-m": Comparison(
        1000,
        64,
        fastequi_nequip,
        {"nequip, AOT": nequip_compiled, "nequip, eager": nequip_eager},
        ("nequip",),
    ),
    "nequix-mp-1": Comparison(
        216, 64, fastequi_nequix, {"nequix, torch": nequix_torch}, ("nequix", "jax", "equinox")
    ),
}
