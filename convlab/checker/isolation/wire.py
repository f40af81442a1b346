"""How arguments and results travel between the grader and the file under test: a JSON header, then raw bytes.

Nothing is ever unpickled, because unpickling runs what the other side wrote. An array travels as the bytes it
spans in memory and a recipe (dtype, shape, strides, offset), so Fortran order, negative strides and broadcast axes arrive as
they were. A result that shares memory with an argument, or with the result of the call before, is sent
as a recipe over that memory, and the grader rebuilds the sharing on its own arrays. Memory that two arguments share is not kept shared.

The child loads this file by its path, without the package: it imports NumPy and the standard library alone.
"""

from __future__ import annotations

import ctypes
import json
import math
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

HEAD = struct.Struct(">IQ")
"""What stands before each message: the lengths of its header and of its bytes."""

LARGEST_HEADER = 4 * 2**20
LARGEST_BODY = 32 * 2**20
DEEPEST = 6  # of lists in lists: arguments and results need three

PLAIN = re.compile(r"[<>|=](b1|[iu][1248]|f[248]|c8|c16)")
"""The dtypes that travel: numbers and truth values. Objects are pointers, which mean nothing elsewhere; long doubles differ by machine."""


class Foreign:
    """What a function returned that is no number, array or list of these: a class of the same name, and its description."""

    description = ""

    def __repr__(self) -> str:
        return self.description


class TooLarge(ValueError):
    """A message is larger than the limits above."""


class Memory:
    """The bytes that an array spans, gaps between its elements included."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        steps = [(n - 1) * stride for n, stride in zip(array.shape, array.strides, strict=True)] if array.size else []
        self.start = array.__array_interface__["data"][0] + sum(step for step in steps if step < 0)
        self.size = sum(map(abs, steps)) + array.itemsize if array.size else 0

    def read(self) -> bytes:
        return ctypes.string_at(self.start, self.size)

    def write(self, data: bytes) -> None:
        """Overwrite all of it, as the other side did to its copy."""
        if len(data) != self.size:
            raise ValueError(f"memory must be overwritten as a whole: {self.size} bytes, given {len(data)}")
        ctypes.memmove(self.start, data, self.size)

    def holds(self, other: Memory) -> bool:
        return other.size > 0 and self.start <= other.start and other.start + other.size <= self.start + self.size

    def view(self, recipe: dict[str, Any]) -> np.ndarray:
        """Return the array that a recipe describes over this memory, which it keeps alive."""
        dtype, shape, strides = _layout(recipe)
        # The bounds are judged by NumPy on a stand-in of the same size, because an interface is trusted blindly.
        offset = recipe["offset"]
        np.ndarray(shape, dtype, buffer=np.empty(self.size, np.uint8), offset=offset, strides=strides)
        return np.asarray(_Window(self.array, self.start + offset, dtype, shape, strides))


class _Window:
    """An array to be, over memory that belongs to another."""

    def __init__(self, owner: np.ndarray, start: int, dtype: np.dtype, shape: Sequence[int], strides: Sequence[int]) -> None:
        self.owner = owner
        data = (start, not owner.flags.writeable)
        self.__array_interface__ = {"version": 3, "data": data, "typestr": dtype.str, "shape": shape, "strides": strides}


def _layout(recipe: dict[str, Any]) -> tuple[np.dtype, tuple[int, ...], tuple[int, ...]]:
    """Return dtype, shape and strides; an array that is small in bytes but endless in shape is refused."""
    if not PLAIN.fullmatch(recipe["dtype"]):
        raise ValueError(f"arrays must hold plain numbers: dtype={recipe['dtype']!r}")
    dtype, shape, strides = np.dtype(recipe["dtype"]), tuple(recipe["shape"]), tuple(recipe["strides"])
    if not all(type(number) is int for number in (*shape, *strides)):
        raise TypeError(f"shape and strides must be whole numbers: {str((shape, strides))[:100]}")
    if math.prod(shape) * dtype.itemsize > LARGEST_BODY:
        raise TooLarge(f"arrays must have {LARGEST_BODY >> 20} MiB at most: shape={shape}, dtype={dtype}")
    return dtype, shape, strides


def pack(value: Any, memories: Sequence[Memory] = (), **header: Any) -> tuple[bytes, list[Memory]]:
    """Return a message that carries `value` and the header's entries, and the memory of each array in it.

    Parameters
    ----------
    value : object
        Numbers, strings, None, arrays, specs and geometries, and lists, tuples and dicts of these. Other
        dataclasses arrive as dicts; of anything else a description is sent.
    memories : sequence of Memory
        What both sides know already: an array that lies in one of them is sent as a recipe alone.
    **header : object
        Entries beside the value that JSON can hold; bytes are sent raw.

    Raises
    ------
    TooLarge
        If it is larger than the limits.
    """
    parts: list[bytes] = []
    own: list[Memory] = []

    def raw(data: bytes) -> int:
        parts.append(data)
        return len(parts) - 1

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
        memory = Memory(value)
        recipe: dict[str, Any] = {"dtype": value.dtype.str, "shape": value.shape, "strides": value.strides}
        start = value.__array_interface__["data"][0]
        for i, known in enumerate(memories):
            if known.holds(memory):
                return {**recipe, "known": i, "offset": start - known.start}
        if memory.size > LARGEST_BODY:  # a view with wide gaps
            memory = Memory(np.ascontiguousarray(value))
            recipe["strides"], start = memory.array.strides, memory.start
        own.append(memory)
        lead = memory.start % value.dtype.alignment  # so that what was not aligned is not
        offset = lead + start - memory.start
        return {**recipe, "part": raw(bytes(lead) + memory.read()), "offset": offset, "writeable": value.flags.writeable}

    entries = {key: {"part": raw(entry)} if isinstance(entry, bytes) else entry for key, entry in header.items()}
    tree = write(value, 0)
    text = json.dumps({**entries, "value": tree, "parts": [len(part) for part in parts]}).encode()
    body = sum(map(len, parts))
    if len(text) > LARGEST_HEADER or body > LARGEST_BODY:
        raise TooLarge(f"a message must have {LARGEST_BODY >> 20} MiB at most: it has {(len(text) + body) >> 20} MiB")
    return b"".join([HEAD.pack(len(text), body), text, *parts]), own


def _describe(value: Any) -> list[str]:
    """Return the name of a value's type and what can be said of it without asking the value itself."""
    kind = type(value)
    text = f"<dtype {value.dtype}, shape {value.shape}>" if isinstance(value, np.ndarray) else f"<{kind.__module__}.{kind.__qualname__}>"
    return [kind.__name__[:100], text[:200]]


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


