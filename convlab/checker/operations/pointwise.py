"""The pointwise convolution: a window of one pixel, so filters are a matrix (C, O)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from ..contracts import Contract
from ..strategies import Case
from ..styles import Style
from .convolution import Convolution


class Pointwise(Convolution):
    """The pointwise convolution."""

    name = "pointwise"
    kind = "pointwise"
    sizes = "batches channels pictures long"
    signatures: ClassVar[Mapping[str, str]] = {
        "convlab": "f(x, w, bias=None, stride=1) or f(x, w, geometry)",
        "torch": "f(x, w, bias=None, stride=1)",
    }

    def options(self, style: str) -> tuple[str, ...]:
        return ("bias", "stride")

    def filters(self, contract: Contract, case: Case) -> np.ndarray:
        return super().filters(contract, case) if contract.channels_first or contract.form == "geometry" else case.w[0, 0]

    def tap(self, contract: Contract, case: Case, index: tuple[int, int, int, int]) -> tuple[int, ...]:
        return super().tap(contract, case, index) if contract.channels_first or contract.form == "geometry" else index[2:]

    def dressed(self, run: Callable[..., Any], style: Style) -> Callable[..., Any]:
        def function(x, w, bias=None, stride=1):  # type: ignore[no-untyped-def]
            filters = style.filters_back(w) if style.channels_first else w[None, None]
            return self.called(run, style, x, filters, bias, stride, 0, 1, 1)

        return function


OPERATION = Pointwise()
