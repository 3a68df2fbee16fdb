"""What stands behind the commands of the Makefile: which Python is taken, pages of the API."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FIND = ROOT / ".ci" / "find-python"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The only one in which programs are looked for; it has a shell and nothing else."""
    shell = shutil.which("sh")
    assert shell is not None
    (tmp_path / "sh").symlink_to(shell)
    return tmp_path


def add(folder: Path, name: str, version: str, complete: bool = True) -> None:
    """A Python of some version; without ensurepip (as Debian splits it) if it is not complete."""
    new = tuple(map(int, version.split("."))) >= (3, 11)
    script = f"""#!/bin/sh
    case "$1" in
        --version) echo "Python {version}" ;;
        *) exit {0 if new and complete else 1} ;;
    esac
    """
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)


def find(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(FIND)], env={"PATH": str(folder)}, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ({"python3": "3.12.1", "python3.11": "3.11.2"}, "python3"),
        ({"python3": "3.9.2", "python3.11": "3.11.2", "python3.13": "3.13.0"}, "python3.13"),
        ({"python3.12": "3.12.4"}, "python3.12"),
        ({"python": "3.14.0"}, "python"),
    ],
)
def test_which_python_is_taken(there: dict[str, str], found: str, folder: Path):
    for name, version in there.items():
        add(folder, name, version)
    assert find(folder).stdout == f"{found}\n"


def test_one_that_cannot_make_environments_is_passed_over(folder: Path):
    add(folder, "python3", "3.12.1", complete=False)
    add(folder, "python3.11", "3.11.2")
    assert find(folder).stdout == "python3.11\n"


def test_no_python_is_said_with_the_way_out(folder: Path):
    assert find(folder).returncode == 1
    add(folder, "python3", "3.9.2")
    done = find(folder)
    assert (done.returncode, done.stdout) == (1, "")
    for part in ("Python >= 3.11", "python3: Python 3.9.2", "apt install", "PYTHON="):
        assert part in done.stderr


def test_the_question_that_is_asked_of_a_python_has_an_answer_here(folder: Path):
    """Real interpreters answer it as the pretended ones above do."""
    (folder / "python3").symlink_to(sys.executable)
    assert find(folder).stdout == "python3\n"


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_make_takes_the_one_that_is_named(tmp_path: Path):
    plan = subprocess.run(
        ["make", "-n", "demo", "PYTHON=/some/python", f"VENV={tmp_path}/venv"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "python=/some/python" in plan
    assert "find-python" not in plan


def test_the_public_api_becomes_pages(tmp_path: Path):
    """With what the names of the package take and give; none of engine and kernels."""
    pytest.importorskip("pdoc", reason="no pdoc here")
    build = ROOT / ".ci" / "docs" / "build.py"
    subprocess.run([sys.executable, str(build), str(tmp_path)], check=True, capture_output=True)
    page = (tmp_path / "fastequi.html").read_text()
    for name in ("load_model", "Simulation.run", "FastEquiCalculator.calculate"):
        assert f'id="{name}"' in page
    there = {path.stem for path in (tmp_path / "fastequi").rglob("*.html")}
    assert {"potential", "graph", "errors", "md", "state", "integrators", "analysis"} <= there
    assert not {"engine", "kernels", "walk", "backend"} & there
