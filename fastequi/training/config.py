"""The types of train.toml: what a training needs to be told, with defaults, limits and units.

`load_train_config` reads a file and reports all that is wrong with it in one `InputError`. Paths
come out absolute, so a loaded `TrainConfig` means the same from any folder.
"""

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from ase.data import atomic_numbers as NUMBERS
from pydantic import BeforeValidator, Field

from fastequi import settings
from fastequi.importers import DTYPES, pretrained_names
from fastequi.kernels.backend import BACKENDS
from fastequi.settings import (
    FROM_LIST,
    Count,
    Device,
    Existing,
    NonNegative,
    Positive,
    Section,
    Seed,
    one_of,
)
from fastequi.settings_problems import value_at
from fastequi.training.config_problems import ARCHITECTURE, VOCABULARY, further_problems
from fastequi.training.directory import member_folder

#: The learning rate where a model is started from: ten times more makes it forget what it knows.
FINE_TUNING_RATE = 1e-3

Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], FROM_LIST]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Symbol = Annotated[str, one_of(*list(NUMBERS)[1:])]
OneNumber = Annotated[float, Field(allow_inf_nan=False)]
ONE_OR_LIST = BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
Paths = Annotated[tuple[Text, ...], ONE_OR_LIST, FROM_LIST]
Names = Annotated[tuple[Text, ...], Field(min_length=1), ONE_OR_LIST, FROM_LIST]


class UnitsConfig(Section):
    """data.units: what the numbers in the files mean."""

    energy: str = Field(description='for example "eV" or "kcal/mol"')
    length: str = Field(description='for example "angstrom"')
    forces: str | None = Field(default=None, description="energy per length if not given")
    stress: str | None = Field(default=None, description="energy per volume if not given")


class KeysConfig(Section):
    """data.keys: names of labels in the files, where they are not the usual ones.

    Of several names a frame's label is the first that it has: files may have names of their own.
    """

    energy: Names | None = Field(default=None, description='for example "REF_energy"; or a list')
    forces: Names | None = Field(default=None, description='for example "REF_forces"; or a list')
    stress: Names | None = Field(default=None, description='for example "REF_stress"; or a list')
    virial: Names | None = Field(default=None, description="minus stress times volume")
    weight: Names | None = Field(default=None, description="factor of a frame in the loss")
    config_type: Names | None = Field(default=None, description="group that errors are reported by")


class DataConfig(Section):
    """[data]: the labelled structures."""

    train: Annotated[Paths, Field(min_length=1)] = Field(
        description="a file or a list of files, relative to this file"
    )
    validation: Count | Fraction | Annotated[Paths, Field(min_length=1)] = Field(
        default=0.1, description="split off the training frames by the seed, or files of their own"
    )
    test: Paths = Field(default=(), description="files that nothing is chosen by")
    units: UnitsConfig | None = Field(
        default=None, description="of the files; eV and Å where a format says nothing else"
    )
    keys: KeysConfig = Field(default=KeysConfig(), description="names of the labels in the files")
    ignore: Annotated[tuple[Annotated[str, Field(pattern=r".:\d+(-\d+)?$")], ...], FROM_LIST] = (
        Field(default=(), description="frames that are left out; they count from 0")
    )
    max_force_eV_per_A: Positive = Field(
        default=300.0, description="eV/Å; a frame with a larger force is refused as a mistake"
    )


