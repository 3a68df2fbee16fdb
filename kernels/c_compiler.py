"""Whether there is what Triton needs to build its launcher: a C compiler, and Python's header."""

import os
import shutil
import sysconfig
from pathlib import Path


def compiler() -> str | None:
    """The one that Triton takes: CC, else gcc, else clang."""
    return os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")


def missing() -> str:
    """What to install; '' where all is there."""
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    needed = {
        "a C compiler (apt install gcc, or name one in CC)": compiler() is not None,
        f"Python's header {header} (apt install python3-dev)": header.is_file(),
    }
    return " and ".join(what for what, is_there in needed.items() if not is_there)
