"""The network made fast: one walk through its layers serves dynamics and training."""
