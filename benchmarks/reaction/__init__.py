"""A hydrogen transfer, a turned bond and hotter molecules than a potential has learnt from."""
