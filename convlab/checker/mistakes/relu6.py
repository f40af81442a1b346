"""relu6: two limits."""

from __future__ import annotations

import numpy as np

from .mistake import Mistake


def _in_place_relu6(x):  # type: ignore[no-untyped-def]
    return np.clip(x, 0, 6, out=x)


def _view_relu6(x):  # type: ignore[no-untyped-def]
    y = np.clip(x, 0, 6)
    return x if np.array_equal(x, y) else y


MISTAKES = (
    Mistake(
        "no upper limit", "Numbers above 6 are let through: that is ReLU.", "What is relu6(8)?", lambda x: np.maximum(x, 0), ("relu6",)
    ),
    Mistake("no lower limit", "Negative numbers are let through.", "What is relu6(-1)?", lambda x: np.minimum(x, 6), ("relu6",)),
    Mistake(
        "limits -6 and 6",
        "Negative numbers are let through down to -6.",
        "What is relu6(-1)?",
        lambda x: np.clip(x, -6, 6),
        ("relu6",),
    ),
    Mistake(
        "large numbers become zero",
        "Numbers above 6 become 0; they become 6.",
        "What is relu6(8)?",
        lambda x: np.where((x > 0) & (x < 6), x, 0).astype(x.dtype),
        ("relu6",),
    ),
    Mistake(
        "absolute value before the limit",
        "Negative numbers lose their sign; they become 0.",
        "What is relu6(-1)?",
        lambda x: np.minimum(np.abs(x), 6),
        ("relu6",),
    ),
    Mistake(
        "leaky",
        "Negative numbers are made small; they become 0.",
        "What is relu6(-1)?",
        lambda x: np.minimum(np.where(x < 0, x * x.dtype.type(0.1), x), 6),
        ("relu6",),
    ),
    Mistake("limited to 1", "The result is divided by 6.", "What is relu6(3)?", lambda x: np.clip(x, 0, 6) / 6, ("relu6",)),
    Mistake(
        "relu6 in place",
        "The result is right, but x holds it as well: the picture is lost for whoever else reads it.",
        "Does your function write into x?",
        _in_place_relu6,
        ("relu6",),
        seen_in="np.clip(x, 0, 6, out=x); PyTorch's ReLU6(inplace=True)",
        one_image=False,
    ),
    Mistake(
        "relu6 returns x itself",
        "Where nothing has to be cut off, x itself comes back: whoever changes the result changes the picture.",
        "Is the result always an array of its own?",
        _view_relu6,
        ("relu6",),
        one_image=False,
    ),
    Mistake(
        "relu6 in integers",
        "Everything after the decimal point is cut off.",
        "What is relu6(2.5)?",
        lambda x: np.clip(x.astype(np.int64), 0, 6),
        ("relu6",),
    ),
)
