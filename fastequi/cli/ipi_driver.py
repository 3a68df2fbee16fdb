"""`fastequi ipi-driver`: the forces of an i-PI that is running."""

from pathlib import Path
from typing import Literal

from fastequi.cli.threads import respect_quota
from fastequi.integrations.ipi import run_driver
from fastequi.md.structure import read_structure


def ipi_driver(
    model: str,
    structure: Path,
    /,
    *,
    unix: str | None = None,
    host: str = "localhost",
    port: int = 31415,
    dtype: Literal["float32", "float64"] = "float32",
    device: str = "auto",
) -> int:
    """Answer i-PI's questions for forces until it ends. Several drivers share its beads.

    Parameters
    ----------
    model
        a name or a file
    structure
        any file that ASE reads, with the atoms in the order that i-PI has them
    unix
        the <address> of i-PI's <ffsocket mode='unix'>
    host
        where i-PI's <ffsocket mode='inet'> is
    port
        its <port>
    dtype
        arithmetic of the model
    device
        auto, cpu, cuda or cuda:N
    """
    respect_quota()
    where = {"unix_socket": unix, "host": host, "port": port}
    atoms = read_structure(str(structure))
    answers = run_driver(model, atoms, dtype=dtype, device=device, **where)
    print(f"i-PI has ended; it was answered {answers} times")
    return 0
