"""[dynamics] deterministic: what it means, on which device, and who is told."""

from pathlib import Path
from typing import Any

import pytest
import torch
from ase.build import bulk
from ase.io import write

from fastequi.errors import InputError
from fastequi.md.config import load_config
from fastequi.process import reproducible
from fastequi.running.fixed_order import UP_TO_ATOMS, described, in_fixed_order

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def config(tmp_path: Path) -> Any:
    def with_key(text: str, stage: str = "") -> Any:
        write(tmp_path / "si.extxyz", bulk("Si"))
        toml = f'[system]\nstructure = "si.extxyz"\n[model]\nname = "silicon"\n[dynamics]\n{text}\n'
        steps = "" if stage else "steps = 1\n"
        (tmp_path / "md.toml").write_text(toml + steps + stage)
        return load_config(tmp_path / "md.toml")

    return with_key


def test_auto_is_for_small_systems(config: Any) -> None:
    auto = config("")
    few, many = (in_fixed_order(auto, GPU, UP_TO_ATOMS + more) for more in (0, 1))
    assert (few, many) == (True, False)
    assert in_fixed_order(auto, CPU, 10**6)
    assert in_fixed_order(config("deterministic = true"), GPU, 10**6)
    assert not in_fixed_order(config("deterministic = false"), GPU, 2)
    assert in_fixed_order(config("deterministic = false"), CPU, 2)


def test_the_header_says_which_it_is(config: Any) -> None:
    assert described(config(""), CPU, 2).startswith("in a fixed order, as always on a CPU;")
    assert "up to 5000 atoms, and here are 6000; a restart may differ" in described(
        config(""), GPU, 6000
    )
    assert described(config("deterministic = true"), GPU, 2).startswith(
        "in a fixed order, as asked"
    )


def test_a_gpu_is_told_where_it_is_asked() -> None:
    for asked in (False, True):
        with reproducible(GPU, asked):
            assert torch.are_deterministic_algorithms_enabled() == asked
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("value", ['"yes"', "1.5", '"true"'])
def test_what_else_it_is_is_said(config: Any, value: str) -> None:
    with pytest.raises(InputError, match=r'deterministic: got .*; allowed: "auto", true or false'):
        config(f"deterministic = {value}")


def test_it_is_of_the_whole_run(config: Any) -> None:
    stage = '[[stage]]\nname = "a"\nsteps = 1\ndeterministic = true\n'
    with pytest.raises(InputError, match=r"stage\.0\.deterministic: all stages have the same"):
        config("", stage)
