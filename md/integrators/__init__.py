"""Integrators by the name of their ensemble."""

from fastequi.md.integrators.csvr import VelocityRescaling
from fastequi.md.integrators.integrator import Integrator
from fastequi.md.integrators.langevin import LangevinBAOAB
from fastequi.md.integrators.minimize import Minimize
from fastequi.md.integrators.mtk import MartynaTobiasKlein
from fastequi.md.integrators.nose_hoover import NoseHooverChain
from fastequi.md.integrators.nve import VelocityVerlet
from fastequi.md.integrators.scr import CellRescaling

INTEGRATORS: dict[str, type[Integrator]] = {
    kind.ensemble: kind
    for kind in (
        VelocityVerlet,
        LangevinBAOAB,
        NoseHooverChain,
        VelocityRescaling,
        CellRescaling,
        MartynaTobiasKlein,
        Minimize,
    )
}

__all__ = [
    "INTEGRATORS",
    "CellRescaling",
    "Integrator",
    "LangevinBAOAB",
    "MartynaTobiasKlein",
    "Minimize",
    "NoseHooverChain",
    "VelocityRescaling",
    "VelocityVerlet",
]
