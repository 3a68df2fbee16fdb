"""What can go wrong, sorted by who can mend it; the command line turns each into an exit code."""


class FastEquiError(Exception):
    """Base of the errors whose message is meant for the user; shown without a traceback."""

    exit_code = 1


class InputError(FastEquiError, ValueError):
    """The input is wrong: a file, a key, a value. Says what was got and what is allowed."""

    exit_code = 2


class PhysicsError(FastEquiError, RuntimeError):
    """The simulation failed: non-finite or exploding. Says which atoms and when.

    system: the row in the batch of the system that failed, if it is one of several; without it,
    the others can go on.
    """

    exit_code = 3

    def __init__(self, message: str, system: int | None = None) -> None:
        super().__init__(message)
        self.message, self.system = message, system

    def __str__(self) -> str:
        return self.message if self.system is None else f"system {self.system}: {self.message}"


class DiskError(FastEquiError):
    """A file of a run that was under way cannot be written: the disk is full, the folder is gone.

    What the last checkpoint holds is on the disk, so --resume goes on. 74 is EX_IOERR.
    """

    exit_code = 74


class Stopped(FastEquiError):
    """The run was asked to stop (SIGTERM or SIGINT) and has written a checkpoint."""

    exit_code = 75
