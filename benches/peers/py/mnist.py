"""MNIST as the examples' PyTorch twins take it."""

import gzip
from pathlib import Path

import numpy as np
import torch


def load(folder, name):
    """Images [n, 1, 28, 28] from 0 to 1 and labels [n] of the gzipped IDX files `name`, "train" or "t10k"."""
    read = lambda kind, offset: np.frombuffer(gzip.open(Path(folder) / f"{name}-{kind}-ubyte.gz").read(), np.uint8, offset=offset)
    images = torch.tensor(read("images-idx3", 16)).view(-1, 1, 28, 28) / 255
    return images, torch.tensor(read("labels-idx1", 8)).long()
