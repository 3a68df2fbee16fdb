"""fastequi: fast molecular dynamics with NequIP-type potentials.

    potential = fastequi.load_model("silicon")
    atoms.calc = fastequi.FastEquiCalculator("silicon")               # ASE
    fastequi.Simulation(atoms, potential, integrator).run(1000)       # the built-in engine

Stable from one version to the next, with a line in the changelog where it changes:

- the names of this package, and the types that they take and give: `Potential`, `Graph`,
  `Prediction`, `State`, the integrators, the errors
- the keys of md.toml and train.toml, and what they mean
- the files of runs, trainings and models: an earlier version's are read
- the commands, their options and their exit codes

Not stable: `fastequi.engine` and `fastequi.kernels`, which are how a model is computed; and where
everything else stands.

Names are looked up when first used, so that `import fastequi` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastequi._version import __version__

if TYPE_CHECKING:
    from fastequi.calculators.ase import FastEquiCalculator
    from fastequi.importers import load_model
    from fastequi.md.simulation import Simulation

_HOMES = {
    "FastEquiCalculator": "fastequi.calculators.ase",
    "Simulation": "fastequi.md.simulation",
    "load_model": "fastequi.importers",
}

__all__ = ["FastEquiCalculator", "Simulation", "__version__", "load_model"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"fastequi has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
