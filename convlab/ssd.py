"""SSD: a network that finds objects in one pass, as rows on a MobileNet trunk.

A *single-shot detector* (Liu et al. 2016) looks at the picture through a fixed set of boxes, the *anchors*: a few of different scale and
shape around the centre of every cell of six maps, the trunk's last two and four smaller ones after it. For each anchor a *head*, itself a
convolution, gives four numbers that shift and stretch it, and a score for each class::

    trunk -> map 0 -> ... -> map 1 -> extra -> map 2 -> extra -> map 3 -> extra -> map 4 -> extra -> map 5
               |               |                |                |                |                |
         boxes0 scores0  boxes1 scores1  boxes2 scores2   ...                                boxes5 scores5

Large maps have small cells, and find what is small; the last map is a single cell, and finds what fills the picture. Since anchors lie
densely, one object is found by several: *non-maximum suppression* keeps the likeliest of those that overlap.

SSDLite (Sandler et al. 2018, section 6.2) makes heads and extras separable, as MobileNet makes everything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .arguments import integer
from .geometry import ConvSpec
from .layers import Branch, Conv, Layer, Network, Pool
from .mobilenet import mobilenet_v1, mobilenet_v2
from .preprocessing import Frame


class Extra(NamedTuple):
    """A row of what follows the trunk: squeeze to fewer channels, then halve the map and widen."""

    squeeze: int
    width: int


EXTRAS = (Extra(256, 512), Extra(128, 256), Extra(128, 256), Extra(64, 128))

FIRST_ANCHORS, OTHER_ANCHORS = 3, 6
"""Anchors in a cell: fewer on the first map, which has most of the cells."""

SCALES = (10.0, 10.0, 5.0, 5.0)
"""What the heads' (y, x, height, width) are divided by (Liu et al.'s "variances" 0.1 and 0.2)."""

Shapes = tuple[tuple[tuple[float, float], ...], ...]
"""Scale and ratio, width to height, of each anchor in a cell, map by map. A scale of 1 is the picture's side."""


class Detection(NamedTuple):
    """What was found, how surely, and where: (x, y, width, height) in pixels of the picture."""

    label: str
    score: float
    box: tuple[float, float, float, float]


def ssdlite_mobilenet_v2(alpha: float = 1.0, resolution: int = 300, classes: int = 91, *, eps: float | None = 1e-3) -> Network:
    """SSDLite on MobileNet V2: heads and extras are separable.

    Parameters
    ----------
    alpha : float
        Width multiplier of the trunk, in (0, 2].
    resolution : int
        Side of the square input in pixels, at least 32.
    classes : int
        Columns of the scores; the first is the background.
    eps : float or None
        Batch norm's epsilon. None: batch norm is folded into the convolutions, each has a bias.

    Returns
    -------
    Network
        With twelve outputs: `boxes0` (H, W, anchors * 4) to `boxes5`, and `scores0` (H, W, anchors * classes) to `scores5`.

    Examples
    --------
    >>> net = ssdlite_mobilenet_v2()
    >>> net.outputs["boxes0"], net.outputs["scores5"]
    ((19, 19, 12), (1, 1, 546))
    """
    classes = integer("classes", classes, 2)
    trunk = mobilenet_v2(alpha, resolution, eps=eps)

    def separable(name: str, channels: int, width: int) -> Iterator[Conv]:
        yield Conv(f"{name}.depthwise", ConvSpec.depthwise(channels, 3, 1, 2, "same"), eps=eps)
        yield Conv(f"{name}.pointwise", ConvSpec.pointwise(channels, width), eps=eps)

    def head(name: str, channels: int, width: int) -> Iterator[Conv]:
        yield Conv(f"{name}.depthwise", ConvSpec.depthwise(channels, 3, 1, 1, "same"), eps=eps)
        yield Conv(f"{name}.predict", ConvSpec.pointwise(channels, width), activation=None, eps=None)

    layers = _detector(trunk, ("block14.expand", "head"), classes, eps, separable, head)
    return replace(trunk, name=f"ssdlite_{trunk.name}", layers=tuple(layers))


