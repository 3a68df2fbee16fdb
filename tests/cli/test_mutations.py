"""md.toml with anything in it: exit 0, 2 or 3, never a traceback, never a hang."""

import random
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write

BASES = (
    """
[system]
structure = "ar.extxyz"
index = -1
supercell = [1, 1, 1]
replicas = 1
[model]
name = "sevennet-0"
dtype = "float64"
kernels = "auto"
[dynamics]
ensemble = "npt-scr"
timestep_fs = 4.0
steps = 4
temperature_K = [50.0, 60.0]
pressure_GPa = 0.0
thermostat_time_fs = 100.0
barostat_time_fs = 1000.0
coupling = "axes"
seed = 3
device = "cpu"
[neighbors]
skin_A = 1.0
[output]
directory = "run"
log_every = 2
trajectory_every = 2
trajectory_format = "extxyz"
trajectory_columns = ["forces"]
checkpoint_every = 2
checkpoints_kept = 2
report = false
""",
    """
[system]
structure = ["ar.extxyz", "kr.extxyz"]
index = ":"
replicas = 2
[model]
name = "sevennet-0"
[dynamics]
timestep_fs = 2.0
temperature_K = { each = [50.0, 60.0, 50.0, [60.0, 70.0], 20.0, 30.0] }
device = "cpu"
[output]
directory = "run"
trajectory_format = "h5md"
report = false
[[stage]]
name = "heat"
steps = 3
[[stage]]
name = "produce"
ensemble = "nve"
steps = 2
""",
)

#: What may stand where something else stood. Numbers that would only take long are not among them.
VALUES = (
    "0", "1", "-1", "2", "3.5", "-0.0", "1e-300", "1e300", "nan", "inf", "-inf", "true", "false",
    '""', '"x"', '"\\u0000"', '"../run"', '"/"', '"é\\n"', "[]", "[1]", "[1, 2, 3]", "[[1.0], 2]",
    "{}", "{ each = [] }", "{ each = 1 }", "{ each = [1.0, 2.0] }", '["nve"]', '"nve"', '":"',
    "2026-11-27", "99999999999999999999", "'''long'''", "0x10",
)  # fmt: skip


def mutated(text: str, chance: random.Random) -> str:
    """The text with one to three changes, some of which leave it well."""
    for _ in range(chance.randint(1, 3)):
        text = chance.choice((_value, _value, _value, _key, _line, _copy, _character, _cut))(
            text, chance
        )
    return text


def _some_line(text: str, chance: random.Random) -> tuple[list[str], int]:
    lines = text.splitlines()
    return lines, chance.randrange(len(lines)) if lines else 0


def _value(text: str, chance: random.Random) -> str:
    lines, k = _some_line(text, chance)
    if lines and "=" in lines[k]:
        lines[k] = f"{lines[k].split('=')[0]}= {chance.choice(VALUES)}"
    return "\n".join(lines)


def _key(text: str, chance: random.Random) -> str:
    keys = re.findall(r"^(\w+) =", text, re.M)
    if len(keys) < 2:
        return text
    return re.sub(
        rf"^{chance.choice(keys)} =", f"{chance.choice(keys)} =", text, count=1, flags=re.M
    )


def _line(text: str, chance: random.Random) -> str:
    lines, k = _some_line(text, chance)
    return "\n".join(lines[:k] + lines[k + 1 :])


def _copy(text: str, chance: random.Random) -> str:
    lines, k = _some_line(text, chance)
    place = chance.randrange(len(lines) + 1)
    return "\n".join([*lines[:place], *lines[k : k + 1], *lines[place:]])


def _character(text: str, chance: random.Random) -> str:
    place = chance.randrange(len(text) + 1)
    return (
        text[:place] + chance.choice('[]{}"=.#\\\x07é0-\n') + text[place + chance.randint(0, 1) :]
    )


def _cut(text: str, chance: random.Random) -> str:
    return text[: chance.randrange(len(text) // 2, len(text) + 1)] if text else text


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """A hang is a failure."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run_mutations(numbers: range, command, folder: Path) -> dict[int, int]:
    """Exit codes and how often each came; fails at the first that no user should see."""
    argon = bulk("Ar", a=5.3, cubic=True)
    write(folder / "ar.extxyz", [argon, argon.repeat((2, 1, 1))])
    bulk("Kr", a=5.7, cubic=True).write(folder / "kr.extxyz")
    codes: dict[int, int] = {}
    for number in numbers:
        chance = random.Random(number)
        text = mutated(chance.choice(BASES), chance)
        (folder / "md.toml").write_text(text)
        with at_most(60):
            result = command("run", folder / "md.toml", *chance.choice(([], [], ["--check"])))
        told = f"mutation {number}:\n{text}\n{result.out}\n{result.err}"
        assert result.code in (0, 2, 3), told
        assert "Traceback" not in result.err, told
        assert result.code == 0 or result.err.startswith(("fastequi: ", "warning: ")), told
        codes[result.code] = codes.get(result.code, 0) + 1
        for path in folder.iterdir():
            if path.name not in ("ar.extxyz", "kr.extxyz", "md.toml"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    return codes


def test_60_mutations(command, tmp_path):
    codes = run_mutations(range(60), command, tmp_path)
    assert codes[0] > 5  # some are runs of another kind
    assert codes[2] > 20


@pytest.mark.slow
def test_300_mutations(command, tmp_path):
    codes = run_mutations(range(1000, 1300), command, tmp_path)
    assert codes[0] > 15
    assert codes[2] > 100
