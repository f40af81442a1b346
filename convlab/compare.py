"""A standard convolution against the separable one that replaces it: the table that the documents end in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import SupportsIndex

from .cost import Cost, cost, sizes
from .geometry import ConvSpec, IntOrPair, Padding
from .layers import Shape
from .tables import Table
from .units import percent


@dataclass(frozen=True)
class Comparison:
    """A standard convolution against the separable one that replaces it.

    Attributes
    ----------
    standard, depthwise, pointwise : Cost
    input, between, output : (int, int, int)
        Shapes before, between (depthwise output) and after.
    kernel : (int, int)

    Examples
    --------
    >>> c = compare(6, 6, in_channels=3, out_channels=5, kernel=3)
    >>> c.standard.macs, c.depthwise.macs, c.pointwise.macs, c.separable.macs
    (2160, 432, 240, 672)
    >>> round(c.reduction, 4), round(c.formula, 4)
    (0.3111, 0.3111)
    """

    standard: Cost
    depthwise: Cost
    pointwise: Cost
    input: Shape
    between: Shape
    output: Shape
    kernel: tuple[int, int]

    @property
    def separable(self) -> Cost:
        """Depthwise + pointwise."""
        return self.depthwise + self.pointwise

    @property
    def reduction(self) -> float:
        """Separable MACs / standard MACs, as counted."""
        return self.separable.macs / self.standard.macs

    @property
    def formula(self) -> float:
        """1/N + 1/(K_h * K_w), as derived (Howard et al. 2017, section 3.1); equals `reduction`."""
        return 1 / self.output[2] + 1 / math.prod(self.kernel)

    @property
    def saved(self) -> float:
        """1 - reduction."""
        return 1 - self.reduction

    @property
    def table(self) -> Table:
        """The documents' table: type, input, filters, output, parameters, MACs, bytes, intensity."""
        k, (m, n) = sizes(self.kernel), (self.input[2], self.output[2])

        def row(name: str, source: Shape, filters: str, target: Shape, c: Cost) -> tuple[str, ...]:
            moved = c.bytes_read + c.bytes_written
            return name, filters, sizes(source), sizes(target), f"{c.params:,}", f"{c.macs:,}", f"{moved:,}", f"{c.intensity:.2f}"

        rows = [
            row("standard", self.input, f"{n} x ({k}x{m})", self.output, self.standard),
            row("depthwise", self.input, f"{m} x ({k})", self.between, self.depthwise),
            row("pointwise", self.between, f"{n} x (1x1x{m})", self.output, self.pointwise),
            row("separable", self.input, "depthwise + pointwise", self.output, self.separable),
        ]
        title = (
            f"separable / standard = {self.separable.macs:,} / {self.standard.macs:,} = {self.reduction:.4f}"
            f" = 1/{n} + 1/{math.prod(self.kernel)}: {percent(self.saved, 2)} saved"
        )
        return Table(title, ("convolution", "filters", "input", "output", "params", "MACs", "bytes", "FLOP/byte"), rows, words=2)

    def __str__(self) -> str:
        return str(self.table)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.table._repr_html_()


def compare(
    height: SupportsIndex,
    width: SupportsIndex,
    *,
    in_channels: SupportsIndex,
    out_channels: SupportsIndex,
    kernel: IntOrPair,
    stride: IntOrPair = 1,
    padding: Padding = "valid",
    dilation: IntOrPair = 1,
) -> Comparison:
    """Count a standard convolution and the separable one with the same shapes.

    Parameters
    ----------
    height, width : int
        Size of the input picture.
    in_channels, out_channels, kernel
        As in `ConvSpec`.
    stride, padding, dilation
        As in `ConvSpec`: of the standard and the depthwise convolution.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError, TypeError
        As `ConvSpec`.

    Examples
    --------
    >>> c = compare(5, 5, in_channels=3, out_channels=16, kernel=3)     # document 004
    >>> c.standard.macs, c.depthwise.macs, c.pointwise.macs, f"{c.saved:.2%}"
    (3888, 243, 432, '82.64%')
    """
    spec = ConvSpec(in_channels, out_channels, kernel, stride, padding, dilation)
    g = spec.geometry(height, width)
    channels = spec.in_channels
    between = (g.out_height, g.out_width, channels)
    return Comparison(
        standard=cost(spec, height, width),
        depthwise=cost(ConvSpec.depthwise(channels, kernel, 1, stride, padding, dilation), height, width),
        pointwise=cost(ConvSpec.pointwise(channels, spec.out_channels), g.out_height, g.out_width),
        input=g.in_shape,
        between=between,
        output=g.out_shape,
        kernel=spec.kernel,
    )
