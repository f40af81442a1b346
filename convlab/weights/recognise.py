"""Whether layers are a MobileNet's, and which: the families' patterns, and the name that tables show."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ..layers import Conv, Layer, Network, Residual
from ..mobilenet import mobilenet_v1, mobilenet_v2

ALPHAS = (0.1, 0.25, 0.35, 0.5, 0.75, 1.0, 1.1, 1.2, 1.25, 1.3, 1.4, 2.0)
"""Width multipliers that have a name of their own."""

FAMILIES: tuple[tuple[str, str, Callable[..., Network]], ...] = (
    ("mobilenet_v1", "s(dp)+p?", mobilenet_v1),
    ("mobilenet_v2", "sdp(pdp)+p?", mobilenet_v2),
)
"""A family's kinds of convolution from first to last: standard, depthwise, pointwise; and how it is built."""


def convolutions(layers: Sequence[Layer]) -> list[Conv]:
    """Return the convolutions in running order, those under shortcuts too."""
    return [conv for layer in layers for conv in (layer.body if isinstance(layer, Residual) else (layer,)) if isinstance(conv, Conv)]


def kinds(layers: Sequence[Layer]) -> str:
    """Return a letter for each convolution: s, d, p; g for a grouped one."""
    return "".join(conv.spec.kind[0] for conv in convolutions(layers))


def family_of(layers: Sequence[Layer]) -> str | None:
    """Return the family whose pattern the layers follow."""
    return next((family for family, pattern, _ in FAMILIES if re.fullmatch(pattern, kinds(layers))), None)


def titled(layers: Sequence[Layer], height: int, width: int) -> Network:
    """Return a network with its family in its name, and its alpha where the widths are those of one."""
    family = family_of(layers)
    title, widths = family or "network", _widths(layers)
    for name, _, build in FAMILIES:
        if name == family:
            title += next((f" alpha={alpha:g}" for alpha in ALPHAS if _widths(build(alpha, 32).layers) == widths), "")
    return Network(f"{title} {height}x{width}", (height, width, 3), tuple(layers))


def _widths(layers: Sequence[Layer]) -> list[int]:
    return [conv.spec.out_channels for conv in convolutions(layers)]
