"""A step on torch's meta device: whoever asks it for a number, or brings one along, is caught."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")


class HostAsked(AssertionError):
    """A step wanted something from the host, or the host from it."""


class OneDevice(TorchDispatchMode):
    """Every tensor that an operator takes or makes is on the device; counts the operators.

    torch itself lets CPU and meta tensors be added.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operators = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, out)):
            if isinstance(tensor, Tensor) and tensor.device != META:
                raise HostAsked(f"{func.name()} with a tensor on {tensor.device}")
        self.operators += 1
        return out


class NoTensorsOfNumbers(TorchFunctionMode):
    """A tensor that is made of numbers for a device is a copy that the host waits for."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.tensor, torch.as_tensor, torch.asarray):
            raise HostAsked(f"torch.{func.__name__} of {args}")
        return func(*args, **(kwargs or {}))


def on_meta(thing: Any) -> Any:
    """A deep copy whose tensors have shapes and no numbers."""

    def moved(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
        return memo.setdefault(id(tensor), tensor.to(META))

    with patch.object(Tensor, "__deepcopy__", moved):
        return copy.deepcopy(thing)


@contextmanager
def nobody_asks() -> Iterator[OneDevice]:
    """Inside, a question raises: HostAsked, or what torch raises for numbers that are not there."""
    with NoTensorsOfNumbers(), OneDevice() as mode:
        yield mode
