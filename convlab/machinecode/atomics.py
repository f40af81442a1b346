"""What threads tell each other by memory alone: atomic operations, waiting, and calls of a job whose failures are kept.

A *job* is memory whose first number is 0 until something fails; a *function of jobs* takes its address and the number of the thread that
runs it. Without the JIT, Python runs one thread at a time, so plain reads and writes stand in.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import callconv, cgutils
from numba.extending import intrinsic

from .cache import cfunc, njit
from .inline import JIT, address_of, call_by_address, inline
from .memory import put
from .vectors import INT64, Emitter

SPINS = 10_000
"""How often a waiting thread looks before it sleeps between looks."""


def _read(place):
    return ctypes.c_int64.from_address(int(place)).value


def _add(place):
    before = _read(place)  # no other thread works on the job: see `threads.together`
    put(place, before + 1)
    return before


def _swap_if(place, before, after):
    found = _read(place)
    if found == before:
        put(place, after)
    return found


def _nap():
    time.sleep(0)


def _pointer(e: Emitter, place: Any) -> Any:
    return e.builder.inttoptr(place, INT64.as_pointer())


@inline(_add, types.int64)
def add(e: Emitter, place: Any) -> Any:
    """Add one to the number at an address, atomically, and return what it was."""
    return e.builder.atomic_rmw("add", _pointer(e, place), e.constant(1), "seq_cst")


@inline(_read, types.int64)
def look(e: Emitter, place: Any) -> Any:
    """Return the number at an address that other threads change."""
    return e.builder.load_atomic(_pointer(e, place), "acquire", 8)


@inline(_swap_if, types.int64)
def swap_if(e: Emitter, place: Any, before: Any, after: Any) -> Any:
    """Put `after` at an address if `before` is there, atomically, and return what was there."""
    return e.builder.extract_value(e.builder.cmpxchg(_pointer(e, place), before, after, "seq_cst"), 0)


@inline(_nap)
def pause(e: Emitter) -> None:
    """Tell the processor that this is a loop that waits."""
    if "x86_64" in llvm.get_process_triple():  # elsewhere a look has to do without
        kind = ir.FunctionType(ir.VoidType(), [])
        e.builder.call(cgutils.get_or_insert_function(e.builder.module, kind, "llvm.x86.sse2.pause"), [])


@inline(_nap)
def nap(e: Emitter) -> None:
    """Sleep for as short a time as the system knows."""
    if sys.platform != "win32":
        kind = ir.FunctionType(ir.IntType(32), [ir.IntType(32)])
        e.builder.call(cgutils.get_or_insert_function(e.builder.module, kind, "usleep"), [ir.Constant(ir.IntType(32), 1)])


@njit(nogil=True)
def wait(place, count, failure=0):
    """Wait until the number at an address is at least `count`, or that at the address `failure`, if there is one, is no longer 0."""
    looks = 0
    while look(place) < count and (failure == 0 or look(failure) == 0):
        looks += 1
        if looks <= SPINS:
            pause()
        else:
            nap()  # on a busy machine the one that is waited for may have no core: asleep, this thread leaves it one


_functions: list[Callable[[int, int], None]] = []
_failures: dict[int, BaseException] = {}


@cache
def function_of_jobs(body: Callable[[int, int], None]) -> int:
    """Compile a function of a job's address and a thread's number for `call`, and return its address."""
    if not JIT:
        _functions.append(body)
        return len(_functions) - 1
    return address_of(cfunc(types.void(types.int64, types.int64), cache=True)(body))


def _call_stand_in(function, job, thread):
    try:
        _functions[function](job, thread)
    except BaseException as error:
        _failures[id(error)] = error
        put(job, id(error))


@intrinsic
def _call(context: Any, function: Any, job: Any, thread: Any) -> Any:
    kinds = [types.int64, types.int64]

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        status = call_by_address(context, builder, values[0], kinds, values[1:])
        with builder.if_then(status.is_error, likely=False):
            failure = builder.inttoptr(values[1], INT64.as_pointer())
            builder.store_atomic(builder.ptrtoint(status.excinfoptr, INT64), failure, "release", 8)
        return context.get_dummy_value()

    return types.none(types.int64, *kinds), codegen


call: Any = _call if JIT else _call_stand_in
"""Call the function of jobs at an address, with a job and a thread's number; what it raises is kept in the job's first number."""


@intrinsic
def _raise_kept(context: Any, failure: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kept = builder.inttoptr(values[0], callconv.excinfo_ptr_t)
        status = context.call_conv._get_return_status(builder, callconv.RETCODE_USEREXC, kept)
        context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.none(types.int64), codegen


raise_kept: Any = _raise_kept  # to mypy an intrinsic has its context, too


@njit(nogil=True)
def _raise_failure(failure):
    raise_kept(failure)


def raise_failure(failure: int) -> None:
    """Raise what a function of jobs raised, from what `call` kept of it."""
    if JIT:
        _raise_failure(failure)
    else:
        raise _failures.pop(failure)
