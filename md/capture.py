"""A step as a CUDA graph: launched as one, without Python between its kernels."""

from collections.abc import Callable, Sequence

import torch

#: Before a capture a step is made so often as usual: kernels compile, libraries find their memory.
_WARM_UPS = 2


class CapturedStep:
    """What a step launches, to be launched again.

    It writes where the step wrote. What the step reads and makes no more than once, `places`, is
    compared by `is_of`: a step that works elsewhere has to be captured again.
    """

    def __init__(self, step_: Callable[[], None], places: Sequence[object]) -> None:
        """Makes the step, more than once; raises RuntimeError where it asks the host."""
        self._places = list(places)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                step_()
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            step_()

    def is_of(self, places: Sequence[object]) -> bool:
        """Whether it was captured with these very objects."""
        return len(places) == len(self._places) and all(
            a is b for a, b in zip(places, self._places, strict=True)
        )

    def replay(self, times: int) -> None:
        """The step, so many times; the host does not wait."""
        for _ in range(times):
            self._graph.replay()
