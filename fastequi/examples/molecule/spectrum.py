"""The vibrations of a trajectory, beside the harmonic frequencies of the labels' own level.

    python spectrum.py

Reads methanol-run/trajectory.h5, prints the peaks and draws spectrum.png. Harmonic frequencies are
those of an infinitely cold molecule; at 300 K stretches of hydrogen are lower by some tens of 1/cm.
"""

from pathlib import Path

import matplotlib
import numpy as np

from fastequi.md.analysis.frames import interval_fs, velocities_of
from fastequi.md.analysis.spectrum import vibrational_spectrum, without_timestep_error
from fastequi.md.trajectory.reader import read_trajectory

matplotlib.use("Agg")
from matplotlib import pyplot

HERE = Path(__file__).parent
TIMESTEP_FS, RESOLUTION_PER_CM = 0.5, 10.0
#: Below this the molecule turns as a whole, with far more density than any vibration.
SLOWEST_VIBRATION_PER_CM = 200.0

frames = read_trajectory(HERE / "methanol-run" / "trajectory.h5")
wavenumbers, density = vibrational_spectrum(
    velocities_of(frames), frames[0].get_masses(), interval_fs(frames), RESOLUTION_PER_CM
)
wavenumbers = without_timestep_error(wavenumbers, TIMESTEP_FS)
harmonic = np.genfromtxt(HERE / "harmonic_frequencies.csv", delimiter=",", names=True)

top = density[wavenumbers > SLOWEST_VIBRATION_PER_CM].max()
inner, places = density[1:-1], wavenumbers[1:-1]
is_peak = (inner > density[:-2]) & (inner > density[2:]) & (inner > 0.1 * top)
peaks = places[is_peak & (places > SLOWEST_VIBRATION_PER_CM)]
print("peaks in 1/cm:   ", *(f"{peak:.0f}" for peak in peaks))
print("harmonic in 1/cm:", *(f"{wavenumber:.0f}" for wavenumber in harmonic["wavenumber_per_cm"]))

figure, axis = pyplot.subplots(figsize=(8, 3.5), layout="constrained")
axis.vlines(harmonic["wavenumber_per_cm"], 0, 1.1 * top, color="tab:orange", linewidth=1,
            label="harmonic, PBE/def2-SVP")  # fmt: skip
axis.plot(wavenumbers, density, color="tab:blue", label="dynamics at 300 K")
axis.set(xlim=(0, 4200), ylim=(0, 1.1 * top), xlabel="wavenumber (1/cm)", ylabel="density (cm)")
axis.legend(loc="upper center", bbox_to_anchor=(0.52, 1))
figure.savefig(HERE / "spectrum.png", dpi=150)
print(f"wrote {HERE / 'spectrum.png'}")
