"""md.toml: what is read, and what a user is told about every mistake."""

from pathlib import Path

import pytest
from ase.build import bulk

from fastequi.errors import InputError
from fastequi.kernels.backend import BACKENDS
from fastequi.md.config import Config, load_config, to_toml

GOOD = """
[system]
structure = "si.extxyz"
[model]
name = "sevennet-0"
[dynamics]
steps = 100
"""


@pytest.fixture
def write(tmp_path):
    """Writes md.toml beside a structure and returns its path."""
    bulk("Si", cubic=True).write(tmp_path / "si.extxyz")

    def write_toml(text: str) -> Path:
        path = tmp_path / "md.toml"
        path.write_text(text)
        return path

    return write_toml


def message(path: Path, **options) -> str:
    with pytest.raises(InputError) as caught:
        load_config(path, **options)
    text = str(caught.value)
    assert str(path) in text
    return text


def test_defaults_and_paths_relative_to_the_file(write, tmp_path):
    config = load_config(write(GOOD))
    assert config.system.structure == str(tmp_path / "si.extxyz")
    assert config.output.directory == str(tmp_path / "fastequi-run")
    assert config.model.name == "sevennet-0"
    assert config.dynamics.timestep_fs == 1.0
    assert config.system.supercell == (1, 1, 1)


def test_resolved_toml_reads_back_as_the_same(write, tmp_path):
    text = GOOD.replace('"si.extxyz"', '"si.extxyz"\nindex = 0\nsupercell = [2, 1, 3]')
    text += 'timestep_fs = 0.1\nfriction_per_ps = 1e-7\n[output]\ndirectory = "a \\"b\\\\ é"\n'
    config = load_config(write(text))
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "md.resolved.toml").write_text(to_toml(config), encoding="utf-8")
    assert load_config(other / "md.resolved.toml") == config


def test_config_is_frozen(write):
    with pytest.raises(ValueError, match="frozen"):
        load_config(write(GOOD)).dynamics.steps = 3


def test_every_key_is_described():
    for section in Config.model_json_schema()["$defs"].values():
        for name, field in section["properties"].items():
            assert field["description"], name


