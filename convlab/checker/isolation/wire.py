"""How arguments and results travel between the grader and the child: a JSON header, then raw bytes.

Nothing is ever unpickled, because unpickling runs what the other side wrote. Arrays travel by value. How an argument lies in memory
(Fortran order, negative strides, broadcast axes) travels with it; of a result only the numbers do. What the function does to its
arguments is seen where it runs, see `checker/outcome.py`.

The child loads this file too: it needs NumPy and the standard library alone.
"""

from __future__ import annotations

import ctypes
import json
import re
import struct
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from ...files import printable

HEAD = struct.Struct(">IQ")
"""What stands before each message: the lengths of its header and of its bytes."""

LARGEST_HEADER = 4 * 2**20
LARGEST_BODY = 32 * 2**20
MOST_PARTS = 1000
DEEPEST = 9  # of lists in lists: the arguments of several calls need eight

PLAIN = re.compile(r"[<>|=](b1|[iu][1248]|f[248]|c8|c16)")
"""The dtypes that travel: numbers and truth values. Objects are pointers, which mean nothing elsewhere; long doubles differ by machine."""

REFUSED = (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError)
"""What `unpack` raises where a message is not as `pack` makes them: it may come from a hostile program."""


class Foreign:
    """What a function returned that is no number, array or list of these: a class of the same name, and its description."""

    description = ""

    def __repr__(self) -> str:
        return self.description


class TooLarge(ValueError):
    """A message is larger than the limits above."""


def pack(value: Any, layouts: bool = False, **header: Any) -> bytes:
    """Return a message that carries `value` and the header's entries.

    Parameters
    ----------
    value : object
        Numbers, strings, None, arrays, specs and geometries, and lists, tuples and dicts of these. Other
        dataclasses arrive as dicts; of anything else a description is sent.
    layouts : bool
        Whether arrays arrive with the strides and the writeability that they have. The memory that two arrays share is not kept shared.
    **header : object
        Entries beside the value that JSON can hold.

    Raises
    ------
    TooLarge
        If it is larger than the limits.
    """
    parts: list[bytes] = []

    def write(value: Any, depth: int) -> Any:
        if isinstance(value, np.ndarray | np.generic) and PLAIN.fullmatch(value.dtype.str):  # first: a np.float64 is a float too
            return {"scalar" if isinstance(value, np.generic) else "array": array(np.asarray(value))}
        if hasattr(value, "__array__"):  # a tensor, say
            converted = np.asarray(value)
            return {"array": array(converted)} if PLAIN.fullmatch(converted.dtype.str) else {"foreign": _describe(value)}
        if value is None or isinstance(value, bool | float):
            return value
        if (isinstance(value, int) and value.bit_length() <= 1024) or (isinstance(value, str) and len(value) <= 10_000):
            return value
        if depth == DEEPEST:
            return {"foreign": _describe(value)}
        if isinstance(value, list | tuple):
            return {"list" if isinstance(value, list) else "tuple": [write(item, depth + 1) for item in value]}
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {"dict": {key: write(item, depth + 1) for key, item in value.items()}}
        if type(value).__name__ == "ConvSpec" and hasattr(value, "geometry"):
            return {"spec": dict(vars(value))}
        if type(value).__name__ == "ConvGeometry" and hasattr(value, "spec"):
            return {"geometry": [dict(vars(value.spec)), value.height.input, value.width.input]}
        if is_dataclass(value) and not isinstance(value, type):
            return {"dict": {field.name: write(getattr(value, field.name), depth + 1) for field in fields(value)}}
        return {"foreign": _describe(value)}

    def array(value: np.ndarray) -> dict[str, Any]:
        if value.nbytes > LARGEST_BODY:
            raise TooLarge(f"arrays must have {LARGEST_BODY >> 20} MiB at most: shape={value.shape}, dtype={value.dtype}")
        recipe: dict[str, Any] = {"dtype": value.dtype.str, "shape": value.shape, "part": len(parts)}
        span = _span(value) if layouts else None
        if span is None or span[1] > LARGEST_BODY:  # a view with wide gaps has none that is worth sending
            parts.append(value.tobytes())
            return recipe
        start, size = span
        first = value.__array_interface__["data"][0]
        lead = start % value.dtype.alignment  # so that what was not aligned is not
        parts.append(bytes(lead) + ctypes.string_at(start, size))
        return {**recipe, "strides": value.strides, "offset": lead + first - start, "writeable": value.flags.writeable}

    tree = write(value, 0)
    text = json.dumps({**header, "value": tree, "parts": [len(part) for part in parts]}).encode()
    body = sum(map(len, parts))
    if len(text) > LARGEST_HEADER or body > LARGEST_BODY or len(parts) > MOST_PARTS:
        raise TooLarge(
            f"a message must have {LARGEST_BODY >> 20} MiB and {MOST_PARTS} arrays at most: "
            f"it has {(len(text) + body) >> 20} MiB and {len(parts)}"
        )
    return b"".join([HEAD.pack(len(text), body), text, *parts])


