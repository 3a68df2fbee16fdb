"""Liquid water from few frames: learning curves, distributions and diffusion (`__main__.py`)."""
