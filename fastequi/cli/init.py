"""`fastequi init`: writes a commented example to start from."""

import difflib
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fastequi.cli.job_array import write_job_array
from fastequi.errors import InputError
from fastequi.storage.durable import naming_files

DEFAULT_EXAMPLE = "silicon"


def init(
    example: str = DEFAULT_EXAMPLE,
    directory: Path | None = None,
    /,
    *,
    slurm: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None,
) -> int:
    """Write a commented example with all its files into a folder; nothing is overwritten.

    Or, with --slurm, the script of a job array for runs that you have.

    Parameters
    ----------
    example
        which one; silicon if none is named
    directory
        where to; a new folder named like the example if not given
    slurm
        md.tomls, each of which becomes a job of the array that array.sh submits to SLURM
    """
    if slurm is not None:
        script = write_job_array(slurm, Path("array.sh"))
        print(
            f"wrote {script} for {len(slurm)} runs; look at its first lines\nnext: sbatch {script}"
        )
        return 0
    source = examples().get(example)
    if source is None:
        close = difflib.get_close_matches(example, examples(), n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise InputError(f"no example {example!r}{hint}; there are:\n{_overview()}")
    folder = directory or Path(example)
    written = copy_example(source, folder)
    print(f"wrote {', '.join(str(path) for path in written)}")
    command, toml = _start(source)
    print(f"next: fastequi {command} {folder / toml}")
    print(f"\nexamples (fastequi init NAME):\n{_overview()}")
    return 0


def copy_example(source: Traversable, folder: Path) -> list[Path]:
    """Copy an example's files; InputError, and nothing copied, if one of them is there already."""
    contents = {folder / item.name: item.read_bytes() for item in source.iterdir()}
    there = [str(path) for path in contents if path.exists()]
    if there:
        raise InputError(f"{', '.join(sorted(there))} exists; nothing was written")
    with naming_files(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in contents.items():
            path.write_bytes(content)
    return sorted(contents)


def examples() -> dict[str, Traversable]:
    """The shipped examples: folders with an md.toml, by name."""
    folders = [item for item in (files("fastequi") / "examples").iterdir() if item.is_dir()]
    return {item.name: item for item in sorted(folders, key=lambda item: item.name)
            if (item / "md.toml").is_file()}  # fmt: skip


def _start(example: Traversable) -> tuple[str, str]:
    """The command that an example begins with, and its TOML: training comes before dynamics."""
    trains = (example / "train.toml").is_file()
    return ("train", "train.toml") if trains else ("run", "md.toml")


def _overview() -> str:
    width = max(map(len, examples()))
    return "\n".join(f"  {name:<{width}}  {_title(item)}" for name, item in examples().items())


def _title(example: Traversable) -> str:
    """The first comment of the TOML that it begins with."""
    text = (example / _start(example)[1]).read_text(encoding="utf-8")
    return text.splitlines()[0].lstrip("# ")
