"""Load a potential by name or from any file that is known, without running foreign code."""

from importlib import import_module
from pathlib import Path

import torch

from fastequi.engine.loaded import LoadedModel, loaded
from fastequi.errors import InputError
from fastequi.kernels.backend import choose_kernels
from fastequi.model.file import ModelData, read_model

BUNDLED = Path(__file__).parent.parent / "models"
DTYPES = ("float32", "float64")

#: How a file name ends -> who reads it. Imported when needed.
_READERS = {
    ".safetensors": ("fastequi.model.file", "read_model"),
    ".pth": ("fastequi.importers.sevennet", "read_sevennet"),
    ".nqx": ("fastequi.importers.nequix", "read_nequix"),
    ".ckpt": ("fastequi.importers.nequip", "read_nequip"),
    ".nequip.zip": ("fastequi.importers.nequip", "read_nequip"),
    ".nequip.pth": ("fastequi.importers.nequip", "read_nequip"),
    ".nequip.pt2": ("fastequi.importers.nequip", "read_nequip"),
    ".nequip.lmp.pt": ("fastequi.importers.nequip", "read_nequip"),
}


def load_model(
    name_or_path: str | Path,
    device: str = "auto",
    dtype: str = "float32",
    kernels: str = "auto",
    modality: str | None = None,
) -> LoadedModel:
    """A potential, ready to compute.

    name_or_path  'sevennet-0', 'sevennet-l3i5', 'sevennet-mf-0', a bundled name, or a file:
                  fastequi .safetensors, SevenNet .pth, NequIP .ckpt or .nequip.zip, nequix .nqx
    device        'auto' (a GPU where there is one), 'cpu', 'cuda', 'cuda:1'
    dtype         arithmetic of the network, 'float32' or 'float64'; energies are summed in float64
    kernels       'auto', or an implementation by name
    modality      level of theory of a multi-fidelity model, e.g. 'PBE'; 'sevennet-mf-0:PBE' works

    Raises InputError: what was asked for, what is allowed.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype = {dtype!r}; allowed: {', '.join(DTYPES)}")
    chosen_device = choose_device(device)
    chosen_kernels = choose_kernels(kernels, chosen_device)
    data = read_any(name_or_path, modality)
    return loaded(data, str(name_or_path), chosen_device, dtype, chosen_kernels)


def read_any(name_or_path: str | Path, modality: str | None = None) -> ModelData:
    """A model as data, from a name or from any file that is known."""
    text = str(name_or_path)
    name, _, suffix = text.partition(":")
    if name in pretrained_names():
        return _read_named(name, modality or suffix or None)
    path = Path(name_or_path)
    if not path.exists():
        raise InputError(
            f"{text}: no such file, and not a known name; names: {', '.join(pretrained_names())}"
        )
    for ending, (module, function) in sorted(_READERS.items(), key=lambda e: -len(e[0])):
        if path.name.endswith(ending):
            read = getattr(import_module(module), function)
            if function == "read_sevennet":
                return read(path, modality)
            if modality:
                raise InputError(f"{path}: modality {modality!r} was asked for, but it has none")
            return read(path)
    raise InputError(f"{path}: a kind of file that is not known; known: {', '.join(_READERS)}")


def pretrained_names() -> list[str]:
    """Names that `load_model` accepts: bundled potentials first."""
    from fastequi.importers.sevennet import PRETRAINED

    bundled = sorted(path.stem for path in BUNDLED.glob("*.safetensors"))
    return [*bundled, *PRETRAINED]


def choose_device(device: str) -> torch.device:
    """'auto' or a torch device. Raises InputError when it does not exist here."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device = {device!r} cannot be used: {reason}") from error
    return chosen


def _read_named(name: str, modality: str | None) -> ModelData:
    from fastequi.importers.sevennet import PRETRAINED, find_pretrained, read_sevennet

    if name in PRETRAINED:
        return read_sevennet(find_pretrained(name), modality)
    return read_model(BUNDLED / f"{name}.safetensors")
