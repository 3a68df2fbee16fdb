"""Chains of few systems, in Python's numbers, are those of many, in numpy's arrays."""

import pytest
import torch

from fastequi.md.integrators.chains import Chain


@pytest.mark.parametrize("length", [1, 2, 5])
def test_few_systems_are_many_to_the_last_bit(length: int) -> None:
    random = torch.Generator().manual_seed(length)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=random, dtype=torch.float64)

    n, kT = 1.0 + 300.0 * numbers(9), 0.1 * numbers(9)
    position, velocity = numbers(9, length), 0.02 * (numbers(9, length) - 0.5)
    kinetic = n * kT * numbers(9)
    many = Chain(position.clone(), velocity.clone(), n, kT, 100.0)
    few = [
        Chain(position[[k]].clone(), velocity[[k]].clone(), n[[k]], kT[[k]], 100.0)
        for k in range(9)
    ]
    for _ in range(3):
        factors = many.advance_(kinetic, 1.0)
        alone = [chain.advance_(kinetic[[k]], 1.0) for k, chain in enumerate(few)]
        assert torch.equal(factors, torch.cat(alone))
    for name in ("position", "velocity"):
        assert torch.equal(getattr(many, name), torch.cat([getattr(c, name) for c in few]))
