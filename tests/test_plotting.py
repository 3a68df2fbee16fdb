"""Where no picture can be made, the way out is said."""

import pytest

from fastequi import plotting


def test_without_matplotlib(monkeypatch):
    pytest.importorskip("matplotlib")
    assert plotting.why_no_plots() == ""
    monkeypatch.setattr(plotting, "find_spec", lambda name: None)
    assert "pip install 'fastequi[plot]'" in plotting.why_no_plots()
