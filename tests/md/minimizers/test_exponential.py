"""The exponential and its derivative against SciPy's."""

import numpy as np
import scipy.linalg
import torch

from fastequi.md.minimizers.exponential import exp, exp_derivative


def test_they_are_scipys() -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(size=(20, 3, 3)) * np.geomspace(1e-8, 1.0, 20)[:, None, None]
    direction = rng.normal(size=(20, 3, 3)) * np.geomspace(1e3, 1e-9, 20)[:, None, None]
    values, derivatives = exp(torch.tensor(a)), exp_derivative(*map(torch.tensor, (a, direction)))
    for k in range(20):
        value, derivative = scipy.linalg.expm_frechet(a[k], direction[k])
        np.testing.assert_allclose(values[k], value, rtol=1e-13, atol=1e-14)
        scale = np.abs(derivative).max()
        np.testing.assert_allclose(derivatives[k], derivative, atol=1e-13 * scale)


def test_nothing_has_the_derivative_zero() -> None:
    zero = torch.zeros(2, 3, 3, dtype=torch.float64)
    assert torch.equal(exp_derivative(zero, zero), zero)
