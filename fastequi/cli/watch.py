"""`fastequi watch`: the page of a run or a training while it goes on."""

from pathlib import Path

from fastequi.cli.live import Live, is_this_machine, make_server
from fastequi.errors import InputError


def watch(directory: Path, /, *, host: str = "127.0.0.1", port: int = 8765) -> int:
    """Show a run or a training in a browser while it goes on; Ctrl-C ends it.

    The page has what report.html will have: how far it is, temperature and energies or errors, the
    last frame. Only this machine can open it, unless --host says otherwise.

    Parameters
    ----------
    directory
        the output directory of a run or a training
    host
        the address to listen on; 0.0.0.0 lets everyone in who can reach this machine
    port
        the port to listen on; 0 takes a free one
    """
    if not 0 <= port < 65536:
        raise InputError(f"--port: got {port}; allowed: 0 to 65535")
    server = make_server(Live(directory), host, port)
    try:
        print(f"http://{host}:{server.server_port}/ shows {directory}; Ctrl-C ends it", flush=True)
        if not is_this_machine(host):
            print("everyone who can reach this address can see it, without a password", flush=True)
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
    return 0
