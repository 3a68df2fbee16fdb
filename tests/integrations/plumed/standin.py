"""A stand-in for PLUMED's kernel where there is none: a few of its actions, as documented.

It is as strict about what it is handed as the wrapper (types, contiguity, order), keeps memory that
it was given as pointers do, and buffers its files. One-dimensional METAD adds Gaussians
without a grid; gradients of collective variables are torch's.
"""

import math
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor

BOLTZMANN_KJ_PER_MOL_K = 0.0083144621
_UNITS = {"kj/mol": 1.0, "eV": 96.48530749925792, "nm": 1.0, "A": 0.1, "ps": 1.0, "fs": 1e-3}


class PlumedError(RuntimeError):
    """What the wrapper raises for an input that the kernel refuses."""


class Action:
    """A line of the input: label, kind, KEY=VALUE pairs."""

    def __init__(self, line: str) -> None:
        label, _, rest = line.partition(":") if ":" in line else ("", "", line)
        kind, *words = rest.split()
        self.label, self.kind = label.strip(), kind
        self.values = dict(word.split("=", 1) for word in words if "=" in word)

    def number(self, key: str) -> float:
        if key not in self.values:
            raise PlumedError(f"ERROR in input to action {self.kind}: {key} is compulsory")
        return float(self.values[key])


class Plumed:
    """`plumed.Plumed`: everything through `cmd`."""

    def __init__(self) -> None:
        self.md = {"energy": 1.0, "length": 1.0, "time": 1.0}
        self.own = dict(self.md)
        self.given: dict[str, Any] = {}
        self.actions: list[Action] = []
        self.files: dict[str, TextIO] = {}
        self.hills: dict[str, Tensor] = {}  # [hills, 3]: centre, sigma, height
        self.has_begun: set[str] = set()
        self.is_ready, self.step, self.bias, self.flushes = False, 0, 0.0, False
        self.calls: list[str] = []

    # -- commands ----------------------------------------------------------------------------------

    def cmd(self, name: str, value: Any = None) -> None:
        self.calls.append(name)
        if isinstance(value, np.ndarray):
            assert value.dtype in (np.float64, np.intc)
            assert value.flags.c_contiguous  # the wrapper would hand over a copy that is gone
        if name.startswith("setMD") and name.endswith("Units"):
            assert not self.is_ready
            kind = name.removeprefix("setMD").removesuffix("Units").lower()
            self.md[kind] = float(value)
        elif name == "init":
            self.is_ready = True
            self.own["time"] = 1.0
            if dat := self.given.get("setPlumedDat"):
                for line in Path(dat).read_text().splitlines():
                    self._read(line)
        elif name == "readInputLine":
            self._read(str(value))
        elif name == "setStep":
            assert isinstance(value, int)
            self.step = value
        elif name == "isEnergyNeeded":
            value[0] = any(action.kind == "ENERGY" for action in self.actions)
        elif name == "getBias":
            value[0] = self.bias * self.own["energy"] / self.md["energy"]
        elif name in ("performCalc", "performCalcNoUpdate"):
            self._calculate(update=name == "performCalc")
        elif name != "prepareCalc":
            assert name in {"setMDEngine", "setNatoms", "setTimestep", "setLogFile", "setRestart",
                            "setKbT", "setPlumedDat", "setPositions", "setForces", "setMasses",
                            "setBox", "setVirial", "setStopFlag", "setEnergy"}  # fmt: skip
            self.given[name] = value

    # -- the input ---------------------------------------------------------------------------------

    def _read(self, line: str) -> None:
        line = line.split("#")[0].strip()
        if not line:
            return
        action = Action(line)
        if action.kind == "UNITS":
            for key, value in action.values.items():
                self.own[key.lower()] = _UNITS[value]
        elif action.kind == "FLUSH":
            self.flushes = True
        elif action.kind not in (*VARIABLES, "RESTRAINT", "METAD", "PRINT", "COMMITTOR", "ENERGY"):
            raise PlumedError(f"I cannot understand line: {line}")
        if action.kind == "METAD":
            self.hills[action.label] = self._read_hills(action)
        if file := action.values.get("FILE"):
            self.files[file] = self._open(file)
        self.actions.append(action)

    def _open(self, name: str) -> TextIO:
        if self.given.get("setRestart"):
            return open(name, "a", buffering=1 << 20)
        if os.path.exists(name):
            os.replace(name, f"bck.0.{name}")
        return open(name, "w", buffering=1 << 20)

    def _read_hills(self, action: Action) -> Tensor:
        action.values.setdefault("FILE", "HILLS")
        path = Path(action.values["FILE"])
        if not self.given.get("setRestart") or not path.exists():
            return torch.empty((0, 3), dtype=torch.float64)
        rows = [line.split() for line in path.read_text().splitlines() if line[0] != "#"]
        shown = self._shown(action)
        hills = [(float(r[1]), float(r[2]), float(r[3]) / shown) for r in rows]
        return torch.tensor(hills, dtype=torch.float64).reshape(-1, 3)

    def _shown(self, action: Action) -> float:
        """By which a file of well-tempered hills shows their heights larger."""
        factor = float(action.values.get("BIASFACTOR", "inf"))
        return 1.0 if math.isinf(factor) else factor / (factor - 1.0)

    # -- a step ------------------------------------------------------------------------------------

    def _calculate(self, update: bool) -> None:
        length = self.md["length"] / self.own["length"]
        x = torch.from_numpy(self.given["setPositions"] * length).requires_grad_()
        cell = torch.from_numpy(self.given["setBox"] * length)
        strain = torch.eye(3, dtype=torch.float64, requires_grad=True)
        values: dict[str, Tensor] = {}
        total = torch.zeros((), dtype=torch.float64)
        for action in self.actions:
            if action.kind in VARIABLES:
                key = "ATOM" if action.kind == "POSITION" else "ATOMS"
                atoms = [int(a) - 1 for a in action.values.get(key, "").split(",") if a]
                made = VARIABLES[action.kind](x @ strain, atoms, cell @ strain)
                values |= {action.label + suffix: one for suffix, one in made.items()}
            elif action.kind in ("RESTRAINT", "METAD"):
                s = values[action.values["ARG"]]
                energy = (self._restraint if action.kind == "RESTRAINT" else self._hills)(action, s)
                values[f"{action.label}.bias"] = energy
                total = total + energy
        self.bias = float(total.detach())
        if total.requires_grad:
            self._hand_back(total, x, strain)
        if update:
            self._update({name: float(value.detach()) for name, value in values.items()})

    def _hand_back(self, total: Tensor, x: Tensor, strain: Tensor) -> None:
        energy = self.own["energy"] / self.md["energy"]
        dx, ds = torch.autograd.grad(total, (x, strain))
        self.given["setForces"] -= dx.numpy() * energy * self.md["length"] / self.own["length"]
        self.given["setVirial"] += ds.numpy() * energy

    def _restraint(self, action: Action, s: Tensor) -> Tensor:
        return 0.5 * action.number("KAPPA") * (s - action.number("AT")) ** 2

    def _hills(self, action: Action, s: Tensor) -> Tensor:
        centre, sigma, height = self.hills[action.label].unbind(1)
        apart = s - centre
        if self._is_periodic(action):
            apart = apart - 2 * math.pi * torch.round(apart.detach() / (2 * math.pi))
        return (height * torch.exp(-0.5 * (apart / sigma) ** 2)).sum()

    def _is_periodic(self, action: Action) -> bool:
        return any(a.label == action.values["ARG"] and a.kind == "TORSION" for a in self.actions)

    def _update(self, values: dict[str, float]) -> None:
        time = self.step * self.given["setTimestep"] * self.md["time"] / self.own["time"]
        for action in self.actions:
            if action.kind == "METAD":
                if action.label in self.has_begun and self.step % action.number("PACE") == 0:
                    self._add_hill(action, values, time)
                self.has_begun.add(action.label)  # none at the first step, whatever its number
            elif action.kind == "PRINT" and self.step % int(action.values.get("STRIDE", 1)) == 0:
                names = action.values["ARG"].split(",")
                row = " ".join(f"{value:.9f}" for value in (time, *map(values.__getitem__, names)))
                self.files[action.values["FILE"]].write(f" {row}\n")
            elif action.kind == "COMMITTOR":
                if values[action.values["ARG"]] > action.number("BASIN_LL1"):
                    self.given["setStopFlag"][0] = 1
        if self.flushes:
            for file in self.files.values():
                file.flush()

    def _add_hill(self, action: Action, values: dict[str, float], time: float) -> None:
        height, factor = action.number("HEIGHT"), float(action.values.get("BIASFACTOR", "inf"))
        if not math.isinf(factor):
            kT = self.given["setKbT"] * self.md["energy"] / self.own["energy"]
            height *= math.exp(-values[f"{action.label}.bias"] / (kT * (factor - 1.0)))
        s, sigma = values[action.values["ARG"]], action.number("SIGMA")
        hill = torch.tensor([[s, sigma, height]], dtype=torch.float64)
        self.hills[action.label] = torch.cat([self.hills[action.label], hill])
        row = (time, s, sigma, height * self._shown(action), factor)
        text = " ".join(f"{number:23.16f}" for number in row)
        self.files[action.values["FILE"]].write(f"{text}\n")


