"""The noise of a step has the words of `fastequi.md.noise`, from a step counter on the device."""

from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

import triton
import triton.language as tl

from fastequi.kernels.triton.step.noise import philox4x32
from fastequi.kernels.triton.step.step import draw_noise_
from fastequi.md import noise, philox

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@triton.jit
def store_words(counter, key, words, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    c0, c1 = tl.load(counter + i), tl.load(counter + n + i)
    c2, c3 = tl.load(counter + 2 * n + i), tl.load(counter + 3 * n + i)
    c0, c1, c2, c3 = philox4x32(c0, c1, c2, c3, tl.load(key + i), tl.load(key + n + i))
    tl.store(words + i, c0)
    tl.store(words + n + i, c1)
    tl.store(words + 2 * n + i, c2)
    tl.store(words + 3 * n + i, c3)


def test_words_are_equal():
    """The published answers, and random counters and keys."""
    random = np.random.default_rng(0)
    counter, key = (torch.from_numpy(random.integers(2**32, size=(n, 64))) for n in (4, 2))
    counter[:, 0], key[:, 0] = 0, 0
    counter[:, 1], key[:, 1] = 2**32 - 1, 2**32 - 1
    counter, key = counter.to(DEVICE), key.to(DEVICE)
    words = torch.zeros_like(counter)
    kernel: Any = store_words
    kernel[1,](counter, key, words, 64, BLOCK=64)
    assert torch.equal(words, philox.philox4x32(counter, key))
    assert [f"{int(word):08x}" for word in words[:, 1]] == [
        "408f276d", "41c83b0e", "a20bc7c6", "6d5451fd",
    ]  # fmt: skip


@pytest.mark.parametrize("step", [0, 7, 2**32 + 3])
@pytest.mark.parametrize("seed", [5, 2**63 + 11, [3, 2**40]])
def test_normals_are_those_of_the_integrators(step, seed):
    """To the last bits of logarithm, sine and cosine: 7 sigma times 2e-15."""
    system_idx = torch.tensor([0] * 33 + [1] * 4, device=DEVICE)
    of_atoms = noise.AtomNoise(seed, system_idx)
    counter = torch.tensor([step], device=DEVICE)
    got = torch.full((37, 3), torch.nan, dtype=torch.float64, device=DEVICE)
    for stream in (noise.THERMOSTAT_STREAM, noise.VELOCITIES_STREAM):
        draw_noise_(counter, of_atoms.key, of_atoms.atom, of_atoms.replica, stream, got)
        expected = of_atoms.normal(step, stream)
        assert torch.allclose(got, expected, rtol=0, atol=1.4e-14)
    counter += 1
    draw_noise_(counter, of_atoms.key, of_atoms.atom, of_atoms.replica, stream, got)
    assert not torch.allclose(got, expected)
    assert torch.allclose(got, of_atoms.normal(step + 1, stream), rtol=0, atol=1.4e-14)