def _span(array: np.ndarray) -> tuple[int, int]:
    """Return where the memory that an array spans begins, and its size, gaps between the elements included."""
    steps = [(n - 1) * stride for n, stride in zip(array.shape, array.strides, strict=True)] if array.size else []
    start = array.__array_interface__["data"][0] + sum(step for step in steps if step < 0)
    return start, sum(map(abs, steps)) + array.itemsize if array.size else 0


def _describe(value: Any) -> list[str]:
    """Return the name of a value's type and what can be said of it without asking the value itself."""
    kind = type(value)
    text = f"<dtype {value.dtype}, shape {value.shape}>" if isinstance(value, np.ndarray) else f"<{kind.__module__}.{kind.__qualname__}>"
    return [kind.__name__, text]


def lengths(head: bytes) -> tuple[int, int]:
    """Return the lengths that a message's first bytes promise.

    Raises
    ------
    TooLarge
        If they are beyond the limits: nobody reads on.
    """
    header, body = HEAD.unpack(head)
    if header > LARGEST_HEADER or body > LARGEST_BODY:
        raise TooLarge(f"a message must have {LARGEST_BODY >> 20} MiB at most: it promises {(header + body) >> 20} MiB")
    return header, body


def unpack(text: bytes, body: bytes, spec: Callable[..., Any] | None = None, layouts: bool = False) -> tuple[Any, dict[str, Any]]:
    """Return the value and the other entries of the header.

    Parameters
    ----------
    text, body : bytes
        The two parts of a message.
    spec : callable, optional
        `ConvSpec`; without it a spec is refused.
    layouts : bool
        Whether arrays may ask for a place in memory: the grader is believed, a submission is not.

    Raises
    ------
    ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError
        If the message is not as `pack` makes them.
    """
    header = json.loads(text)
    sizes = header.pop("parts")
    if len(sizes) > MOST_PARTS:
        raise TooLarge(f"a message must have {MOST_PARTS} arrays at most: it has {len(sizes)}")
    parts: dict[int, memoryview] = {}
    at = 0
    for i, size in enumerate(sizes):
        parts[i] = memoryview(body)[at : at + size]
        at += size

    def read(tree: Any) -> Any:
        if not isinstance(tree, dict):
            if isinstance(tree, list):
                raise ValueError("a list must say that it is one")
            return tree
        ((kind, content),) = tree.items()
        if kind in ("list", "tuple"):
            items = [read(item) for item in content]
            return items if kind == "list" else tuple(items)
        if kind == "dict":
            return {key: read(item) for key, item in content.items()}
        if kind == "array":
            return array(content)
        if kind == "scalar":
            return array(content)[()]
        if kind == "foreign":
            name, description = (printable(str(word)) for word in content)
            return type(name[:100], (Foreign,), {"description": description[:200]})()
        if spec is not None and kind == "spec":
            return spec(**content)
        if spec is not None and kind == "geometry":
            given, height, width = content
            return spec(**given).geometry(height, width)
        raise ValueError(f"no such kind of value: {kind!r}")

    def array(recipe: dict[str, Any]) -> np.ndarray:
        if not PLAIN.fullmatch(recipe["dtype"]):
            raise ValueError(f"arrays must hold plain numbers: dtype={recipe['dtype']!r}")
        dtype, shape = np.dtype(recipe["dtype"]), tuple(recipe["shape"])
        if not all(length >= 0 for length in shape):
            raise ValueError(f"lengths must be at least 0: shape={str(shape)[:100]}")
        part = np.frombuffer(parts.pop(recipe["part"]), np.uint8)  # once: no array is larger than what came for it
        if not layouts or "strides" not in recipe:
            return np.array(part).view(dtype).reshape(shape)
        owner = shape == () or np.empty(shape, dtype).strides == tuple(recipe["strides"])
        if owner and part.size == dtype.itemsize * int(np.prod(shape)):  # the usual case: an array that owns its memory
            result = np.empty(shape, dtype)
            result.reshape(-1).view(np.uint8)[:] = part
        else:
            result = np.ndarray(shape, dtype, buffer=part.copy(), offset=recipe["offset"], strides=recipe["strides"])
        result.flags.writeable = bool(recipe["writeable"])
        return result

    return read(header.pop("value")), header
