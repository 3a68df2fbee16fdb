"""Noise by counting: normal numbers of (seed; step, atom, stream), by Philox (`philox.py`).

A number is a function of where it is used and of nothing that came before, so a run does not depend
on batching, restarts or devices, and there is no state to save. (On a GPU the words are the same;
the logarithms and sines of normal numbers differ from a CPU's in their last bits.)

    key     = the 64-bit seed and the atoms of the system, mixed (2 words of 32 bits)
    counter = step (2 words), atom within its system (1 word),
              stream + 256 * replica (1 word)

Seed and step are in different words: seed 42 at step 8 has nothing to do with seed 43 at step 7.
Systems of different size that run with one seed, as a default is, have nothing in common either.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fastequi.errors import InputError
from fastequi.kernels.triton.step import kernels
from fastequi.md.philox import MASK32, Philox

#: What the numbers are for; each use has its own stream.
THERMOSTAT_STREAM, VELOCITIES_STREAM, BAROSTAT_STREAM = 0, 1, 2

_MASK64 = 0xFFFFFFFFFFFFFFFF
_GOLDEN = 0x9E3779B97F4A7C15  # SplitMix64's gamma: 2⁶⁴ over the golden ratio, odd


class AtomNoise:
    """Normal noise for the atoms of a batch of systems.

    key [2, atoms] words of seed and size; atom [atoms] within its system, replica [atoms] count.

    seed: an integer gives system k the key (seed, replica k); a sequence gives system k the key
    (seed[k], replica 0), so that it sees the noise that it sees alone with that seed.
    """

    def __init__(self, seed: int | Sequence[int], system_idx: Tensor) -> None:
        """system_idx [atoms], sorted. Raises InputError for a sequence of the wrong length."""
        n_systems = int(system_idx.max()) + 1 if system_idx.numel() else 0
        device = system_idx.device
        counts = torch.bincount(system_idx, minlength=n_systems)
        words, replicas = _keys(seed, counts.tolist())
        first = counts.cumsum(0) - counts
        replica = torch.tensor(replicas, dtype=torch.int64, device=device)
        self.system_idx = system_idx
        self.replica = replica[system_idx]
        self.atom = torch.arange(len(system_idx), device=device) - first[system_idx]
        self.key = torch.tensor(words, device=device).view(-1, 2)[system_idx].T.contiguous()
        is_one = len(set(map(tuple, words))) == 1
        self._philox = Philox(self.key[:, :1] if is_one else self.key)
        self._counter = torch.stack([self.atom, self.atom, self.atom, 256 * self.replica])

    def normal(self, step: int | Tensor, stream: int) -> Tensor:
        """Independent standard normal numbers [atoms, 3], float64, for one step and stream.

        A step on the device, int64 [], is not asked what it is.
        """
        if kernels.run_on(self.atom.device):
            return self._drawn_on_gpu(step, stream)
        counter = self._counter.clone()
        counter[0] = step & MASK32
        counter[1] = (step >> 32) & MASK32
        counter[3] += stream
        return _box_muller(self._philox(counter))

    def _drawn_on_gpu(self, step: int | Tensor, stream: int) -> Tensor:
        """By one kernel: the same words, whose logarithms and sines differ in their last bits."""
        from fastequi.kernels.triton.step.step import draw_noise_  # Triton is slow to import

        on_device = step if isinstance(step, Tensor) else self.atom.new_full((1,), step)
        noise = torch.empty((len(self.atom), 3), dtype=torch.float64, device=self.atom.device)
        draw_noise_(on_device, self.key, self.atom, self.replica, stream, noise)
        return noise


def normal_noise(seed: int | Sequence[int], step: int, stream: int, system_idx: Tensor) -> Tensor:
    """Independent standard normal numbers [atoms, 3], float64; see `AtomNoise`."""
    return AtomNoise(seed, system_idx).normal(step, stream)


def _keys(seed: int | Sequence[int], counts: Sequence[int]) -> tuple[list[list[int]], list[int]]:
    """Key words and replica of each system of so many atoms."""
    n_systems = len(counts)
    if isinstance(seed, int):
        seeds, replicas = [seed] * n_systems, list(range(n_systems))
    else:
        seeds, replicas = [int(s) for s in seed], [0] * n_systems
    if len(seeds) != n_systems:
        raise InputError(f"{len(seeds)} seeds for {n_systems} systems; give one, or one per system")
    if any(not 0 <= s < 2**64 for s in seeds):
        raise InputError(f"seeds must be between 0 and 2**64 - 1; got {seeds}")
    mixed = [_mixed(s + n * _GOLDEN) for s, n in zip(seeds, counts, strict=True)]
    return [[key & MASK32, key >> 32] for key in mixed], replicas


def _mixed(z: int) -> int:
    """64 bits of which each depends on all those of `z`, one to one.

    The finaliser of SplitMix64: Steele, Lea & Flood, "Fast splittable pseudorandom number
    generators" (OOPSLA 2014).
    """
    z &= _MASK64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK64
    return z ^ (z >> 31)


def _box_muller(words: Tensor) -> Tensor:
    """Three normal numbers [n, 3] of four random words [4, n].

    Uniform numbers are the middles of 2³² intervals, never 0 or 1; normals end at 6.7 sigma.
    """
    uniform = (words.to(torch.float64) + 0.5) * 2.0**-32
    radius = (-2.0 * uniform[0::2].log()).sqrt()
    angle = (2.0 * math.pi) * uniform[1::2]
    sine = radius[0] * angle[0].sin()
    return torch.stack([radius[0] * angle[0].cos(), sine, radius[1] * angle[1].cos()], dim=1)
