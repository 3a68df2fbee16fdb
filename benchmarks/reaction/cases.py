"""Which frames are learnt from and which are tested on, of acetylacetone and 3BPA.

Both sets are those of Batatia et al. 2022 (github.com/davkovacs/BOTNet-datasets).
"""

from dataclasses import dataclass, field
from pathlib import Path

from fastequi.data import Frame, read_frames
from fastequi.data.frames import frame_key

UNITS = {"energy": "eV", "length": "angstrom"}


@dataclass(frozen=True)
class Part:
    """Some frames of a file in the folder of data: from `first` up to, but without, `end`."""

    file: str
    first: int = 0
    end: int | None = None

    def frames(self, data: Path) -> list[Frame]:
        return read_frames([data / self.file], UNITS, {})[self.first : self.end]


@dataclass(frozen=True)
class Case:
    """A file to learn from, and what is tested afterwards.

    tests  name of a temperature -> frames held out, with energies and forces
    paths  name of a path -> file of frames along it, with energies alone
    """

    molecule: str
    trained_at: str
    train: Part
    tests: dict[str, Part]
    paths: dict[str, str] = field(default_factory=dict)

    def held_out(self, name: str, data: Path) -> list[Frame]:
        """The frames of a test, without those that the training has, too."""
        learnt = {frame_key(frame) for frame in self.train.frames(data)}
        return [f for f in self.tests[name].frames(data) if frame_key(f) not in learnt]


#: Energies in train_mixedT.xyz rise twice, and far: it has 300, 600 and 1200 K one after the other.
#: The three constants that fit the energies best meet at these two frames.
_MIXED, _HOT, _HOTTEST = "3bpa/train_mixedT.xyz", 167, 334
_MIXED_AT = {
    "300 K": Part(_MIXED, 0, _HOT),
    "600 K": Part(_MIXED, _HOT, _HOTTEST),
    "1200 K": Part(_MIXED, _HOTTEST),
}

CASES = {
    "acac": Case(
        "acac", "300 K", Part("acac/train_300K.xyz"),
        {"300 K": Part("acac/test_MD_300K.xyz"), "600 K": Part("acac/train_600K.xyz")},
        {"transfer": "acac/test_H_transfer.xyz", "dihedral": "acac/test_dihedral.xyz"},
    ),
    "3bpa": Case("3bpa", "300 K", Part("3bpa/train_300K.xyz"), _MIXED_AT),
    "3bpa-mixed": Case(
        "3bpa", "300 to 1200 K", Part(_MIXED), {"300 K": Part("3bpa/train_300K.xyz")}
    ),
}  # fmt: skip
