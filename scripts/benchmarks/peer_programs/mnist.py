"""MNIST as NumPy arrays, read as anybody would who has the unpacked files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from peer_programs.job import MEAN, STD


def images(data: Path, part: str) -> np.ndarray:
    """Normalised float32 images (N, 28, 28) of the part `train` or `t10k`."""
    raw = np.fromfile(data / "MNIST/raw" / f"{part}-images-idx3-ubyte", np.uint8, offset=16)
    scaled = raw.reshape(-1, 28, 28).astype(np.float32)
    scaled -= 255 * MEAN
    scaled /= 255 * STD
    return scaled


def labels(data: Path, part: str) -> np.ndarray:
    """Classes (N,) of the part `train` or `t10k`, int64."""
    path = data / "MNIST/raw" / f"{part}-labels-idx1-ubyte"
    return np.fromfile(path, np.uint8, offset=8).astype(np.int64)
