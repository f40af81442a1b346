"""A call of a student's function, whatever its style: mistakes are written against it, once for all operations and styles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..geometry import ConvSpec, Sides

if TYPE_CHECKING:
    from .contracts import Operation

Pair = tuple[int, int]


@dataclass(frozen=True)
class Call:
    """A call of a student's function, whatever its style: x (N, H, W, C), w (KH, KW, C / groups, O), bias (O,) or None.

    The arrays are views of what the caller gave, so that a mistake can write into them.
    """

    operation: Operation
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
        return self.operation.finish(self, windows)

    @property
    def op(self) -> str:
        """The operation's name."""
        return self.operation.name

    def right(self) -> Any:
        """Return what a right function returns."""
        return self.finish(self.windows())

    def products(self) -> np.ndarray:
        """Return the sums without the bias."""
        return self.but(bias=None).right()

    def plus_bias(self, y: np.ndarray) -> np.ndarray:
        """Add the bias."""
        return y if self.bias is None else y + self.bias


def pair(value: Any) -> Pair:
    """Return (height, width) of one number for both, or of two."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])
