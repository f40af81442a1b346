"""Where a convolution looks: sizes, padding and positions, validated once.

A convolution is described in two steps. `ConvSpec` says what it is (channels, kernel, stride,
padding, dilation, groups) and knows no picture size. `ConvSpec.geometry(height, width)` meets a
picture and becomes a `ConvGeometry`: one `Axis` for the rows, one for the columns, each knowing
how many outputs there are and which inputs every output looks at.

Along one axis, output ``i`` and tap ``k`` meet at the input position::

    p(i, k) = i * stride - before + k * dilation          (outside 0 .. input-1 it reads a zero)

and the number of outputs is::

    output = floor((input + before + after - extent) / stride) + 1,   extent = dilation * (kernel - 1) + 1

A remainder is dropped: inputs past the last whole window are never read. Everything else in
convlab that needs a size, a count or an index takes it from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, SupportsIndex

from .arguments import integer, listed, pair

Sides = tuple[tuple[int, int], tuple[int, int]]
"""Explicit padding: ((top, bottom), (left, right))."""

IntOrPair = SupportsIndex | Sequence[SupportsIndex]
"""An int, or a pair (height, width)."""

Padding = Literal["valid", "same"] | SupportsIndex | Sequence[SupportsIndex] | Sequence[Sequence[SupportsIndex]]
"""`"valid"`, `"same"`, an int, a pair (height, width) or four sides ((top, bottom), (left, right))."""

Kind = Literal["standard", "grouped", "depthwise", "pointwise"]


def _padding(value: object) -> Literal["valid", "same"] | Sides:
    """Return padding as "valid", "same" or four explicit sides."""
    value = listed(value)
    rule = 'padding must be "valid", "same", an integer, a pair or ((top, bottom), (left, right))'
    if isinstance(value, str):
        if value == "valid":
            return "valid"
        if value == "same":
            return "same"
        raise ValueError(f"{rule}: padding={value!r}")
    if isinstance(value, Sequence):
        if len(value) != 2:
            raise ValueError(f"{rule}: padding={value!r}")
        nested = [isinstance(side, Sequence) and not isinstance(side, str) for side in value]
        if all(nested):
            if any(len(side) != 2 for side in value):
                raise ValueError(f"{rule}: padding={value!r}")
            (top, bottom), (left, right) = value
            return (
                (integer("padding top", top, 0), integer("padding bottom", bottom, 0)),
                (integer("padding left", left, 0), integer("padding right", right, 0)),
            )
        if any(nested):
            raise ValueError(f"{rule}: padding={value!r}")
    height, width = pair("padding", value, 0)
    return (height, height), (width, width)


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a convolution: how many outputs, and which inputs each of them reads.

    Parameters
    ----------
    input, kernel, stride, dilation : int
        Sizes along this axis, in pixels.
    before, after : int
        Zeros added in front of and behind the input.

    Examples
    --------
    >>> axis = Axis(input=6, kernel=3, stride=2, dilation=1, before=0, after=1)
    >>> axis.output, axis.unread
    (3, 0)
    >>> [list(axis.taps(i)) for i in range(axis.output)]
    [[0, 1, 2], [2, 3, 4], [4, 5, 6]]

    Position 6 lies in the padding: the input ends at 5.
    """

    input: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def extent(self) -> int:
        """Inputs that one window spans, gaps of the dilation included."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def padded(self) -> int:
        """Input size with its padding."""
        return self.before + self.input + self.after

    @property
    def output(self) -> int:
        """The number of outputs, floor((padded - extent) / stride) + 1 (Dumoulin and Visin 2016, relationship 15)."""
        return (self.padded - self.extent) // self.stride + 1

    @property
    def unread(self) -> int:
        """Padded inputs behind the last window, dropped by the floor and never read (gaps aside)."""
        return self.padded - ((self.output - 1) * self.stride + self.extent)

    def start(self, i: int) -> int:
        """Input position of output `i`'s first tap; negative inside the padding in front."""
        return i * self.stride - self.before

    def taps(self, i: int) -> range:
        """Input positions that output `i` reads; those outside 0 .. input-1 are zeros of the padding."""
        return range(self.start(i), self.start(i) + self.extent, self.dilation)


def _axis(name: str, size: int, kernel: int, stride: int, dilation: int, padding: Literal["valid", "same"] | tuple[int, int]) -> Axis:
    """Resolve the padding along one axis and refuse an output that would be empty."""
    if padding == "same":
        # TensorFlow's rule: as many outputs as strides fit in; an odd zero goes behind.
        total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
        before, after = total // 2, total - total // 2
    elif padding == "valid":
        before, after = 0, 0
    else:
        before, after = padding
    axis = Axis(size, kernel, stride, dilation, before, after)
    if axis.padded < axis.extent:
        raise ValueError(
            f"the window must fit into the padded input: along the {name} the input is {size}"
            f" + padding {before} + {after} = {axis.padded}, the window {axis.extent}"
            f" (kernel={kernel}, dilation={dilation}); the output would be empty"
        )
    return axis


