"""Integrators by the name of their ensemble."""

from fastequi.md.integrators.csvr import VelocityRescaling
from fastequi.md.integrators.integrator import Integrator
from fastequi.md.integrators.langevin import LangevinBAOAB
from fastequi.md.integrators.nose_hoover import NoseHooverChain
from fastequi.md.integrators.nve import VelocityVerlet

INTEGRATORS: dict[str, type[Integrator]] = {
    kind.ensemble: kind
    for kind in (
        VelocityVerlet,
        LangevinBAOAB,
        NoseHooverChain,
        VelocityRescaling,
    )
}

__all__ = [
    "INTEGRATORS",
    "Integrator",
    "LangevinBAOAB",
    "NoseHooverChain",
    "VelocityRescaling",
    "VelocityVerlet",
]
