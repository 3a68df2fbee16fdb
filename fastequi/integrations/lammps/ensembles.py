"""Ensembles as LAMMPS's fixes: a row each, from the integrator that the run's md.toml names.

Degrees of freedom and what is heat are the integrator's: the motion of the centre of mass is none
(compute temp/com), but beside fixed atoms and under Langevin's bath, where all motion is.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastequi.errors import InputError
from fastequi.integrations.lammps.box import Box
from fastequi.md.barostats.strain import Coupling
from fastequi.md.integrators import (
    Integrator,
    LangevinBAOAB,
    MartynaTobiasKlein,
    NoseHooverChain,
    VelocityRescaling,
    VelocityVerlet,
)
from fastequi.md.ramps import Ramp, first_value
from fastequi.units import ACCELERATION_A_PER_FS2, BOLTZMANN_eV_PER_K, GPA_PER_eV_PER_A3

#: LAMMPS's generators take seeds up to 900 million, and add the rank.
_SEEDS = 899_000_000
#: Atoms that move, the fix that moves them, the fix of a bath, and what measures heat.
MOBILE, MOTION, BATH, HEAT = "mobile", "motion", "bath", "heat"


@dataclass(frozen=True)
class Constants:
    """LAMMPS's own, in units metal, which differ from ours in the seventh digit: what is given to
    it is scaled, so that accelerations, kT and pressures are ours to rounding.

    boltz   eV/K
    ftm2v   Å/ps² of 1 eV/Å on 1 amu
    nktv2p  bar of 1 eV/Å³
    """

    boltz: float
    ftm2v: float
    nktv2p: float

    def mass(self, amu: float) -> float:
        """What LAMMPS is to call a mass."""
        return amu * self.ftm2v / (ACCELERATION_A_PER_FS2 * 1e6)

    def temperatures(self, target: Any) -> str:
        """From, to; in K."""
        return _two(target, BOLTZMANN_eV_PER_K / self.boltz)

    def pressures(self, target: Any) -> str:
        """From, to; of GPa, in bar."""
        return _two(target, self.nktv2p / GPA_PER_eV_PER_A3)


def _two(target: Any, factor: float) -> str:
    end = target.end if isinstance(target, Ramp) else target
    return f"{first_value(target) * factor:.17g} {end * factor:.17g}"


def _nve(integrator: VelocityVerlet, constants: Constants, step: int) -> list[str]:
    return [f"fix {MOTION} {MOBILE} nve"]


def _csvr(integrator: VelocityRescaling, constants: Constants, step: int) -> list[str]:
    temperatures = constants.temperatures(integrator.temperature_K)
    time, seed = _ps(integrator.thermostat_time_fs), lammps_seed(integrator.seed, 0)
    return [
        f"fix {MOTION} {MOBILE} nve",
        f"fix {BATH} {MOBILE} temp/csvr {temperatures} {time} {seed}",
        f"fix_modify {BATH} temp {HEAT}",
    ]


def _langevin(integrator: LangevinBAOAB, constants: Constants, step: int) -> list[str]:
    return [f"fix {MOTION} {MOBILE} nve", *langevin_bath(integrator, constants, step)]


def langevin_bath(integrator: LangevinBAOAB, constants: Constants, step: int) -> list[str]:
    """The bath, with noise of its own from a step on: its generator is in no restart file."""
    temperatures = constants.temperatures(integrator.temperature_K)
    damp, seed = f"{1.0 / integrator.friction_per_ps:.17g}", lammps_seed(integrator.seed, step)
    return [f"fix {BATH} {MOBILE} langevin {temperatures} {damp} {seed} tally yes"]


def _nose_hoover(integrator: NoseHooverChain, constants: Constants, step: int) -> list[str]:
    temperatures = constants.temperatures(integrator.temperature_K)
    chain = f"tchain {integrator.chain_length}"
    return [
        f"fix {MOTION} {MOBILE} nvt temp {temperatures} {_ps(integrator.thermostat_time_fs)} "
        f"{chain}",
        f"fix_modify {MOTION} temp {HEAT}",
    ]


def _mtk(integrator: MartynaTobiasKlein, constants: Constants, step: int) -> list[str]:
    temperatures = constants.temperatures(integrator.temperature_K)
    held = f"{constants.pressures(integrator.pressure_GPa)} {_ps(integrator.barostat_time_fs)}"
    strains = " ".join(f"{name} {held}" for name in _strains(integrator))
    together = _couple(integrator)
    length = integrator.chain_length
    return [
        f"fix {MOTION} {MOBILE} npt temp {temperatures} {_ps(integrator.thermostat_time_fs)} "
        f"{strains}{together} tchain {length} pchain {length} flip no",
        f"fix_modify {MOTION} temp {HEAT}",
    ]


def _strains(integrator: MartynaTobiasKlein) -> list[str]:
    """The words of fix npt for what may change."""
    axes = integrator.barostat_axes
    whole = {"isotropic": "iso", "axes": "aniso", "flexible": "tri"}
    if axes == "xyz":
        return [whole[integrator.coupling]]
    tilts = [pair for pair in ("yz", "xz", "xy") if set(pair) <= set(axes)]
    return [*axes, *(tilts if integrator.coupling == "flexible" else [])]


def _couple(integrator: MartynaTobiasKlein) -> str:
    axes = integrator.barostat_axes
    both = len(axes) == 2 and integrator.coupling == "isotropic"
    return f" couple {axes}" if both else ""


#: Ensemble -> what makes its commands, from a step on.
ENSEMBLES: dict[str, Callable[[Any, Constants, int], list[str]]] = {
    VelocityVerlet.ensemble: _nve,
    LangevinBAOAB.ensemble: _langevin,
    NoseHooverChain.ensemble: _nose_hoover,
    VelocityRescaling.ensemble: _csvr,
    MartynaTobiasKlein.ensemble: _mtk,
}


def commands_of(
    integrator: Integrator, constants: Constants, step: int, all_heat: bool
) -> list[str]:
    """Heat and motion, from a step on.

    all_heat: of motion that has no part without heat; see `Batch`
    """
    kind = "temp" if all_heat else "temp/com"
    heat = [f"compute {HEAT} {MOBILE} {kind}"]
    if all_heat:
        heat.append(f"compute_modify {HEAT} extra/dof 0")
    return [*heat, *ENSEMBLES[integrator.ensemble](integrator, constants, step)]


def is_tilting(integrator: Integrator) -> bool:
    """Whether angles of the cell may change."""
    return isinstance(integrator, MartynaTobiasKlein) and integrator.coupling == "flexible"


def check_box(integrator: Integrator, box: Box) -> None:
    """Raise InputError for strains along axes that are others in LAMMPS."""
    if not isinstance(integrator, MartynaTobiasKlein) or not box.is_turned:
        return
    coupling = Coupling(integrator.coupling, integrator.barostat_axes)
    is_free = coupling.axes == "xyz" and coupling.kind != "axes"
    if not is_free:
        raise InputError(
            f'coupling = "{coupling.kind}" with barostat_axes = "{coupling.axes}": LAMMPS turns '
            "this cell (its first vector is not along x, or the second not in the plane of x and "
            'y), and x, y and z would be others. Allowed with it: "isotropic" and "flexible" along '
            '"xyz"; or a structure that is turned'
        )


def lammps_seed(seed: int | Sequence[int], step: int) -> int:
    """A seed of LAMMPS that depends on the run's and on the step from which it is used."""
    own = seed if isinstance(seed, int) else seed[0]
    digest = hashlib.sha256(f"{own} {step}".encode()).digest()
    return 1 + int.from_bytes(digest[:8], "little") % _SEEDS


def _ps(time_fs: float) -> str:
    return f"{time_fs * 1e-3:.17g}"
