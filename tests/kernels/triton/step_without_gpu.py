"""What steps of dynamics compile beyond what was compiled ahead; run by test_compile_ahead.py.

Launches end where a GPU would be needed, on the way of every launch, so it is seen what a step asks
to be compiled, of tensors as they are.
"""

import json
from typing import Any
from unittest.mock import patch

import torch
from ase import Atoms
from ase.build import bulk, molecule
from triton.runtime.jit import JITFunction

from fastequi.engine.fused import FusedNequIP
from fastequi.kernels.triton.compile_ahead import compile_job, compile_offline_for, jobs_of
from fastequi.md.neighbors import NeighborList
from fastequi.md.neighbors.device import DeviceBuilder, DeviceGauge
from fastequi.md.state import state_from_atoms
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec

CAPABILITY = 90


def network() -> NequIP:
    """Two layers with odd channels."""
    spec = new_spec(
        [1, 8, 14], layers=2, l_max=1, channels=(5, 3), cutoff_A=3.0, radial_hidden=(8,)
    )  # fmt: skip
    return NequIP(spec).to(torch.float32).requires_grad_(False)


def steps(engine: FusedNequIP, systems: list[Atoms]) -> None:
    """Two, and a list, as launches that end early: what they find is not looked at."""
    s = state_from_atoms(systems)
    neighbors = NeighborList(engine.cutoff, 0.5)
    topology = s.cell, s.pbc, s.system_idx
    neighbors.update(s.positions, *topology)
    call = engine.force_call(neighbors.graph_with_skin(s.positions, s.atomic_numbers, *topology))
    for _ in range(2):
        call(s.positions, s.cell)
    builder = DeviceBuilder(3.5, 0.5, s.system_idx, s.n_systems)
    builder.build_([], s.positions, s.cell, s.pbc)
    DeviceGauge(builder, s.pbc).watch_(s.positions, s.cell, s.batch, 1.0, builder.flags)


def main() -> None:
    compile_offline_for(CAPABILITY)
    compiled: list[str] = []
    compile_, run = JITFunction._do_compile, JITFunction.run

    def counted(function: Any, *arguments: Any, **named: Any) -> Any:
        compiled.append(function.__name__)
        return compile_(function, *arguments, **named)

    def ended(function: Any, *arguments: Any, **named: Any) -> Any:
        return run(function, *arguments, **named | {"warmup": True})

    with patch.object(JITFunction, "_do_compile", counted):
        net = network()
        layers = [layer.shapes.instructions for layer in net.interactions()]
        jobs = jobs_of(layers, torch.float32, False)
        for job in jobs:
            compile_job(job, CAPABILITY)
        ahead = len(compiled)
        with patch.object(JITFunction, "run", ended):
            engine = FusedNequIP(net, "triton")
            steps(engine, [bulk("Si", cubic=True)])
            steps(engine, [molecule("H2O"), Atoms("H"), molecule("CH3OH")[1:3]])
    print(json.dumps({"jobs": len(jobs), "ahead": ahead, "later": compiled[ahead:]}))


if __name__ == "__main__":
    main()
