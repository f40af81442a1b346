"""Memory by its address: bytes moved and cleared, records and arrays where an address says they are.

Compiled code here is given addresses, as a function of C would be, and trusts its caller. Three things keep that readable. A *record* has
named fields (`records_at(STEP)(address, 3).height`), a table of addresses is an *array* (`integers_at(address)[i]`), and sums of addresses
and bytes are made where a micro-kernel or a stage is told where to begin, nowhere else.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numba import carray, from_dtype, types  # type: ignore[attr-defined]
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from .inline import JIT, inline
from .vectors import INT64, VECTOR, Emitter

MANY = 1 << 30
"""The length of an array of which only the address is known."""


def empty(size: int) -> np.ndarray:
    """Return `size` bytes that begin at a multiple of a vector's: no vector straddles two lines of the cache."""
    raw = np.empty(size + VECTOR, np.uint8)
    start = -raw.ctypes.data % VECTOR
    return raw[start : start + size]


def array_at(address: int, shape: tuple[int, ...], strides: tuple[int, ...], size: int) -> np.ndarray:
    """Return the floats of `size` bytes at an address as an array: what a stand-in sees where a micro-kernel sees registers."""
    length = size + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    buffer: Any = (ctypes.c_char * int(length)).from_address(int(address))
    return np.ndarray(shape, f"f{size}", buffer, strides=strides)


def _get(address):
    return ctypes.c_int64.from_address(int(address)).value


def _put(address, value):
    ctypes.c_int64.from_address(int(address)).value = int(value)


def _move(pixels, size, source, source_stride, target, target_stride):
    for pixel in range(pixels):
        ctypes.memmove(int(target + pixel * target_stride), int(source + pixel * source_stride), int(size))


def _zero(target, size):
    ctypes.memset(int(target), 0, int(size))


@inline(_get, types.int64)
def get(e: Emitter, address: Any) -> Any:
    """Return the integer at an address."""
    return e.load(INT64, address)


@inline(_put)
def put(e: Emitter, address: Any, value: Any) -> None:
    """Write an integer to an address."""
    e.store(value, address)


@inline(_zero)
def zero(e: Emitter, target: Any, size: Any) -> None:
    """Clear `size` bytes."""
    cgutils.memset(e.builder, e.builder.inttoptr(target, cgutils.voidptr_t), size, 0)


@inline(_move)
def move(e: Emitter, pixels: Any, size: Any, source: Any, source_stride: Any, target: Any, target_stride: Any) -> None:
    """Copy `size` bytes of each of some pixels."""
    builder = e.builder
    whole = builder.and_(size, e.constant(-VECTOR))
    with e.loop(pixels) as pixel:
        here = e.at(source, e.times(source_stride, pixel.index))
        there = e.at(target, e.times(target_stride, pixel.index))
        with e.loop(builder.sdiv(whole, e.constant(VECTOR))) as vector:
            shift = e.times(vector.index, VECTOR)
            e.store(e.load(e.vector, e.at(here, shift)), e.at(there, shift))
        with builder.if_then(builder.icmp_signed("<", whole, size)):
            pointers = [builder.inttoptr(e.at(where, whole), cgutils.voidptr_t) for where in (there, here)]
            cgutils.raw_memcpy(builder, pointers[0], pointers[1], builder.sub(size, whole), 1)


def _pointers(kind: Any) -> Any:
    """Return a function for compiled code that makes an address a pointer to values of a type."""
    pointer = types.CPointer(kind)

    @intrinsic
    def pointer_at(context: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], context.get_value_type(pointer))

        return pointer(types.int64), codegen

    return pointer_at


def records_at(dtype: np.dtype) -> Callable[..., Any]:
    """Return a function (address, index) -> the record of a table that begins at the address, for compiled code.

    Parameters
    ----------
    dtype : np.dtype
        Structured; its names are the record's fields.
    """
    if not JIT:
        size = dtype.itemsize
        return lambda address, index: np.recarray((1,), dtype, (ctypes.c_char * size).from_address(int(address + index * size)))[0]
    pointer_at: Any = _pointers(from_dtype(dtype))

    @register_jitable
    def record_at(address, index):
        return carray(pointer_at(address), MANY)[index]

    return record_at


_integers: Any = _pointers(types.int64)


@register_jitable
def _integers_at(address):
    return carray(_integers(address), MANY)


def _integers_stand_in(address):
    return np.ctypeslib.as_array(ctypes.cast(int(address), ctypes.POINTER(ctypes.c_int64)), (MANY,))


integers_at: Callable[[int], np.ndarray] = _integers_at if JIT else _integers_stand_in
"""Return the integers that begin at an address as an array; its length is not known."""


def fields(*names: str) -> np.dtype:
    """Return the dtype of a record of integers; a name that all of NumPy's records have, as `size`, would hide the field in plain Python.

    Examples
    --------
    >>> fields("row", "size")
    Traceback (most recent call last):
    ValueError: a field must not be called like an attribute of NumPy's records: size
    """
    if taken := [name for name in names if hasattr(np.void, name)]:
        raise ValueError(f"a field must not be called like an attribute of NumPy's records: {', '.join(taken)}")
    return np.dtype([(name, np.int64) for name in names])


def records(dtype: np.dtype, *rows: Mapping[str, int]) -> np.ndarray:
    """Return records with these fields; the others are 0.

    Raises
    ------
    KeyError
        If the record has no field of a name.
    """
    names = dtype.names
    assert names is not None
    for row in rows:
        if not row.keys() <= dtype.fields.keys():  # type: ignore[union-attr]  # it has names
            raise KeyError(f"the record has no field {', '.join(sorted(row.keys() - set(names)))}")
    return np.array([[row.get(name, 0) for name in names] for row in rows], np.int64).view(dtype).reshape(len(rows))
