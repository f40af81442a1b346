"""relu6: numbers below 0 become 0, numbers above 6 become 6."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from ..contracts import Arguments, Contract, Explanation, Operation, fresh, written
from ..properties import Property, larger, memory, real, values
from ..strategies import Case
from ..styles import Style


class Relu6(Operation):
    """MobileNet's activation."""

    name = "relu6"
    signatures: ClassVar[Mapping[str, str]] = {"convlab": "f(x)"}
    layout = False

    def options(self, style: str) -> tuple[str, ...]:
        return ()

    def leading(self, contract: Contract) -> tuple[str, ...]:
        return ("x",)

    def arguments(self, contract: Contract, case: Case) -> Arguments:
        return [fresh(case.activations, case)], {}

    def expected(self, contract: Contract, case: Case) -> np.ndarray:
        return np.minimum(np.maximum(case.activations.astype(np.float64), 0), 6)

    def explanation(self, contract: Contract, case: Case, cell: tuple[int, ...]) -> Explanation:
        x = case.activations[cell]
        return {"x": [cell]}, (f"min(max({written(x)}, 0), 6) = {written(min(max(x, 0), 6))}",)

    def properties(self, contract: Contract) -> list[Property]:
        return [*values(), real(), *larger(contract, "batches channels pictures long"), *memory(small={"window": "one", "largest": 1})]

    def dressed(self, run: Callable[..., Any], style: Style) -> Callable[..., Any]:
        return run


OPERATION = Relu6()
