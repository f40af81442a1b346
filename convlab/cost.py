"""What a convolution costs: parameters, multiply-accumulates, bytes, intensity.

One MAC is one multiplication with its addition; FLOPs = 2 x MACs. Taps in the padding count, as they do in
the papers. Bias, batch norm, activations and shortcuts are counted apart, as `elementwise`, never
mixed into the MACs. Bytes are the least a layer must move: each input number and parameter read once, each
output written once. Batch norm and activation are taken to happen as the output is written.

For a standard convolution with K_h x K_w windows, M channels in, N out, on P output positions (Howard et al.
2017, eq. 2 to 5, with P for their D_F * D_F and M / groups channels per filter)::

    params = K_h * K_w * (M / groups) * N             MACs = params * P

The separable convolution costs K_h*K_w*M*P + M*N*P, so against the standard one 1/N + 1/(K_h*K_w).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import SupportsIndex, assert_never, overload

import numpy as np
from numpy.typing import DTypeLike

from .arguments import integer
from .geometry import ConvSpec
from .layers import Branch, Conv, Dense, Network, Pool, Residual, Shape, Visit, walk
from .tables import Table
from .units import percent


@dataclass(frozen=True)
class Cost:
    """What something costs; costs add up with ``+``.

    Attributes
    ----------
    weights, bias, batch_norm : int
        Trained numbers: filters, biases, and batch norm's gamma and beta.
    macs : int
        Multiply-accumulates of the convolutions and the classifier.
    elementwise : int
        Additions of a bias or a shortcut, numbers normalised, activated or pooled.
    bytes_read, bytes_written : int
        Inputs and parameters (batch norm's statistics too); outputs.

    Examples
    --------
    >>> c = cost(ConvSpec(3, 5, kernel=3), 6, 6)
    >>> c.params, c.macs, c.bytes_read, c.bytes_written
    (135, 2160, 972, 320)
    """

    weights: int = 0
    bias: int = 0
    batch_norm: int = 0
    macs: int = 0
    elementwise: int = 0
    bytes_read: int = 0
    bytes_written: int = 0

    @property
    def params(self) -> int:
        """Trained numbers: weights + bias + batch norm's gamma and beta."""
        return self.weights + self.bias + self.batch_norm

    @property
    def flops(self) -> int:
        """2 x MACs."""
        return 2 * self.macs

    @property
    def intensity(self) -> float:
        """Arithmetic intensity: FLOPs per byte moved (Williams et al. 2009)."""
        moved = self.bytes_read + self.bytes_written
        return self.flops / moved if moved else 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Cost)))


@dataclass(frozen=True)
class LayerCost:
    """One row of a `NetworkCost`: a layer's name, kind, output shape and cost."""

    name: str
    kind: str
    output: Shape
    cost: Cost


@dataclass(frozen=True)
class NetworkCost:
    """The cost of a network, layer by layer; `total` and `by_kind` add it up.

    Examples
    --------
    >>> from convlab.mobilenet import mobilenet_v2
    >>> c = cost(mobilenet_v2())
    >>> c.total.macs, c.total.params
    (300774272, 3504872)
    """

    network: Network
    layers: tuple[LayerCost, ...]

    @property
    def total(self) -> Cost:
        """All layers together."""
        return sum((row.cost for row in self.layers), Cost())

    @property
    def macs(self) -> int:
        """All layers' MACs."""
        return self.total.macs

    @property
    def params(self) -> int:
        """All trained numbers, batch norm and bias included."""
        return self.total.params

    def by_kind(self) -> dict[str, Cost]:
        """Return the cost of each kind of layer: standard, depthwise, pointwise, ..."""
        kinds: dict[str, Cost] = {}
        for row in self.layers:
            kinds[row.kind] = kinds.get(row.kind, Cost()) + row.cost
        return kinds


@overload
def cost(
    what: ConvSpec, height: SupportsIndex, width: SupportsIndex, *, batch: int = 1, bias: bool = False, dtype: DTypeLike = np.float32
) -> Cost: ...
@overload
def cost(what: Network, *, batch: int = 1, dtype: DTypeLike = np.float32) -> NetworkCost: ...
def cost(
    what: ConvSpec | Network,
    height: SupportsIndex | None = None,
    width: SupportsIndex | None = None,
    *,
    batch: int = 1,
    bias: bool = False,
    dtype: DTypeLike = np.float32,
) -> Cost | NetworkCost:
    """Count a convolution on a picture of height x width, or a whole network.

    Parameters
    ----------
    what : ConvSpec or Network
        What to count. Neither needs weights.
    height, width : int
        Size of the input picture in pixels; a network knows its own.
    batch : int
        Pictures at once: MACs and images grow with it, parameters do not.
    bias : bool
        Whether the convolution has one.
    dtype : dtype
        Of images and parameters, for the bytes.

    Returns
    -------
    Cost, or NetworkCost for a Network

    Raises
    ------
    TypeError
        If height and width are missing for a spec or given for a network.

    Examples
    --------
    >>> cost(ConvSpec(3, 5, kernel=3), 6, 6).macs           # document 000
    2160
    >>> cost(ConvSpec(3, 16, kernel=3), 5, 5).macs          # document 004
    3888
    """
    batch, size = integer("batch", batch, 0), np.dtype(dtype).itemsize
    if isinstance(what, Network):
        if height is not None or width is not None:
            raise TypeError("a network knows its own picture size: leave height and width out")
        return NetworkCost(what, tuple(_row(visit, batch, size) for visit in walk(what) if not isinstance(visit.layer, Branch)))
    if not isinstance(what, ConvSpec):
        raise TypeError(f"cost counts a ConvSpec or a Network: got {type(what).__name__}")
    if height is None or width is None:
        raise TypeError("a ConvSpec knows no picture size: give height and width")
    g = what.geometry(height, width)
    return _convolution(what, g.in_shape, g.out_shape, batch, size, bias=bias)


