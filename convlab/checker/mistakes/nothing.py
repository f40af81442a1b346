"""What needs no numbers to be recognised: nothing came back, or always the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..calls import Call
from ..operations import OPS
from .mistake import Mistake


def _filled(number: int) -> Callable[..., Any]:
    """Return a function of any operation whose result holds this number only."""

    def wrong(c: Any, *others: Any, **_: Any) -> Any:
        right = c.right() if isinstance(c, Call) else (c, others[0]) if others else c  # relu6's x; the filters and biases to be folded
        if isinstance(right, tuple):
            return tuple(np.full_like(part, number) if isinstance(part, np.ndarray) else number for part in right)
        return np.full_like(right, number) if isinstance(right, np.ndarray) else number

    return wrong


NO_RESULT = Mistake(
    "no result returned",
    "The function ends without handing its result back: where no return is reached, Python returns None.",
    "Which line of your function gives the result to the caller, and is it always reached?",
    lambda *_, **__: None,
    OPS,
)
ONLY_ZEROS = Mistake(
    "only zeros",
    "Whatever the arguments, the result is zero: it is what it began as, and no sum ever gets into it.",
    "Which line writes into your result, and is it ever reached? Print what it writes.",
    _filled(0),
    OPS,
)
ONE_NUMBER = Mistake(
    "one number everywhere",
    "Every number of the result is the same one, whatever the arguments.",
    "Which line of your function reads the arguments, and does what it reads get into the result?",
    _filled(7),
    OPS,
)


MISTAKES = (
    NO_RESULT,
    ONLY_ZEROS,
    ONE_NUMBER,
)
