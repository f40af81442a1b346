"""The depthwise convolution: each channel by itself, with one filter or several."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from ..contracts import Contract
from ..properties import Property
from ..strategies import Case
from ..styles import Style
from .convolution import Convolution


class Depthwise(Convolution):
    """The depthwise convolution."""

    name = "depthwise"
    kind = "depthwise"
    signatures: ClassVar[Mapping[str, str]] = {
        "convlab": "f(x, w, bias=None, stride=1, padding=0, dilation=1) or f(x, w, geometry)",
        "torch": "f(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1)",
    }

    def options(self, style: str) -> tuple[str, ...]:
        return ("bias", "stride", "padding", "dilation", *(("groups",) if style == "torch" else ()))

    def filters(self, contract: Contract, case: Case) -> np.ndarray:
        if contract.channels_first or contract.form == "geometry":
            return super().filters(contract, case)
        per_channel = case.w.reshape(*case.w.shape[:2], case.spec.in_channels, -1)
        return per_channel[..., 0] if per_channel.shape[3] == 1 and "filters (KH, KW, C)" not in contract.without else per_channel

    def tap(self, contract: Contract, case: Case, index: tuple[int, int, int, int]) -> tuple[int, ...]:
        if contract.channels_first or contract.form == "geometry":
            return super().tap(contract, case, index)
        u, v, _, o = index
        multiplier = case.spec.out_channels // case.spec.in_channels
        return (u, v, o // multiplier, o % multiplier)[: self.filters(contract, case).ndim]

    def own(self, contract: Contract) -> list[Property]:
        return [Property("multiplier", "several filters per channel", 1, {"multiplied": True})]

    def dressed(self, run: Callable[..., Any], style: Style) -> Callable[..., Any]:
        def function(x, w, bias=None, stride=1, padding=0, dilation=1):  # type: ignore[no-untyped-def]
            own = style.filters_back(w) if style.channels_first else w.reshape(*w.shape[:2], 1, math.prod(w.shape[2:]))
            return self.called(run, style, x, own, bias, stride, padding, dilation, style.image_back(x).shape[3])

        return function


OPERATION = Depthwise()
