"""What ranks of LAMMPS send: counted in runs of 1, 2 and 4 ranks, and predicted for many.

    python -m benchmarks.scaling            # prints the two tables
    python -m benchmarks.scaling --write    # puts them into SCALING.md, which says what follows

A rank with a box of edges a, b, c has ghosts within a reach r, the cutoff and the skin: the volume
(a + 2r)(b + 2r)(c + 2r) - abc, whatever the number of layers. Before each layer but the first,
ghosts get what their atoms send; gradients go back. In the first layer it follows from the species.
"""

import argparse
import json
import subprocess
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.common import ROOT
from benchmarks.launches import MODELS

DOCUMENT = Path(__file__).with_name("SCALING.md")
RANKS = (1, 2, 4)
SKIN_A = 1.0
#: Of the force on a ghost, in float64.
FORCE_BYTES = 24
#: Å³ per atom of silicon, on which everything here is counted.
VOLUME_A3 = 5.43**3 / 8


@dataclass(frozen=True)
class Messages:
    """widths: numbers that an atom sends before each layer but the first; itemsize: of float32 or
    float64."""

    widths: tuple[int, ...]
    itemsize: int = 4

    @property
    def feature_bytes(self) -> int:
        """Of a ghost in a step, one way."""
        return self.itemsize * sum(self.widths)

    @property
    def ghost_bytes(self) -> int:
        """Of a ghost in a step: features there, gradients and the force back."""
        return 2 * self.feature_bytes + FORCE_BYTES


def messages_of(network: Any, itemsize: int = 4) -> Messages:
    """From the irreps of a NequIP network."""
    layers = network.interactions()[1:]
    return Messages(tuple(layer.shapes.irreps_in.dim for layer in layers), itemsize)


def halo_volume(edges_A: Sequence[float], reach_A: float) -> float:
    """Å³ around a box of these three edges, within the reach."""
    return prod(edge + 2.0 * reach_A for edge in edges_A) - prod(edges_A)


# -- counted --------------------------------------------------------------------------------------


def counted(cells: int = 4) -> list[dict[str, Any]]:
    """Of the bundled silicon potential on 8 cells³ atoms: a row for each number of ranks."""
    with TemporaryDirectory() as folder:
        out = Path(folder) / "counts.json"
        launcher = Path(sys.executable).with_name("mpiexec")
        command = [launcher, "-n", max(RANKS), sys.executable, "-m", __spec__.name, "--count", out,
                   "--cells", cells]  # fmt: skip
        done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return json.loads(out.read_text())


def count(out: Path, cells: int) -> None:
    """On every rank: rank 0 writes what all of them had and sent in one step."""
    from fastequi import load_model
    from fastequi.integrations.lammps import lammps_and_mpi
    from fastequi.integrations.lammps.communicator import Communicator

    _, MPI = lammps_and_mpi()
    world = Communicator(MPI.COMM_WORLD)
    try:
        model, rows = load_model("silicon", device="cpu"), []
        for ranks in RANKS:
            comm = world.mpi.Split(0 if world.rank < ranks else MPI.UNDEFINED)
            if world.rank < ranks:
                found = comm.gather(_one_step(comm, model, cells))
                if comm.rank == 0:
                    rows.append({"ranks": ranks, "atoms": 8 * cells**3, "each": found})
            world.told()
        if world.rank == 0:
            out.write_text(json.dumps(rows))
    except BaseException:
        traceback.print_exc()
        world.end_all(1)


def _one_step(comm: Any, model: Any, cells: int) -> dict[str, Any]:
    from fastequi.integrations.lammps import attach, lammps_and_mpi

    lmp = lammps_and_mpi()[0].lammps(comm=comm, cmdargs=["-log", "none", "-screen", "none"])
    lmp.commands_string(
        f"units metal\nlattice diamond 5.43\nregion b block 0 {cells} 0 {cells} 0 {cells}\n"
        "create_box 1 b\ncreate_atoms 1 box\nmass 1 28.0"
    )
    force = attach(lmp, model, ["Si"], skin_A=SKIN_A)
    lmp.commands_string("fix 1 all nve\nvelocity all create 100 1 loop geom\nrun 0")
    before, built = force.comm.sent_bytes, force.rebuilds
    lmp.command("run 1 pre no")
    assert force.rebuilds == built
    assert force._domain_now is not None
    exchange, here = force._domain_now[1], force.comm.rank
    n_own, n_ghosts = lmp.extract_setting("nlocal"), lmp.extract_setting("nghost")
    low, high = lmp.extract_global("sublo"), lmp.extract_global("subhi")
    found = {
        "own": n_own, "ghosts": n_ghosts,
        "edges_A": [end - begin for begin, end in zip(low, high, strict=True)],
        "rows_sent": int(exchange.n_sent.sum() - exchange.n_sent[here]),
        "rows_received": int(exchange.n_received.sum() - exchange.n_received[here]),
        "bytes": force.comm.sent_bytes - before,
    }  # fmt: skip
    lmp.close()
    return found


