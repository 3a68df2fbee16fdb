"""Kernels for processors, printed as LLVM IR and compiled where they run."""
