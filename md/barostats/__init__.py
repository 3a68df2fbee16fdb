"""What ensembles of constant pressure share: strains of cells, how they are coupled, checks."""