def unpack(
    text: bytes, body: bytes, memories: Sequence[Memory] = (), spec: Callable[..., Any] | None = None
) -> tuple[Any, dict[str, Any], list[Memory]]:
    """Return the value, the other entries of the header, and the memory of each array that came with its bytes.

    Parameters
    ----------
    text, body : bytes
        The two parts of a message.
    memories : sequence of Memory
        As in `pack`.
    spec : callable, optional
        `ConvSpec`; without it a spec is refused.

    Raises
    ------
    ValueError, TypeError, KeyError, IndexError, RecursionError
        If the message is not as `pack` makes them: it may come from a hostile program.
    """
    header = json.loads(text)
    parts: list[memoryview] = []
    at = 0
    for length in header.pop("parts"):
        parts.append(memoryview(body)[at : at + length])
        at += length
    own: list[Memory] = []
    room = LARGEST_BODY

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
            name, description = content
            return type(str(name), (Foreign,), {"description": str(description)})()
        if spec is not None and kind == "spec":
            return spec(**content)
        if spec is not None and kind == "geometry":
            given, height, width = content
            return spec(**given).geometry(height, width)
        raise ValueError(f"no such kind of value: {kind!r}")

    def array(recipe: dict[str, Any]) -> np.ndarray:
        if "known" in recipe:
            return memories[range(len(memories))[recipe["known"]]].view(recipe)
        dtype, shape, strides = _layout(recipe)
        nonlocal room
        room -= math.prod(shape) * dtype.itemsize
        if room < 0:
            raise TooLarge(f"the arrays of a message must have {LARGEST_BODY >> 20} MiB at most")
        part = parts[recipe["part"]]
        compact = np.empty(shape, dtype)
        if compact.strides == strides and compact.nbytes == len(part):  # the usual case: an array that owns its memory
            result, memory = compact, compact.reshape(-1).view(np.uint8)
        else:
            memory = np.empty(len(part), np.uint8)
            result = np.ndarray(shape, dtype, buffer=memory, offset=recipe["offset"], strides=strides)
            memory, part = memory, part
        memory[:] = np.frombuffer(part, np.uint8)
        result.flags.writeable = bool(recipe["writeable"])
        own.append(Memory(result))
        return result

    value = read(header.pop("value"))
    entries = {key: bytes(parts[entry["part"]]) if isinstance(entry, dict) and "part" in entry else entry for key, entry in header.items()}
    return value, entries, own
