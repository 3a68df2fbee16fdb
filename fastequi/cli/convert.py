"""`fastequi convert`: another program's model as a fastequi model file."""

from pathlib import Path
from typing import Literal

from fastequi.errors import InputError
from fastequi.importers import read_any
from fastequi.integrations.mliap import export_mliap
from fastequi.model.file import save_model

_SUFFIXES = {"fastequi": ".safetensors", "lammps-mliap": ".pt"}


def convert(
    source: str,
    out: Path,
    /,
    *,
    for_: Literal["fastequi", "lammps-mliap"] = "fastequi",
    modality: str | None = None,
    dtype: Literal["float32", "float64"] = "float32",
    overwrite: bool = False,
) -> int:
    """Turn a NequIP, SevenNet or nequix model into a model file of fastequi, or for LAMMPS.

    Parameters
    ----------
    source
        a known name (sevennet-0) or a file: SevenNet .pth, NequIP .ckpt or .nequip.zip, nequix .nqx
    out
        the .safetensors file to write; for LAMMPS, a .pt file
    for_
        who reads it: fastequi, or a LAMMPS with KOKKOS, of 15 December 2025 or later, by pair_style
        mliap unified, where fastequi is installed
    modality
        level of theory of a multi-fidelity model, for example PBE
    dtype
        arithmetic in LAMMPS
    overwrite
        replace an existing file
    """
    suffix = _SUFFIXES[for_]
    if out.suffix != suffix:
        raise InputError(f"{out}: a model file is named *{suffix}, got {out.suffix or 'no suffix'}")
    if out.exists() and not overwrite:
        raise InputError(f"{out} exists; --overwrite replaces it")
    if not out.absolute().parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.absolute().parent}")
    if for_ == "lammps-mliap":
        export_mliap(source, out, dtype, modality)
        print(f"wrote {out}: pair_style mliap unified {out} 0")
        return 0
    model = read_any(source, modality)
    save_model(out, model)
    size_MB = out.stat().st_size / 1e6
    print(f"wrote {out} ({size_MB:.1f} MB), sha256 of the model {model.sha256}")
    return 0
