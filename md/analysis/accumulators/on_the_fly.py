"""The `[[analysis]]` of one system: fed with frames, kept in checkpoints, written as CSV."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from fastequi.md.analysis.accumulators import ACCUMULATORS, Accumulator
from fastequi.md.analysis.table import write_csv
from fastequi.md.trajectory.directory import ANALYSIS, ON_THE_FLY

#: How the names of their tensors in a checkpoint begin.
PREFIX = "analysis."


class Asked(Protocol):
    """A section [[analysis]]."""

    kind: str
    every: int

    def settings(self) -> dict[str, Any]: ...


class OnTheFly:
    """Accumulators in the order of their sections; `add` and `tensors` are for one thread.

    asked    the sections
    folder   of the system in the run's directory; "" where there is only one
    tensors  of the checkpoint that the run goes on from, those of other things among them
    """

    def __init__(
        self, directory: Path, asked: Sequence[Asked], folder: str, tensors: Mapping[str, Tensor]
    ) -> None:
        self._folder = directory / folder / ANALYSIS
        self._begin = f"{PREFIX}{folder}." if folder else PREFIX
        self._sums: list[Accumulator] = []
        for k, section in enumerate(asked):
            sums = ACCUMULATORS[section.kind](**section.settings())
            begin = f"{self._begin}{k}."
            mine = {n.removeprefix(begin): t for n, t in tensors.items() if n.startswith(begin)}
            sums.restore({name: tensor.numpy() for name, tensor in mine.items()})
            self._sums.append(sums)

    def add(self, k: int, frame: Atoms) -> None:
        """Give a frame to the k-th."""
        self._sums[k].add(frame)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint has to keep; copies."""
        return {
            f"{self._begin}{k}.{name}": torch.from_numpy(np.array(array))
            for k, sums in enumerate(self._sums)
            for name, array in sums.memory.items()
        }

    def write(self) -> None:
        """Write analysis/KIND-on-the-fly.csv, with a number where a kind comes again."""
        seen: dict[str, int] = {}
        for sums in self._sums:
            seen[sums.kind] = seen.get(sums.kind, 0) + 1
            number = f"-{seen[sums.kind]}" if seen[sums.kind] > 1 else ""
            if sums.frames:
                self._folder.mkdir(exist_ok=True)
                write_csv(self._folder / f"{sums.kind}{number}{ON_THE_FLY}", sums.columns())
