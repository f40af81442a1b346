"""What is asked of every file before it becomes a model: sizes that fit in memory, finite numbers, JSON that is an object."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..layers import Conv, Network, parameter_shapes, walk

NUMBERS = 100_000_000
"""How many numbers a model from a file may have in its parameters, and in what any of its layers reads or writes."""

CLASSES = 1_000_000
"""How many classes a config may ask for."""

DESCRIPTION = 8_000_000
"""How many characters a description may have: a network's, with the names of its classes."""


@contextlib.contextmanager
def refused(message: str) -> Iterator[None]:
    """Turn any error into one ValueError: zipfile, zlib and NumPy's reader of headers each have their own, and warn besides."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        raise ValueError(f"{message}: {error}") from error


@contextlib.contextmanager
def as_written(by: str) -> Iterator[None]:
    """Turn what a damaged file leads its reader to, a missing key or a wrong index, into one ValueError."""
    try:
        yield
    except (ValueError, OSError, ImportError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(f"it is not as {by} writes it: {type(error).__name__}: {files.plain(error)}") from error


@contextlib.contextmanager
def named(path: object) -> Iterator[None]:
    """Let a refusal name the file."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def check_size(network: Network) -> None:
    """Raise ValueError if the network has more parameters, or a layer meets more numbers, than `NUMBERS`."""
    rule = f"a model from a file may have {NUMBERS:,} numbers at most"
    count = sum(map(math.prod, parameter_shapes(network).values()))
    if count > NUMBERS:
        raise ValueError(f"{rule} as parameters: the network {network.name!r} has {count:,}")
    for visit in walk(network):
        sizes = [math.prod(visit.input), math.prod(visit.output)]
        if visit.geometry is not None:
            sizes.append(visit.geometry.height.padded * visit.geometry.width.padded * visit.input[2])
        if max(sizes) > NUMBERS:
            raise ValueError(f"{rule} between two layers, padding included: {visit.layer.name!r} meets {max(sizes):,}")


def float32(array: np.ndarray) -> np.ndarray:
    """Return an array as float32, what float32 cannot hold as infinity."""
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def check_numbers(network: Network, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError if the arrays are no numbers that a network can run on."""
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"parameters must be finite float32 numbers: {name} holds others")
    for visit in walk(network):
        match visit.layer:
            case Conv(name, _, _, float(eps)):
                least = float(arrays[f"{name}.variance"].min())
                if least + eps <= 0 or eps > float(np.finfo(np.float32).max):
                    raise ValueError(
                        "variance + eps must be above 0 and a float32 number, it is divided by:"
                        f" eps={eps}, and {name}.variance goes down to {least}"
                    )


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds."""
    return files.json_object(files.read(path, DESCRIPTION), str(path))
