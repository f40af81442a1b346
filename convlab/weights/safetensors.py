"""The `.safetensors` container: one file, or shards with an index that says which holds what.

A file is a length, a JSON header that names every tensor with its type, shape and place, and the numbers. The package safetensors judges
the header; the numbers are read from their place, since NumPy has no bfloat16: it is the upper half of a float32.
"""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path

import numpy as np

from .checks import read_json
from .tensors import Tensor, Tensors

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}


def read_file(path: Path) -> Tensors:
    """Return the tensors that a file declares."""
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError:
        raise ModuleNotFoundError('reading .safetensors needs safetensors: pip install "convlab-engine[lab]"') from None
    try:
        with safe_open(path, framework="numpy"):  # refuses headers that lie about the file
            pass
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable .safetensors file: {error}") from error
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] not in _DTYPES:
            raise ValueError(f"{path}: tensors must be of one of {', '.join(_DTYPES)}: {name} is {entry['dtype']}")
        tensors[name] = Tensor(tuple(entry["shape"]), partial(_numbers, path, 8 + length + entry["data_offsets"][0], entry))
    return tensors


def _numbers(path: Path, start: int, entry: dict) -> np.ndarray:  # type: ignore[type-arg]  # JSON
    shape = tuple(entry["shape"])
    with open(path, "rb") as file:
        file.seek(start)
        flat = np.frombuffer(file.read(math.prod(shape) * np.dtype(_DTYPES[entry["dtype"]]).itemsize), _DTYPES[entry["dtype"]])
    if entry["dtype"] == "BF16":
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    return flat.reshape(shape)


def shards(index: Path) -> dict[str, str]:
    """Return which file holds each tensor, by what an index says."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        raise ValueError(f"{index}: weight_map must say which file holds each tensor")
    for shard in places.values():
        if Path(shard).name != shard:
            raise ValueError(f"{index}: shards must lie beside their index: {shard!r}")
    return places


def read_shards(index: Path) -> Tensors:
    """Return the tensors of all shards that an index names; each must be in the shard that is said to hold it."""
    places = shards(index)
    found = {}
    for shard in sorted(set(places.values())):
        if not index.with_name(shard).is_file():
            raise FileNotFoundError(f"{index} names the shard {shard}, which is missing")
        found[shard] = read_file(index.with_name(shard))
    lost = [name for name, shard in places.items() if name not in found[shard]]
    if lost:
        raise ValueError(f"{index}: the shards must hold what the index says: {lost[0]} is not in {places[lost[0]]}")
    return {name: found[shard][name] for name, shard in places.items()}
