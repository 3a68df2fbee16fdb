"""What an edge's length says: Bessel functions under an envelope that vanishes at the cutoff."""

import math

import torch
from torch import Tensor, nn

from fastequi.model.spec import ModelSpec


def polynomial_envelope(x: Tensor, p: float) -> Tensor:
    """1 at x = 0; value, slope and curvature vanish at x = 1; 0 beyond (DimeNet, 2020, eq. 8)."""
    x = x.clamp(max=1.0)
    u = (
        1
        - (p + 1) * (p + 2) / 2 * x**p
        + p * (p + 2) * x ** (p + 1)
        - p * (p + 1) / 2 * x ** (p + 2)
    )
    return torch.where(x < 1.0, u, torch.zeros_like(u))


def polynomial_envelope_slope(x: Tensor, p: float) -> Tensor:
    """du/dx of `polynomial_envelope`."""
    slope = -p * (p + 1) * (p + 2) / 2 * x ** (p - 1) * (1 - x) ** 2
    return torch.where(x < 1.0, slope, torch.zeros_like(x))


def xplor_envelope(r: Tensor, r_on: float, r_cut: float) -> Tensor:
    """1 up to r_on, then a cubic in r^2 whose value and slope vanish at r_cut (XPLOR, HOOMD)."""
    s, on, cut = r * r, r_on * r_on, r_cut * r_cut
    switched = (cut - s) ** 2 * (cut + 2 * s - 3 * on) / (cut - on) ** 3
    u = torch.where(r < r_on, torch.ones_like(r), switched)
    return torch.where(r < r_cut, u, torch.zeros_like(u))


def xplor_envelope_slope(r: Tensor, r_on: float, r_cut: float) -> Tensor:
    """du/dr of `xplor_envelope`."""
    s, on, cut = r * r, r_on * r_on, r_cut * r_cut
    slope = 12 * r * (cut - s) * (on - s) / (cut - on) ** 3
    return torch.where((r < r_on) | (r >= r_cut), torch.zeros_like(r), slope)


class RadialBasis(nn.Module):
    """Edge lengths [edges] in Å -> basis [edges, n_bessel], zero from the cutoff on.

    b_n(r) = 2/r_c * sin(w_n pi r / r_c) / r * u(r), w_n = 1..n_bessel unless trained
    (NequIP eq. 8). With a table of cutoffs per species pair, r / r_c is r / r_c(receiver, sender).
    """

    pair_cutoff: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        frequencies = torch.arange(1, spec.n_bessel + 1, dtype=torch.float64)
        self.frequencies = nn.Parameter(frequencies, requires_grad=spec.bessel_trainable)
        n_species = len(spec.atomic_numbers)
        if spec.pair_cutoffs:
            table = torch.full((n_species, n_species), spec.cutoff_A, dtype=torch.float64)
            self.register_buffer("pair_cutoff", table)

    def forward(self, lengths: Tensor, species_dst: Tensor, species_src: Tensor) -> Tensor:
        return self.of_relative(self.relative(lengths, species_dst, species_src))

    def of_relative(self, x: Tensor) -> Tensor:
        """The basis [edges, n_bessel] at x = r / r_c [edges]."""
        prefactor = 2 * math.pi / self.spec.cutoff_A**2
        bessel = prefactor * self.frequencies * torch.sinc(x.unsqueeze(1) * self.frequencies)
        return bessel * self.envelope(x).unsqueeze(1)

    def slope_of_relative(self, x: Tensor) -> Tensor:
        """d/dx of `of_relative`, [edges, n_bessel]; x > 0."""
        prefactor = 2 * math.pi / self.spec.cutoff_A**2
        turns = x.unsqueeze(1) * self.frequencies
        wave = self.frequencies * torch.sinc(turns)
        change = (self.frequencies * torch.cos(math.pi * turns) - wave) / x.unsqueeze(1)
        u, du = self.envelope(x).unsqueeze(1), self.envelope_slope(x).unsqueeze(1)
        return prefactor * (change * u + wave * du)

    def envelope_slope(self, x: Tensor) -> Tensor:
        """d/dx of `envelope`."""
        cutoff, parameter = self.spec.cutoff_A, self.spec.envelope_parameter
        if self.spec.envelope == "xplor":
            return cutoff * xplor_envelope_slope(x * cutoff, parameter, cutoff)
        return polynomial_envelope_slope(x, parameter)

    def envelope(self, x: Tensor) -> Tensor:
        """The cutoff function at x = r / r_c."""
        cutoff, parameter = self.spec.cutoff_A, self.spec.envelope_parameter
        if self.spec.envelope == "xplor":
            return xplor_envelope(x * cutoff, parameter, cutoff)
        return polynomial_envelope(x, parameter)

    def relative(self, lengths: Tensor, species_dst: Tensor, species_src: Tensor) -> Tensor:
        """x = r / r_c."""
        if self.spec.pair_cutoffs:
            return lengths / self.pair_cutoff[species_dst, species_src]
        return lengths / self.spec.cutoff_A
