"""`fastequi run --engine lammps`: rank 0 runs the command, the other ranks follow in silence."""

import logging
import os
import sys
import warnings
from collections.abc import Callable

import torch

from fastequi.cli.threads import VARIABLES
from fastequi.errors import FastEquiError
from fastequi.integrations.lammps.engine import LammpsEngine
from fastequi.integrations.lammps.packages import all_ranks
from fastequi.integrations.lammps.ranks import Ranks


def lead(run: Callable[[LammpsEngine], int]) -> int:
    """On rank 0 what `run` returns or raises, on the others the exit code that it comes to."""
    comm = all_ranks()
    if comm.rank:
        _be_silent()
    ranks = Ranks(comm)
    _share_cores(ranks.comm.here)
    if not ranks.leads:
        return ranks.follow()
    code = 1
    try:
        code = run(LammpsEngine(ranks))
    except FastEquiError as error:
        code = error.exit_code
        raise
    finally:
        ranks.end(code)
    return code


def _share_cores(here: int) -> None:
    """The ranks of a machine have as many threads together as one process would."""
    if not any(os.environ.get(name) for name in VARIABLES):
        torch.set_num_threads(max(1, torch.get_num_threads() // here))


def _be_silent() -> None:
    """What all ranks would say, rank 0 says."""
    warnings.simplefilter("ignore")
    logging.getLogger("fastequi").setLevel(logging.ERROR)
    sys.stdout = open(os.devnull, "w")
