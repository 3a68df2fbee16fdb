"""Keys of [dynamics] that several ensembles share: their type, limits and description."""

from typing import Annotated

from pydantic import Field

from fastequi.settings import Count, Positive

ThermostatTime = Annotated[
    Positive, Field(description="fs, in which the thermostat answers; shorter holds tighter")
]
ChainLength = Annotated[Count, Field(description="thermostats in each Nosé-Hoover chain")]
