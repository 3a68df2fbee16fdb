"""The free energy of a bond, from the hills of metadynamics and from its weighted frames.

    python free_energy.py

Two answers from one run that have to agree: F = -g / (g - 1) times the sum of hills, which HILLS
already has scaled (Barducci et al., Phys. Rev. Lett. 100, 020603, 2008), and -kT ln of a histogram
in which a frame has the weight exp(V / kT). Prints how far they are apart, draws free_energy.png.
"""

from pathlib import Path

import matplotlib
import numpy as np
from ase.units import kB

matplotlib.use("Agg")
from matplotlib import pyplot

PLUMED = Path(__file__).parent / "metadynamics" / "plumed"
KT_EV = kB * 300.0
BINS = 24


def main() -> float:
    """The rms difference of both, in eV, where the free energy is below 4 kT."""
    _, centre, sigma, height, _ = np.loadtxt(PLUMED / "HILLS").T
    _, distance, bias = np.loadtxt(PLUMED / "COLVAR").T
    settled = slice(len(distance) // 4, None)
    weight = np.exp((bias[settled] - bias.max()) / KT_EV)
    density, edges = np.histogram(distance[settled], BINS, weights=weight, density=True)
    x = 0.5 * (edges[1:] + edges[:-1])
    hills = -(height * np.exp(-0.5 * ((x[:, None] - centre) / sigma) ** 2)).sum(axis=1)
    with np.errstate(divide="ignore"):
        frames = -KT_EV * np.log(density)
    low = frames - frames.min() < 4 * KT_EV
    hills -= hills[low].mean()
    frames -= frames[low].mean()
    rms = float(np.sqrt(np.square(hills - frames)[low].mean()))
    where = f"between {x[low].min():.2f} and {x[low].max():.2f} Å"
    print(f"hills and frames differ by {1e3 * rms:.1f} meV {where}; kT is {1e3 * KT_EV:.1f} meV")
    figure, axis = pyplot.subplots(figsize=(6, 3.5), layout="constrained")
    axis.plot(x, 1e3 * (hills - hills.min()), color="tab:blue", label="hills")
    axis.plot(x, 1e3 * (frames - hills.min()), "o", color="tab:orange", label="weighted frames")
    axis.set(xlabel="distance of two neighbours (Å)", ylabel="free energy (meV)")
    axis.legend()
    figure.savefig(Path(__file__).parent / "free_energy.png", dpi=150)
    return rms


if __name__ == "__main__":
    main()
