"""Pages of the public API, from its docstrings (`make docs`): python .ci/docs/build.py FOLDER."""

import sys
from pathlib import Path

import pdoc

import fastequi
import fastequi.md

for name in fastequi.__all__:  # they are looked up when first used, pdoc sees those that are there
    setattr(fastequi, name, getattr(fastequi, name))
# Beside the names of the package, the modules of what these take and give; pdoc goes by __all__.
vars(fastequi)["__all__"] += ["potential", "graph", "errors", "md"]
vars(fastequi.md)["__all__"] = ["state", "integrators", "analysis"]

pdoc.render.configure(template_directory=Path(__file__).parent)
pdoc.pdoc("fastequi", output_directory=Path(sys.argv[1]))
