"""A model as the forces of i-PI: path integrals, replica exchange, colored noise, over a socket.

The client is ASE's (ase.calculators.socketio), with the calculator of this package; i-PI is the
server: `fastequi ipi-driver MODEL STRUCTURE`, beside `i-pi input.xml`. i-PI works in atomic units;
the client converts with ASE's constants, i-PI with its own, which differ by 1e-8.
"""

from typing import Any

from ase import Atoms
from ase.calculators.socketio import SocketClient

from fastequi.calculators.ase import FastEquiCalculator
from fastequi.errors import InputError
from fastequi.potential import Potential


def run_driver(
    model: str | Potential,
    atoms: Atoms,
    *,
    host: str = "localhost",
    port: int = 31415,
    unix_socket: str | None = None,
    **options: Any,
) -> int:
    """Answer i-PI until it ends; how many times.

    atoms        elements and periodicity, in the order that i-PI has; it sends positions and cell
    host, port   of i-PI's <ffsocket mode='inet'>; or unix_socket, the <address> of mode='unix'
    options      of `FastEquiCalculator`, for example dtype, device, dispersion

    Raises InputError where nobody listens, and for structures that cannot be computed.
    """
    atoms = atoms.copy()
    atoms.set_constraint()  # i-PI's matter
    atoms.calc = FastEquiCalculator(model, **{"skin_A": 1.0, **options})
    where: dict[str, Any] = {"host": host, "port": port}
    if unix_socket:
        where = {"unixsocket": unix_socket}
    try:
        client = SocketClient(**where)
    except OSError as error:
        place = f"/tmp/ipi_{unix_socket}" if unix_socket else f"{host}:{port}"
        raise InputError(
            f"no i-PI at {place} ({error.strerror}): start i-pi first, with an <ffsocket> there"
        ) from error
    # i-PI asks for a virial in every answer; without a volume there is none.
    return sum(1 for _ in client.irun(atoms, use_stress=bool(atoms.pbc.all())))
