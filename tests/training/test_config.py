"""train.toml: what is read, and what a user is told about every mistake."""

from pathlib import Path

import pytest

from fastequi.errors import InputError
from fastequi.training.config import TrainConfig, load_train_config, to_toml

GOOD = """
[data]
train = "train.extxyz"
[model]
[training]
"""


@pytest.fixture
def write(tmp_path):
    """Writes train.toml beside some data and returns its path."""
    for name in ("train.extxyz", "more.extxyz", "test.extxyz"):
        (tmp_path / name).touch()

    def write_toml(text: str) -> Path:
        path = tmp_path / "train.toml"
        path.write_text(text)
        return path

    return write_toml


def message(path: Path, **options) -> str:
    with pytest.raises(InputError) as caught:
        load_train_config(path, **options)
    text = str(caught.value)
    assert str(path) in text
    return text


def test_defaults_and_paths_relative_to_the_file(write, tmp_path):
    config = load_train_config(write('[data]\ntrain = "train.extxyz"\n'))
    assert config.data.train == (str(tmp_path / "train.extxyz"),)
    assert config.data.validation == 0.1
    assert config.data.test == ()
    assert config.output.directory == str(tmp_path / "fastequi-training")
    assert config.model.channels == (64, 64, 64)
    assert (config.model.energy_scale, config.model.energy_shift) == ("force-rms", "least-squares")
    assert config.training.loss.forces == 1.0


def test_one_member_has_a_folder_of_its_own(write, tmp_path):
    path = write(GOOD + "members = 3\n")
    config = load_train_config(path, member=2)
    assert (config.training.members, config.training.member) == (3, 2)
    assert config.output.directory == str(tmp_path / "fastequi-training" / "member-2")
    assert "training.member: got 4, but training.members = 3; allowed: 1 to 3" in message(
        path, member=4
    )
    assert "training.member: got 0" in message(path, member=0)
    alone = load_train_config(write(GOOD), member=1)
    assert alone.output.directory == str(tmp_path / "fastequi-training")


@pytest.mark.parametrize(
    ("got", "expected"),
    [("50", 50), ("0.2", 0.2), ('"test.extxyz"', 1), ('["test.extxyz", "more.extxyz"]', 2)],
)
def test_validation_is_a_count_a_fraction_or_files(write, tmp_path, got, expected):
    config = load_train_config(write(GOOD.replace("[model]", f"validation = {got}\n[model]")))
    names = ("test.extxyz", "more.extxyz")
    files = tuple(str(tmp_path / name) for name in names[: int(expected)])
    assert config.data.validation == (files if '"' in got else expected)


def test_channels_follow_l_max(write):
    config = load_train_config(write(GOOD.replace("[model]", "[model]\nl_max = 1")))
    assert config.model.channels == (64, 64)


def test_a_model_to_start_from_keeps_its_energies(write, tmp_path):
    (tmp_path / "mine.safetensors").touch()
    text = GOOD.replace("[model]", '[model]\nstart_from = "mine.safetensors"')
    config = load_train_config(write(text))
    assert config.model.start_from == str(tmp_path / "mine.safetensors")
    assert (config.model.energy_scale, config.model.energy_shift) == ("keep", "auto")
    assert config.training.learning_rate == 0.001
    text = text.replace("[training]", "[training]\nlearning_rate = 0.02")
    assert load_train_config(write(text)).training.learning_rate == 0.02
    assert "layers" not in to_toml(config)
    assert load_train_config(write(to_toml(config))) == config


def test_resolved_toml_reads_back_as_the_same(write, tmp_path):
    text = """
[data]
train = ["train.extxyz", "more.extxyz"]
validation = 50
test = "test.extxyz"
units = { energy = "kcal/mol", length = "angstrom" }
keys = { energy = "REF_energy" }
ignore = ["train.extxyz:3", "more.extxyz:4-7"]
[model]
l_max = 1
channels = [32, 8]
energy_shift = { H = -13.6, O = -432 }
elements = ["H", "O"]
[training]
loss = { kind = "huber", huber_delta = { forces = 0.05 } }
[output]
directory = "a \\"b\\\\ é"
"""
    config = load_train_config(write(text))
    assert config.model.energy_shift == {"H": -13.6, "O": -432.0}
    assert config.training.loss.huber_delta.forces == 0.05
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "train.resolved.toml").write_text(to_toml(config), encoding="utf-8")
    assert load_train_config(other / "train.resolved.toml") == config


def test_every_key_is_described():
    for section in TrainConfig.model_json_schema()["$defs"].values():
        for name, field in section["properties"].items():
            assert field["description"], name


