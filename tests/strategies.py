"""Hypothesis strategies: convolutions of every kind on pictures that they fit, and data that is exact.

Hypothesis draws the shapes and a seed; NumPy fills the arrays. So what shrinks is what matters: a failing case
comes back as the smallest picture, window, stride and padding that fails.
"""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

import convlab as cl

KINDS = ("standard", "grouped", "depthwise", "pointwise")
PADDINGS = ("valid", "same", "int", "pair", "sides")


@dataclass(frozen=True)
class Case:
    """A convolution with a picture size, a batch and a seed for its numbers."""

    spec: cl.ConvSpec
    height: int
    width: int
    batch: int
    seed: int

    @property
    def geometry(self):
        return self.spec.geometry(self.height, self.width)

    @property
    def options(self):
        """The keywords that `conv2d` takes."""
        return {name: getattr(self.spec, name) for name in ("stride", "padding", "dilation", "groups")}

    @property
    def terms(self):
        """How many products one output adds up."""
        return int(np.prod(self.spec.weight_shape[:3]))

    @property
    def shapes(self):
        """Of x and w."""
        return (self.batch, self.height, self.width, self.spec.in_channels), self.spec.weight_shape

    def integers(self, dtype=np.float32):
        """Return x and w of small integers: |sums| <= 8 * 8 * terms, far below 2^24, so even float32 is exact in any order."""
        rng = np.random.default_rng(self.seed)
        return tuple(rng.integers(-8, 9, shape).astype(dtype) for shape in self.shapes)

    def reals(self, dtype=np.float32):
        """Return x and w of real numbers over several orders of magnitude: rounding shows."""
        rng = np.random.default_rng(self.seed)
        return tuple((rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 4, shape)).astype(dtype) for shape in self.shapes)


def pairs(elements):
    return st.tuples(elements, elements)


@st.composite
def cases(draw, kinds=KINDS, paddings=PADDINGS, batches=(0, 1, 2), max_stride=3, max_dilation=3):
    """Draw a `Case` of one of the kinds whose window fits: from the window as large as the padded input upwards."""
    kind = draw(st.sampled_from(kinds))
    channels = draw(st.integers(1, 3))
    if kind == "grouped":  # 2 or 3 groups of 2 or more channels; fewer would be standard or depthwise
        groups, per_group = draw(st.integers(2, 3)), draw(st.integers(2, 3))
        in_channels, out_channels = groups * per_group, groups * channels
    elif kind == "depthwise":
        groups = in_channels = draw(st.integers(2, 4))
        out_channels = in_channels * channels  # here the channel multiplier
    else:
        groups, in_channels, out_channels = 1, channels, draw(st.integers(1, 5))

    kernel = (1, 1) if kind == "pointwise" else draw(pairs(st.integers(1, 4)).filter(lambda size: kind != "standard" or size != (1, 1)))
    stride, dilation = draw(pairs(st.integers(1, max_stride))), draw(pairs(st.integers(1, max_dilation)))
    amounts = st.integers(0, 3)
    padding = draw(
        {
            "valid": st.just("valid"),
            "same": st.just("same"),
            "int": amounts,
            "pair": pairs(amounts),
            "sides": pairs(pairs(amounts)),
        }[draw(st.sampled_from(paddings))]
    )
    spec = cl.ConvSpec(in_channels, out_channels, kernel, stride, padding, dilation, groups)
    assert spec.kind == kind
    sizes = []
    for axis in (0, 1):
        extent = dilation[axis] * (kernel[axis] - 1) + 1
        added = {"valid": 0, "same": extent}.get(spec.padding) if isinstance(spec.padding, str) else sum(spec.padding[axis])
        least = max(1, extent - added)
        sizes.append(draw(st.integers(least, least + 5)))
    return Case(spec, *sizes, draw(st.sampled_from(batches)), draw(st.integers(0, 2**32 - 1)))
