"""What others have reached with these frames, and where it is from.

Root mean square errors: energies in meV per molecule, forces in meV/Å; trained on 500 frames of
300 K, tested on files that are not all at hand here.
"""

#: Case -> temperature of the test -> energy, forces.
NEQUIP = {
    # Musaelian et al. 2023 (Allegro), NequIP with l = 3, as github.com/teddykoker/nequip-eqx quotes
    # it; that code's own training takes about 20 hours of an RTX A5500.
    "3bpa": {"300 K": (3.3, 10.8), "600 K": (11.2, 26.4), "1200 K": (38.5, 76.2)},
}
