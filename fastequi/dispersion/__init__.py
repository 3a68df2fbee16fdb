"""DFT-D3(BJ) dispersion on top of any potential."""

from fastequi.dispersion.corrected import METHODS, Corrected, with_dispersion

__all__ = ["METHODS", "Corrected", "with_dispersion"]
