"""`fastequi convert`: another program's model as a fastequi model file."""

from pathlib import Path

from fastequi.errors import InputError
from fastequi.importers import read_any
from fastequi.model.file import save_model

_SUFFIX = ".safetensors"


def convert(
    source: str, out: Path, /, *, modality: str | None = None, overwrite: bool = False
) -> int:
    """Turn a NequIP, SevenNet or nequix model into a model file of fastequi.

    Parameters
    ----------
    source
        a known name (sevennet-0) or a file: SevenNet .pth, NequIP .ckpt or .nequip.zip, nequix .nqx
    out
        the .safetensors file to write
    modality
        level of theory of a multi-fidelity model, for example PBE
    overwrite
        replace an existing file
    """
    if out.suffix != _SUFFIX:
        raise InputError(
            f"{out}: a model file is named *{_SUFFIX}, got {out.suffix or 'no suffix'}"
        )
    if out.exists() and not overwrite:
        raise InputError(f"{out} exists; --overwrite replaces it")
    if not out.absolute().parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.absolute().parent}")
    model = read_any(source, modality)
    save_model(out, model)
    size_MB = out.stat().st_size / 1e6
    print(f"wrote {out} ({size_MB:.1f} MB), sha256 of the model {model.sha256}")
    return 0
