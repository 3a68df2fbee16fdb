"""The files of a run: log, trajectories, checkpoints, and the thread that writes them."""
