"""Load a potential by name or from any file that is known, without running foreign code."""

from pathlib import Path

from fastequi.device import choose_device
from fastequi.engine.loaded import LoadedModel, loaded
from fastequi.errors import InputError
from fastequi.importers.registry import BUNDLED, pretrained_names, read_any
from fastequi.kernels.backend import choose_kernels

DTYPES = ("float32", "float64")

__all__ = ["BUNDLED", "DTYPES", "load_model", "pretrained_names", "read_any"]


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
