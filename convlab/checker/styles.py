"""Styles: a course's way to write a function down, with its layouts and what it asks for.

========  ============================================================================  ==============
style     conv2d                                                                        layouts
========  ============================================================================  ==============
convlab   f(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1)                 NHWC, HWIO
          or the ladder's contract f(x, w, geometry)
cs231n    f(x, w, b, {"stride", "pad"}) -> out or (out, cache)                          NCHW, OIHW
torch     f(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1)                 NCHW, OIHW
========  ============================================================================  ==============
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

FORMS: Mapping[str, tuple[str, Any]] = {
    "stride pair": ("stride", (1, 2)),
    "padding int": ("padding", 1),
    "padding pair": ("padding", (1, 2)),
    "padding sides": ("padding", ((0, 1), (2, 1))),
    "padding same": ("padding", "same"),
    "dilation pair": ("dilation", (1, 2)),
    "kernel pair": ("kernel", (2, 3)),
}
"""Forms of an option that a signature does not tell: name -> (option, a value in this form)."""


@dataclass(frozen=True)
class Style:
    """A way to write functions down.

    Attributes
    ----------
    name : str
    channels_first : bool
        Whether images are NCHW and filters OIHW, rather than NHWC and HWIO.
    forms : tuple of str
        Which of `FORMS` it knows.
    divides : bool
        Whether only strides are asked for that leave no remainder.
    cache : bool
        Whether (out, cache) may come back.
    """

    name: str
    channels_first: bool
    forms: tuple[str, ...]
    divides: bool = False
    cache: bool = False

    @property
    def axes(self) -> tuple[str, str, str, str]:
        """What the axes of images are called."""
        return ("batch", "channels", "height", "width") if self.channels_first else ("batch", "height", "width", "channels")

    def image(self, x: np.ndarray) -> np.ndarray:
        """Return (N, H, W, C) in the style's layout; a view."""
        return x.transpose(0, 3, 1, 2) if self.channels_first else x

    def filters(self, w: np.ndarray) -> np.ndarray:
        """Return (KH, KW, C / groups, O) in the style's layout; a view."""
        return w.transpose(3, 2, 0, 1) if self.channels_first else w

    def image_back(self, x: np.ndarray) -> np.ndarray:
        """Return images of the style as (N, H, W, C); a view."""
        return x.transpose(0, 2, 3, 1) if self.channels_first else x

    def filters_back(self, w: np.ndarray) -> np.ndarray:
        """Return filters of the style as (KH, KW, C / groups, O); a view."""
        return w.transpose(2, 3, 1, 0) if self.channels_first else w


ALL = (
    Style("convlab", False, tuple(FORMS)),
    Style("cs231n", True, (), divides=True, cache=True),  # the course asserts that the stride divides
    Style("torch", True, ("stride pair", "padding int", "padding pair", "dilation pair")),
)

STYLES: Mapping[str, Style] = {style.name: style for style in ALL}
"""All of them, by name."""
