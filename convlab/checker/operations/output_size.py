"""The output's size along one axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from ..calls import Call, pair
from ..contracts import Arguments, Contract, Explanation, Operation, integer
from ..properties import Property, larger, steps, together, values
from ..strategies import Case
from ..styles import Style


class OutputSize(Operation):
    """The output's size along one axis."""

    name = "output_size"
    signatures: ClassVar[Mapping[str, str]] = {"convlab": "f(size, kernel, stride=1, padding=0, dilation=1) -> int, along one axis"}
    layout = False
    one_axis = True
    draws_arrays = False

    def options(self, style: str) -> tuple[str, ...]:
        return ("stride", "padding", "dilation")

    def leading(self, contract: Contract) -> tuple[str, ...]:
        return ("size", "kernel")

    def knows(self, form: str, contract: Contract) -> bool:
        return form in ("padding int", "padding same")

    def arguments(self, contract: Contract, case: Case) -> Arguments:
        return [case.height, case.spec.kernel[0]], contract.options(case)

    def returned(self, contract: Contract, result: Any) -> np.ndarray:
        return np.asarray(integer("the size", result))

    def expected(self, contract: Contract, case: Case) -> np.ndarray:
        return np.asarray(case.geometry.out_height)

    def explanation(self, contract: Contract, case: Case, cell: tuple[int, ...]) -> Explanation:
        a = case.geometry.height
        return {}, (
            f"the window spans dilation * (kernel - 1) + 1 = {a.dilation} * ({a.kernel} - 1) + 1 = {a.extent}",
            f"the padded row has {a.before} + {a.input} + {a.after} = {a.padded}",
            f"floor(({a.padded} - {a.extent}) / {a.stride}) + 1 = {a.output}",
        )

    def properties(self, contract: Contract) -> list[Property]:
        return [*values(), *steps(contract), together(contract), *larger(contract, "windows pictures long")]

    def dressed(self, run: Callable[..., Any], style: Style) -> Callable[..., Any]:
        def function(size, kernel, stride=1, padding=0, dilation=1):  # type: ignore[no-untyped-def]
            shapes = np.empty((1, size, size, 1)), np.empty((kernel, kernel, 1, 1))
            return run(Call(self, style.name, *shapes, None, pair(stride), padding, pair(dilation), 1))

        return function

    def finish(self, call: Call, windows: np.ndarray) -> Any:
        return windows.shape[1]


OPERATION = OutputSize()
