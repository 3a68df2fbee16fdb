"""Dynamics of tensors that are here, by the kernels of a GPU: interpreted where there is none."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from fastequi.kernels.triton.step import kernels


@contextmanager
def as_on_a_gpu(is_one: bool = True) -> Iterator[None]:
    """Inside, lists, noise and chains are those of a GPU, or, if not, those of a CPU."""
    with patch.object(kernels, "run_on", lambda device: is_one):
        yield
