"""Kernels for GPUs, printed as Triton and compiled at the first call."""
