"""What holds atoms: which of ASE's constraints are taken over, and how integrators obey them."""
