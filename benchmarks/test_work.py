"""The counted work of a layer: against a table made with e3nn's own coefficients."""

import pytest

from benchmarks.work import FORCES, LAYERS, Peaks, count, layer_instructions

#: layer: paths, nonzero coefficients, W, X, M; thousands of FLOP without and with M shared.
COUNTED = {
    "sevennet-0": (15, 137, 960, 480, 3136, 26.4, 19.2),
    "sevennet-l3i5": (34, 611, 1760, 704, 7776, 87.3, 59.6),
    "nequip-l2-64-parity": (27, 265, 1728, 1088, 5952, 61.8, 43.8),
    "nequip-m": (11, 83, 768, 480, 2368, 17.8, 13.2),
    "nequip-l": (23, 353, 1312, 704, 5472, 54.5, 37.8),
    "nequip-l3-128": (23, 353, 2944, 2048, 12672, 155.5, 105.0),
    "nequip-xl": (42, 1158, 3616, 1440, 18848, 212.1, 141.8),
}


@pytest.mark.parametrize("name", LAYERS)
def test_counts(name):
    work = count(layer_instructions(name))
    counts = (work.paths, work.nonzeros, work.weights, work.features, work.messages)
    assert counts == COUNTED[name][:5]
    assert work.flop_direct / 1e3 == pytest.approx(COUNTED[name][5], abs=0.06)
    assert work.flop_forward / 1e3 == pytest.approx(COUNTED[name][6], abs=0.06)
    assert work.flop_shared == 2 * work.nonzeros


@pytest.mark.parametrize(
    ("name", "floor_ns"),
    [("sevennet-0", 6.6), ("nequip-l2-64-parity", 12.4), ("nequip-l", 9.2)],
)
def test_floor(name, floor_ns):
    """A table read from an H100's second-level cache at 5.5 TB/s, worked out by hand."""
    peaks = Peaks(3350.0, 5500.0, 67000.0, "assumed")
    work = count(layer_instructions(name))
    assert work.floor_ns(FORCES, peaks) == pytest.approx(floor_ns, abs=0.06)