def ssd_mobilenet_v1(alpha: float = 1.0, resolution: int = 300, classes: int = 91, *, eps: float | None = 1e-3) -> Network:
    """SSD on MobileNet V1: plain 1x1 heads, extras with dense 3x3 convolutions.

    Parameters
    ----------
    alpha, resolution, classes, eps
        As in `ssdlite_mobilenet_v2`.

    Returns
    -------
    Network
        With twelve outputs, as `ssdlite_mobilenet_v2`.

    Examples
    --------
    >>> net = ssd_mobilenet_v1(resolution=512, classes=3)
    >>> net.outputs["boxes0"], net.outputs["scores5"]
    ((32, 32, 12), (1, 1, 18))
    """
    classes = integer("classes", classes, 2)
    trunk = mobilenet_v1(alpha, resolution, eps=eps)

    def standard(name: str, channels: int, width: int) -> Iterator[Conv]:
        yield Conv(f"{name}.standard", ConvSpec(channels, width, 3, 2, "same"), eps=eps)

    def head(name: str, channels: int, width: int) -> Iterator[Conv]:
        yield Conv(f"{name}.predict", ConvSpec.pointwise(channels, width), activation=None, eps=None)

    layers = _detector(trunk, ("block11.pointwise", "block13.pointwise"), classes, eps, standard, head)
    return replace(trunk, name=f"ssd_{trunk.name}", layers=tuple(layers))


Head = Callable[[str, int, int], Iterator[Conv]]
"""(name, channels, width) -> a head's layers."""

Halve = Callable[[str, int, int], Iterator[Conv]]
"""(name, channels, width) -> the layers that halve a map."""


def _detector(trunk: Network, taps: tuple[str, str], classes: int, eps: float | None, halve: Halve, head: Head) -> Iterator[Layer]:
    """Yield a trunk's layers without its classifier, the extras, and the heads where their maps are: `taps` names the first two."""
    made = 0

    def heads(channels: int) -> Iterator[Branch]:
        nonlocal made
        anchors = OTHER_ANCHORS if made else FIRST_ANCHORS
        for output, numbers in (("boxes", 4), ("scores", classes)):
            yield Branch(f"{output}{made}", tuple(head(f"{output}{made}", channels, anchors * numbers)))
        made += 1

    channels = 0
    for layer in trunk.layers:
        if isinstance(layer, Pool):
            break
        yield layer
        if isinstance(layer, Conv) and layer.name in taps:
            channels = layer.spec.out_channels
            yield from heads(channels)
    for i, row in enumerate(EXTRAS, 1):
        yield Conv(f"extra{i}.squeeze", ConvSpec.pointwise(channels, row.squeeze), eps=eps)
        yield from halve(f"extra{i}", row.squeeze, row.width)
        channels = row.width
        yield from heads(channels)


def shapes(interpolated: int = OTHER_ANCHORS - 1) -> Shapes:
    """Return scale and ratio of the anchors of six maps (Liu et al. 2016, section 2.2).

    Map i has scale ``s_i = 0.2 + 0.15 i`` and ratios 1, 2, 1/2, 3 and 1/3, and one square between its scale and the next,
    ``sqrt(s_i s_(i+1))``. The first map has three anchors only, of which the square one is small.

    Parameters
    ----------
    interpolated : int
        At which place in a cell the square between two scales stands; files differ.

    Examples
    --------
    >>> [[(round(s, 3), r) for s, r in cell] for cell in shapes()[:2]]
    [[(0.1, 1.0), (0.2, 2.0), (0.2, 0.5)], [(0.35, 1.0), (0.35, 2.0), (0.35, 0.5), (0.35, 3.0), (0.35, 0.3333), (0.418, 1.0)]]
    """
    scales = [*(0.2 + 0.15 * i for i in range(6)), 1.0]
    maps: list[tuple[tuple[float, float], ...]] = [((0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5))]
    for scale, larger in pairwise(scales[1:]):
        cell = [(scale, ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 0.3333)]
        cell.insert(interpolated, (math.sqrt(scale * larger), 1.0))
        maps.append(tuple(cell))
    return tuple(maps)


