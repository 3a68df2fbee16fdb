"""Tensors on their way to the host, for whom nobody waits but who reads them.

On a GPU a copy goes into pinned memory, with an event behind it: the steps go on, and the thread
that writes waits for the event. On a CPU it is there at once.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

#: What has streams and events.
_GPU = torch.cuda


class HostCopies:
    """Of tensors, by name, as they are now; what is done to them later does not show.

    kept: names of those that nobody writes into, which need no copy where they are on a CPU.
    """

    def __init__(self, tensors: Mapping[str, Tensor], kept: tuple[str, ...] = ()) -> None:
        on_host = all(tensor.device.type == "cpu" for tensor in tensors.values())
        self._event = None
        if on_host:
            self._copies = {n: t if n in kept else _cloned(t) for n, t in tensors.items()}
        else:
            self._copies = {name: _pinned(tensor) for name, tensor in tensors.items()}
            self._event = _GPU.Event()
            self._event.record()

    def arrived(self) -> dict[str, Tensor]:
        """The copies, on the CPU; waits until they are complete."""
        if self._event is not None:
            self._event.synchronize()
        return self._copies


def _cloned(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def _pinned(tensor: Tensor) -> Tensor:
    """A copy that is complete when the stream is here."""
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return copy.copy_(tensor, non_blocking=True)
