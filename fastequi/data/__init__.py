"""Data: files of labelled structures become frames, frames become batches of graphs.

frames = read_frames("train.extxyz")
dataset = Dataset(frames, cutoff=5.0)
batch = dataset.collate([0, 1, 2])
"""

from fastequi.data.baseline import Baseline, fit_baseline
from fastequi.data.batch import Batch
from fastequi.data.batches import batches, epoch_order
from fastequi.data.checks import check_frames
from fastequi.data.dataset import Dataset
from fastequi.data.frames import Frame
from fastequi.data.labels import frame_from_atoms
from fastequi.data.pairs import undirected_pairs
from fastequi.data.readers import read_frames
from fastequi.data.splits import Sets, read_sets, split_frames
from fastequi.data.statistics import Statistics, statistics

__all__ = [
    "Baseline",
    "Batch",
    "Dataset",
    "Frame",
    "Sets",
    "Statistics",
    "batches",
    "check_frames",
    "epoch_order",
    "fit_baseline",
    "frame_from_atoms",
    "read_frames",
    "read_sets",
    "split_frames",
    "statistics",
    "undirected_pairs",
]
