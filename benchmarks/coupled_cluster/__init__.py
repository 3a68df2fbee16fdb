"""High-order reference data with few frames: a molecule labelled with CCSD(T), and learnt."""
