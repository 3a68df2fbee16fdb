"""Counter-based noise: published answers, independence of everything but its counters."""

import numpy as np
import pytest
import torch
from scipy import stats

from fastequi.errors import InputError
from fastequi.md.noise import (
    THERMOSTAT_STREAM,
    VELOCITIES_STREAM,
    AtomNoise,
    normal_noise,
)
from fastequi.md.philox import Philox, philox4x32

# Random123's kat_vectors, philox4x32 with 10 rounds: counter, key, answer.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def words(text: str) -> torch.Tensor:
    return torch.tensor([[int(word, 16)] for word in text.split()])


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_published_answers(counter: str, key: str, answer: str) -> None:
    assert torch.equal(philox4x32(words(counter), words(key)), words(answer))


def test_philox_of_many_counters_is_philox_of_each() -> None:
    counters = torch.cat([words(c) for c, _, _ in KNOWN_ANSWERS], dim=1)
    keys = torch.cat([words(k) for _, k, _ in KNOWN_ANSWERS], dim=1)
    answers = torch.cat([words(a) for _, _, a in KNOWN_ANSWERS], dim=1)
    assert torch.equal(philox4x32(counters, keys), answers)
    assert torch.equal(Philox(keys).words(counters), answers)


def test_numpy_has_the_words_of_torch() -> None:
    """Of random counters, for a key each and for one key of all."""
    random = np.random.default_rng(5)
    counters = torch.from_numpy(random.integers(2**32, size=(4, 999)))
    keys = torch.from_numpy(random.integers(2**32, size=(2, 999)))
    for key in (keys, keys[:, :1]):
        assert torch.equal(philox4x32(counters, key), Philox(key).words(counters))


def test_numbers_are_standard_normal_and_uncorrelated() -> None:
    noise = normal_noise(3, 5, THERMOSTAT_STREAM, torch.zeros(100_000, dtype=torch.int64))
    assert noise.dtype == torch.float64
    assert stats.kstest(noise.flatten().numpy(), "norm").pvalue > 0.01
    correlation = np.corrcoef(noise.numpy().T)[np.triu_indices(3, 1)]
    assert np.abs(correlation).max() < 4.0 / np.sqrt(100_000)


def test_steps_seeds_streams_and_replicas_are_independent() -> None:
    """Among them seed 42 at step k + 1 and seed 43 at step k, which others confuse."""
    idx = torch.zeros(20_000, dtype=torch.int64)
    draws = [
        normal_noise(seed, step, stream, idx).flatten().numpy()
        for seed in (42, 43, 42 + 2**32)
        for step in (7, 8, 7 + 2**32)
        for stream in (THERMOSTAT_STREAM, VELOCITIES_STREAM)
    ]
    draws.append(normal_noise(42, 7, 0, torch.arange(2).repeat_interleave(20_000))[20_000:]
                 .flatten().numpy())  # fmt: skip
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    assert np.abs(correlation).max() < 5.0 / np.sqrt(60_000)


def test_noise_of_an_atom_does_not_depend_on_the_rest_of_the_batch() -> None:
    idx = torch.tensor([0, 0, 0, 1, 1, 2])
    batch = normal_noise([4, 5, 6], 9, 0, idx)
    for system, seed in enumerate((4, 5, 6)):
        mine = idx == system
        alone = normal_noise(seed, 9, 0, torch.zeros(int(mine.sum()), dtype=torch.int64))
        assert torch.equal(batch[mine], alone)


def test_one_seed_makes_different_replicas_of_which_the_first_is_the_system_alone() -> None:
    idx = torch.tensor([0, 0, 1, 1])
    noise = AtomNoise(4, idx).normal(9, 0)
    assert torch.equal(noise[:2], normal_noise(4, 9, 0, idx[:2]))
    assert (noise[:2] - noise[2:]).abs().min() > 1e-3


def test_systems_of_different_size_have_nothing_in_common_under_one_seed() -> None:
    """Runs of their own, with the seed that is the default: their first atoms are not alike."""
    draws = [
        normal_noise(0, 0, VELOCITIES_STREAM, torch.zeros(n, dtype=torch.int64))[:2000]
        for n in (2000, 2001, 2002, 4000)
    ]
    correlation = np.corrcoef([d.flatten().numpy() for d in draws]) - np.eye(len(draws))
    assert np.abs(correlation).max() < 5.0 / np.sqrt(6000)


def test_seeds_are_checked() -> None:
    idx = torch.tensor([0, 1])
    with pytest.raises(InputError, match="3 seeds for 2 systems"):
        AtomNoise([1, 2, 3], idx)
    with pytest.raises(InputError, match="between 0 and"):
        AtomNoise(-1, idx)
    assert AtomNoise(2**64 - 1, idx).normal(0, 0).isfinite().all()


@pytest.mark.parametrize("step", [0, 7, 2**32 + 3])
@pytest.mark.parametrize("seed", [5, [5, 2**40]])
def test_a_step_may_be_a_number_on_the_device(step: int, seed: int | list[int]) -> None:
    of_atoms = AtomNoise(seed, torch.tensor([0, 0, 1]))
    on_device = torch.tensor(step)
    assert torch.equal(of_atoms.normal(on_device, 2), of_atoms.normal(step, 2))
