"""The standard convolution, with groups; in the course's style with a bias that must be there and a dict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..contracts import Arguments, Contract, Form, fresh
from ..strategies import Case
from ..styles import Style
from .convolution import Convolution


class Conv2d(Convolution):
    """The standard convolution."""

    name = "conv2d"
    signatures: ClassVar[Mapping[str, str]] = {
        "convlab": "f(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1) or f(x, w, geometry)",
        "cs231n": 'f(x, w, b, {"stride": 1, "pad": 0}) -> out or (out, cache)',
        "torch": "f(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1)",
    }

    def options(self, style: str) -> tuple[str, ...]:
        return ("bias", "stride", "padding") if style == "cs231n" else ("bias", "stride", "padding", "dilation", "groups")

    def form(self, parameters: Sequence[str], style: str) -> Form:
        return "dict" if style == "cs231n" else super().form(parameters, style)

    def arguments(self, contract: Contract, case: Case) -> Arguments:
        if contract.form != "dict":
            return super().arguments(contract, case)
        bias = np.zeros(case.spec.out_channels, case.dtype) if case.bias is None else case.bias
        x, w = contract.image(case.x), self.filters(contract, case)
        return [*(fresh(a, case) for a in (x, w, bias)), {"stride": case.options["stride"], "pad": case.options["padding"]}], {}

    def dressed(self, run: Callable[..., Any], style: Style) -> Callable[..., Any]:
        if style.name != "cs231n":
            return super().dressed(run, style)

        def function(x, w, b, conv_param):  # type: ignore[no-untyped-def]
            stride, pad = conv_param["stride"], conv_param["pad"]
            return self.called(run, style, x, style.filters_back(w), b, stride, pad, 1, 1), (x, w, b, conv_param)

        return function


OPERATION = Conv2d()
