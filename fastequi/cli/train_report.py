"""What `fastequi train` prints before and after: the plan, the errors, the files."""

import sys
from pathlib import Path
from textwrap import fill
from typing import Any

from rich.console import Console

from fastequi._version import __version__
from fastequi.cli.error_table import Rows, error_table
from fastequi.cli.progress import duration
from fastequi.plotting import why_no_plots
from fastequi.training.config import TrainConfig
from fastequi.training.directory import REPORT, member_folder, own_files
from fastequi.training.member import Member
from fastequi.training.session import Trained, member_numbers


def print_plan(member: Member) -> None:
    """Say what is about to be trained, on what, with what."""
    prepared = member.prepared
    first = member.number == member_numbers(prepared.config)[0]
    members = prepared.config.training.members
    of = f", member {member.number + 1} of {members}" if members > 1 else ""
    print(f"fastequi {__version__}: training{of}")
    for name, text in describe(member).items():
        print(f"  {name:<9} {text}")
    for warning in prepared.data.warnings if first else []:
        print(f"warning: {warning}", file=sys.stderr)
    sys.stdout.flush()


def describe(member: Member) -> dict[str, str]:
    """The plan of a training, one line per topic."""
    p, trainer, team = member.prepared, member.trainer, member.team
    config, known, spec = p.config, p.data.statistics, p.network.spec
    frames = ", ".join(f"{len(dataset)} {name}" for name, dataset in p.data.sets().items())
    kept = f", from {Path(config.model.start_from).name}" if config.model.start_from else ""
    return {
        "frames": f"{frames}; {known.n_neighbors:.1f} neighbours per atom in {spec.cutoff_A:g} Å",
        "forces": f"{known.force_rms:.4g} eV/Å (root mean square)",
        "model": f"{len(spec.layers)} layers, {spec.layers[0].irreps}",
        "weights": f"{sum(t.numel() for t in trainer.tensors):,}{kept}, {config.model.dtype}",
        "energies": p.energies,
        "loss": _loss(config),
        "steps": f"{trainer.batches_per_epoch} per epoch, {_ends(config)}",
        "device": f"{trainer.network.device}"
        + (f", {team.size} processes" if team.size > 1 else ""),
        "kernels": f"{p.kernels[0]} ({p.kernels[1]})",
        "output": f"{member.folder}{_start(member)}",
    }


def _loss(config: TrainConfig) -> str:
    loss = config.training.loss
    terms = {"energy/atom": loss.energy_per_atom, "forces": loss.forces, "stress": loss.stress}
    kind = "squared errors" if loss.kind == "mse" else "Huber"
    return " + ".join(f"{w:g} {name}" for name, w in terms.items() if w) + f" ({kind})"


def _ends(config: TrainConfig) -> str:
    t = config.training
    wall = f" or {t.max_wall_minutes:g} min" if t.max_wall_minutes else ""
    return f"{t.epochs} epochs{wall}; learning rate {t.learning_rate:g}, {t.schedule}"


def _start(member: Member) -> str:
    if member.found:
        return f" (going on from step {member.trainer.step}, epoch {member.trainer.epoch})"
    return ""


def print_result(trained: Trained, config: TrainConfig) -> None:
    """How it ended, the errors of the best models and of their mean, and which files there are."""
    summaries, several = trained.members, len(trained.members) > 1
    for number, summary in enumerate(summaries):
        who = f"member {number + 1}: " if several else ""
        print(
            f"{who}{summary['why_done']}: {summary['epochs']} epochs, {summary['steps']} steps in "
            f"{duration(summary['wall_s'])}; the best was epoch {summary['best_epoch']}"
        )
    print("errors of the best averaged weights:")
    rows = [_rows(f"{k + 1} " if several else "", s) for k, s in enumerate(summaries)]
    means = [_rows("mean, ", trained.mean)] if trained.mean else []
    Console().print(error_table([*rows, *means]))
    for remark in dict.fromkeys(r for s in summaries for r in s.get("remarks", [])):
        print(fill(remark, 96, initial_indent="! ", subsequent_indent="  "))
    if why_no_plots():
        print(why_no_plots())
    directory = Path(config.output.directory)
    print(f"written to {directory}:")
    folders = [member_folder(directory, number, len(summaries)) for number in range(len(summaries))]
    for folder in [*folders, *([directory] if several else [])]:
        shown = [p.name for p in own_files(folder) if p.parent == folder]
        prefix = f"{folder.name}: " if folder != directory else ""
        print(f"  {prefix}{', '.join(shown)}")
    print(f"open in a browser: {directory / REPORT}")


def _rows(prefix: str, summary: dict[str, Any]) -> Rows:
    return {f"{prefix}{name}": summary[name] for name in summary["frames"]}
