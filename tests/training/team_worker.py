"""One process of a team: gradients of a step, and what a short training measures, as JSON.

torchrun --nproc-per-node 2 team_worker.py OUT
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from ase.build import bulk

from fastequi.data import Dataset, Frame, frame_from_atoms
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec
from fastequi.process import reproducible
from fastequi.training.config import LossConfig, TrainingConfig
from fastequi.training.parallel import Team, join_team
from fastequi.training.trainer import Trainer


def frames() -> list[Frame]:
    """Silicon of two and eight atoms with arbitrary labels; some labels are missing."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for k in range(9):
        atoms = bulk("Si", cubic=k % 2 == 0)
        atoms.rattle(0.1, seed=k)
        forces = torch.randn(len(atoms), 3, generator=generator, dtype=torch.float64).numpy()
        stress = 0.1 * torch.randn(3, 3, generator=generator, dtype=torch.float64).numpy()
        frame = replace(
            frame_from_atoms(atoms), file="made", index=k, energy=None if k == 2 else -1.0 * k,
            forces=None if k == 4 else forces, stress=None if k < 3 else stress + stress.T,
        )  # fmt: skip
        found.append(frame)
    return found


def trainer_of(team: Team) -> Trainer:
    torch.manual_seed(0)
    spec = new_spec([14], layers=2, l_max=1, channels=(4, 4), radial_hidden=(8,), cutoff_A=3.0)
    data = frames()
    config = TrainingConfig(
        loss=LossConfig(stress=1.0), batch_size=3, epochs=3, clip_gradient_norm=10.0
    )
    sets = Dataset(data[:7], 3.0), Dataset(data[7:], 3.0)
    return Trainer(NequIP(spec), "cpu", *sets, config, train_scales=True, team=team)


def measure(team: Team) -> dict[str, list]:
    """Gradients of a batch, of a batch of one frame; metrics of three epochs."""
    gradients = []
    for batch in ([0, 2, 4], [5]):
        trainer = trainer_of(team)
        trainer.optimizer.step = lambda closure=None: None
        trainer.train_step(batch)
        gradients.append([[] if t.grad is None else t.grad.tolist() for t in trainer.tensors])
    trainer, rows = trainer_of(team), []
    trainer.on_epoch.append(lambda _, row: rows.append({**row, "wall_s": 0.0}))
    trainer.run()
    return {"gradients": gradients, "rows": rows}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with join_team("cpu") as found, reproducible(torch.device("cpu")):
        result = measure(found)
        Path(sys.argv[1], f"{found.rank}.json").write_text(json.dumps(result))
    # What still runs when Python ends may ask it for its lock then, and aborts the process.
    left = [name.read_text().strip() for name in Path("/proc/self/task").glob("*/comm")]
    assert not [name for name in left if "gloo" in name], left
