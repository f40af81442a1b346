"""Fold: every layer of a network as one convolution, with a bias and bounds.

Batch norm multiplies and shifts every channel by constants, and so does the convolution before it:
``w' = w * gamma / sqrt(variance + eps)``, ``b' = beta - mean * gamma / sqrt(variance + eps)``. Global pooling is a depthwise convolution
with a window as large as the picture and weights of 1 / (H * W), and a classifier is pointwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from ..geometry import ConvGeometry, ConvSpec
from ..layers import Conv, Dense, Pool


@dataclass(frozen=True)
class Folded:
    """A convolution as a plan sees it: weights (KH, KW, C/groups, O) and bias (O,) with batch norm in them, and bounds of its outputs."""

    name: str
    kind: str
    geometry: ConvGeometry
    weight: np.ndarray
    bias: np.ndarray
    bounds: tuple[float, float] = (-math.inf, math.inf)

    @property
    def macs(self) -> int:
        return math.prod(self.geometry.spec.weight_shape) * self.geometry.positions


_BOUNDS: Mapping[str | None, tuple[float, float]] = {"relu6": (0.0, 6.0), "relu": (0.0, math.inf), None: (-math.inf, math.inf)}


def fold(layer: Conv | Pool | Dense, shape: tuple[int, int, int], params: Mapping[str, np.ndarray]) -> Folded:
    """Return a layer that meets `shape` as one convolution."""
    match layer:
        case Conv(name, spec, activation, eps):
            weight = params[f"{name}.weight"]
            bounds = _BOUNDS[activation]
            if eps is None:
                return Folded(name, spec.kind, spec.geometry(*shape[:2]), weight, params[f"{name}.bias"], bounds)
            gamma, beta, mean, variance = (params[f"{name}.{part}"].astype(np.float64) for part in ("gamma", "beta", "mean", "variance"))
            scale = gamma / np.sqrt(variance + eps)
            folded = (weight * scale).astype(np.float32), (beta - mean * scale).astype(np.float32)
            return Folded(name, spec.kind, spec.geometry(*shape[:2]), *folded, bounds)
        case Pool(name):
            height, width, channels = shape
            geometry = ConvSpec.depthwise(channels, (height, width)).geometry(height, width)
            weight = np.full(geometry.spec.weight_shape, 1 / (height * width), np.float32)
            return Folded(name, "pool", geometry, weight, np.zeros(channels, np.float32))
        case Dense(name, inputs, outputs, activation):
            geometry = ConvSpec.pointwise(inputs, outputs).geometry(1, 1)
            weight = params[f"{name}.weight"].reshape(1, 1, inputs, outputs)
            return Folded(name, "dense", geometry, weight, params[f"{name}.bias"], _BOUNDS[activation])
        case _:
            assert_never(layer)
