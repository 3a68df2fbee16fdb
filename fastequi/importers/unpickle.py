"""Read torch's pickles without running anything that they name.

Checkpoints of other packages are pickles, and a pickle may call any function. Here every class
that a file names becomes an inert record of its arguments and state; tensors are rebuilt from the
raw storages beside the pickle; a name from outside the packages that such files are made of (say
`os.system`) ends the reading with an error. No foreign package is imported.
"""

import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastequi.errors import InputError

#: Packages whose classes appear in honest checkpoints; they become records, never code.
_RECORDED = frozenset(
    "torch e3nn sevenn nequip allegro numpy opt_einsum_fx omegaconf lightning pytorch_lightning "
    "torchmetrics pathlib ase sympy".split()
)
_BUILTIN_TYPES = {
    t.__name__: t
    for t in (set, frozenset, list, dict, tuple, slice, range, complex, bytearray, int, float, str)
}
_STORAGE_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


#: What zipfile raises for files that are no zip, truncated or damaged.
ZIP_ERRORS = (
    OSError,
    EOFError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class Record:
    """An object of a foreign class, as data: `args` it was made with, `state` it was given."""

    module, qualname = "", ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs, self.state, self.items = args, kwargs, None, {}

    def __new__(cls, *args: Any, **kwargs: Any) -> "Record":
        record = super().__new__(cls)
        record.args, record.kwargs, record.state, record.items = args, kwargs, None, {}
        return record

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def append(self, value: Any) -> None:
        self.items[len(self.items)] = value

    def extend(self, values: list[Any]) -> None:
        for value in values:
            self.append(value)

    @property
    def attributes(self) -> dict[str, Any]:
        """The instance dictionary that the object had."""
        state = self.state
        if isinstance(state, tuple):  # (dict, slots)
            return {k: v for part in state if isinstance(part, dict) for k, v in part.items()}
        return state if isinstance(state, dict) else {}


class SafeUnpickler(pickle.Unpickler):
    """Unpickler whose classes are inert; `read_storage(key)` gives the bytes of a tensor."""

    def __init__(self, file: Any, read_storage: Callable[[str], bytes], source: str) -> None:
        super().__init__(file, encoding="utf-8")
        self._read_storage, self._source = read_storage, source
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module in ("builtins", "__builtin__") and name in _BUILTIN_TYPES:
            return _BUILTIN_TYPES[name]
        if (module, name) in _STAND_INS:
            return _STAND_INS[module, name]
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        if module in ("builtins", "__builtin__") and name == "getattr":
            return self._attribute
        root = module.split(".")[0]
        if root in _RECORDED or module.startswith("<torch_package"):
            return type(name, (Record,), {"module": module, "qualname": name})
        raise InputError(
            f"{self._source}: refused, the file asks for {module}.{name}, which no model needs; "
            "it may be harmful. Nothing in it was run."
        )

    def _attribute(self, owner: Any, name: str) -> type[Record]:
        """`getattr` as packages use it, to name a function of a class: a record's record."""
        if not (isinstance(owner, type) and issubclass(owner, Record)):
            raise InputError(
                f"{self._source}: refused, the file asks for the attribute {name!r} of something "
                "that is not a class of a model; it may be harmful. Nothing in it was run."
            )
        return type(
            name, (Record,), {"module": owner.module, "qualname": f"{owner.qualname}.{name}"}
        )

    def persistent_load(self, pid: Any) -> Any:
        if not (isinstance(pid, tuple) and pid and pid[0] == "storage"):
            return None  # the interned source code of a package: not needed
        _, dtype, key, *_ = pid
        if not isinstance(dtype, torch.dtype):
            raise InputError(f"{self._source}: tensors of an unknown kind ({dtype})")
        if key not in self._storages:
            raw = bytearray(self._read_storage(str(key)))
            flat = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
            self._storages[key] = flat
        return self._storages[key]


def _empty_dict(*_: Any) -> dict[Any, Any]:
    return {}


def _encode(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin1" if encoding == "latin1" else "utf-8")


def _rebuild_tensor(
    storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Tensor:
    return storage.as_strided(size, stride, offset).clone()


def _rebuild_parameter(data: Tensor, *_: Any) -> Tensor:
    return data


def _numpy_scalar(dtype: Record, raw: bytes) -> Any:
    return np.frombuffer(raw, dtype=np.dtype(str(dtype.args[0])))[0].item()


#: The few functions that honest pickles call, done here instead of there.
_STAND_INS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): _empty_dict,
    ("_codecs", "encode"): _encode,
    ("numpy.core.multiarray", "scalar"): _numpy_scalar,
    ("numpy._core.multiarray", "scalar"): _numpy_scalar,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
}


def read_torch_checkpoint(path: Path) -> dict[str, Any]:
    """What `torch.save` wrote to `path`, classes as records. Raises InputError when it is not."""
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [n for n in archive.namelist() if n.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise InputError(f"{path}: not a torch checkpoint (no data.pkl inside)")
            root = pickles[0].removesuffix("data.pkl")
            content = load_pickle(archive, pickles[0], lambda key: f"{root}data/{key}", str(path))
    except InputError:
        raise
    except ZIP_ERRORS as error:
        raise InputError(f"{path}: not a torch checkpoint, or truncated ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: a torch file, but not a checkpoint")
    return content


def load_pickle(
    archive: zipfile.ZipFile, member: str, storage_name: Callable[[str], str], source: str
) -> Any:
    """Unpickle one member of an archive. Raises InputError for what is damaged or hostile."""
    try:
        with archive.open(member) as file:
            reader = SafeUnpickler(file, lambda key: archive.read(storage_name(key)), source)
            return reader.load()
    except InputError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise InputError(f"{source}: damaged ({type(error).__name__}: {error})") from error
