"""`[[analysis]]`: analyses that go on while a run does, with no frames on disk.

Adding one is a file with an `Accumulator`, and its row here.
"""

from fastequi.md.analysis.accumulators.accumulator import Accumulator
from fastequi.md.analysis.accumulators.adf import AdfSums
from fastequi.md.analysis.accumulators.msd import MsdSums
from fastequi.md.analysis.accumulators.rdf import RdfSums
from fastequi.md.analysis.accumulators.vacf import VacfSums
from fastequi.md.analysis.accumulators.viscosity import ViscositySums

ACCUMULATORS: dict[str, type[Accumulator]] = {
    kind.kind: kind for kind in (RdfSums, AdfSums, MsdSums, VacfSums, ViscositySums)
}

__all__ = ["ACCUMULATORS", "Accumulator"]
