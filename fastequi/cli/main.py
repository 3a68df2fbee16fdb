"""`fastequi`: finds the command, and turns errors into one message and an exit code.

Exit codes: 0 done, 2 the input is wrong, 3 the physics failed, 75 stopped after a checkpoint,
1 an error of fastequi itself.
"""

import io
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

from cyclopts import App, CycloptsError, Parameter

from fastequi._version import __version__
from fastequi.errors import FastEquiError, InputError

#: Command, where it lives (imported when it is used), what the overview says of it.
COMMANDS = (
    ("run", "fastequi.cli.run:run", "Run molecular dynamics as an md.toml says."),
    ("analyze", "fastequi.cli.analyze:analyze", "Analyze a run: tables, pictures, a summary."),
    ("watch", "fastequi.cli.watch:watch", "Show a run or a training in a browser, live."),
    ("train", "fastequi.cli.train:train", "Train a potential from labelled structures."),
    ("evaluate", "fastequi.cli.evaluate:evaluate", "Compare a model with labelled structures."),
    ("init", "fastequi.cli.init:init", "Write a commented example to start from."),
    ("info", "fastequi.cli.info:info", "Show this machine and installation, or what a model is."),
    (
        "properties",
        "fastequi.cli.properties:properties",
        "Elastic constants, phonons, and more.",
    ),
    ("convert", "fastequi.cli.convert:convert", "Turn another program's model into a model file."),
    ("collect", "fastequi.cli.collect:collect", "Say in one table what became of many runs."),
    ("ipi-driver", "fastequi.cli.ipi_driver:ipi_driver", "Be the forces of i-PI, over a socket."),
    ("bench", "fastequi.cli.bench:bench", "Time the kernels, or check them, on your structure."),
)

#: What other packages say to their callers; whoever runs a command can do nothing about it.
_FOR_PROGRAMMERS = (DeprecationWarning, PendingDeprecationWarning)

DEBUG_VARIABLE = "FASTEQUI_DEBUG"


def make_app() -> App:
    """The command line with all its commands; none of them is imported yet."""
    app = App(
        name="fastequi",
        help="Fast molecular dynamics with NequIP-type (E(3)-equivariant) potentials.",
        version=__version__,
        default_parameter=Parameter(negative=()),
        result_action="return_value",
    )
    for name, place, summary in COMMANDS:
        app.command(place, name=name, help=summary)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `fastequi`; leaves by `sys.exit`."""
    _show_what_the_terminal_can()
    sys.exit(run_command(sys.argv[1:] if arguments is None else arguments))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors are printed to stderr."""
    warnings.showwarning = _show_warning
    _show_progress_of_slow_starts()
    try:
        result = make_app()(list(arguments), exit_on_error=False)
        if _asks_for_help(arguments):
            from fastequi.cli.keys import READS, print_keys

            if arguments[0] in READS:
                print_keys(arguments[0])
        return result if isinstance(result, int) else 0
    except CycloptsError:  # already printed
        return InputError.exit_code
    except FastEquiError as error:
        print(f"fastequi: {error}", file=sys.stderr)
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        return error.exit_code
    except KeyboardInterrupt:
        print("fastequi: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `fastequi ... | head`: nobody listens any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        _print_bug(error)
        return 1


def _asks_for_help(arguments: Sequence[str]) -> bool:
    """Of a command, which has printed it by now."""
    return len(arguments) > 1 and bool({"--help", "-h"} & set(arguments[1:]))


def _show_what_the_terminal_can() -> None:
    """A question mark where a terminal has no Å, instead of an error in the midst of a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _print_bug(error: Exception) -> None:
    print(f"fastequi: unexpected {type(error).__name__}: {error}", file=sys.stderr)
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exc()
    else:
        print(
            f"this is a bug in fastequi {__version__}, not in your input. Please report it with "
            f"the output of\n  {DEBUG_VARIABLE}=1 fastequi {' '.join(sys.argv[1:])}\n"
            "  fastequi info",
            file=sys.stderr,
        )


def _show_progress_of_slow_starts() -> None:
    """What takes a while before the run starts, such as compiling, is said on stderr."""
    logger = logging.getLogger("fastequi")
    if not logger.handlers:
        logger.addHandler(_ToStderr())
        logger.setLevel(logging.INFO)


class _ToStderr(logging.Handler):
    """Whatever stderr is by then; one of an earlier command may be closed."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    if not issubclass(category, _FOR_PROGRAMMERS):
        print(f"warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
