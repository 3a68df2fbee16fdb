"""Molecular dynamics of any `Potential`: state, neighbours, integrators, trajectories.

Installed as `fastequi.md`. Knows nothing of the model, the training or the command line.
"""

if __name__ == "md":
    raise ImportError("import fastequi.md, not md")
