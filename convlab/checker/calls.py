"""A call of a student's function, whatever its style; and the way back: a function on such calls, dressed as a student's.

Mistakes are written against a `Call`, once for all operations and styles.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..geometry import ConvSpec, Sides

Pair = tuple[int, int]


@dataclass(frozen=True)
class Call:
    """A call of a student's function, whatever its style: x (N, H, W, C), w (KH, KW, C / groups, O), bias (O,) or None.

    The arrays are views of what the caller gave, so that a mistake can write into them.
    """

    op: str
    style: str
    x: np.ndarray
    w: np.ndarray
    bias: np.ndarray | None = None
    stride: Pair = (1, 1)
    padding: Any = 0
    dilation: Pair = (1, 1)
    groups: int = 1

    def but(self, **changes: Any) -> Call:
        """Return the call with other values."""
        return replace(self, **changes)

    @property
    def kernel(self) -> Pair:
        """(KH, KW)."""
        return self.w.shape[0], self.w.shape[1]

    @property
    def sides(self) -> Sides:
        """The padding as four sides."""
        height, width = self.x.shape[1:3]
        return ConvSpec(1, 1, self.kernel, self.stride, self.padding, self.dilation).geometry(height, width).padding

    @property
    def extent(self) -> Pair:
        """Inputs that a window spans."""
        return self.dilation[0] * (self.kernel[0] - 1) + 1, self.dilation[1] * (self.kernel[1] - 1) + 1

    @property
    def out(self) -> Pair:
        """Output rows and columns."""
        g = ConvSpec(1, 1, self.kernel, self.stride, self.padding, self.dilation).geometry(*self.x.shape[1:3])
        return g.out_height, g.out_width

    def windows(self, mode: Any = "constant") -> np.ndarray:
        """Return the windows (N, OH, OW, KH, KW, C)."""
        padded = np.pad(self.x, ((0, 0), *self.sides, (0, 0)), mode=mode) if any(map(any, self.sides)) else self.x
        view = sliding_window_view(padded, self.extent, axis=(1, 2))
        view = view[:, :: self.stride[0], :: self.stride[1], :, :: self.dilation[0], :: self.dilation[1]]
        return view.transpose(0, 1, 2, 4, 5, 3)

    def finish(self, windows: np.ndarray) -> Any:
        """Return the operation's result from its windows: the sums, the matrix of columns, the size or the counts."""
        n, oh, ow, kh, kw, channels = windows.shape
        if self.op == "output_size":
            return oh
        if self.op == "cost":
            return self.w.size, self.w.size * oh * ow
        if self.op == "im2col":
            return self.matrix(windows).copy()  # where no windows overlap, reshape alone gives a view of x
        split = windows.reshape(n, oh, ow, kh, kw, self.groups, channels // self.groups)
        outputs = self.w.shape[3]
        filters = self.w.reshape(*self.w.shape[:3], self.groups, outputs // self.groups)
        y = np.einsum("nijuvgc,uvcgo->nijgo", split, filters, optimize=True).reshape(n, oh, ow, outputs)
        return y if self.bias is None else y + self.bias

    def matrix(self, windows: np.ndarray) -> np.ndarray:
        """Return the windows as the style's matrix of columns; a view of x where that is possible."""
        n, oh, ow, kh, kw, channels = windows.shape
        taps = kh * kw * channels
        if self.style == "convlab":
            return windows.reshape(n * oh * ow, taps)
        if self.style == "torch":
            return windows.transpose(0, 5, 3, 4, 1, 2).reshape(n, taps, oh * ow)
        return windows.transpose(5, 3, 4, 1, 2, 0).reshape(taps, oh * ow * n)

    def right(self) -> Any:
        """Return what a right function returns."""
        return self.finish(self.windows())

    def products(self) -> np.ndarray:
        """Return the sums without the bias."""
        return self.but(bias=None).right()

    def plus_bias(self, y: np.ndarray) -> np.ndarray:
        """Add the bias."""
        return y if self.bias is None else y + self.bias


def _pair(value: Any) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def dressed(run: Callable[..., Any], op: str, style: str) -> Callable[..., Any]:
    """Return ``run(call)`` as a function with the parameters of an operation and style."""
    first = style != "convlab"

    def images(x: np.ndarray) -> np.ndarray:
        return x.transpose(0, 2, 3, 1) if first else x

    def filters(w: np.ndarray) -> np.ndarray:
        return w.transpose(2, 3, 1, 0) if first else w

    def back(y: Any) -> Any:
        return y.transpose(0, 3, 1, 2) if first and y is not None else y

    def call(x: np.ndarray, w: np.ndarray, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Call:
        return Call(op, style, x, w, bias, _pair(stride), padding, _pair(dilation), groups)

    def conv2d(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1):  # type: ignore[no-untyped-def]
        return back(run(call(images(x), filters(w), bias, stride, padding, dilation, groups)))

    def cs231n(x, w, b, conv_param):  # type: ignore[no-untyped-def]
        return back(run(call(images(x), filters(w), b, conv_param["stride"], conv_param["pad"], 1, 1))), (x, w, b, conv_param)

    def depthwise(x, w, bias=None, stride=1, padding=0, dilation=1):  # type: ignore[no-untyped-def]
        channels = x.shape[1] if first else x.shape[3]
        own = filters(w) if first else w.reshape(*w.shape[:2], 1, math.prod(w.shape[2:]))
        return back(run(call(images(x), own, bias, stride, padding, dilation, channels)))

    def pointwise(x, w, bias=None, stride=1):  # type: ignore[no-untyped-def]
        return back(run(call(images(x), filters(w) if first else w[None, None], bias, stride, 0, 1, 1)))

    def im2col(x, kernel, stride=1, padding=0, dilation=1):  # type: ignore[no-untyped-def]
        seen = images(x)
        return run(call(seen, np.empty((*_pair(kernel), seen.shape[3], 1)), None, stride, padding, dilation, 1))

    def im2col_cs231n(x, field_height, field_width, padding=1, stride=1):  # type: ignore[no-untyped-def]
        return im2col(x, (field_height, field_width), stride, padding)  # type: ignore[no-untyped-call]

    def output_size(size, kernel, stride=1, padding=0, dilation=1):  # type: ignore[no-untyped-def]
        shapes = np.empty((1, size, size, 1)), np.empty((kernel, kernel, 1, 1))
        return run(call(*shapes, None, stride, padding, dilation, 1))

    def cost(height, width, in_channels, out_channels, kernel, stride=1, padding=0, dilation=1, groups=1):  # type: ignore[no-untyped-def]
        shapes = np.empty((1, height, width, in_channels)), np.empty((*_pair(kernel), in_channels // groups, out_channels))
        return run(call(*shapes, None, stride, padding, dilation, groups))

    functions: dict[str, Callable[..., Any]]
    if op in ("relu6", "fold_batch_norm"):
        return run if op == "relu6" or not first else _oihw(run)
    if style == "cs231n":
        functions = {"conv2d": cs231n, "im2col": im2col_cs231n}
        return functions[op]
    functions = {
        "conv2d": conv2d,
        "depthwise": depthwise,
        "pointwise": pointwise,
        "im2col": im2col,
        "output_size": output_size,
        "cost": cost,
    }
    return functions[op]


def _oihw(fold: Callable[..., Any]) -> Callable[..., Any]:
    """Return a folding of HWIO filters as one of OIHW filters."""

    def folded(w, bias, gamma, beta, mean, variance, eps):  # type: ignore[no-untyped-def]
        result = fold(w.transpose(2, 3, 1, 0), bias, gamma, beta, mean, variance, eps)
        return None if result is None else (result[0].transpose(3, 2, 0, 1), result[1])

    return folded
