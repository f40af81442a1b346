"""What functions are tried on: small convolutions whose sums can be followed by hand, as Hypothesis strategies.

Hypothesis draws sizes, options and a seed; NumPy fills the arrays. So what shrinks is what matters: the failing case that is
left is the smallest picture, window, stride and padding. The numbers are small and whole, none of them zero: every sum is exact, and no
tap that was forgotten or read twice can hide behind a zero.

A course can use `cases` in tests of its own::

    @given(cases(stride="int", padding="int"))
    def test_my_conv(case):
        assert_array_equal(my_conv(case.x, case.w, **case.options), conv2d(case.x, case.w, **case.options))
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal, TypeVar

import numpy as np
from hypothesis import strategies as st

from ..geometry import ConvGeometry, ConvSpec

Kind = Literal["standard", "depthwise", "pointwise"]
Amount = Literal["none", "int", "pair"]
Padding = Literal["none", "int", "pair", "sides", "same"]
Beyond = Literal["nothing", "windows", "batches", "channels", "pictures", "long", "strides", "paddings", "dilations", "groups", "all"]
Layout = Literal["C", "F", "reversed", "sliced", "read-only"]

LAYOUTS: Mapping[Layout, str] = {
    "F": "arguments in Fortran order",
    "reversed": "arguments that are reversed views",
    "sliced": "arguments that are parts of larger arrays",
    "read-only": "arguments that are read-only",
}
"""Ways for an array to lie in memory, the plain one (C) aside, with what they are called."""

POSITIVE, SIGNED = (1, 2, 3, 4, 5, 6, 7, 8, 9), (-4, -3, -2, -1, 1, 2, 3, 4, 5)
"""Numbers of pictures and biases; of filters and statistics."""

T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """A convolution with a picture size, a batch and the seed of its numbers.

    Attributes
    ----------
    spec : ConvSpec
    height, width, batch, seed : int
    with_bias : bool
    values : {"small", "real"}
        Small whole numbers without zero, or normally distributed ones.
    dtype : str
        Of all arrays.
    layout : str
        How the arrays lie in memory when they are handed over.

    Examples
    --------
    >>> case = Case(ConvSpec(1, 2, kernel=(1, 2), stride=2), height=1, width=4)
    >>> case.x.shape, case.w.shape, case.options
    ((1, 1, 4, 1), (1, 2, 1, 2), {'stride': 2, 'padding': 0, 'dilation': 1, 'groups': 1})
    """

    spec: ConvSpec
    height: int
    width: int
    batch: int = 1
    seed: int = 0
    with_bias: bool = False
    values: Literal["small", "real"] = "small"
    dtype: str = "float64"
    layout: Layout = "C"

    @property
    def geometry(self) -> ConvGeometry:
        """The spec on this picture."""
        return self.spec.geometry(self.height, self.width)

    @property
    def options(self) -> dict[str, Any]:
        """Keywords as `convlab.conv2d` takes them, each in its shortest form: an int rather than a pair of equals."""
        spec = self.spec
        padding: Any = 0 if spec.padding == "valid" else spec.padding
        if not isinstance(padding, (int, str)) and all(before == after for before, after in padding):
            padding = short((padding[0][0], padding[1][0]))
        return {"stride": short(spec.stride), "padding": padding, "dilation": short(spec.dilation), "groups": spec.groups}

    def _draw(self, stream: int, shape: Sequence[int], pool: Sequence[int]) -> np.ndarray:
        numbers = self._numbers(stream, shape, pool)
        numbers.flags.writeable = False  # expected answers come from these: a function under test gets copies
        return numbers

    def _numbers(self, stream: int, shape: Sequence[int], pool: Sequence[int]) -> np.ndarray:
        rng = np.random.default_rng((self.seed, stream))
        if self.values == "real":
            numbers = rng.standard_normal(shape)
            if stream == 0:  # of pictures some numbers are zero, and some pictures are very bright or dark
                numbers *= (rng.random(shape) > 0.15) * (1, 1, 1e4, 1e-4)[self.seed % 4]
            return numbers.astype(self.dtype)
        size = math.prod(shape)
        # One shuffled pool after the other: as few as possible are equal, so that two of them swapped change the sum.
        shuffled = rng.permuted(np.tile(pool, (-(-size // len(pool)), 1)), axis=1)
        return shuffled.ravel()[:size].reshape(shape).astype(self.dtype)

    @cached_property
    def x(self) -> np.ndarray:
        """Images (N, H, W, C)."""
        return self._draw(0, (self.batch, self.height, self.width, self.spec.in_channels), POSITIVE)

    @cached_property
    def w(self) -> np.ndarray:
        """Filters (KH, KW, C / groups, O)."""
        return self._draw(1, self.spec.weight_shape, SIGNED)

    @cached_property
    def bias(self) -> np.ndarray | None:
        """Biases (O,); far from the sums of small windows, so that they are seen in the result."""
        return self._draw(2, (self.spec.out_channels,), POSITIVE) * np.dtype(self.dtype).type(100) if self.with_bias else None

    @cached_property
    def statistics(self) -> dict[str, np.ndarray]:
        """Batch norm's gamma, beta, mean and variance, (O,) each; the variances are positive."""
        numbers = {
            name: self._draw(3 + i, (self.spec.out_channels,), SIGNED) for i, name in enumerate(("gamma", "beta", "mean", "variance"))
        }
        return numbers | {"variance": np.abs(numbers["variance"])}

    @property
    def eps(self) -> float:
        """Batch norm's epsilon: MobileNet's, or the usual one; both large enough that leaving it out shows."""
        return (1e-3, 1e-5)[self.seed % 2]

    @property
    def activations(self) -> np.ndarray:
        """Numbers below 0, between 0 and 6, and above 6: (N, H, W, C), for relu6."""
        scale, offset = (4, 0) if self.values == "real" else (2, 9)
        return self.x * np.dtype(self.dtype).type(scale) - np.dtype(self.dtype).type(offset)

    @property
    def numbers(self) -> int:
        """How many numbers x and w hold together: what a reader has to look at."""
        return self.batch * self.height * self.width * self.spec.in_channels + int(np.prod(self.spec.weight_shape))


