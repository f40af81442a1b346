"""PyTorch's `.pth` and `.pt`: state dicts, in the container of today (a zip) or of before (pickles one after another).

Both containers are pickles, which can run anything when they are read; so they are read by torch itself, with `weights_only=True`, which
builds nothing but tensors. A whole pickled model is refused: save its `state_dict()`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..forward import Model
from ..preprocessing import Preprocessing
from .checks import check_numbers, check_size, named
from .recognise import titled
from .tensors import (
    TIMM_V1,
    TIMM_V2,
    TORCHVISION_V2,
    TRANSFORMERS_V1,
    TRANSFORMERS_V2,
    Tensor,
    Tensors,
    classes_of,
    headed,
    read,
    scheme_of,
    stripped,
)

INSIDE = ("state_dict", "model_state_dict", "model", "net", "model_ema")
"""Under which keys training scripts keep a state dict beside the rest of a checkpoint."""

SIDE = 224
EPS = 1e-5
"""PyTorch's own, which torchvision and timm leave as it is."""

MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""ImageNet's, as torchvision and timm use them, of pixels from 0 to 255."""


def torchvision(height: int, width: int) -> Preprocessing:
    """Return what torchvision and timm do to pictures before they evaluate: the shorter side 8/7 of what is cut from the middle."""
    shorter = min(height, width) * 256 // 224
    return Preprocessing((height, width), "shorter", shorter, mean=MEAN, deviation=DEVIATION, whole=True, middle="even")


def load(path: Path) -> Model:
    """Return the model of a file that torch saved, or of tensors with torchvision's or timm's names without a config."""
    with named(path):
        return model(read_file(path))


def model(tensors: Tensors) -> Model:
    """Return the model of bare tensors: torchvision's V2, or timm's V1 and V2, as these libraries build them by default."""
    tensors = stripped(tensors)
    scheme = scheme_of(tensors, (TORCHVISION_V2, TIMM_V1, TIMM_V2, TRANSFORMERS_V1, TRANSFORMERS_V2))
    if scheme in (TRANSFORMERS_V1, TRANSFORMERS_V2):
        raise FileNotFoundError("a model saved by Transformers has config.json in its directory, which says what the tensors do not")
    scheme = headed(tensors, scheme)
    described = scheme.describe(tensors)
    layers = described.layers(classes_of(tensors, scheme), 1, EPS)
    network = titled(layers, SIDE, SIDE)
    check_size(network)
    params = read(tensors, scheme, network, described.names)
    check_numbers(network, params)
    return Model(network, params, preprocessing=torchvision(SIDE, SIDE))


def read_file(path: Path) -> Tensors:
    """Return the tensors of a file that torch saved."""
    try:
        import torch
    except ModuleNotFoundError:
        raise ModuleNotFoundError("reading what torch saved needs torch: pip install torch; or save it as .safetensors") from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's readers raise RuntimeError, pickle's and zip's errors, and more
        if "weights_only" in str(error) or "Weights only" in str(error):
            raise ValueError("it holds Python objects beside tensors, which are not unpickled: save model.state_dict()") from error
        raise ValueError(f"it is not a file that torch can read: {(str(error) or 'it ends too early').splitlines()[0]}") from error
    for key in INSIDE:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content or not any(isinstance(value, torch.Tensor) for value in content.values()):
        raise ValueError(f"it must hold a state dict, names with tensors: it holds {type(content).__name__}")
    return {
        str(name): Tensor(tuple(value.shape), partial(_numbers, value))
        for name, value in content.items()
        if isinstance(value, torch.Tensor)
    }


def _numbers(tensor: Any) -> np.ndarray:
    return np.asarray(tensor.detach().float().numpy())