def anchors(network: Network, shapes: Shapes) -> np.ndarray:
    """Return a network's anchors (A, 4): centre y, x, height and width as fractions of the input; by map, row, column and shape.

    Examples
    --------
    >>> anchors(ssdlite_mobilenet_v2(), shapes()).shape
    (1917, 4)
    """
    outputs = network.outputs
    grids = [outputs[name][:2] for name in (f"boxes{i}" for i in range(len(outputs))) if name in outputs]
    if not grids or len(outputs) != 2 * len(grids) or any(f"scores{i}" not in outputs for i in range(len(grids))):
        raise ValueError(f"a detector has outputs boxes0, scores0, boxes1, ...: {network.name!r} has {', '.join(outputs)}")
    if len(shapes) != len(grids):
        raise ValueError(f"anchors must be given for each map: {len(shapes)} for {len(grids)} maps")
    parts = []
    for i, ((height, width), cell) in enumerate(zip(grids, shapes, strict=True)):
        if outputs[f"boxes{i}"][2] != 4 * len(cell) or outputs[f"scores{i}"][2] % len(cell):
            raise ValueError(f"map {i} of {network.name!r} must have heads for {len(cell)} anchors: its boxes are {outputs[f'boxes{i}']}")
        part = np.empty((height, width, len(cell), 4))
        part[..., 0] = ((np.arange(height) + 0.5) / height)[:, None, None]
        part[..., 1] = ((np.arange(width) + 0.5) / width)[:, None]
        part[..., 2:] = [(scale / math.sqrt(ratio), scale * math.sqrt(ratio)) for scale, ratio in cell]
        parts.append(part.reshape(-1, 4))
    return np.concatenate(parts)


def columns(network: Network) -> int:
    """Return how many scores each anchor has, the background's among them."""
    return 4 * network.outputs["scores0"][2] // network.outputs["boxes0"][2]


def gathered(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the outputs of one picture, anchor by anchor: encoded boxes (A, 4) and scores before the sigmoid (A, columns)."""
    boxes = [outputs[f"boxes{i}"].reshape(-1, 4) for i in range(len(outputs) // 2)]
    scores = [outputs[f"scores{i}"].reshape(len(part), -1) for i, part in enumerate(boxes)]
    return np.concatenate(boxes), np.concatenate(scores)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)), written so that nothing overflows.

    Examples
    --------
    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    return (1 + np.tanh(x / 2)) / 2


def decode(encoded: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Return boxes (A, 4) as top, left, bottom, right from what the heads gave and the anchors.

    The head moves the centre in units of the anchor's size, and stretches it by powers of e (Girshick et al. 2014)::

        y = y_a + t_y / 10 * h_a        h = h_a * exp(t_h / 5)

    Examples
    --------
    >>> decode(np.zeros((1, 4)), np.array([[0.5, 0.5, 0.2, 0.4]]))
    array([[0.4, 0.3, 0.6, 0.7]])
    """
    moved = encoded.astype(np.float64) / SCALES
    centres = anchors[:, :2] + moved[:, :2] * anchors[:, 2:]
    halves = np.exp(np.minimum(moved[:, 2:], 80)) * anchors[:, 2:] / 2  # e^80 times an anchor is far outside; e^800 would be infinite
    return np.concatenate([centres - halves, centres + halves], axis=1)


def overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the intersection over union of a box (4,) and each of boxes (M, 4), given as top, left, bottom, right.

    Examples
    --------
    >>> overlap(np.array([0.0, 0, 2, 2]), np.array([[0.0, 0, 2, 2], [0, 1, 2, 3], [5, 5, 6, 6]]))
    array([1.        , 0.33333333, 0.        ])
    """
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    common = np.prod(np.maximum(sides, 0), axis=1)
    union = np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def suppress(boxes: np.ndarray, scores: np.ndarray, iou: float, top: int) -> np.ndarray:
    """Return the indices of at most `top` boxes, likeliest first, none of which overlaps a likelier one by more than `iou`.

    Non-maximum suppression, greedy: the likeliest box stays, all that overlap it go, and so on.

    Examples
    --------
    >>> boxes = np.array([[0.0, 0, 2, 2], [0, 0, 2, 2.1], [5, 5, 6, 6]])
    >>> suppress(boxes, np.array([0.8, 0.9, 0.7]), 0.5, 20)
    array([1, 2])
    """
    waiting = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(waiting) and len(kept) < top:
        first, waiting = waiting[0], waiting[1:]
        kept.append(int(first))
        waiting = waiting[overlap(boxes[first], boxes[waiting]) <= iou]
    return np.array(kept, np.intp)


def in_pixels(box: np.ndarray, frame: Frame) -> tuple[float, float, float, float]:
    """Return a box given as top, left, bottom, right in fractions of a frame as (x, y, width, height) in the picture's pixels.

    Examples
    --------
    >>> in_pixels(np.array([0.5, 0.25, 1.0, 0.75]), Frame(0, 0, 400, 300))
    (100.0, 150.0, 200.0, 150.0)
    """
    top, left, bottom, right = map(float, box)
    return frame.x + left * frame.width, frame.y + top * frame.height, (right - left) * frame.width, (bottom - top) * frame.height
