"""How the crystal of md.toml melted: print, and where matplotlib is installed draw.

    python melting.py

Neighbours within 2.9 Å: 4 in the crystal, more in the liquid (many more at its own density, which
is higher than that of the crystal). The sharp peaks of g(r) go within the first picosecond, and
atoms begin to diffuse.
"""

from pathlib import Path

import numpy as np

from fastequi.md.analysis import (
    diffusion_cm2_per_s,
    interval_fs,
    mean_squared_displacement,
    positions_of,
    radial_distribution,
    without_drift,
)
from fastequi.md.trajectory.reader import read_trajectory

HERE = Path(__file__).parent
PARTS, R_MAX_A, BOND_A = 4, 8.0, 2.9


def main() -> None:
    # Without the first frame, a perfect lattice of which g(r) is all spikes.
    frames = read_trajectory(HERE / "silicon-melt-run" / "trajectory.extxyz")[1:]
    size = len(frames) // PARTS
    parts = [frames[k * size : (k + 1) * size] for k in range(PARTS)]
    print("time in ps     neighbours  highest g(r)  at r in Å  diffusion in cm²/s")
    curves = {}
    for part in parts:
        name = f"{part[0].info['time_ps']:.2f} to {part[-1].info['time_ps']:.2f}"
        r, pairs = radial_distribution(part, R_MAX_A)
        g = pairs["Si", "Si"]
        print(
            f"{name:<15}{coordination(r, g, part[0]):>10.2f}{g.max():>14.2f}{r[g.argmax()]:>11.2f}"
            f"{diffusion(part):>20.1e}"
        )
        curves[name] = r, g
    draw(curves)


def diffusion(frames) -> float:
    """Diffusion coefficient in cm²/s, from displacements over a tenth to a half of the time."""
    positions = without_drift(positions_of(frames), frames[0].get_masses())
    interval = interval_fs(frames)
    total = interval * (len(frames) - 1)
    msd = mean_squared_displacement(positions)
    return diffusion_cm2_per_s(msd, interval, 0.1 * total, 0.5 * total)


def coordination(r, g, atoms) -> float:
    """Mean number of atoms within BOND_A of an atom: the integral of 4 pi r² rho g."""
    near, density = r < BOND_A, (len(atoms) - 1) / atoms.get_volume()
    return float(np.sum(4 * np.pi * r[near] ** 2 * g[near]) * density * (r[1] - r[0]))


def draw(curves) -> None:
    """g(r) of each part of the run, into melting.png."""
    try:
        from matplotlib import pyplot
    except ImportError:
        print("no picture: pip install matplotlib")
        return
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for name, (r, g) in curves.items():
        axes.plot(r, g, label=f"{name} ps")
    axes.set_xlabel("r in Å")
    axes.set_ylabel("g(r)")
    axes.legend()
    figure.savefig(HERE / "melting.png", dpi=150)
    print(f"wrote {HERE / 'melting.png'}")


if __name__ == "__main__":
    main()
