"""The model file: a ModelSpec and its weights in one safetensors file; nothing in it can run.

The header holds `fastequi_model` (format version), `spec` (JSON) and `provenance` (JSON: where the
weights came from). Tensors are named as in `NequIP.state_dict()`.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fastequi.errors import InputError
from fastequi.model.nequip import NequIP
from fastequi.model.spec import ModelSpec
from fastequi.storage.durable import naming_files, write_durably

FORMAT_VERSION = "1"


@dataclass(frozen=True)
class ModelData:
    """A model as data, before it is put on a device.

    tensors     the state, in the precision it was stored with
    provenance  free facts for people: source file, its SHA-256, versions, licence
    """

    spec: ModelSpec
    tensors: dict[str, Tensor]
    provenance: dict[str, str] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Identity of spec and weights, the same whichever file they were read from."""
        digest = hashlib.sha256(self.spec.to_json().encode())
        for name in sorted(self.tensors):
            tensor = self.tensors[name].contiguous()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()


def save_model(path: str | Path, data: ModelData) -> None:
    """Write a model file, durably. Raises InputError where that is not possible."""
    path = Path(path)
    metadata = {
        "fastequi_model": FORMAT_VERSION,
        "spec": data.spec.to_json(),
        "provenance": json.dumps(data.provenance, sort_keys=True),
    }
    tensors = {name: tensor.contiguous() for name, tensor in data.tensors.items()}
    with naming_files(path):
        write_durably(path, _same_every_time(save(tensors, metadata)))


def _same_every_time(file: bytes) -> bytes:
    """A safetensors file with its header in order: safetensors writes metadata in any order."""
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.dumps(json.loads(file[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors begin at multiples of 8
    return len(header).to_bytes(8, "little") + header + file[end:]


def read_model(path: str | Path) -> ModelData:
    """Read a model file. Raises InputError when it is not one, is truncated, or is too new."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if "fastequi_model" not in metadata:
                raise InputError(f"{path}: a safetensors file, but not a fastequi model")
            if metadata["fastequi_model"] != FORMAT_VERSION:
                raise InputError(
                    f"{path}: model format {metadata['fastequi_model']}, this version reads "
                    f"{FORMAT_VERSION}; upgrade fastequi"
                )
            spec = ModelSpec.from_json(metadata["spec"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            return ModelData(spec, tensors, json.loads(metadata.get("provenance", "{}")))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a readable model file ({error})") from error
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: the model description is damaged ({error})") from error


def build_model(
    data: ModelData, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> NequIP:
    """The network with its weights; parameters in `dtype`, energy scales and shifts in float64.

    Raises InputError when tensors are missing, surplus, of the wrong shape or not finite.
    """
    model = NequIP(data.spec)
    expected = model.state_dict()
    problems = [f"{name} is missing" for name in expected if name not in data.tensors]
    for name, tensor in data.tensors.items():
        if name not in expected:
            problems.append(f"{name} is not part of this model")
        elif tensor.shape != expected[name].shape:
            problems.append(
                f"{name} has shape {tuple(tensor.shape)}, not {tuple(expected[name].shape)}"
            )
        elif not bool(torch.isfinite(tensor).all()):
            problems.append(f"{name} is not finite")
    if problems:
        raise InputError("the weights do not fit the model: " + "; ".join(problems[:6]))
    model.load_state_dict({name: tensor.to(torch.float64) for name, tensor in data.tensors.items()})
    return set_precision(model, dtype).to(device)


def set_precision(model: NequIP, dtype: torch.dtype) -> NequIP:
    """Cast the network to `dtype`; what energies are summed with stays float64."""
    scale, shift = model.scale, model.shift
    model.to(dtype)
    model.scale, model.shift = scale, shift
    return model


def model_data(model: NequIP, provenance: dict[str, str] | None = None) -> ModelData:
    """The model as data, on the CPU, in its own precision."""
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    return ModelData(model.spec, tensors, provenance or {})
