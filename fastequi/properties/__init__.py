"""Properties of crystals from any ASE calculator: energy and volume, elastic constants, phonons.

A property is a file with a `Property`, and its row here. All start from atoms at rest
(`relaxation.relaxed`), in float64: their differences are smaller than float32 resolves.
"""

from fastequi.properties import elasticity, equation_of_state, phonons
from fastequi.properties.property import Property

PROPERTIES: dict[str, Property] = {
    "energy-volume": equation_of_state.PROPERTY,
    "elasticity": elasticity.PROPERTY,
    "phonons": phonons.PROPERTY,
}