def short(pair: tuple[T, T]) -> T | tuple[T, T]:
    """Return one value for a pair of equals."""
    return pair[0] if pair[0] == pair[1] else pair


def laid_out(array: np.ndarray, layout: Layout) -> np.ndarray:
    """Return a fresh array of these numbers that lies in memory in the given way.

    Examples
    --------
    >>> laid_out(np.ones((2, 3)), "reversed").strides
    (-24, -8)
    """
    if layout == "F":
        return np.array(array, order="F")
    if layout == "reversed":
        # Along an axis of one number a negative stride means nothing, and surprises torch.
        axes = tuple(axis for axis, size in enumerate(array.shape) if size > 1)
        return np.flip(np.flip(array, axes).copy(), axes)
    if layout == "sliced":  # every second number of a larger array; what lies between must not be read
        wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), 77, array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    fresh = np.array(array, order="C")
    fresh.flags.writeable = layout != "read-only"
    return fresh


@cache
def _whole(least: int, most: int) -> st.SearchStrategy[int]:
    """Return `st.integers`, made once: it is asked for at every draw."""
    return st.integers(least, most)


@cache
def _beyond(least: int, most: int, rarely: int) -> st.SearchStrategy[int]:
    """Draw a number of at least `least`: mostly up to `most`, now and then up to `rarely`."""
    return st.one_of(_whole(least, most), _whole(least, most), _whole(most + 1, rarely))


@cache
def _amounts(amount: Amount, none: int, least: int, most: int) -> st.SearchStrategy[tuple[int, int]]:
    """Draw a pair (height, width): both neutral, both the same, or two that differ."""
    if amount == "none":
        return st.just((none, none))
    if amount == "int":
        return _whole(least, most).map(lambda n: (n, n))
    pair = st.tuples(_whole(none, most), _whole(none, most))
    return pair.filter(lambda p: p[0] != p[1] and max(p) >= least)


def _one_of(draw: st.DrawFn, alternatives: Any) -> Any:
    """Draw one of several, for a failing case the first if that fails too; what stands alone is taken."""
    return draw(st.sampled_from(alternatives)) if isinstance(alternatives, (list, tuple)) else alternatives


@cache
def _two(beyond: bool, least: int, most: int, usual: int, rarely: int) -> st.SearchStrategy[tuple[int, int]]:
    """Draw two numbers as usual, from 1; or at least one of them beyond what is usual."""
    small = _whole(1, usual)
    if not beyond:
        return st.tuples(small, small)
    large = _beyond(least, most, rarely)
    return st.one_of(st.tuples(large, large), st.tuples(large, small), st.tuples(small, large))


