"""Keys of [dynamics] that several ensembles share: their type, limits and description."""

from typing import Annotated

from pydantic import Field

from fastequi.md.barostats.strain import AXES, COUPLINGS
from fastequi.md.ramps import target_key
from fastequi.settings import Count, Positive, one_of

Temperature = Annotated[
    target_key(at_least=0.0),
    Field(
        description="K; or [from, to] over the steps; also of the first velocities, unless the "
        "structure has some"
    ),
]
ThermostatTime = Annotated[
    Positive, Field(description="fs, in which the thermostat answers; shorter holds tighter")
]
ChainLength = Annotated[Count, Field(description="thermostats in each Nosé-Hoover chain")]
Pressure = Annotated[target_key(), Field(description="GPa; or [from, to] over the steps")]
BarostatTime = Annotated[
    Positive, Field(description="fs, in which the cell answers; too short, and it explodes")
]
CouplingKind = Annotated[
    str,
    one_of("none", *COUPLINGS),
    Field(
        description="isotropic, axes (x, y and z each), or flexible (angles too); of a "
        "minimisation also none"
    ),
]
BarostatAxes = Annotated[
    str, one_of(*AXES), Field(description='axes that may change; "xy" for a slab')
]