def predicted_bytes(one: dict[str, Any], messages: Messages) -> int:
    """That a rank sends in a step, of features to others and of what goes back to them."""
    back = messages.feature_bytes + FORCE_BYTES
    return one["rows_sent"] * messages.feature_bytes + one["rows_received"] * back


def predicted_ghosts(one: dict[str, Any], reach_A: float) -> float:
    """From the volume around a rank's box."""
    return halo_volume(one["edges_A"], reach_A) / VOLUME_A3


# -- predicted ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Device:
    """A rank's, as assumed: bandwidth in GB/s of messages, latency in µs of a message, what a step
    of an atom takes in µs by model."""

    name: str
    GB_per_s: float
    latency_us: float
    us_per_atom: dict[str, float]


#: Of a core: SevenNet-0 measured on two threads (AVX2), doubled; NequIP L by the counted FLOPs.
CORE = Device("one core (AVX2)", 5.0, 5.0, {"sevennet-0": 370.0, "nequip-l": 690.0})
#: Predictions that no run has confirmed; messages by way of the host, as the code has them.
GPU = Device("H100, predicted", 12.0, 20.0, {"sevennet-0": 1.8, "nequip-l": 3.3})
#: Neighbours of a box in three dimensions.
_NEIGHBOURS = 26


def times_us(model: str, atoms: float, device: Device, messages: Messages) -> tuple[float, float]:
    """(arithmetic, communication) of a step of a rank with so many atoms in a cube."""
    edge = (atoms * VOLUME_A3) ** (1 / 3)
    ghosts = halo_volume([edge] * 3, 5.0 + SKIN_A) / VOLUME_A3
    rounds = 2 * len(messages.widths) + 1
    sending = ghosts * messages.ghost_bytes / (device.GB_per_s * 1e3)
    return atoms * device.us_per_atom[model], sending + rounds * _NEIGHBOURS * device.latency_us


def break_even(model: str, device: Device, messages: Messages) -> float:
    """Atoms of a rank at which communication takes as long as arithmetic."""
    low, high = 1.0, 1e9
    while high / low > 1.001:
        middle = (low * high) ** 0.5
        arithmetic, communication = times_us(model, middle, device, messages)
        low, high = (middle, high) if communication > arithmetic else (low, middle)
    return high


def tables(counts: Sequence[dict[str, Any]] | None) -> str:
    """Both, in Markdown; the first from `counted`, or left out."""
    lines: list[str] = []
    if counts:
        silicon = messages_of(_silicon())
        lines += ["| ranks | atoms of a rank | ghosts counted | by volume | bytes sent, counted | "
                  "by irreps |", "|---|---|---|---|---|---|"]  # fmt: skip
        for row in counts:
            one = row["each"][0]
            ghosts = predicted_ghosts(one, _silicon().cutoff + SKIN_A)
            lines.append(
                f"| {row['ranks']} | {one['own']} | {one['ghosts']} | {ghosts:.0f} | "
                f"{one['bytes']:,} | {predicted_bytes(one, silicon):,} |"
            )
        lines.append("")
    lines += ["| model | atoms | devices | atoms of each | ghosts : atoms | MB sent | arithmetic | "
              "communication | share |", "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for model in ("sevennet-0", "nequip-l"):
        messages = messages_of(MODELS[model]())
        for atoms, devices in ((1e6, 1), (1e6, 8), (1e6, 64), (1e7, 64), (1e8, 1e3), (1e9, 1e4)):
            lines.append(_predicted_row(model, atoms, devices, messages))
    return "\n".join(lines)


def _predicted_row(model: str, atoms: float, devices: float, messages: Messages) -> str:
    each = atoms / devices
    edge = (each * VOLUME_A3) ** (1 / 3)
    ghosts = halo_volume([edge] * 3, 5.0 + SKIN_A) / VOLUME_A3
    arithmetic, communication = times_us(model, each, GPU, messages)
    if devices == 1:
        communication = 0.0
    share = communication / (arithmetic + communication)
    return (
        f"| {model} | {atoms:.0e} | {devices:g} | {each:,.0f} | {ghosts / each:.2f} | "
        f"{0.0 if devices == 1 else ghosts * messages.ghost_bytes / 1e6:,.0f} | "
        f"{arithmetic / 1e3:,.0f} ms | {communication / 1e3:,.0f} ms | {100 * share:.0f} % |"
    )


def _silicon() -> Any:
    from fastequi import load_model

    return load_model("silicon", device="cpu").network


BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--write", action="store_true", help="into SCALING.md")
    parser.add_argument("--cells", type=int, default=4, help="cubic cells of silicon along x, y, z")
    parser.add_argument("--count", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.count:
        torch.set_num_threads(1)
        count(options.count, options.cells)
        return
    text = tables(counted(options.cells))
    for model in ("sevennet-0", "nequip-l"):
        messages = messages_of(MODELS[model]())
        even = {d.name: f"{break_even(model, d, messages):,.0f}" for d in (CORE, GPU)}
        print(
            f"{model}: widths {messages.widths}, {messages.ghost_bytes} B per ghost, even at {even}"
        )
    if not options.write:
        print(text)
        return
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
