"""convlab's own `.npz`: one array for each parameter, and a JSON text that describes the rest.

The arrays have the names of `parameter_shapes`; the text describes the network, its labels, the detail of its training pictures, how a
picture is prepared, and a detector's anchors. So the file alone makes a `Model` or a `Detector`. It is read without pickle: loading a file
never runs code from it. What a file declares (names, shapes, the network's sizes) is judged before its numbers are read, so that a small
file cannot take much memory.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from .. import files
from ..forward import Detector, Model, check_parameters
from ..layers import from_dict, to_dict
from ..preprocessing import Preprocessing
from .checks import DESCRIPTION, check_numbers, check_size, float32, named, refused

HEADER = "convlab"
"""Name of the npz member that holds the JSON description."""

FORMAT = 2
"""Format 1, which is read too, knew no detectors and no 8-bit filters."""

WORTH_8_BITS = 32
"""Numbers in a filter: with fewer, as depthwise ones have, scale and low would take as much as 8 bits save; it is stored as float16."""

SCALE, LOW = ":scale", ":low"
"""Endings of the members beside an 8-bit filter: a weight is ``integer * scale + low``, both a number for each output channel."""


def save(model: Model | Detector, path: str | os.PathLike[str], dtype: str | Callable[[str], str] = "float32") -> None:
    """Write a model or a detector as one `.npz` file; an existing file is replaced only once the new one is whole.

    Parameters
    ----------
    model : Model or Detector
    path : path
        Where to; must end in `.npz`.
    dtype : "float32", "float16" or "uint8", or a function
        How to store the filters; what there is one of for each channel stays float32. float16 halves the file and rounds to 11
        bits; uint8 quarters it, each output channel with a scale of its own (small filters are stored as float16, and filters that
        were made of 8 bits keep these). A function is given a parameter's name and returns its dtype. `load` gives float32 again. A
        number that the dtype cannot hold is an error.

    Raises
    ------
    ValueError
        If the ending or dtype is another, or a number does not fit the dtype.
    """
    target = Path(path)
    if target.suffix != ".npz":
        raise ValueError(f"a model is saved as .npz: path={target}")
    dtypes = {name: dtype(name) if callable(dtype) else dtype for name in model.params}
    for wanted in dtypes.values():
        if wanted not in ("float32", "float16", "uint8"):
            raise ValueError(f'dtype must be "float32", "float16" or "uint8": dtype={wanted!r}')
    header: dict[str, Any] = {
        "format": FORMAT,
        "network": to_dict(model.network),
        "labels": model.labels,
        "preprocessing": model.preprocessing.to_dict(),
    }
    if isinstance(model, Detector):
        header["anchors"] = model.shapes
    else:
        header["detail"] = model.detail
    arrays = {HEADER: np.array(json.dumps(header, ensure_ascii=False))}
    for name, array in model.params.items():
        arrays |= _stored(name, array, dtypes[name] if array.ndim > 1 else "float32")
    files.write(target, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]  # the stub takes **arrays for allow_pickle


def _stored(name: str, array: np.ndarray, dtype: str) -> dict[str, np.ndarray]:
    """Return the members of a file that hold one parameter."""
    if dtype == "uint8" and array[..., 0].size < WORTH_8_BITS:
        dtype = "float16"
    if dtype == "uint8":
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds numbers that are not finite: uint8 has no place for them")
        scale, low = _steps(array)
        steps = np.rint((array - low) / np.where(scale == 0, 1, scale)).clip(0, 255).astype(np.uint8)
        return {name: steps, name + SCALE: scale.astype(np.float32), name + LOW: low.astype(np.float32)}
    with np.errstate(over="ignore"):
        stored = array.astype(dtype)
    if not np.array_equal(np.isfinite(stored), np.isfinite(array)):
        raise ValueError(f"{name} holds numbers too large for {dtype}: at most {np.finfo(dtype).max}")
    return {name: stored}


def _steps(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return scale and low of each output channel, float64, that put 256 steps where its numbers lie."""
    values = np.unique(array).astype(np.float64)
    if 1 < len(values) <= 256:  # they may have been 8 bits before, with one scale for all
        gaps = np.rint((values - values[0]) / np.diff(values).min())
        scale = (values[-1] - values[0]) / gaps[-1]
        if gaps[-1] <= 255 and np.abs(values[0] + gaps * scale - values).max() <= 2.0**-22 * np.abs(values).max():
            return np.full(array.shape[-1], scale), np.full(array.shape[-1], values[0])
    channels = array.reshape(-1, array.shape[-1]).astype(np.float64)
    low = channels.min(axis=0)
    return (channels.max(axis=0) - low) / 255, low


