"""What can go wrong, sorted by who can mend it; the command line turns each into an exit code."""


class FastEquiError(Exception):
    """Base of the errors whose message is meant for the user; shown without a traceback."""

    exit_code = 1


class InputError(FastEquiError, ValueError):
    """The input is wrong: a file, a key, a value. Says what was got and what is allowed."""

    exit_code = 2


class PhysicsError(FastEquiError, RuntimeError):
    """The simulation failed: non-finite or exploding. Says which atoms and when."""

    exit_code = 3


class Stopped(FastEquiError):
    """The run was asked to stop (SIGTERM or SIGINT) and has written a checkpoint."""

    exit_code = 75
