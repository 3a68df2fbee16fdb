"""Velocity autocorrelation: how long atoms remember their velocity."""

from collections.abc import Iterable, Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from fastequi.md.analysis.analysis import Analysis, Column, Columns, Finding
from fastequi.md.analysis.correlation import autocorrelation_sums
from fastequi.md.analysis.frames import by_element, interval_fs, same_atoms, velocities_of
from fastequi.units import ACCELERATION_A_PER_FS2, LIGHT_CM_PER_FS

#: The highest frequency of atoms, in root mean squares of their frequencies: 1.5 in silicon, 1.6 of
#: hydrogen in water.
_HIGHEST = 1.7


def velocity_autocorrelation(velocities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of v(k) v(k+m) over atoms and origins k, for m = 0, 1, 2, ...: [frames] in Å²/fs².

    velocities [frames, atoms, 3] in Å/fs. At 0 it is 3 k T / m in equilibrium; its integral is
    three times the diffusion coefficient (Green and Kubo).
    """
    frames, atoms = velocities.shape[:2]
    return autocorrelation_sums(velocities) / (atoms * (frames - np.arange(frames)))


def vacf_columns(frames: Sequence[Atoms]) -> Columns:
    """`velocity_autocorrelation` of all atoms and of each element, over half of the time."""
    numbers = same_atoms(frames)
    velocities, shown = velocities_of(frames), len(frames) // 2 + 1
    times_ps = np.arange(shown, dtype=np.float64) * (interval_fs(frames) * 1e-3)
    of_elements = {
        f"vacf_{symbol}_A2_per_fs2": velocity_autocorrelation(velocities[:, mine])[:shown]
        for symbol, mine in by_element(numbers)
    }
    total = velocity_autocorrelation(velocities)[:shown]
    return {"time_ps": times_ps, "vacf_A2_per_fs2": total, **of_elements}


def vacf_findings(frames: Sequence[Atoms], columns: Columns) -> Iterable[Finding | str]:
    """When each element has first forgotten its velocity."""
    times = columns["time_ps"]
    for symbol, _ in by_element(frames[0].numbers):
        gone = np.flatnonzero(columns[f"vacf_{symbol}_A2_per_fs2"] <= 0.0)
        if len(gone):
            key = f"first_zero_{symbol}_ps"
            yield Finding(key, f"first zero of {symbol} at", float(times[gone[0]]), "ps")
    remark = too_far_apart(frames)
    if remark:
        yield remark


def too_far_apart(frames: Sequence[Atoms]) -> str:
    """What to say where atoms move faster than frames can show; else ''.

    The mean square frequency of a density of states is that of accelerations over velocities,
    which frames with forces know, however far apart they are.
    """
    known = [frame.calc.results.get("forces") if frame.calc else None for frame in frames]
    if any(forces is None for forces in known):
        return ""
    forces = np.array(known, dtype=np.float64)
    accelerations = forces * (ACCELERATION_A_PER_FS2 / frames[0].get_masses())[:, None]
    velocities, every_fs = velocities_of(frames), interval_fs(frames)
    fastest = 0.0
    for _, mine in by_element(frames[0].numbers):
        squares = np.square(accelerations[:, mine]).sum() / np.square(velocities[:, mine]).sum()
        fastest = max(fastest, _HIGHEST * float(np.sqrt(squares)) / (2.0 * np.pi))  # 1/fs
    if fastest < 0.5 / every_fs:
        return ""
    return (
        f"frames are {every_fs:g} fs apart: what moves faster than "
        f"{0.5 / (LIGHT_CM_PER_FS * every_fs):.0f}/cm, as atoms do here, shows at lower "
        f"frequencies (a frame every {0.5 / fastest:.2g} fs or less would show it as it is)"
    )


VACF = Analysis(
    vacf_columns,
    (
        Column("time_ps", "ps", "time"),
        Column("vacf_A2_per_fs2", "Å²/fs²", "velocity autocorrelation"),
        Column("vacf_*_A2_per_fs2", "Å²/fs²", "velocity autocorrelation"),
    ),
    title="velocity autocorrelation",
    findings=vacf_findings,
    relative=True,
    level=0.0,
)