@dataclass(frozen=True)
class _Member:
    """An array of a `.npz` as its header declares it; its numbers begin at `start`."""

    info: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    start: int

    @classmethod
    def declared(cls, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{info.filename!r} is packed as NumPy packs nothing")
        with archive.open(info) as stream:
            if np.lib.format.read_magic(stream) != (1, 0):
                raise ValueError(f"{info.filename!r} has a header as no plain array has it")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
            if dtype.hasobject:
                raise ValueError(f"{info.filename!r} holds Python objects")
            return cls(info, shape, dtype, fortran, stream.tell())

    def content(self, archive: zipfile.ZipFile) -> bytes:
        """Return the numbers as bytes; they must be as many as declared, and their checksum right."""
        size = math.prod(self.shape) * self.dtype.itemsize
        with archive.open(self.info) as stream:
            stream.read(self.start)
            data = stream.read(size + 1)  # one more, since the checksum is looked at where the member ends
        if len(data) != size:
            raise ValueError(f"{self.info.filename!r} must hold {size} bytes and holds {'more' if len(data) > size else len(data)}")
        return data

    def text(self, archive: zipfile.ZipFile) -> str:
        if self.dtype.kind != "U" or self.shape != ():
            raise ValueError(f"{self.info.filename!r} must be a text: it is {self.dtype} {self.shape}")
        if self.dtype.itemsize > 4 * DESCRIPTION:
            raise ValueError(f"{self.info.filename!r} may have {DESCRIPTION:,} characters at most")
        order = "be" if self.dtype.str.startswith(">") else "le"
        return self.content(archive).decode(f"utf-32-{order}", "surrogatepass").rstrip("\0")

    def array(self, archive: zipfile.ZipFile) -> np.ndarray:
        flat = np.frombuffer(self.content(archive), self.dtype)
        array = flat.reshape(self.shape[::-1]).T if self.fortran else flat.reshape(self.shape)
        return float32(array)


def load(path: Path) -> Model | Detector:
    """Read a model or a detector from a convlab `.npz`."""
    with files.open_file(path) as file:
        with refused(f"{path} is not a readable .npz of plain arrays"):
            archive = zipfile.ZipFile(file)
            members = {info.filename.removesuffix(".npy"): _Member.declared(archive, info) for info in archive.infolist()}
            text = members[HEADER].text(archive) if HEADER in members else None
        if text is None:
            raise ValueError(f"{path} is a .npz, but not a model: it has no member {HEADER!r}")
        del members[HEADER]
        header = files.json_object(text, f"{path}: member {HEADER!r}")
        if header.get("format") not in (1, FORMAT):
            raise ValueError(f"{path} has format {header.get('format')!r}; this convlab reads formats 1 and {FORMAT}")
        with named(path):
            network = from_dict(cast(Mapping[str, Any], header.get("network")))
            check_size(network)
            prepared = header.get("preprocessing")  # files of the first convlabs have none
            preprocessing = None if prepared is None else Preprocessing.from_dict(prepared)
            eight = {name for name in members if {name + SCALE, name + LOW} <= members.keys()}
            beside = {name + ending for name in eight for ending in (SCALE, LOW)}
            check_parameters(network, {name: (member.shape, member.dtype) for name, member in members.items() if name not in beside})
            for name in eight:
                _check_eight(name, members)
        with refused(f"{path} is not a readable .npz of plain arrays"):
            arrays = {name: member.array(archive) for name, member in members.items() if name not in beside}
            for name in eight:
                arrays[name] = arrays[name] * members[name + SCALE].array(archive) + members[name + LOW].array(archive)
    with named(path):
        check_numbers(network, arrays)
        if "anchors" in header:
            return Detector(network, arrays, header.get("labels"), header["anchors"], preprocessing)
        return Model(network, arrays, header.get("labels"), header.get("detail"), preprocessing)


def _check_eight(name: str, members: Mapping[str, _Member]) -> None:
    """Raise ValueError if an 8-bit filter's scale and low do not go with it."""
    steps, beside = members[name], [members[name + ending] for ending in (SCALE, LOW)]
    if steps.dtype != np.uint8 or any(member.dtype != np.float32 or member.shape != steps.shape[-1:] for member in beside):
        raise ValueError(f"{name} must be uint8 with a float32 scale and low for each output channel")
