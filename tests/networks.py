"""Whole networks for Hypothesis: chains and shortcuts of convolutions of every kind, as no paper has them.

Weights and biases are small whole numbers and batch norms multiply by 1 or 2, so where sums stay below 2^24 (`exact`) any order of adding
gives the same float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

import convlab as cl
from convlab.layers import Conv, Dense, Network, Pool, Residual, parameter_shapes

CHANNELS = st.one_of(st.integers(1, 5), st.sampled_from([7, 8, 9, 15, 16, 17, 20, 31, 32, 33, 48, 64, 65, 80]))
ACTIVATIONS = st.sampled_from(["relu6", "relu6", "relu", None])


@dataclass(frozen=True)
class Drawn:
    """A network, how many pictures and threads a plan of it has, the bytes of its cache, and a seed for all numbers."""

    network: Network
    batch: int
    threads: int
    cache: int
    seed: int

    @property
    def model(self):
        rng = np.random.default_rng(self.seed)

        def values(name, shape):
            part = name.rpartition(".")[2]
            if part == "weight":  # some three products in a sum, so that sums grow slowly from layer to layer
                terms = math.prod(shape[:-1])
                return rng.integers(-2, 3, shape) * (rng.random(shape) < max(3 / terms, 0.2))
            if part == "gamma":
                return rng.choice([2, 4], shape)
            if part == "variance":  # with eps = 0: batch norm multiplies by 1 or 2, folded or not
                return np.full(shape, 4)
            return rng.integers(-3, 4, shape)

        shapes = parameter_shapes(self.network)
        return cl.Model(self.network, {name: values(name, shape).astype(np.float32) for name, shape in shapes.items()})

    @property
    def pictures(self):
        rng = np.random.default_rng(self.seed + 1)
        return rng.integers(-4, 5, (self.batch, *self.network.input)).astype(np.float32)


def exact(model, x):
    """Return whether float32 holds every sum of the model's unfused run exactly, up to a pooling and what is behind it."""
    largest = np.abs(x).max(initial=0)
    for step in model.trace(x, kernel="im2col"):
        if isinstance(step.layer, Pool):
            break
        if isinstance(step.layer, Conv):
            weight = model.params[f"{step.layer.name}.weight"]
            if 2 * np.abs(weight).reshape(-1, weight.shape[-1]).sum(axis=0).max() * largest + 16 >= 2**24:
                return False
        largest = np.abs(step.output).max(initial=0)
    return True


@st.composite
def specs(draw, channels, height, width, outputs=None, keeps=False):
    """Draw a convolution that fits a picture; one that keeps its size if `keeps`."""
    kind = draw(st.sampled_from(["pointwise", "pointwise", "depthwise", "depthwise", "standard", "grouped", "multiplied"]))
    divisors = [d for d in range(1, channels + 1) if channels % d == 0 and (outputs is None or outputs % d == 0)]
    out = draw(CHANNELS) if outputs is None else outputs
    groups = 1
    if kind in ("depthwise", "multiplied") and (outputs is None or outputs % channels == 0):
        groups = channels
        out = channels * (draw(st.integers(1, 3)) if kind == "multiplied" else 1) if outputs is None else outputs
    elif kind == "grouped":
        groups = draw(st.sampled_from(divisors))
        out = groups * draw(st.integers(1, 9)) if outputs is None else outputs
    kernel = [1 if kind == "pointwise" else draw(st.sampled_from([1, 2, 3, 3, 3, 4, 5])) for _ in range(2)]
    if draw(st.booleans()):
        kernel[1] = kernel[0]
    dilation = [draw(st.sampled_from([1, 1, 1, 2, 3])) for _ in range(2)]
    stride = [1 if keeps else draw(st.sampled_from([1, 1, 1, 2, 2, 3])) for _ in range(2)]
    if draw(st.booleans()):
        stride[1], dilation[1] = stride[0], dilation[0]
    sides = [(0, 0), (0, 0)]
    for axis, size in enumerate((height, width)):
        extent = dilation[axis] * (kernel[axis] - 1) + 1
        if keeps:
            before = draw(st.integers(0, extent - 1))
            sides[axis] = before, extent - 1 - before
        else:
            before, after = draw(st.sampled_from([0, 0, 1, 2])), draw(st.sampled_from([0, 0, 1, 3]))
            sides[axis] = before, max(after, extent - size - before)
    return cl.ConvSpec(channels, out, tuple(kernel), tuple(stride), tuple(sides), tuple(dilation), groups)


@st.composite
def networks(draw):
    """Draw a network of up to six convolutions, shortcuts round some of them, and perhaps a pooling and classifiers behind."""
    height, width = draw(st.integers(1, 14)), draw(st.integers(1, 14))
    channels = draw(CHANNELS)
    shape = height, width, channels
    layers = []
    count = 0
    normed = draw(st.sampled_from([False, False, False, True]))

    def conv(outputs=None, keeps=False):
        nonlocal count, height, width, channels
        spec = draw(specs(channels, height, width, outputs, keeps))
        height, width, channels = spec.geometry(height, width).out_shape
        count += 1
        return Conv(f"c{count}", spec, draw(ACTIVATIONS), 0.0 if normed else None)

    for part in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            around, length = channels, draw(st.integers(1, 4))
            body = tuple(conv(around if i == length - 1 else None, keeps=True) for i in range(length))
            layers.append(Residual(f"r{part}", body))
        else:
            layers.append(conv())
        if channels * height * width > 40_000:
            break
    if not layers or draw(st.integers(0, 3)) == 0:
        layers.append(Pool("pool"))
        for i in range(draw(st.integers(0, 2))):
            outputs = draw(CHANNELS)
            layers.append(Dense(f"d{i}", channels, outputs, draw(ACTIVATIONS)))
            channels = outputs
    return Network("drawn", shape, tuple(layers))


def drawn():
    return st.builds(
        Drawn,
        networks(),
        st.sampled_from([1, 1, 2, 3, 5]),
        st.sampled_from([1, 1, 2, 3]),
        st.sampled_from([512 * 1024, 512 * 1024, 8192, 1024, 64]),
        st.integers(0, 2**32 - 1),
    )
