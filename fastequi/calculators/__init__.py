"""Doors to other programs: convert in, call the potential, convert out."""
