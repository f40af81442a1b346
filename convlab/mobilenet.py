"""MobileNet V1 and V2: two tables of rows, and the blocks that turn rows into layers.

V1 (Howard et al. 2017, table 1) puts a *separable* convolution wherever another network has a
standard one::

    depthwise 3x3 -> pointwise                                           each with batch norm and relu

V2 (Sandler et al. 2018, table 2) turns it round: blocks are narrow at their ends and wide
inside, and only the narrow ends are added to each other. It is an *inverted residual*::

    pointwise, t times wider -> depthwise 3x3 -> pointwise, narrow, LINEAR (+ input)

The last one has no activation: relu on few channels would destroy what they hold. The shortcut exists
where the block keeps size and width: stride 1 and equal widths, 10 of the 17 blocks. A block with
t = 1 has nothing to expand and starts at its depthwise convolution.

alpha, the width multiplier, scales every width. rho, the resolution multiplier, scales the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from .arguments import integer, number
from .geometry import ConvSpec
from .layers import Conv, Dense, Layer, Network, Pool, Residual

NetworkPadding = Literal["same", "symmetric"]


class Separable(NamedTuple):
    """A row of V1: a separable block, or `repeats` of them with the stride in the first."""

    width: int
    repeats: int
    stride: int


class Inverted(NamedTuple):
    """A row of V2: `repeats` inverted residual blocks, expanding t times, with the stride in the first."""

    t: int
    width: int
    repeats: int
    stride: int


V1_STEM = 32
V1_ROWS = (
    Separable(64, 1, 1),
    Separable(128, 1, 2),
    Separable(128, 1, 1),
    Separable(256, 1, 2),
    Separable(256, 1, 1),
    Separable(512, 1, 2),
    Separable(512, 5, 1),
    Separable(1024, 1, 2),
    Separable(1024, 1, 1),
)

V2_STEM = 32
V2_ROWS = (
    Inverted(1, 16, 1, 1),
    Inverted(6, 24, 2, 2),
    Inverted(6, 32, 3, 2),
    Inverted(6, 64, 4, 2),
    Inverted(6, 96, 3, 1),
    Inverted(6, 160, 3, 2),
    Inverted(6, 320, 1, 1),
)
V2_HEAD = 1280


def scale_v1(width: int, alpha: float) -> int:
    """Return alpha * width, rounded down, at least 8 (TF-slim's `depth_multiplier` and `min_depth`).

    Examples
    --------
    >>> [scale_v1(64, alpha) for alpha in (1, 0.75, 0.5, 0.25, 0.1)]
    [64, 48, 32, 16, 8]
    """
    return max(int(width * alpha), 8)


def scale_v2(width: int, alpha: float) -> int:
    """Return alpha * width, rounded to a multiple of 8 but never below 90 % of it.

    TF-slim's `make_divisible`, applied to whole channels as in HF Transformers. At the papers' alphas both agree; at
    others slim, which does not round to whole channels first, may differ by 8 (24 * 0.37: 16 here, 8 there).

    Examples
    --------
    >>> [scale_v2(width, 0.35) for width in (16, 24, 32, 64, 96, 160, 320)]
    [8, 8, 16, 24, 32, 56, 112]
    """
    wanted = round(width * alpha)
    rounded = max(8, (wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def _check(alpha: float, resolution: int, rho: float, padding: str) -> tuple[int, Literal["same", 1]]:
    """Return the side of the picture and the 3x3 layers' padding, or say which rule was broken."""
    if not 0 < number("alpha", alpha) <= 2:
        raise ValueError(f"alpha must be in (0, 2]: alpha={alpha}")
    if not 0 < number("rho", rho) < math.inf:
        raise ValueError(f"rho must be positive and finite: rho={rho}")
    side = round(integer("resolution", resolution, 1) * rho)
    if side < 32:
        raise ValueError(f"resolution * rho must be at least 32: resolution={resolution}, rho={rho}")
    if padding not in ("same", "symmetric"):
        raise ValueError(f'padding must be "same" or "symmetric": padding={padding!r}')
    return side, "same" if padding == "same" else 1


def mobilenet_v1(
    alpha: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    padding: NetworkPadding = "same",
    *,
    rho: float = 1.0,
    eps: float | None = 1e-3,
) -> Network:
    """MobileNet V1: a stem, 13 separable blocks, pooling, a classifier.

    Parameters
    ----------
    alpha : float
        Width multiplier, in (0, 2].
    resolution : int
        Side of the square input picture in pixels, at least 32.
    classes : int
        Outputs of the classifier.
    padding : "same" or "symmetric"
        TensorFlow's rule, or one zero on every side as in PyTorch. They differ at stride 2.
    rho : float
        Resolution multiplier: the picture's side is ``round(rho * resolution)``.
    eps : float or None
        Batch norm's epsilon. None: batch norm is folded into the convolutions, each has a bias.

    Returns
    -------
    Network

    Raises
    ------
    ValueError, TypeError
        If alpha, resolution, rho, padding, classes or eps is out of range or not a number.

    Examples
    --------
    >>> net = mobilenet_v1()
    >>> [layer.name for layer in net.layers[:5]]
    ['stem', 'block1.depthwise', 'block1.pointwise', 'block2.depthwise', 'block2.pointwise']
    >>> net.output
    (1000,)
    """
    side, pad = _check(alpha, resolution, rho, padding)
    blocks = [(scale_v1(row.width, alpha), stride) for row in V1_ROWS for stride in _strides(row)]
    layers = v1_layers(scale_v1(V1_STEM, alpha), blocks, classes, pad, eps)
    return Network(f"mobilenet_v1 alpha={alpha:g} {side}x{side}", (side, side, 3), layers)


def mobilenet_v2(
    alpha: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    padding: NetworkPadding = "same",
    *,
    rho: float = 1.0,
    eps: float | None = 1e-3,
) -> Network:
    """MobileNet V2: a stem, 17 inverted residual blocks (10 with a shortcut), a head, pooling, a classifier.

    Parameters
    ----------
    alpha, resolution, classes, padding, rho, eps
        As in `mobilenet_v1`. Widths are multiples of 8; the head keeps 1280 channels below alpha 1.

    Returns
    -------
    Network

    Raises
    ------
    ValueError, TypeError
        If alpha, resolution, rho, padding, classes or eps is out of range or not a number.

    Examples
    --------
    >>> net = mobilenet_v2()
    >>> sum(isinstance(layer, Residual) for layer in net.layers)
    10
    """
    side, pad = _check(alpha, resolution, rho, padding)
    blocks = [(row.t, scale_v2(row.width, alpha), stride) for row in V2_ROWS for stride in _strides(row)]
    layers = v2_layers(scale_v2(V2_STEM, alpha), blocks, scale_v2(V2_HEAD, max(alpha, 1.0)), classes, pad, eps)
    return Network(f"mobilenet_v2 alpha={alpha:g} {side}x{side}", (side, side, 3), layers)


def _strides(row: Separable | Inverted) -> Iterator[int]:
    """Yield the stride of each block of a row: the first has the row's."""
    yield row.stride
    yield from (1 for _ in range(row.repeats - 1))


def v1_layers(
    stem: int, blocks: Sequence[tuple[int, int]], classes: int | None, pad: Literal["same", 1], eps: float | None, head: int | None = None
) -> tuple[Layer, ...]:
    """Return V1's layers for given widths: of the stem, (width, stride) of each block, and of a pointwise head if there is one.

    Without a classifier if `classes` is None.
    """

    def layers() -> Iterator[Layer]:
        channels = stem
        yield Conv("stem", ConvSpec(3, channels, 3, 2, pad), eps=eps)
        for i, (width, stride) in enumerate(blocks, 1):
            yield Conv(f"block{i}.depthwise", ConvSpec.depthwise(channels, 3, 1, stride, pad), eps=eps)
            yield Conv(f"block{i}.pointwise", ConvSpec.pointwise(channels, width), eps=eps)
            channels = width
        if head is not None:
            yield Conv("head", ConvSpec.pointwise(channels, head), eps=eps)
            channels = head
        yield Pool("pool")
        if classes is not None:
            yield Dense("classifier", channels, classes)

    return tuple(layers())


def v2_layers(
    stem: int, blocks: Sequence[tuple[int, int, int]], head: int, classes: int | None, pad: Literal["same", 1], eps: float | None
) -> tuple[Layer, ...]:
    """Return V2's layers for given widths: of the stem, (t, width, stride) of each block, and of the head; as in `v1_layers`."""

    def block(name: str, channels: int, t: int, width: int, stride: int) -> Iterator[Layer]:
        wide = channels * t
        body: tuple[Conv, ...] = (
            Conv(f"{name}.depthwise", ConvSpec.depthwise(wide, 3, 1, stride, pad), eps=eps),
            Conv(f"{name}.project", ConvSpec.pointwise(wide, width), activation=None, eps=eps),
        )
        if t != 1:
            body = (Conv(f"{name}.expand", ConvSpec.pointwise(channels, wide), eps=eps), *body)
        if stride == 1 and channels == width:
            yield Residual(name, body)
        else:
            yield from body

    def layers() -> Iterator[Layer]:
        channels = stem
        yield Conv("stem", ConvSpec(3, channels, 3, 2, pad), eps=eps)
        for i, (t, width, stride) in enumerate(blocks, 1):
            yield from block(f"block{i}", channels, t, width, stride)
            channels = width
        yield Conv("head", ConvSpec.pointwise(channels, head), eps=eps)
        yield Pool("pool")
        if classes is not None:
            yield Dense("classifier", head, classes)

    return tuple(layers())


NETWORKS: Mapping[str, Callable[..., Network]] = {"mobilenet_v1": mobilenet_v1, "mobilenet_v2": mobilenet_v2}
"""By the names under which the command line knows them."""
