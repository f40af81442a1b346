"""The matrix of columns: every window of the picture as a row or a column, in the order of its style."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ...kernels import im2col
from ..calls import Call, pair
from ..contracts import Arguments, Contract, Explanation, Form, Operation, fresh, written
from ..properties import Property, larger, memory, steps, together, values
from ..strategies import Case, short
from ..styles import Style


def matrix(windows: np.ndarray, style: str) -> np.ndarray:
    """Return windows (N, OH, OW, KH, KW, C) as the style's matrix of columns; a view where that is possible."""
    n, oh, ow, kh, kw, channels = windows.shape
    taps = kh * kw * channels
    if style == "convlab":
        return windows.reshape(n * oh * ow, taps)
    if style == "torch":
        return windows.transpose(0, 5, 3, 4, 1, 2).reshape(n, taps, oh * ow)
    return windows.transpose(5, 3, 4, 1, 2, 0).reshape(taps, oh * ow * n)


class Im2col(Operation):
    """The matrix of columns."""

    name = "im2col"
    signatures: ClassVar[Mapping[str, str]] = {
        "convlab": "f(x, kernel, stride=1, padding=0, dilation=1), f(x, spec) or f(x, geometry) -> (N*OH*OW, KH*KW*C)",
        "cs231n": "f(x, field_height, field_width, padding=1, stride=1) -> (C*FH*FW, OH*OW*N)",
        "torch": "f(x, kernel_size, dilation=1, padding=0, stride=1) -> (N, C*KH*KW, OH*OW)",
    }

    def options(self, style: str) -> tuple[str, ...]:
        return ("stride", "padding") if style == "cs231n" else ("stride", "padding", "dilation")

    def leading(self, contract: Contract) -> tuple[str, ...]:
        if contract.form != "options":
            return ("x", contract.form)
        return ("x", "field_height", "field_width") if contract.style == "cs231n" else ("x", "kernel")

    def form(self, parameters: Sequence[str], style: str) -> Form:
        if style != "convlab":
            return "options"
        return "geometry" if parameters[1:2] in (["geometry"], ["g"]) else "spec" if parameters[1:2] == ["spec"] else "options"

    def positional(self, style: str) -> int:
        return 3 if style == "cs231n" else 2

    def knows(self, form: str, contract: Contract) -> bool:
        if form == "kernel pair":
            return contract.form == "options" and contract.style != "cs231n"
        return super().knows(form, contract)

    def arguments(self, contract: Contract, case: Case) -> Arguments:
        x = fresh(contract.image(case.x), case)
        if contract.form != "options":
            return [x, case.geometry if contract.form == "geometry" else case.spec], {}
        kernel = case.spec.kernel if contract.style == "cs231n" else (short(case.spec.kernel),)
        return [x, *kernel], contract.options(case)

    def expected(self, contract: Contract, case: Case) -> np.ndarray:
        return matrix(im2col.windows(case.x.astype(np.float64), case.geometry), contract.style)

    def explanation(self, contract: Contract, case: Case, cell: tuple[int, ...]) -> Explanation:
        """Say which window and which tap a cell of the matrix belongs to."""
        g = case.geometry
        if contract.style == "convlab":
            position, tap = cell
            n, place = divmod(position, g.positions)
            (u, v), c = divmod(tap // case.x.shape[3], case.spec.kernel[1]), tap % case.x.shape[3]
        else:
            kh, kw = case.spec.kernel
            if contract.style == "torch":
                n, tap, place = cell
            else:
                tap, position = cell
                place, n = divmod(position, case.batch)
            c, rest = divmod(tap, kh * kw)
            u, v = divmod(rest, kw)
        i, j = divmod(place, g.out_width)
        p, q = g.height.taps(i)[u], g.width.taps(j)[v]
        inside = 0 <= p < case.height and 0 <= q < case.width
        return {}, (
            f"cell {list(cell)} is image {n}, window ({i}, {j}), tap ({u}, {v}), channel {c}",
            f"it reads row {p}, column {q}: " + (written(case.x[n, p, q, c]) if inside else "padding, 0"),
        )

    def properties(self, contract: Contract) -> list[Property]:
        return [
            *values(),
            Property("rectangles", "pictures and windows that are not square", 2),
            Property("whole", "a window as large as the picture", 1, {"window": "whole"}, examples=10),
            Property("batch", "several images", 1, {"batches": (2, 3)}),
            *steps(contract),
            together(contract),
            *larger(contract, "windows batches channels pictures long"),
            *memory(small={"window": "one"}),  # there a view of the picture could pass for a result
        ]

    def dressed(self, run: Callable[..., Any], style: Style) -> Callable[..., Any]:
        def function(x, kernel, stride=1, padding=0, dilation=1):  # type: ignore[no-untyped-def]
            seen = style.image_back(x)
            return run(
                Call(self, style.name, seen, np.empty((*pair(kernel), seen.shape[3], 1)), None, pair(stride), padding, pair(dilation), 1)
            )

        def courses(x, field_height, field_width, padding=1, stride=1):  # type: ignore[no-untyped-def]
            return function(x, (field_height, field_width), stride, padding)  # type: ignore[no-untyped-call]

        return courses if style.name == "cs231n" else function

    def finish(self, call: Call, windows: np.ndarray) -> Any:
        return matrix(windows, call.style).copy()  # where no windows overlap, reshape alone gives a view of x


OPERATION = Im2col()
