"""What the tests of foreign formats share: random weights that keep activations steady, and how far outputs may differ."""

from __future__ import annotations

import importlib.util
import os
import warnings
from unittest import mock

import numpy as np
import pytest

TOLERANCE = 1e-4
"""Of the largest logit: two sums in float32 in orders of their own differ by some 1e-6 a layer. A misread statistic, a wrong
border or a missing shortcut changes logits by their own size."""


def randomise(module) -> None:
    """Give a torch module weights that keep activations at a steady size, and batch-norm statistics unlike the neutral ones."""
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith("running_var") or (name.endswith("weight") and tensor.ndim == 1):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith("weight"):
                tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5)
            elif tensor.is_floating_point():
                tensor.normal_(0, 0.1)


def pictures(height: int, width: int | None = None, count: int = 2) -> np.ndarray:
    """Return pictures as networks take them, (count, height, width, 3) from -1 to 1."""
    return np.random.default_rng(1).uniform(-1, 1, (count, height, width or height, 3)).astype(np.float32)


def logits(module, x: np.ndarray) -> np.ndarray:
    """Return what a torch module makes of pictures (N, H, W, 3)."""
    import torch

    with torch.no_grad():
        return module.eval()(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()


def assert_same(ours: np.ndarray, theirs: np.ndarray, tolerance: float = TOLERANCE) -> None:
    """Compare outputs, relative to the largest."""
    assert ours.shape == theirs.shape
    difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
    print(f"largest difference {np.abs(ours - theirs).max():.3g}, of the largest output {difference:.3g}")
    assert difference < tolerance


def torchvision():
    """Return torchvision; where its compiled part was built for another torch, models and transforms work all the same."""
    torch = pytest.importorskip("torch", reason="torch is an oracle, not a dependency")
    with mock.patch.object(torch.library, "register_fake", return_value=lambda fn: fn):
        return pytest.importorskip("torchvision", reason="torchvision is an oracle, not a dependency")


def prepare_torchvision() -> None:
    """Import torchvision, if it is there, before Transformers does, which would not get past its compiled part."""
    if importlib.util.find_spec("torchvision"):
        torchvision()


def keras():
    """Return Keras on TensorFlow, whose start says much of itself."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("tensorflow", reason="tensorflow is an oracle, not a dependency")
        return pytest.importorskip("keras", reason="keras is an oracle, not a dependency")


def randomise_keras(model) -> None:
    """Give a Keras model weights as `randomise` gives them."""
    rng = np.random.default_rng(0)
    for variable in model.weights:
        kind, shape = variable.path.rpartition("/")[2], variable.shape
        match kind:
            case "kernel":
                variable.assign(rng.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape))
            case "depthwise_kernel":
                variable.assign(rng.normal(0, (2 / np.prod(shape[:2])) ** 0.5, shape))
            case "gamma" | "moving_variance":
                variable.assign(rng.uniform(0.5, 1.5, shape))
            case "bias" | "beta" | "moving_mean":
                variable.assign(rng.normal(0, 0.1, shape))


def predicted(model, x: np.ndarray) -> np.ndarray:
    """Return what a Keras model makes of pictures."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(model(x, training=False))
