"""`fastequi run`: molecular dynamics from an md.toml."""

import sys
from pathlib import Path

from fastequi.cli.check import print_check
from fastequi.cli.progress import Progress
from fastequi.cli.report import print_result, print_setup
from fastequi.cli.threads import respect_quota
from fastequi.errors import FastEquiError, InputError, PhysicsError, Stopped
from fastequi.importers import pretrained_names
from fastequi.limits import beyond_training, hottest_K
from fastequi.md.analysis.report import write_report
from fastequi.md.config import Config, load_config
from fastequi.md.trajectory.directory import REPORT
from fastequi.model.facts import training_facts
from fastequi.run import Setup, execute, set_up


def run(
    config: Path,
    /,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    check: bool = False,
) -> int:
    """Run molecular dynamics as an md.toml says.

    Ctrl-C or SIGTERM finishes the step, writes a checkpoint and exits with 75; --resume goes on.

    Parameters
    ----------
    config
        the md.toml; `fastequi init` writes one
    resume
        go on from the newest checkpoint, up to the total of dynamics.steps
    overwrite
        start anew, removing what an earlier run wrote to the output directory
    device
        auto, cpu, cuda or cuda:N, instead of dynamics.device
    check
        read everything, compute the forces once, say what a run would cost, write nothing
    """
    respect_quota()
    if resume and overwrite:
        raise InputError("--resume goes on with a run, --overwrite removes it: choose one")
    existing = "allow" if resume or overwrite else "refuse"
    settings = load_config(config, existing, pretrained_names(), device)
    try:
        setup = set_up(settings, resume)
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
            "the total of dynamics.steps; raise it to go on"
        )
        return 0
    try:
        with Progress(setup):
            summary = execute(setup)
    except Stopped as stopped:
        _report(settings)
        raise Stopped(f"{stopped}; to go on: fastequi run {config} --resume") from None
    except PhysicsError:
        _report(settings)
        raise
    print_result(setup, summary)
    _report(settings)
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
