"""Shared by all tests: where the reference data is, devices, and small models."""

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """Folder with reference numbers and third-party weights, FASTEQUI_DATA; skips without it."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("FASTEQUI_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"NO REFERENCE DATA at {folder}; set FASTEQUI_DATA to check against it")
    return folder


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Every device of this machine."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    return request.param
