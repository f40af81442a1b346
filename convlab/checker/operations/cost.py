"""Counts of parameters and multiply-accumulates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ...cost import cost
from ..calls import Call, pair
from ..contracts import Arguments, Contract, Explanation, Form, Operation, WrongKind, integer, said
from ..properties import Property, larger, steps, together, values
from ..strategies import Case, short
from ..styles import Style


class Cost(Operation):
    """Counts of parameters and multiply-accumulates."""

    name = "cost"
    signatures: ClassVar[Mapping[str, str]] = {
        "convlab": "f(height, width, in_channels, out_channels, kernel, stride=1, padding=0, dilation=1, groups=1) or "
        "f(spec, height, width) -> (params, macs)"
    }
    layout = False
    draws_arrays = False

    def options(self, style: str) -> tuple[str, ...]:
        return ("stride", "padding", "dilation", "groups")

    def leading(self, contract: Contract) -> tuple[str, ...]:
        if contract.form == "spec":
            return ("spec", "height", "width")
        return ("height", "width", "in_channels", "out_channels", "kernel")

    def form(self, parameters: Sequence[str], style: str) -> Form:
        return "spec" if parameters[:1] == ["spec"] else "options"

    def positional(self, style: str) -> int:
        return 5

    def knows(self, form: str, contract: Contract) -> bool:
        return contract.form == "options" if form == "kernel pair" else super().knows(form, contract)

    def arguments(self, contract: Contract, case: Case) -> Arguments:
        spec, size = case.spec, (case.height, case.width)
        if contract.form == "spec":
            return [spec, *size], {}
        return [*size, spec.in_channels, spec.out_channels, short(spec.kernel)], contract.options(case)

    def returned(self, contract: Contract, result: Any) -> np.ndarray:
        if isinstance(result, Mapping):
            result = (result.get("params"), result.get("macs"))
        elif hasattr(result, "params") and hasattr(result, "macs"):
            result = (result.params, result.macs)
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise WrongKind(f"must return (params, macs): it returned {said(result)}")
        return np.asarray([integer(name, n) for name, n in zip(("params", "macs"), result, strict=True)])

    def expected(self, contract: Contract, case: Case) -> np.ndarray:
        counted = cost(case.spec, case.height, case.width)
        return np.asarray([counted.params, counted.macs])

    def explanation(self, contract: Contract, case: Case, cell: tuple[int, ...]) -> Explanation:
        g, (kh, kw, depth, outputs) = case.geometry, case.spec.weight_shape
        params = kh * kw * depth * outputs
        return {}, (
            f"params: {kh} * {kw} taps * {depth} channels per filter * {outputs} filters = {params}",
            f"positions: {g.out_height} * {g.out_width} = {g.positions}",
            f"MACs: {params} * {g.positions} = {params * g.positions}",
        )

    def properties(self, contract: Contract) -> list[Property]:
        return [
            *values(),
            Property("rectangles", "pictures and windows that are not square", 2),
            *steps(contract),
            together(contract),
            *larger(contract, "windows channels pictures long"),
        ]

    def dressed(self, run: Callable[..., Any], style: Style) -> Callable[..., Any]:
        def function(height, width, in_channels, out_channels, kernel, stride=1, padding=0, dilation=1, groups=1):  # type: ignore[no-untyped-def]
            shapes = np.empty((1, height, width, in_channels)), np.empty((*pair(kernel), in_channels // groups, out_channels))
            return run(Call(self, style.name, *shapes, None, pair(stride), padding, pair(dilation), groups))

        return function

    def finish(self, call: Call, windows: np.ndarray) -> Any:
        return call.w.size, call.w.size * windows.shape[1] * windows.shape[2]


OPERATION = Cost()