def _convolution(spec: ConvSpec, input: Shape, output: Shape, batch: int, size: int, *, bias: bool) -> Cost:
    weights, added = math.prod(spec.weight_shape), spec.out_channels if bias else 0
    read, written = batch * math.prod(input), batch * math.prod(output)
    return Cost(
        weights=weights,
        bias=added,
        macs=batch * weights * output[0] * output[1],
        elementwise=written if bias else 0,
        bytes_read=size * (read + weights + added),
        bytes_written=size * written,
    )


def steps_of(visit: Visit, batch: int = 1, size: int = 4) -> dict[str, Cost]:
    """Return what each step of one visited layer costs: of a `Conv` its convolution, batch norm and activation."""
    read, written = batch * math.prod(visit.input), batch * math.prod(visit.output)
    match visit.layer:
        case Conv(_, spec, activation, eps):
            steps = {"conv": _convolution(spec, visit.input, visit.output, batch, size, bias=eps is None)}
            if eps is not None:
                channels = spec.out_channels
                steps["batch_norm"] = Cost(batch_norm=2 * channels, elementwise=written, bytes_read=size * 4 * channels)
            if activation is not None:
                steps[activation] = Cost(elementwise=written)
            return steps
        case Residual():
            return {"add": Cost(elementwise=written, bytes_read=2 * size * read, bytes_written=size * written)}
        case Branch():
            return {}
        case Pool():
            return {"pool": Cost(elementwise=read, bytes_read=size * read, bytes_written=size * written)}
        case Dense(_, in_features, out_features, activation):
            weights = in_features * out_features
            dense = Cost(
                weights=weights,
                bias=out_features,
                macs=batch * weights,
                elementwise=written,
                bytes_read=size * (read + weights + out_features),
                bytes_written=size * written,
            )
            return {"dense": dense} if activation is None else {"dense": dense, activation: Cost(elementwise=written)}
        case _:
            assert_never(visit.layer)


def kind_of(visit: Visit) -> str:
    """Return the kind of a visited layer, as tables show it."""
    match visit.layer:
        case Conv(_, spec):
            return spec.kind
        case Residual():
            return "shortcut"
        case Branch():
            return "branch"
        case Pool():
            return "pool"
        case Dense():
            return "dense"
        case _:
            assert_never(visit.layer)


def _row(visit: Visit, batch: int, size: int) -> LayerCost:
    steps = steps_of(visit, batch, size).values()
    return LayerCost(visit.layer.name, kind_of(visit), visit.output, sum(steps, Cost()))


def sizes(shape: Shape) -> str:
    """Write a shape as the documents do: 4x4x5."""
    return "x".join(map(str, shape))


def summary(network: Network) -> Table:
    """Return the per-layer table: name, kind, output, parameters, MACs, share of the MACs.

    Examples
    --------
    >>> from convlab.mobilenet import mobilenet_v1
    >>> table = summary(mobilenet_v1())
    >>> table.head
    ('layer', 'kind', 'output', 'params', 'MACs', 'share')
    >>> table.rows[-1]
    ('total', '', '1000', '4,231,976', '568,740,352', '100.0 %')
    """
    counted = cost(network)
    total = counted.total

    def row(name: str, kind: str, output: str, c: Cost) -> tuple[str, ...]:
        share = c.macs / total.macs if total.macs else 0.0
        return name, kind, output, f"{c.params:,}", f"{c.macs:,}", percent(share)

    rows = [row(layer.name, layer.kind, sizes(layer.output), layer.cost) for layer in counted.layers]
    outputs = network.outputs
    given = sizes(network.output) if len(outputs) == 1 else f"{len(outputs)} outputs"
    title = f"{network.name}: parameters with batch norm and bias; MACs of one picture"
    return Table(title, ("layer", "kind", "output", "params", "MACs", "share"), [*rows, row("total", "", given, total)], words=2)