@dataclass(frozen=True, init=False)
class ConvSpec:
    """What a convolution is, without the size of any picture.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels read and written.
    kernel : int or (int, int)
        Window, (height, width).
    stride : int or (int, int)
        Step between neighbouring windows.
    padding : "valid", "same", int, (int, int) or ((int, int), (int, int))
        None; TensorFlow's rule (output = ceil(input / stride), an odd zero goes to the bottom or
        right); the same on all sides; (height, width); or ((top, bottom), (left, right)).
    dilation : int or (int, int)
        Step between neighbouring taps of one window.
    groups : int
        Number of independent slices of the channels; divides both channel counts.
        ``groups=in_channels`` is a depthwise convolution.

    Raises
    ------
    ValueError, TypeError
        The message states the rule, then the values.

    Examples
    --------
    >>> spec = ConvSpec(in_channels=3, out_channels=5, kernel=3)
    >>> spec.weight_shape
    (3, 3, 3, 5)
    >>> g = spec.geometry(6, 6)
    >>> g.out_height, g.out_width, g.positions
    (4, 4, 16)
    """

    in_channels: int
    out_channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: Literal["valid", "same"] | Sides
    dilation: tuple[int, int]
    groups: int

    def __init__(
        self,
        in_channels: SupportsIndex,
        out_channels: SupportsIndex,
        kernel: IntOrPair,
        stride: IntOrPair = 1,
        padding: Padding = "valid",
        dilation: IntOrPair = 1,
        groups: SupportsIndex = 1,
    ) -> None:
        put = object.__setattr__
        put(self, "in_channels", integer("in_channels", in_channels, 1))
        put(self, "out_channels", integer("out_channels", out_channels, 1))
        put(self, "kernel", pair("kernel", kernel, 1))
        put(self, "stride", pair("stride", stride, 1))
        put(self, "padding", _padding(padding))
        put(self, "dilation", pair("dilation", dilation, 1))
        put(self, "groups", integer("groups", groups, 1))
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ValueError(f"groups must divide {name}: {name}={getattr(self, name)}, groups={self.groups}")

    @classmethod
    def depthwise(
        cls,
        channels: SupportsIndex,
        kernel: IntOrPair,
        multiplier: SupportsIndex = 1,
        stride: IntOrPair = 1,
        padding: Padding = "valid",
        dilation: IntOrPair = 1,
    ) -> ConvSpec:
        """Describe one filter per channel (or `multiplier` of them), without a sum over channels.

        Examples
        --------
        >>> ConvSpec.depthwise(3, kernel=3).weight_shape
        (3, 3, 1, 3)
        """
        c, m = integer("channels", channels, 1), integer("multiplier", multiplier, 1)
        return cls(c, c * m, kernel, stride, padding, dilation, groups=c)

    @classmethod
    def pointwise(cls, in_channels: SupportsIndex, out_channels: SupportsIndex, stride: IntOrPair = 1) -> ConvSpec:
        """Describe a 1x1 window, which mixes the channels of each pixel.

        Examples
        --------
        >>> ConvSpec.pointwise(3, 5).weight_shape
        (1, 1, 3, 5)
        """
        return cls(in_channels, out_channels, 1, stride)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(KH, KW, in_channels / groups, out_channels)."""
        return (*self.kernel, self.in_channels // self.groups, self.out_channels)

    @property
    def kind(self) -> Kind:
        """Which of a kernel's functions runs it: one of standard, grouped, depthwise, pointwise."""
        if self.groups > 1:
            return "depthwise" if self.groups == self.in_channels else "grouped"
        return "pointwise" if self.kernel == (1, 1) else "standard"

    def geometry(self, height: SupportsIndex, width: SupportsIndex) -> ConvGeometry:
        """Meet a picture of `height` x `width` pixels.

        Raises
        ------
        ValueError
            If the output would be empty.
        """
        h, w = integer("height", height, 1), integer("width", width, 1)
        pads = (self.padding, self.padding) if isinstance(self.padding, str) else self.padding
        return ConvGeometry(
            self,
            _axis("height", h, self.kernel[0], self.stride[0], self.dilation[0], pads[0]),
            _axis("width", w, self.kernel[1], self.stride[1], self.dilation[1], pads[1]),
        )


@dataclass(frozen=True)
class ConvGeometry:
    """A `ConvSpec` on a picture of a known size: what kernels, counts and figures read.

    Built by `ConvSpec.geometry`.

    Examples
    --------
    >>> g = ConvSpec(3, 5, kernel=3, stride=2, padding="same").geometry(6, 7)
    >>> g.padding, (g.out_height, g.out_width)
    (((0, 1), (1, 1)), (3, 4))
    """

    spec: ConvSpec
    height: Axis
    width: Axis

    @property
    def out_height(self) -> int:
        """Output rows."""
        return self.height.output

    @property
    def out_width(self) -> int:
        """Output columns."""
        return self.width.output

    @property
    def positions(self) -> int:
        """Places where the window is laid: out_height * out_width."""
        return self.out_height * self.out_width

    @cached_property
    def padding(self) -> Sides:
        """The padding as resolved: ((top, bottom), (left, right))."""
        return (self.height.before, self.height.after), (self.width.before, self.width.after)

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one input picture."""
        return self.height.input, self.width.input, self.spec.in_channels

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one output picture."""
        return self.out_height, self.out_width, self.spec.out_channels
