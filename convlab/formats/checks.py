"""What is asked of every file before it becomes a model: sizes that fit in memory, finite numbers, JSON that is an object."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..layers import Conv, Network, parameter_shapes, walk

NUMBERS = 100_000_000
DESCRIPTION = 8_000_000


@contextlib.contextmanager
def named(path: object) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def checked_size(network: Network) -> Network:
    if sum(math.prod(shape) for shape in parameter_shapes(network).values()) > NUMBERS:
        raise ValueError("too large")
    return network


def checked_numbers(network: Network, arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"parameters must be finite float32 numbers: {name} holds others")
    for visit in walk(network):
        match visit.layer:
            case Conv(name, _, _, float(eps)) if (arrays[f"{name}.variance"] + np.float32(eps) <= 0).any():
                raise ValueError(f"variance + eps must be above 0: {name}.variance")
    return arrays


def read_json(path: Path) -> dict[str, Any]:
    return parse_json(path.read_bytes(), str(path))


def parse_json(text: str | bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be a JSON object: it is {type(value).__name__}")
    return value
