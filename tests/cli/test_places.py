"""The whole command in places that differ: odd folder names, and terminals that cannot show Å.

Not here: names with umlauts where Python is forbidden to use UTF-8 (LC_ALL=C with PYTHONUTF8=0 and
PYTHONCOERCECLOCALE=0); it cannot name such files at all.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastequi.md.trajectory.reader import read_trajectory

NAME = "Grüße an µ, 'Å' & Co"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a space and more in its name, with the silicon example in another one."""
    folder = tmp_path_factory.mktemp("places") / NAME
    folder.mkdir()
    done = fastequi(folder, "init", "silicon", "kristall größe")
    assert done.returncode == 0, done.stderr
    path = folder / "kristall größe" / "md.toml"
    text = path.read_text(encoding="utf-8")
    for old, new in (("steps = 2000", "steps = 3"), ("supercell = [3, 3, 3]", "")):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text.replace('"silicon-run"', '"läuft hier"'), encoding="utf-8")
    return folder


def fastequi(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """In a folder, with a cache folder in it."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHON"))}
    paths = {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "FASTEQUI_CACHE": f"{folder}/Kälte µ"}
    return subprocess.run(
        [sys.executable, "-m", "fastequi.cli.main", *words],
        cwd=folder, env=inherited | paths | environment, capture_output=True, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "shown"),
    [({"LC_ALL": "C"}, "cutoff 5 Å"), ({"PYTHONIOENCODING": "ascii"}, "cutoff 5 ?")],
    ids=["utf-8", "ascii"],
)
def test_runs_from_an_odd_folder_on_any_terminal(
    environment: dict[str, str], shown: str, place: Path
):
    toml = "kristall größe/md.toml"
    done = fastequi(place, "run", toml, "--overwrite", "--device", "cpu", **environment)
    assert done.returncode == 0, done.stderr
    out = done.stdout.decode()
    assert shown in out
    assert "final.extxyz" in out
    frames = read_trajectory(place / "kristall größe" / "läuft hier" / "trajectory.extxyz")
    assert [frame.info["step"] for frame in frames] == [0]
    assert any((place / "Kälte µ").iterdir())


def test_an_error_shows_on_any_terminal(place: Path):
    done = fastequi(place, "run", "größe/fehlt.toml", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert b"/fehlt.toml" in done.stderr
    assert b"unexpected" not in done.stderr