#: Section -> lines in it -> parts of the message.
MISTAKES = {
    "alias": ("training", "lr = 0.1", "training.lr", "did you mean learning_rate?"),
    "alias of other packages": ("model", "r_max = 5.0", "did you mean cutoff_A, in Å?"),
    "other section": ("training", "r_max = 5.0", "did you mean model.cutoff_A, in Å?"),
    "weight": ("training", "e_weight = 1", "did you mean training.loss.energy_per_atom?"),
    "weight in loss": (
        "training", "loss = { energy = 1.0 }", "training.loss.energy: not a known key (did you "
        "mean energy_per_atom?)", "kind, huber_delta",
    ),
    "data key": ("data", 'energy_key = "E"', "did you mean data.keys.energy?"),
    "max force": ("data", "max_force = 50", "max_force_eV_per_A, in eV/Å?"),
    "units half": (
        "data", 'units = { energy = "eV" }', 'data.units.length: this key is required (for exam'
    ),
    "units": (
        "data", 'units = { energy = "kcal", length = "angstrom" }',
        'data.units.energy: got "kcal" (did you mean "kcal/mol"?)',
    ),
    "nested": (
        "training", "loss = { huber_delta = { forces = 0 } }",
        "training.loss.huber_delta.forces: got 0; allowed: greater than 0",
    ),
    "loss is a number": ("training", "loss = 3", "training.loss: got 3; allowed: a section of"),
    "no loss": ("training", "loss = { energy_per_atom = 0, forces = 0.0 }", "nothing would be lea"),
    "fraction": ("data", "validation = 1.5", "data.validation: got 1.5; allowed: a number of fra"),
    "bool": ("data", "validation = true", "data.validation: got true; allowed: a number of frames"),
    "no frames": ("data", "validation = 0", "data.validation: got 0; allowed: a number of frames"),
    "ignore": ("data", 'ignore = ["train.extxyz"]', 'for example ["train.extxyz:12", "more'),
    "test file": ("data", 'test = "tets.extxyz"', "data.test: no file", "mean test.extxyz?"),
    "channels": ("model", "channels = [64, 64]", "model.channels: got [64, 64]; l_max = 2 need"),
    "channels type": ("model", "channels = 64", "model.channels: got 64; allowed: a list of whole"),
    "parity": ("model", 'parity = "odd"', 'got "odd"', "allowed: full, natural, even"),
    "elements": ("model", 'elements = ["H", "Xy"]', 'got ["H", "Xy"]; allowed: a list of symbols'),
    "scale": ("model", 'energy_scale = "rms"', 'got "rms"; allowed: "force-rms", "keep"'),
    "shift": ("model", "energy_shift = { Hy = 1.0 }", "{ H = -13.6, O = -432.0 }"),
    "shift of elements": (
        "model", 'energy_shift = { H = 1.0 }\nelements = ["H", "O"]', "no energy for O"
    ),
    "keep": ("model", 'energy_shift = "keep"', "without start_from there is nothing to keep"),
    "modality": ("model", 'modality = "PBE"', "model.modality: goes with start_from"),
    "start": ("model", 'start_from = "sevenet-0"', 'did you mean "sevennet-0"?'),
    "start file": ("model", 'start_from = "x.safetensors"', "model.start_from: no file"),
    "start and new": (
        "model", 'start_from = "sevennet-0"\nlayers = 3\nl_max = 1',
        'model.layers, model.l_max: given by start_from = "sevennet-0"; remove them',
    ),
    "schedule": ("training", 'schedule = "step"', "is not offered by this version; allowed: plat"),
    "rates": ("training", "learning_rate = 1e-7", "not below learning_rate = 1e-07"),
    "device": ("training", 'device = "gpu"', 'training.device: got "gpu"; allowed: auto, cpu'),
    "ema": ("training", "ema_decay = 1.0", "training.ema_decay: got 1.0; allowed: less than 1"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_mistake(write, mistake):
    section, got, *expected = MISTAKES[mistake]
    text = message(write(GOOD.replace(f"[{section}]\n", f"[{section}]\n{got}\n")))
    assert "1 problem\n" in text
    for part in expected:
        assert part in text


def test_all_problems_of_a_file_together(write):
    text = message(
        write("""
[dat]
x = 1
[data]
train = ["trian.extxyz", "more.extxyz"]
[model]
layers = 0
start_from = "sevennet-0"
[training]
epochs = "many"
""")
    )
    for part in ("5 problems", "dat: not a known section (did you mean data?)", "no file",
                 "did you mean train.extxyz?", "model.layers: got 0", "model.layers: given by",
                 'training.epochs: got "many"; allowed: a whole number'):  # fmt: skip
        assert part in text, part


def test_no_data(write):
    assert "data: this section is required" in message(write("[model]\n"))
    assert "data.train: this key is required" in message(write("[data]\n"))


def test_existing_output_directory(write, tmp_path):
    path = write(GOOD)
    (tmp_path / "fastequi-training").mkdir()
    load_train_config(path)  # an empty folder is as good as none
    (tmp_path / "fastequi-training" / "notes.txt").write_text("mine")
    assert "--resume goes on with it, --overwrite starts anew" in message(path)
    load_train_config(path, existing="allow")


def test_device_from_the_command_line(write):
    path = write(GOOD.replace("[training]", ""))
    assert load_train_config(path, device="cpu").training.device == "cpu"
    assert 'training.device: got "tpu"' in message(path, device="tpu")
