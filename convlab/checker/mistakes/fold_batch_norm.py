"""Batch norm folded into the filters before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .mistake import OPEN, Mistake


def _fold(gamma_used: bool = True, root: bool = True, mean_used: bool = True, beta_used: bool = True, **other: Any) -> Callable[..., Any]:
    """Return the folding with a part of it left out."""

    def fold(w, bias, gamma, beta, mean, variance, eps):  # type: ignore[no-untyped-def]
        spread = variance + (eps if other.get("eps_used", True) else 0)
        deviation = np.sqrt(spread) if root else spread
        if other.get("eps_outside"):
            deviation = np.sqrt(variance) + eps
        scale = (gamma if gamma_used else np.ones_like(gamma)) / deviation
        old = bias if other.get("bias_used", True) else 0 * bias
        shift = (old - (mean if mean_used else 0)) * scale
        if other.get("bias_unscaled"):
            shift = old - mean * scale
        if other.get("mean_unscaled"):
            shift = old * scale - mean
        if other.get("inputs_scaled"):
            return w * scale[: w.shape[2], None], shift + beta
        return w * (scale if other.get("w_scaled", True) else 1), shift + (beta if beta_used else 0)

    return fold


def _fold_in_place(w, bias, gamma, beta, mean, variance, eps):  # type: ignore[no-untyped-def]
    scale = gamma / np.sqrt(variance + eps)
    w *= scale
    return w, beta + (bias - mean) * scale


MISTAKES = (
    *(
        Mistake(name, explanation, hint, fold, ("fold_batch_norm",), OPEN)
        for name, explanation, hint, fold in (
            ("epsilon left out", "The variance is used without epsilon.", "What is under the root?", _fold(eps_used=False)),
            (
                "epsilon outside of the root",
                "Epsilon is added to the standard deviation; it belongs to the variance.",
                "What is under the root?",
                _fold(eps_outside=True),
            ),
            (
                "no root",
                "The filters are divided by the variance; it takes its root, the standard deviation.",
                "In which unit is a variance?",
                _fold(root=False),
            ),
            ("gamma left out", "gamma is not multiplied in.", "Which of the four statistics do you use?", _fold(gamma_used=False)),
            ("beta left out", "beta is not added.", "Which of the four statistics do you use?", _fold(beta_used=False)),
            ("mean left out", "The mean is not taken off.", "Which of the four statistics do you use?", _fold(mean_used=False)),
            (
                "mean not scaled",
                "The mean is taken off without being divided by the deviation and multiplied by gamma.",
                "What is done to a number after the mean is taken off?",
                _fold(mean_unscaled=True),
            ),
            ("old bias left out", "The convolution's own bias is lost.", "What if the convolution has a bias?", _fold(bias_used=False)),
            (
                "old bias not scaled",
                "The convolution's own bias goes through batch norm too: it must be scaled like the filters.",
                "What does batch norm do to the bias that is already in its input?",
                _fold(bias_unscaled=True),
            ),
            (
                "filters not scaled",
                "Only the bias is changed; the filters must be scaled too.",
                "Which of w's numbers change?",
                _fold(w_scaled=False),
            ),
            (
                "input channels scaled",
                "The scale lies along the input channels; batch norm comes after the convolution, so it belongs to the output channels.",
                "How many numbers has gamma: as many as input, or as output channels?",
                _fold(inputs_scaled=True),
            ),
        )
    ),
    Mistake(
        "filters scaled in place",
        "The result is right, but the w that came in is changed: folding twice scales twice.",
        "Does your function write into w?",
        _fold_in_place,
        ("fold_batch_norm",),
        OPEN,
        one_image=False,
    ),
)
