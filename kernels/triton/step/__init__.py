"""The small kernels of a step on a GPU: edge vectors, forces, noise, the neighbour list.

State is float64, in buffers that have their place and size from the beginning. Nothing is
allocated and nothing is asked of the device, so that all of it can be captured in CUDA graphs; what
goes wrong raises a bit of a flag word (`flags.py`). No sum depends on the order in which programs
run, nor on edges beyond the cutoff: their terms are exact zeros of sums in the order of the list.
"""