MISTAKES = {
    "unknown key": ("steps = 100\ntimestp_fs = 1", "dynamics.timestp_fs", "timestep_fs, in fs?"),
    "no unit": ("steps = 100\ntimestep = 1", "dynamics.timestep", "mean timestep_fs, in fs?"),
    "alias": ("steps = 100\ndt = 1", "dynamics.dt", "mean timestep_fs"),
    "wrong unit": ("steps = 100\ntimestep_ps = 1", "dynamics.timestep_ps", "timestep_fs, in fs"),
    "temperature": ("steps = 1\ntemperature = 1", "dynamics.temperature:", "temperature_K, in kel"),
    "other section": ("steps = 1\nskin_A = 1", "dynamics.skin_A", "neighbors.skin_A, in Å"),
    "text for number": ('steps = 1\ntemperature_K = "300"', "dynamics.temperature_K", 'got "300"'),
    "negative": ("steps = 1\ntemperature_K = -3.0", "dynamics.temperature_K: got -3.0", "0"),
    "nan": ("steps = 1\ntemperature_K = nan", "dynamics.temperature_K: got nan", "finite"),
    "fraction": ("steps = 1.5", "dynamics.steps: got 1.5", "whole number"),
    "bool": ("steps = true", "dynamics.steps: got true", "whole number"),
    "missing": ("seed = 1", "dynamics.steps: this key is required", "the total"),
    "ensemble": (
        'steps = 1\nensemble = "nvt-berendsen"',
        "not offered by this version",
        "nve, nvt-",
    ),
    "choice": ('steps = 1\nensemble = "nvt-lngevin"', "dynamics.ensemble", 'mean "nvt-langevin"?'),
    "device": ('steps = 1\ndevice = "gpu"', 'dynamics.device: got "gpu"', "cuda:N"),
    "zero steps between": ("steps = 1\n[output]\nlog_every = 0", "output.log_every: got 0", "1"),
    "section": ("steps = 1\n[neighbours]\nskin_A = 1", "neighbours", "did you mean neighbors?"),
    "key as section": ("steps = 1\n[thermostat]\nx = 1", "thermostat: not a known section", "dyn"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_mistake(write, mistake):
    got, *expected = MISTAKES[mistake]
    text = message(write(GOOD.replace("steps = 100", got)))
    assert "1 problem\n" in text
    for part in expected:
        assert part in text


def test_kernels_that_are_not_there(write):
    text = message(write(GOOD.replace("[dynamics]", 'kernels = "cuda9"\n[dynamics]')))
    assert 'model.kernels: got "cuda9"' in text
    assert f"allowed: {', '.join(('auto', *BACKENDS))}" in text


def test_supercell_is_one_problem(write):
    text = message(write(GOOD.replace("[model]", 'supercell = [4, "4", 0]\n[model]')))
    assert text.count("system.supercell") == 1
    assert 'got [4, "4", 0]; allowed: three whole numbers above 0' in text


def test_all_problems_of_a_file_together(write, tmp_path):
    text = message(
        write("""
foo = 1
[system]
structure = "sii.extxyz"
[model]
name = "models/x.safetensors"
dtype = "flaot32"
[dynamics]
ensemble = "nve"
timestep = 1.0
temperature_K = -1
[output]
directory = "si.extxyz"
""")
    )
    for part in (
        "8 problems", "foo: not a known section", "did you mean si.extxyz?", "model.name: no file",
        'did you mean "float32"?', "did you mean timestep_fs", "dynamics.temperature_K: got -1",
        "dynamics.steps: this key is required", "si.extxyz exists and is not a folder",
    ):  # fmt: skip
        assert part in text, part


def test_known_model_names(write):
    path = write(GOOD.replace("sevennet-0", "sevenet-0"))
    text = message(path, model_names=("sevennet-0", "sevennet-l3i5"))
    assert 'did you mean "sevennet-0"?' in text
    assert "sevennet-l3i5, or the path of a model file" in text
    assert load_config(path).model.name == "sevenet-0"


def test_modality_in_the_name(write):
    path = write(GOOD.replace("sevennet-0", "sevennet-mf-0:PBE"))
    assert load_config(path, model_names=("sevennet-mf-0",)).model.name == "sevennet-mf-0:PBE"


def test_structure_that_ase_cannot_read(write, tmp_path):
    (tmp_path / "si.extxyz").write_text("3\n\nSi 0 0\n")
    assert "ASE cannot read frame -1" in message(write(GOOD))


def test_frame_that_is_not_there(write):
    text = message(write(GOOD.replace("[model]", "index = 7\n[model]")))
    assert "ASE cannot read frame 7" in text


def test_toml_syntax_error_gives_line_and_column(write):
    assert "line 2, column" in message(write("[system]\nstructure = si.extxyz\n"))


def test_file_that_is_missing_or_a_folder(tmp_path):
    assert "No such file" in message(tmp_path / "none.toml")
    assert "Is a directory" in message(tmp_path)


def test_file_that_is_not_text(tmp_path):
    (tmp_path / "md.toml").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in message(tmp_path / "md.toml")


def test_existing_output_directory(write, tmp_path):
    path = write(GOOD)
    (tmp_path / "fastequi-run").mkdir()
    load_config(path)  # an empty folder is as good as none
    (tmp_path / "fastequi-run" / "notes.txt").write_text("mine")
    text = message(path)
    assert "--resume" in text
    assert "--overwrite" in text
    load_config(path, existing="allow")


@pytest.mark.parametrize("directory", ["si.extxyz/run", "/proc/run"])
def test_output_directory_that_cannot_be_written(write, directory):
    """Root may write nearly everywhere; below a file and in /proc it cannot either."""
    text = message(write(GOOD + f'[output]\ndirectory = "{directory}"\n'))
    assert "output.directory" in text
    assert "cannot be written" in text


def test_device_from_the_command_line(write):
    path = write(GOOD)
    assert load_config(path, device="cpu").dynamics.device == "cpu"
    assert 'dynamics.device: got "tpu"' in message(path, device="tpu")