class ModelConfig(Section):
    """[model]: what is trained: a new model, or one to start from."""

    start_from: Text | None = Field(
        default=None, description="a model to go on from: a known name or a path"
    )
    modality: Text | None = Field(
        default=None, description="level of theory of a multi-fidelity start_from, for example PBE"
    )
    layers: Count = Field(default=4, description="interaction layers")
    l_max: Annotated[int, Field(ge=0, le=6)] = Field(
        default=2, description="highest degree of features and harmonics"
    )
    channels: Annotated[tuple[Count, ...], FROM_LIST] = Field(
        default_factory=lambda known: (64,) * (known.get("l_max", 0) + 1),
        description="per degree, 0 to l_max; 64 of each if not given",
    )
    parity: Annotated[str, one_of("full", "natural", "even")] = Field(
        default="full", description="which parities features have"
    )
    cutoff_A: Positive = Field(default=5.0, description="Å, longest edge")
    n_bessel: Count = Field(default=8, description="radial functions")
    bessel_trainable: bool = Field(default=False, description="whether their frequencies train")
    radial_hidden: Annotated[tuple[Count, ...], FROM_LIST] = Field(
        default=(128,), description="hidden widths of the radial networks"
    )
    envelope_p: Annotated[float, Field(ge=2, allow_inf_nan=False)] = Field(
        default=6.0, description="p of the polynomial envelope"
    )
    embedding_channels: Count | None = Field(
        default=None, description="width of the first features; channels[0] if not given"
    )
    attributes: Annotated[str, one_of("one-hot", "embedding")] = Field(
        default="one-hot",
        description="what self-connections know an element by: itself (NequIP's paper), or its "
        "embedding (NequIP's program; many more weights)",
    )
    elements: Annotated[tuple[Symbol, ...], FROM_LIST, Field(min_length=1)] | None = Field(
        default=None, description="that the model knows; those in the data if not given"
    )
    zbl: bool = Field(default=False, description="add nuclear repulsion (ZBL)")
    average_neighbors: Literal["auto"] | Positive = Field(
        default="auto", description="neighbours per atom that sums are divided by"
    )
    energy_scale: Literal["force-rms", "keep"] | Positive = Field(
        default_factory=lambda known: "keep" if known.get("start_from") else "force-rms",
        description="eV that a network output of 1 means",
    )
    energy_shift: (
        Literal["auto", "least-squares", "mean", "keep"]
        | Annotated[dict[Symbol, OneNumber], Field(min_length=1)]
    ) = Field(
        default_factory=lambda known: "auto" if known.get("start_from") else "least-squares",
        description="energies of the elements; auto: those of start_from, moved to the zero of the "
        "data where that is another",
    )
    train_scales: bool = Field(default=False, description="whether scales and shifts train too")
    dtype: Annotated[str, one_of(*DTYPES)] = Field(
        default="float32", description="arithmetic of the model"
    )
    kernels: Annotated[str, one_of("auto", *BACKENDS)] = Field(
        default="auto", description="which implementation of the convolution"
    )


class HuberDelta(Section):
    """training.loss.huber_delta: errors beyond these count linearly."""

    energy_per_atom: Positive = Field(default=0.01, description="eV")
    forces: Positive = Field(default=0.01, description="eV/Å")
    stress: Positive = Field(default=0.01, description="eV/Å³")


class LossConfig(Section):
    """training.loss: what is minimised; weights of mean squared (or Huber) errors in eV and Å."""

    energy_per_atom: NonNegative = Field(default=1.0, description="weight")
    forces: NonNegative = Field(default=1.0, description="weight, of the components")
    stress: NonNegative = Field(default=0.0, description="weight, of the components")
    kind: Annotated[str, one_of("mse", "huber")] = Field(
        default="mse", description="mse, or huber: linear for large errors"
    )
    huber_delta: HuberDelta = Field(
        default=HuberDelta(), description="where huber becomes linear, in eV, eV/Å, eV/Å³"
    )