@st.composite
def cases(
    draw: st.DrawFn,
    kind: Kind = "standard",
    *,
    batches: Sequence[int] = (1,),
    square: bool = False,
    window: Literal["any", "one", "whole"] = "any",
    stride: Amount | Sequence[Amount] = "none",
    padding: Padding | Sequence[Padding] = "none",
    dilation: Amount | Sequence[Amount] = "none",
    grouped: bool | Sequence[bool] = False,
    multiplied: bool | Sequence[bool] = False,
    bias: bool | Sequence[bool] = False,
    values: Literal["small", "real"] = "small",
    dtypes: Sequence[str] = ("float64",),
    layouts: Sequence[Layout] = ("C",),
    divides: bool = False,
    largest: int = 4,
    beyond: Beyond = "nothing",
) -> Case:
    """Draw a `Case` whose window fits its picture.

    Parameters
    ----------
    kind : {"standard", "depthwise", "pointwise"}
    batches, dtypes, layouts : sequence
        One of each is drawn; failing cases shrink towards the first. So it is with options of which several are given.
    square : bool
        Picture and window as wide as they are high.
    window : {"any", "one", "whole"}
        1 to 3 taps a side; 1x1; or as large as the padded picture (where the picture then has a pixel at all).
    stride, padding, dilation
        ``"none"``, ``"int"`` (the same on both axes), ``"pair"`` (two that differ), for the padding also four ``"sides"`` or ``"same"``.
    grouped, multiplied, bias : bool
        2 or 3 groups (standard); 2 or 3 filters per channel (depthwise); a bias.
    values : {"small", "real"}
    divides : bool
        Only strides that leave no remainder.
    largest : int
        Most outputs along an axis and most channels.
    beyond : str
        What is larger than all of this: windows (above 3), batches (above 3), channels (above 8; of a depthwise convolution above 3),
        pictures (above 30), "long" ones (above 255 along one axis), strides (above 3), paddings (above 2), dilations (above 3), groups
        (above 3), or windows, batches and channels at once ("all").

    Examples
    --------
    >>> from hypothesis import find
    >>> find(cases(stride="int"), lambda case: case.geometry.positions > 1).options["stride"]
    2
    """
    everything = beyond == "all"
    batch = draw(_whole(4, 5) if everything else _beyond(4, 9, 33)) if beyond in ("batches", "all") else draw(st.sampled_from(batches))
    with_bias, split = _one_of(draw, bias), _one_of(draw, grouped) or beyond == "groups"
    many = beyond == "channels"
    groups = 1
    if kind == "depthwise":
        in_channels = groups = draw(_beyond(4, 40, 130) if many else _whole(4, 9) if everything else _whole(1, 3))
        out_channels = in_channels * (draw(_whole(2, 3)) if _one_of(draw, multiplied) else 1)
    elif split and not many and not everything:
        groups = draw(_beyond(4, 9, 17) if beyond == "groups" else _whole(2, 3))
        in_channels, out_channels = groups * draw(_whole(1, 2)), groups * draw(_whole(1, 2))
    elif everything:
        in_channels = out_channels = draw(_whole(9, 10))
    else:
        in_channels, out_channels = draw(_two(many, 9, 40, max(3, largest - 1), 130))

    if kind == "pointwise" or window == "one":
        kernel = (1, 1)
    elif square:
        kernel = (draw(_beyond(4, 7, 11) if beyond == "windows" else _whole(4, 5) if everything else _whole(1, 3)),) * 2
    else:
        kernel = (draw(_whole(4, 5)), draw(_whole(4, 5))) if everything else draw(_two(beyond == "windows", 4, 7, 3, 11))
    steps = draw(_amounts(_one_of(draw, stride), 1, *((4, 7) if beyond == "strides" else (2, 3))))
    gaps = draw(_amounts(_one_of(draw, dilation), 1, *((4, 6) if beyond == "dilations" else (2, 3))))
    pads: Any = "valid"
    added = _one_of(draw, padding)
    if added == "same":
        pads = "same"
    elif added == "sides":
        pads = tuple(tuple(draw(_whole(0, 2)) for _ in range(2)) for _ in range(2))
    elif added != "none":
        pads = tuple((p, p) for p in draw(_amounts(added, 0, *((3, 6) if beyond == "paddings" else (1, 2)))))

    large = {"pictures": draw(st.sampled_from(((31, 31), (31, 1), (1, 31)))), "long": draw(st.sampled_from(((256, 1), (1, 256))))}.get(
        beyond, (1, 1)
    )
    sizes: list[int] = []
    for axis, least in enumerate((max(large),) * 2 if square else large):
        extent = gaps[axis] * (kernel[axis] - 1) + 1
        more = {1: largest if not everything else 6, 31: 15, 256: 45}[least]
        if pads == "same":
            sizes.append(draw(_whole(least, least - 1 + more * steps[axis])))
            continue
        around = 0 if pads == "valid" else sum(pads[axis])
        # From the number of outputs, so that most cases have several, and a remainder that no window reads.
        rest = 0 if divides or window == "whole" else draw(_whole(0, steps[axis] - 1))
        outputs = 1 + max(0, -(-(least + around - extent) // steps[axis]))
        size = extent + (outputs - 1 + draw(_whole(0, 0 if window == "whole" else more - 1))) * steps[axis] + rest - around
        sizes.append(size + -(-max(0, 1 - size) // steps[axis]) * steps[axis])
    if square:
        sizes = [max(sizes)] * 2
    spec = ConvSpec(in_channels, out_channels, kernel, steps, pads, gaps, groups)
    return Case(
        spec,
        sizes[0],
        sizes[1],
        batch,
        draw(_whole(0, 99)),
        with_bias,
        values,
        draw(st.sampled_from(dtypes)),
        draw(st.sampled_from(layouts)),
    )
