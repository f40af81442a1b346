"""Compile once, keep the machine code on disk, and never let the disk cost a result.

`njit` and `cfunc` are Numba's. What differs is what happens with ``cache=True`` where the disk does not do its part:

* **Nothing can be written** (a package in a read-only place and no home, a full disk). Numba raises. Here the function is
  compiled for this process alone, and a warning says so, once. What was kept there earlier is read all the same: a package that was
  warmed up before its folder became read-only starts as fast as any.
* **A file is damaged.** Numba raises where it notices, and where it does not the process may crash: what it reads is
  machine code. Here a checksum goes with each function, and what does not match is compiled anew and replaced. The sum
  covers the signature too: of two processes that compile a function for two dtypes at the same time, one may overwrite the other's code.
* **A file that the function calls has changed**, by an update or in an editor. Numba looks at the function's own file only, and goes
  on running the old code. Here all files count that compiled functions are made of, in this folder and below `kernels`.

Ctrl-C waits until a function is compiled: see `interrupts`.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile, NullCache
from numba.core.ccallback import CFunc
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature

from ..notices import warn
from .interrupts import uninterrupted

NOT_KEPT = (
    "compiled kernels cannot be kept on disk, so every process compiles them anew, which takes seconds:"
    " set NUMBA_CACHE_DIR to a folder that can be written"
)
DAMAGED = "a file of compiled code was damaged; its function is compiled anew"

_said: set[str] = set()


def njit(*, cache: bool = False, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return Numba's decorator `njit` with these options."""

    def decorate(function: Callable[..., Any]) -> Any:
        compiled: Any = numba.njit(**options)(function)
        if compiled is not function:  # as it is with NUMBA_DISABLE_JIT
            compiled.compile, compiled._compile_for_args = map(uninterrupted, (compiled.compile, compiled._compile_for_args))
            if cache:
                compiled._cache = _cache_of(function)
        return compiled

    return decorate


def cfunc(signature: Any, *, cache: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Return Numba's decorator `cfunc` for this signature."""

    def decorate(function: Callable[..., Any]) -> Any:
        compiled: Any = CFunc(function, normalize_signature(signature), locals={}, options={})
        if cache:
            compiled._cache = _cache_of(function)
        uninterrupted(compiled.compile)()
        return compiled

    return decorate


def _cache_of(function: Callable[..., Any]) -> Any:
    try:
        return _Cache(function)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        _say(NOT_KEPT, error)  # there is no source file to stand beside, or to tell whether it has changed
        return NullCache()


def _say(what: str, error: Exception) -> None:
    """Warn, the first time: all functions of a process meet the same disk."""
    if what not in _said:
        _said.add(what)
        warn(f"{what} ({type(error).__name__}: {error})", RuntimeWarning)


@cache
def _sources() -> bytes:
    """Return a digest of all files that compiled functions are made of: they call each other across both folders."""
    package = Path(__file__).parents[1]
    files = sorted(file for folder in ("machinecode", "kernels") for file in (package / folder).rglob("*.py"))
    return sha256(b"".join(sha256(file.read_bytes()).digest() for file in files)).digest()


def _unwritten(locator: Any) -> Any:
    """Return a locator of the same folder that does not ask whether it can be written."""
    return type(locator.__name__, (locator,), {"ensure_cache_path": lambda self: None})


class _Place(CompileResultCacheImpl):  # type: ignore[misc, unused-ignore]  # Numba is untyped, or has stubs
    """Where a function's files lie: where Numba would put them, or, if nothing can be written, where they may lie already."""

    # Numba's first two are NUMBA_CACHE_DIR and the folder beside the source; then come the user's own.
    _locator_classes = CompileResultCacheImpl._locator_classes + [_unwritten(one) for one in CompileResultCacheImpl._locator_classes[:2]]


class _Files(IndexDataCacheFile):  # type: ignore[misc, unused-ignore]
    """A function's files: an index, and a file for each signature and processor, with a checksum of what it is for and what it holds."""

    def save(self, key: Any, data: Any) -> None:
        code = dumps(data)
        super().save(key, (self._sum(key, code), code))

    def load(self, key: Any) -> Any:
        found = super().load(key)
        if found is None:
            return None
        expected, code = found
        if self._sum(key, code) != expected:
            raise ValueError("the checksum does not match")
        return pickle.loads(code)

    def _sum(self, key: Any, code: bytes) -> bytes:
        return sha256(repr(key).encode() + self._source_stamp + code).digest()


class _Cache(FunctionCache):  # type: ignore[misc, unused-ignore]
    """The disk cache of one function. Whatever goes wrong with it, there is a compiler."""

    _impl_class = _Place

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _Files(self.cache_path, self._impl.filename_base, _sources())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # bytes that are not what they were raise anything
            _say(DAMAGED, error)
        try:
            self.flush()
        except OSError as error:
            _say(NOT_KEPT, error)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            os.makedirs(self.cache_path, exist_ok=True)
            super().save_overload(sig, data)
        except Exception as error:  # a damaged index that could not be replaced is read here too
            _say(NOT_KEPT, error)
