"""Each test runs with PLUMED itself, where it is, and with a stand-in for its kernel everywhere."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import standin


@pytest.fixture(params=["standin", "plumed"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes `import plumed` find one of the two; its name."""
    if request.param == "standin":
        module = ModuleType("plumed")
        module.__dict__["Plumed"] = standin.Plumed
        monkeypatch.setitem(sys.modules, "plumed", module)
    else:
        plumed = pytest.importorskip("plumed", reason="NO PLUMED: pip install plumed")
        try:
            plumed.Plumed()
        except RuntimeError:
            pytest.skip("NO PLUMED KERNEL: set PLUMED_KERNEL to a libplumedKernel.so")
    return request.param
