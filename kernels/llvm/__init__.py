"""Machine code for this CPU, printed as LLVM IR and compiled in-process."""