def _nearest(vector: Tensor, cell: Tensor) -> Tensor:
    if not bool(cell.any()):
        return vector
    return vector - torch.round((vector @ torch.linalg.inv(cell)).detach()) @ cell


def _distance(x: Tensor, atoms: list[int], cell: Tensor) -> dict[str, Tensor]:
    return {"": _nearest(x[atoms[1]] - x[atoms[0]], cell).norm()}


def _torsion(x: Tensor, atoms: list[int], cell: Tensor) -> dict[str, Tensor]:
    a, b, c = (_nearest(x[j] - x[i], cell) for i, j in pairwise(atoms))
    m, n = torch.linalg.cross(a, b), torch.linalg.cross(b, c)
    return {"": torch.atan2(b.norm() * (a * n).sum(), (m * n).sum())}


def _position(x: Tensor, atoms: list[int], cell: Tensor) -> dict[str, Tensor]:
    return {f".{axis}": x[atoms[0], k] for k, axis in enumerate("xyz")}


def _volume(x: Tensor, atoms: list[int], cell: Tensor) -> dict[str, Tensor]:
    return {"": torch.linalg.det(cell).abs()}


VARIABLES: dict[str, Callable[[Tensor, list[int], Tensor], dict[str, Tensor]]] = {
    "DISTANCE": _distance, "TORSION": _torsion, "VOLUME": _volume,
    "POSITION": _position,
}  # fmt: skip
