"""convlab's own `.npz`: one array for each parameter, and a JSON text that describes the rest.

The arrays have the names of `parameter_shapes`; the text describes the network, its labels, the detail of its training pictures and how a
picture is prepared. So the file alone makes a `Model`. It is read without pickle: loading a file never runs code from it. What
a file declares (names, shapes, the network's sizes) is judged before its numbers are read, so that a small file cannot take much memory.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from .. import files
from ..forward import Model, check_parameters
from ..layers import from_dict, to_dict
from ..preprocessing import Preprocessing
from .checks import DESCRIPTION, check_numbers, check_size, float32, named, refused

HEADER = "convlab"
"""Name of the npz member that holds the JSON description."""

FORMAT = 1


def save(model: Model, path: str | os.PathLike[str], dtype: str = "float32") -> None:
    """Write a model as one `.npz` file; an existing file is replaced only once the new one is whole.

    Parameters
    ----------
    model : Model
    path : path
        Where to; must end in `.npz`.
    dtype : "float32" or "float16"
        How to store the numbers. float16 halves the file and rounds weights to 11 bits; `load` gives float32
        again. A number that float16 cannot hold is an error.

    Raises
    ------
    ValueError
        If the ending or dtype is another, or a number does not fit the dtype.
    """
    target = Path(path)
    if target.suffix != ".npz":
        raise ValueError(f"a model is saved as .npz: path={target}")
    if dtype not in ("float32", "float16"):
        raise ValueError(f'dtype must be "float32" or "float16": dtype={dtype!r}')
    header = {
        "format": FORMAT,
        "network": to_dict(model.network),
        "labels": model.labels,
        "detail": model.detail,
        "preprocessing": model.preprocessing.to_dict(),
    }
    arrays = {HEADER: np.array(json.dumps(header, ensure_ascii=False))}
    for name, array in model.params.items():
        with np.errstate(over="ignore"):
            arrays[name] = array.astype(dtype)
        if not np.array_equal(np.isfinite(arrays[name]), np.isfinite(array)):
            raise ValueError(f"{name} holds numbers too large for {dtype}: at most {np.finfo(dtype).max}")
    files.write(target, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]  # the stub takes **arrays for allow_pickle


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


def load(path: Path) -> Model:
    """Read a model from a convlab `.npz`."""
    with files.open_file(path) as file:
        with refused(f"{path} is not a readable .npz of plain arrays"):
            archive = zipfile.ZipFile(file)
            members = {info.filename.removesuffix(".npy"): _Member.declared(archive, info) for info in archive.infolist()}
            text = members[HEADER].text(archive) if HEADER in members else None
        if text is None:
            raise ValueError(f"{path} is a .npz, but not a model: it has no member {HEADER!r}")
        del members[HEADER]
        header = files.json_object(text, f"{path}: member {HEADER!r}")
        if header.get("format") != FORMAT:
            raise ValueError(f"{path} has format {header.get('format')!r}; this convlab reads format {FORMAT}")
        with named(path):
            network = from_dict(cast(Mapping[str, Any], header.get("network")))
            check_size(network)
            prepared = header.get("preprocessing")  # files of the first convlabs have none
            preprocessing = None if prepared is None else Preprocessing.from_dict(prepared)
            check_parameters(network, {name: (member.shape, member.dtype) for name, member in members.items()})
        with refused(f"{path} is not a readable .npz of plain arrays"):
            arrays = {name: member.array(archive) for name, member in members.items()}
    with named(path):
        check_numbers(network, arrays)
        return Model(network, arrays, header.get("labels"), header.get("detail"), preprocessing)
