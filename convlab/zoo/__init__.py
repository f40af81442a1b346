"""What ships with convlab: trained models with their cards, sample photos, labelled test pictures.

`load` is how a model is had by name or by path.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from .. import weights
from ..forward import Detector, Model

_HERE = Path(__file__).parent

CLASSIFIERS = ("mobilenet_v2_imagenet", "mobilenet_v2_cifar10", "mobilenet_v1_cifar10")
"""The two of CIFAR-10 were trained by one recipe and do the same number of multiply-accumulates, so they can be compared."""

DETECTORS = ("ssdlite_mobilenet_v2_coco", "ssd_mobilenet_v1_faces")

MODELS: Mapping[str, Path] = MappingProxyType({name: _HERE / f"{name}.npz" for name in CLASSIFIERS + DETECTORS})
"""The embedded models: name -> file. The card of each stands beside it, ending in `.md`."""

DEFAULT, DEFAULT_DETECTOR = CLASSIFIERS[0], DETECTORS[0]


def load(name: str | os.PathLike[str] = DEFAULT) -> Model | Detector:
    """Return an embedded model by name, or a foreign one by path or by its id on a hub.

    Parameters
    ----------
    name : str or path
        A name in `zoo.MODELS`, or what `convlab.weights.load` reads: convlab's `.npz`; what Transformers, timm, torch, Keras,
        ONNX and TFLite keep of MobileNet V1 and V2; the id of such a model on the Hugging Face hub, ``owner/name``.

    Returns
    -------
    Model or Detector

    Raises
    ------
    FileNotFoundError, ValueError
        If there is neither such a model nor such a file, or the file is not right.

    Examples
    --------
    >>> import convlab as cl
    >>> cl.load("mobilenet_v2_imagenet").labels[:3]
    ('tench', 'goldfish', 'great white shark')
    """
    if name in MODELS:
        return weights.load(MODELS[str(name)])
    if not Path(name).exists() and not weights.on_hub(name):
        raise FileNotFoundError(f"no such model or path: {str(name)!r}; the embedded models are {', '.join(MODELS)}")
    return weights.load(name)


def card(name: str = DEFAULT) -> str:
    """Return a model's card: data, recipe, accuracy, limits (Markdown)."""
    if name not in MODELS:
        raise ValueError(f"no such model: {name!r}; the embedded models are {', '.join(MODELS)}")
    return MODELS[name].with_suffix(".md").read_text(encoding="utf-8")


def photos() -> dict[str, Path]:
    """Return the shipped photos, name -> file; `photos/README.md` has their sources and licences.

    Examples
    --------
    >>> sorted(photos())
    ['chelsea', 'coffee', 'rocket']
    """
    return {path.stem: path for path in sorted((_HERE / "photos").glob("*.jpg"))}


def sample_pictures() -> tuple[np.ndarray, np.ndarray]:
    """Return 200 labelled pictures of CIFAR-10's test set, 20 a class: uint8 (200, 32, 32, 3) and int64 (200,).

    Examples
    --------
    >>> pictures, labels = sample_pictures()
    >>> pictures.shape, np.bincount(labels).tolist()
    ((200, 32, 32, 3), [20, 20, 20, 20, 20, 20, 20, 20, 20, 20])
    """
    with np.load(_HERE / "cifar10_samples.npz", allow_pickle=False) as file:
        return file["pictures"], file["labels"].astype(np.int64)
