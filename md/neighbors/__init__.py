"""Neighbour lists: who is within reach of whom, periodic images included."""

from fastequi.md.neighbors.list import NeighborList

__all__ = ["NeighborList"]
