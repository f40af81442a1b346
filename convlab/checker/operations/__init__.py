"""The operations that functions are checked for, a file each; one more is a file here and a line in `FILES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from ..contracts import Operation
from ..styles import STYLES

FILES = (
    "conv2d",
    "depthwise",
    "pointwise",
    "im2col",
    "output_size",
    "cost",
    "relu6",
    "fold_batch_norm",
)

OPERATIONS: Mapping[str, Operation] = {name: import_module(f"{__name__}.{name}").OPERATION for name in FILES}
"""All of them, by name."""

OPS = tuple(OPERATIONS)

SIGNATURES: Mapping[tuple[str, str], str] = {
    (name, style): text for name, operation in OPERATIONS.items() for style, text in operation.signatures.items()
}
"""What a function of each operation and style looks like. Those that know no layout are the same in every style."""

WITHOUT_LAYOUT = tuple(name for name, operation in OPERATIONS.items() if not operation.layout)


def dressed(run: Callable[..., Any], op: str, style: str) -> Callable[..., Any]:
    """Return ``run(call)`` as a function with the parameters of an operation and style; see `Call`."""
    return OPERATIONS[op].dressed(run, STYLES[style])
