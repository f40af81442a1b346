"""Batch norm folded into the convolution before it: other filters and biases, the same result."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..contracts import NAMES, Arguments, Contract, Explanation, Operation, WrongKind, fresh, numbers, said, written
from ..properties import Property, bias, larger, memory, real, values
from ..strategies import Case
from ..styles import Style


class FoldBatchNorm(Operation):
    """Batch norm folded into the filters before it."""

    name = "fold_batch_norm"
    signatures: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("convlab", "torch"), "f(w, bias, gamma, beta, mean, variance, eps) -> (w, bias)"
    )

    def options(self, style: str) -> tuple[str, ...]:
        return ()

    def leading(self, contract: Contract) -> tuple[str, ...]:
        return ("w", "bias", "gamma", "beta", "mean", "variance")

    def read(self, style: str, parameters: Sequence[inspect.Parameter] | None) -> Contract:
        return Contract(self, style, names={"eps": next((p.name for p in parameters or () if p.name in NAMES["eps"]), "eps")})

    def arguments(self, contract: Contract, case: Case) -> Arguments:
        old = np.zeros(case.spec.out_channels, case.dtype) if case.bias is None else case.bias
        w = np.ascontiguousarray(contract.rules.filters(case.w))
        return [fresh(a, case) for a in (w, old, *case.statistics.values())], {contract.names["eps"]: case.eps}

    def returned(self, contract: Contract, result: Any) -> np.ndarray:
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise WrongKind(f"must return (w, bias): it returned {said(result)}")
        w, bias = map(numbers, result)
        outputs = w.reshape(len(w), -1).T if contract.channels_first else w.reshape(-1, w.shape[-1]) if w.ndim else w
        if w.ndim != 4 or bias.shape != outputs.shape[1:]:
            raise WrongKind(f"must return (w, bias), shaped as they came: it returned {w.shape} and {bias.shape}")
        return np.concatenate([outputs, bias[None]])  # a column per output channel: its taps, below them its bias

    def expected(self, contract: Contract, case: Case) -> np.ndarray:
        w, outputs = case.w.astype(np.float64), case.spec.out_channels
        gamma, beta, mean, variance = (a.astype(np.float64) for a in case.statistics.values())
        scale = gamma / np.sqrt(variance + case.eps)
        bias = np.zeros(outputs) if case.bias is None else case.bias.astype(np.float64)
        taps = w.transpose(2, 0, 1, 3) if contract.channels_first else w
        return np.concatenate([(taps * scale).reshape(-1, outputs), (beta + (bias - mean) * scale)[None]])

    def tolerance(self, contract: Contract, case: Case) -> np.ndarray | float:
        eps = float(np.finfo(case.dtype).eps)
        largest = sum(float(np.abs(a).max()) for a in case.statistics.values())
        return 8 * eps * (np.abs(self.expected(contract, case)) + largest * 40)

    def explanation(self, contract: Contract, case: Case, cell: tuple[int, ...]) -> Explanation:
        o = cell[-1]
        s = {key: array[o] for key, array in case.statistics.items()}
        scale = s["gamma"] / math.sqrt(s["variance"] + case.eps)
        return {}, (
            f"output channel {o}: scale = gamma / sqrt(variance + eps)",
            f"  = {written(s['gamma'])} / sqrt({written(s['variance'])} + {case.eps:g}) = {written(scale)}",
            f"each of its filter's numbers is multiplied by {written(scale)}",
            f"its bias becomes beta + (bias - mean) * scale = {written(s['beta'])} + (bias - {written(s['mean'])}) * {written(scale)}",
        )

    def properties(self, contract: Contract) -> list[Property]:
        return [*values(), bias(), real(), *larger(contract, "windows channels"), *memory(images=False)]

    def dressed(self, run: Callable[..., Any], style: Style) -> Callable[..., Any]:
        def function(w, bias, gamma, beta, mean, variance, eps):  # type: ignore[no-untyped-def]
            result = run(style.filters_back(w), bias, gamma, beta, mean, variance, eps)
            return None if result is None else (style.filters(result[0]), result[1])

        return function


OPERATION = FoldBatchNorm()
