"""Memory in large pages, for what is read here and there: tables of megabytes.

A radial table of SevenNet-0 has 10 MB per layer, 2500 pages of 4 kB, and each edge reads two rows
somewhere in it: the processor looks for pages more often than for numbers. For 9 atoms a force call
took 1.4 to 2 times as long without large pages (AMD EPYC, AVX2, virtual machine).
"""

import mmap
from math import prod

import numpy as np
import torch
from torch import Tensor

#: Bytes of a large page on x86-64 and most ARM systems.
_LARGE = 2**21


def empty_in_large_pages(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor with memory that the system may put into large pages, where it can."""
    n_bytes = prod(shape) * dtype.itemsize
    if n_bytes < _LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(shape, dtype=dtype)
    memory = mmap.mmap(-1, n_bytes + 2 * _LARGE)
    try:
        memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # a system without them
        return torch.empty(shape, dtype=dtype)
    everything = np.frombuffer(memory, dtype=np.uint8)
    begin = -everything.ctypes.data % _LARGE
    return torch.from_numpy(everything[begin : begin + n_bytes]).view(dtype).view(shape)
