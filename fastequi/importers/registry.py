"""Where models come from: a row for each origin, found by a name or by how a file's name ends."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from fastequi.errors import InputError
from fastequi.model.file import ModelData

BUNDLED = Path(__file__).parent.parent / "models"


@dataclass(frozen=True)
class Importer:
    """One origin. Functions are written "module:function" and imported when they are needed.

    read            path -> ModelData; with `has_modalities`, path and modality -> ModelData
    suffixes        how its files are called; of several that fit, the longest decides
    names           what users may write instead of a path
    find            a name -> its file, or an InputError that says how to get it
    has_modalities  whether a file may hold several levels of theory; None asks for none of them
    """

    read: str
    suffixes: tuple[str, ...]
    names: tuple[str, ...] = ()
    find: str = ""
    has_modalities: bool = False

    def load(self, path: Path, modality: str | None) -> ModelData:
        """Read a file; InputError, too, if it cannot have the modality that was asked for."""
        read = _function(self.read)
        if self.has_modalities:
            return read(path, modality)
        if modality:
            raise InputError(f"{path}: modality {modality!r} was asked for, but it has none")
        return read(path)

    def path_of(self, name: str) -> Path:
        """The file of one of its names."""
        return _function(self.find)(name)


def find_bundled(name: str) -> Path:
    """The file of a potential that comes along."""
    return BUNDLED / f"{name}.safetensors"


IMPORTERS = [
    Importer(
        read="fastequi.model.file:read_model",
        suffixes=(".safetensors",),
        names=tuple(sorted(path.stem for path in BUNDLED.glob("*.safetensors"))),
        find="fastequi.importers.registry:find_bundled",
    ),
    Importer(
        read="fastequi.importers.sevennet:read_sevennet",
        suffixes=(".pth",),
        names=("sevennet-0", "sevennet-l3i5", "sevennet-mf-0"),
        find="fastequi.importers.sevennet:find_pretrained",
        has_modalities=True,
    ),
    Importer(
        read="fastequi.importers.nequix:read_nequix",
        suffixes=(".nqx",),
    ),
    Importer(
        read="fastequi.importers.nequip:read_nequip",
        suffixes=(".ckpt", ".nequip.zip", ".nequip.pth", ".nequip.pt2", ".nequip.lmp.pt"),
    ),
]


def pretrained_names() -> list[str]:
    """Names that `load_model` accepts: bundled potentials first."""
    return [name for importer in IMPORTERS for name in importer.names]


def read_any(name_or_path: str | Path, modality: str | None = None) -> ModelData:
    """A model as data, from a name (or name:modality) or from any file that is known."""
    text = str(name_or_path)
    name, _, of_name = text.partition(":")
    for importer in IMPORTERS:
        if name in importer.names:
            return importer.load(importer.path_of(name), modality or of_name or None)
    path = Path(name_or_path)
    if not path.exists():
        raise InputError(
            f"{text}: no such file, and not a known name; names: {', '.join(pretrained_names())}"
        )
    return _importer_of(path).load(path, modality)


def _importer_of(path: Path) -> Importer:
    by_suffix = {suffix: importer for importer in IMPORTERS for suffix in importer.suffixes}
    fitting = [suffix for suffix in by_suffix if path.name.endswith(suffix)]
    if not fitting:
        raise InputError(f"{path}: a kind of file that is not known; known: {', '.join(by_suffix)}")
    return by_suffix[max(fitting, key=len)]


def _function(where: str) -> Callable[..., Any]:
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)
