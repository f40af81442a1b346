"""A wrong way to do it, and the operations and styles in which it can be made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..operations import OPERATIONS, dressed

C, D, P = "conv2d", "depthwise", "pointwise"
SPATIAL = (C, D)
SUMS = (C, P)
LOOKS = (C, D, "im2col")  # where a window has an extent
EVERYWHERE = (C, D, P, "im2col")
SIZES = (C, D, "im2col", "output_size", "cost")
STEPS = (C, D, P, "im2col", "output_size", "cost")
OPEN = ("convlab", "torch")  # the styles with pairs, dilation, groups, remainders and optional biases


@dataclass(frozen=True)
class Mistake:
    """A wrong way to do it.

    Attributes
    ----------
    name : str
    explanation, hint : str
        What goes wrong and why; where to look, without giving away the code.
    wrong : callable
        ``wrong(call) -> result``; of a stateful mistake, a function that returns a fresh such function.
    ops, styles : tuple of str
        What it applies to.
    seen_in : str
        Where it was met, "" if only in classrooms.
    one_image : bool
        Whether one small image shows it; what needs several calls, layouts or an empty batch does not.
    stateful, unstable : bool
        Whether it keeps something between calls; whether its result is not the same each time.

    What needs no comparison of numbers is recognised by itself: `NO_RESULT`, `ONLY_ZEROS`, `ONE_NUMBER`.
    """

    name: str
    explanation: str
    hint: str
    wrong: Callable[..., Any]
    ops: tuple[str, ...]
    styles: tuple[str, ...] = ("convlab", "cs231n", "torch")
    seen_in: str = ""
    one_image: bool = True
    stateful: bool = False
    unstable: bool = False

    def applies(self, op: str, style: str) -> bool:
        """Return whether the mistake can be made there."""
        return op in self.ops and (not OPERATIONS[op].layout or style in self.styles)

    def function(self, op: str, style: str) -> Callable[..., Any]:
        """Return the mistake as a student's function.

        Examples
        --------
        >>> import numpy as np
        >>> from convlab.checker import MISTAKES
        >>> flipped = next(mistake for mistake in MISTAKES if mistake.name == "flipped kernel")
        >>> f = flipped.function("conv2d", "convlab")
        >>> f(np.array([1.0, 10.0]).reshape(1, 1, 2, 1), np.array([1.0, 2.0]).reshape(1, 2, 1, 1)).item()    # 1*2 + 10*1
        12.0
        """
        wrong = self.wrong() if self.stateful else self.wrong
        return dressed(wrong, op, style)
