"""Each test runs with PLUMED itself, where it is, and with a stand-in for its kernel everywhere."""

import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest

STANDIN = Path(__file__).with_name("standin.py")


@pytest.fixture(params=["standin", "plumed"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes `import plumed` find one of the two; its name."""
    if request.param == "standin":
        module = ModuleType("plumed")
        module.__dict__["Plumed"] = runpy.run_path(str(STANDIN))["Plumed"]
        monkeypatch.setitem(sys.modules, "plumed", module)
    else:
        plumed = pytest.importorskip("plumed", reason="NO PLUMED: pip install plumed")
        try:
            plumed.Plumed()
        except RuntimeError:
            pytest.skip("NO PLUMED KERNEL: set PLUMED_KERNEL to a libplumedKernel.so")
    return request.param