class TrainingConfig(Section):
    """[training]: how the weights are found."""

    batch_size: Count = Field(default=5, description="frames per step")
    learning_rate: Positive = Field(
        default=0.01, description="of the first epoch after warm-up; 0.001 with start_from"
    )
    epochs: Count = Field(default=1000, description="the total: --resume goes on to it")
    max_wall_minutes: Positive | None = Field(
        default=None, description="minutes; whichever ends first"
    )
    optimizer: Annotated[str, one_of("adam", "adamw")] = Field(
        default="adam", description="adam, or adamw (decoupled weight decay)"
    )
    amsgrad: bool = Field(default=True, description="the AMSGrad variant of the optimizer")
    weight_decay: NonNegative = Field(default=0.0, description="of the optimizer")
    schedule: Annotated[str, one_of("plateau", "cosine", "constant")] = Field(
        default="plateau", description="of the learning rate"
    )
    warmup_epochs: NonNegative = Field(
        default=0.0, description="the learning rate rises linearly for so long; may be a fraction"
    )
    plateau_patience: Count = Field(
        default=25, description="epochs without improvement before the learning rate falls"
    )
    plateau_factor: Fraction = Field(default=0.5, description="by which it falls")
    minimum_learning_rate: Positive = Field(
        default=1e-6, description="where cosine ends, and where plateau ends the training"
    )
    clip_gradient_norm: Positive | None = Field(
        default=None, description="longest gradient; not limited if not given"
    )
    early_stopping_patience: Count | None = Field(
        default=None, description="epochs without improvement that end the training"
    )
    loss: LossConfig = Field(default=LossConfig(), description="what is minimised")
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.99, description="of the averaged weights that are kept, per step; 0: no average"
    )
    seed: Seed = Field(default=1, description="of the split, the first weights and the order")
    device: Device = Field(default="auto", description="auto, cpu, cuda or cuda:N")
    members: Count = Field(default=1, description="models of an ensemble")
    member: Count | None = Field(
        default=None, description="train this one of them alone, counted from 1; --member sets it"
    )
    select_by: Annotated[str, one_of("loss", "forces", "energy")] = Field(
        default="loss", description="which validation error says which model is the best"
    )


class OutputConfig(Section):
    """[output]: what is written where, how often (in epochs)."""

    directory: str = Field(
        default="fastequi-training", description="relative to this file; never overwritten unasked"
    )
    checkpoint_every: Count = Field(default=1, description="epochs between checkpoints")
    log_every: Count = Field(default=1, description="epochs between printed lines")


class TrainConfig(Section):
    """A whole train.toml."""

    data: DataConfig
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    output: OutputConfig = OutputConfig()


def load_train_config(
    path: str | Path,
    existing: Existing = "refuse",
    device: str | None = None,
    member: int | None = None,
) -> TrainConfig:
    """Read train.toml; relative paths in it are taken from its folder.

    `existing` says whether the output directory may exist; `device` replaces `training.device`, and
    `member` replaces `training.member` and takes that member's folder in the output directory.
    Raises InputError that lists every problem of the file.
    """
    path = Path(path).absolute()
    raw = settings.read_toml(path)
    settings.set_default_(raw, "output", "directory", OutputConfig().directory)
    absolute = partial(settings.absolute, folder=path.parent)
    for key in ("train", "validation", "test"):
        settings.change_texts_(raw, "data", key, absolute)
    settings.change_texts_(raw, "output", "directory", absolute)
    name = partial(settings.absolute_if_path, folder=path.parent)
    settings.change_texts_(raw, "model", "start_from", name)
    if value_at(raw, ("model", "start_from")):
        settings.set_default_(raw, "training", "learning_rate", FINE_TUNING_RATE)
    if device is not None:
        settings.set_(raw, "training", "device", device)
    if member is not None:
        settings.set_(raw, "training", "member", member)
        members = value_at(raw, ("training", "members"))
        settings.change_texts_(
            raw, "output", "directory",
            lambda text: str(member_folder(Path(text), member - 1, members or 1)),
        )  # fmt: skip
    problems = further_problems(raw, existing, pretrained_names())
    return settings.checked(path, raw, TrainConfig, VOCABULARY, problems)


def to_toml(config: TrainConfig) -> str:
    """The text of train.resolved.toml: every key with its value, defaults included.

    Where a model is started from, the architecture is that model's and no key of this file.
    """
    sections: dict[str, Any] = config.model_dump(exclude_none=True)
    if config.model.start_from:
        sections["model"] = {
            key: value for key, value in sections["model"].items() if key not in ARCHITECTURE
        }
    comment = "Every setting of this training, defaults included. fastequi train reads it back."
    return settings.to_toml(sections, comment)
