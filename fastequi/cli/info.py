"""`fastequi info`: the machine and the installation, or what a model is."""

import platform
from importlib.metadata import PackageNotFoundError, version

from ase.data import chemical_symbols

import fastequi
from fastequi._version import __version__
from fastequi.cli.threads import describe_threads, respect_quota
from fastequi.device import accelerators, choose_device
from fastequi.dispersion.tables import functionals, largest_element
from fastequi.importers import BUNDLED
from fastequi.kernels import c_compiler
from fastequi.kernels.backend import BACKENDS, choose_kernels
from fastequi.kernels.llvm.target import host
from fastequi.kernels.processor import processor

_PACKAGES = ("torch", "triton", "numpy", "ase", "vesin", "e3nn", "h5py", "safetensors", "llvmlite")


def info(model: str | None = None, /) -> int:
    """Show this machine and installation, or what a model is.

    Parameters
    ----------
    model
        a bundled name or the path of a model
    """
    respect_quota()
    facts = machine() if model is None else about(model)
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {value}")
    return 0


def about(model: str) -> dict[str, str]:
    """What a model is; of a bundled one also where its data, errors and limits are described."""
    facts = fastequi.load_model(model).summary()
    page = BUNDLED / f"{model}.md"
    return facts | {"described in": str(page)} if page.is_file() else facts


def machine() -> dict[str, str]:
    """What a bug report needs to say."""
    return {
        "fastequi": __version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
        "processor": f"{processor()}; {describe_threads()}",
        "vectors": host().description,
        "accelerator": _accelerator(),
        "kernels": _kernels(),
        "dispersion": _dispersion(),
        "C compiler": c_compiler.compiler() or "none",
        "packages": ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
    }


def _accelerator() -> str:
    found = ", ".join(f"{device} {name}" for device, name in accelerators().items())
    return found or "none that torch can use"


def _kernels() -> str:
    device = choose_device("auto")
    name, reason = choose_kernels("auto", device)
    missing = c_compiler.missing()
    on_gpus = f"; on a GPU, triton needs {missing}" if missing else ""
    return f"{', '.join(BACKENDS)}; on {device.type}, auto takes {name} ({reason}){on_gpus}"


def _dispersion() -> str:
    last = chemical_symbols[largest_element()]
    return f"D3(BJ) for {len(functionals())} functionals, elements H to {last}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
