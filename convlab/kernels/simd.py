"""The vector tiles: the few dozen instructions in which a convolution spends its time.

A processor core has vector registers: one of 512 bits holds 16 float32 numbers, and one *fused
multiply-add* (FMA) instruction does 16 multiply-accumulates on it. A modern core starts two a
cycle, and that is its peak. Four things keep ordinary loops from it, and the tile below meets each:

* **Latency.** An FMA's result is ready four cycles later. A sum that waits for itself runs at
  an eighth of the peak, so at least eight sums must be under way at once.
* **Loads.** A core loads two vectors a cycle: if every FMA fetched both its factors, the loads would set
  the pace. A tile of R pixels x V vectors of output channels loads R + V times for its R * V FMAs.
* **Memory.** Weights come from the third-level cache at a fraction of the speed at which a tile uses them. So
  while it computes on one panel, it asks for the next, a little with each channel.
* **Stores.** The sums stay in registers for the whole reduction and are stored once. Bias, clamp and shortcut
  happen there, where the numbers already are, so they cost no pass over memory.

So a tile should be as large as the registers allow. Of 32 registers, 6 x 4 sums leave eight for the factors
(10 loads for 24 FMAs); 7 x 4 would fit only just, LLVM then parks sums in memory, and the larger tile is
the slower one. Of 16 registers, 6 x 2 leave four. The reduction is this, once for every shape up to the
largest (`sums` are registers)::

    for each tap, for each channel k of the run:
        for v in vectors:  b[v] = the panel's next vector            # weights, stored in just this order
        for r in rows:     sums[r, v] += input[pixel r, k] * b[v]    # one number, spread over the lanes

That weights are *packed* into panels of V vectors has two reasons: the loop reads one stream instead of V, and a
matrix row of 4 KiB would put all of a panel's column into the same few sets of the cache.

Compilers vectorise loops, but none keeps 24 sums in registers across three nested ones. So the tile is
written out in LLVM's vector operations, which Numba's `@intrinsic` puts straight into a compiled function;
`assembly` shows what becomes of them. `ask_llvm` finds out how wide the vectors are; nothing else depends on the machine.

The **depthwise** tile has no reduction over channels, so nothing to spread: a vector is 16 channels of one pixel.
It sums up to eight neighbouring pixels at once. For 3x3 windows at stride 1 or 2, where neighbours share taps, it loads
each input once for all of them, and where there are 32 registers it sums two rows of pixels, which share inputs too; other
windows go tap by tap.

A **clamp** keeps NaN: it replaces a value only where a comparison holds, and no comparison with NaN does.

All arguments are addresses and byte steps: like C, these functions trust their caller. Whole vectors are read only
from panels and rings, which are padded to whole vectors; what is not a whole vector is read and stored under a mask.
With Numba's JIT switched off, NumPy stands in for each function (`_plain_...`).
"""

from __future__ import annotations

import ctypes
import sys
import time
from functools import cache, partial
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import callconv, cgutils, config
from numba.core.registry import cpu_target
from numba.extending import intrinsic, register_jitable

from .cached import cfunc, njit

INT64 = ir.IntType(64)


def ask_llvm() -> int:
    """Return the bytes of the widest vector that LLVM uses for Numba's target: 64, 32 or 16.

    LLVM is given one addition of 64 bytes to translate, and the registers in its answer tell. That holds for every way
    to name a target: the host, `NUMBA_CPU_NAME`, `NUMBA_CPU_FEATURES`.
    """
    triple, cpu, features = cpu_target.target_context.codegen().magic_tuple()
    sixteen = ir.VectorType(ir.FloatType(), 16)
    module = ir.Module()
    module.triple = triple
    function = ir.Function(module, ir.FunctionType(sixteen, [sixteen, sixteen]), "add")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(builder.fadd(*function.args))
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features)
    assembly = machine.emit_assembly(llvm.parse_assembly(str(module)))
    return 64 if "%zmm" in assembly else 32 if "%ymm" in assembly else 16


VECTOR = ask_llvm()
"""Bytes in a vector."""

SUMS, VECTORS = (24, 4) if VECTOR == 64 else (12, 2)
"""The most sums in a tile, and vectors in its width. 512-bit machines have 32 registers; others are taken to have 16."""

ROWS = tuple(min(8, SUMS // max(vectors, 1)) for vectors in range(VECTORS + 1))
"""The most pixels in a tile, by its width in vectors: a narrow tile has more, so that enough sums are under way."""

PIXELS, LINES = 8, 2 if VECTOR == 64 else 1
"""Outputs that the depthwise tile sums at once: neighbours, and rows of them."""

PATIENCE = 10_000
"""How often a waiting thread looks at the counter before it sleeps between looks."""


class _Emitter:
    """Writes LLVM instructions for vectors of one float type."""

    def __init__(self, context: Any, builder: Any, number: Any) -> None:
        self.builder = builder
        self.number = context.get_value_type(number)
        self.size = number.bitwidth // 8
        self.lanes = VECTOR // self.size
        self.vector = ir.VectorType(self.number, self.lanes)
        self.name = f"v{self.lanes}f{number.bitwidth}"

    def constant(self, value: int) -> Any:
        return ir.Constant(INT64, value)

    def at(self, address: Any, offset: Any = 0) -> Any:
        """Return address + offset."""
        return self.builder.add(address, self.constant(offset) if isinstance(offset, int) else offset)

    def times(self, step: Any, count: Any) -> Any:
        """Return step * count."""
        return self.builder.mul(step, self.constant(count) if isinstance(count, int) else count)

    def load(self, kind: Any, address: Any) -> Any:
        """Read a number or a vector; vectors need not be aligned."""
        align = 8 if kind is INT64 else self.size
        return self.builder.load(self.builder.inttoptr(address, kind.as_pointer()), align=align)

    def store(self, value: Any, address: Any) -> None:
        self.builder.store(value, self.builder.inttoptr(address, value.type.as_pointer()), align=self.size)

    def load_masked(self, address: Any, lanes: Any) -> Any:
        """Read the first `lanes` numbers of a vector, zeros behind them, and touch nothing else."""
        pointer = self.builder.inttoptr(address, self.vector.as_pointer())
        zeros = ir.Constant(self.vector, None)
        return self._masked("load", self.vector, [pointer, self._align, self._mask(lanes), zeros], pointer)

    def store_masked(self, value: Any, address: Any, lanes: Any) -> None:
        """Write the first `lanes` numbers of a vector and touch nothing behind them."""
        pointer = self.builder.inttoptr(address, self.vector.as_pointer())
        self._masked("store", ir.VoidType(), [value, pointer, self._align, self._mask(lanes)], pointer)

    @property
    def _align(self) -> Any:
        return ir.Constant(ir.IntType(32), self.size)

    def _mask(self, lanes: Any) -> Any:
        """Return a vector of bits, true for the first `lanes`."""
        counts = ir.Constant(ir.VectorType(INT64, self.lanes), list(range(self.lanes)))
        return self.builder.icmp_signed("<", counts, self._spread(lanes))

    def _masked(self, what: str, result: Any, args: list[Any], pointer: Any) -> Any:
        suffix = "p0" if str(pointer.type) == "ptr" else f"p0{self.name}"  # LLVM named the pointee until version 15
        kind = ir.FunctionType(result, [arg.type for arg in args])
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.masked.{what}.{self.name}.{suffix}")
        return self.builder.call(function, args)

    def _spread(self, number: Any) -> Any:
        """Return a vector with the number in every lane."""
        kind = ir.VectorType(number.type, self.lanes)
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros)

    def broadcast(self, address: Any) -> Any:
        """Read one number into every lane."""
        return self._spread(self.load(self.number, address))

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """Return a * b + c: one instruction where the machine has it, otherwise two."""
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.fmuladd.{self.name}")
        return self.builder.call(function, [a, b, c])

    def clamp(self, value: Any, low: Any, high: Any) -> Any:
        """Return min(max(value, low), high), lane by lane; a comparison with NaN is false, so NaN stays NaN."""
        for bound, outside in ((low, ">"), (high, "<")):
            value = self.builder.select(self.builder.fcmp_ordered(outside, bound, value), bound, value)
        return value

    def prefetch(self, address: Any) -> None:
        """Ask the second-level cache for memory that will be read soon; an address that is nobody's does no harm."""
        number = ir.IntType(32)
        pointer = self.builder.inttoptr(address, cgutils.voidptr_t)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
        suffix = "p0" if str(pointer.type) == "ptr" else "p0i8"
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.prefetch.{suffix}")
        self.builder.call(function, [pointer, *(ir.Constant(number, value) for value in (0, 2, 1))])  # to read; second level; data

    def registers(self, count: int) -> list[Any]:
        """Return places for `count` vectors; LLVM turns them into registers."""
        return [cgutils.alloca_once(self.builder, self.vector) for _ in range(count)]

    def loop(self, count: Any) -> Any:
        return cgutils.for_range(self.builder, count, intp=INT64)


def _cases(name: str, limits: types.CPointer, count: int, cases: dict[int, Any]) -> Any:
    """Return an intrinsic (case, `count` integers, limits) -> none that calls the function of its case.

    Each of `cases` (number -> function that emits the code) becomes a function of its own: LLVM's time to translate one
    grows faster than its length.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [INT64] * (count + 1))
        case, *integers, bounds = args
        integers.append(builder.ptrtoint(bounds, INT64))
        end, other = builder.append_basic_block("end"), builder.append_basic_block("none")
        branch = builder.switch(case, other)
        for number, emit in cases.items():
            function = ir.Function(builder.module, kind, f"convlab.{name}.{limits.dtype}.{number}")
            function.linkage = "internal"
            function.attributes.add("noinline")
            body = ir.IRBuilder(function.append_basic_block("entry"))
            emit(_Emitter(context, body, limits.dtype), *function.args)
            body.ret_void()
            block = builder.append_basic_block(f"case{number}")
            branch.add_case(ir.Constant(INT64, number), block)
            with builder.goto_block(block):
                builder.call(function, integers)
                builder.branch(end)
        builder.position_at_end(other)
        builder.unreachable()
        builder.position_at_end(end)
        return context.get_dummy_value()

    return types.none(*[types.int64] * (1 + count), limits), codegen


def _emit_tiles(
    rows: int,
    vectors: int,
    e: _Emitter,
    tiles: Any,
    last: Any,
    table: Any,
    taps: Any,
    run: Any,
    offset: Any,
    a_step: Any,
    panel: Any,
    ahead: Any,
    ahead_step: Any,
    c: Any,
    c_step: Any,
    shortcut: Any,
    size: Any,
    limits: Any,
) -> None:
    builder = e.builder
    low, high = e.broadcast(limits), e.broadcast(e.at(limits, e.size))
    sums = [e.registers(vectors) for _ in range(rows)]
    places = [(r, v) for r in range(rows) for v in range(vectors)]
    weights = cgutils.alloca_once(builder, INT64)
    coming = cgutils.alloca_once_value(builder, ahead)
    with e.loop(tiles) as tile:
        done = e.times(tile.index, rows)
        for v in range(vectors):
            bias = e.load(e.vector, e.at(panel, v * VECTOR))
            for r in range(rows):
                builder.store(bias, sums[r][v])
        builder.store(e.at(panel, vectors * VECTOR), weights)
        with e.loop(taps) as tap:
            first = e.at(e.at(e.load(INT64, e.at(table, e.times(tap.index, 8))), offset), e.times(a_step, done))
            pixels = [e.at(first, e.times(a_step, r)) for r in range(rows)]
            with e.loop(run) as k:
                here = builder.load(weights)
                b = [e.load(e.vector, e.at(here, v * VECTOR)) for v in range(vectors)]
                builder.store(e.at(here, vectors * VECTOR), weights)
                next = builder.load(coming)
                e.prefetch(next)
                builder.store(e.at(next, ahead_step), coming)
                for r in range(rows):
                    a = e.broadcast(e.at(pixels[r], e.times(k.index, e.size)))
                    for v in range(vectors):
                        builder.store(e.fma(a, b[v], builder.load(sums[r][v])), sums[r][v])

        past = e.times(c_step, done)

        def at(base: Any, r: int, v: int) -> Any:
            return e.at(e.at(e.at(base, past), e.times(c_step, r)), v * VECTOR)

        for r, v in places:
            builder.store(e.clamp(builder.load(sums[r][v]), low, high), sums[r][v])
        with builder.if_then(builder.icmp_signed("!=", shortcut, e.constant(0))):
            for r, v in places:
                # Behind the last number lies the next pixel, or memory that is not ours: read no more than there is.
                more = e.load(e.vector, at(shortcut, r, v)) if v < vectors - 1 else e.load_masked(at(shortcut, r, v), last)
                builder.store(e.builder.fadd(builder.load(sums[r][v]), more), sums[r][v])
        for r, v in places:
            if v < vectors - 1:
                e.store(builder.load(sums[r][v]), at(c, r, v))
        with builder.if_else(builder.icmp_signed("==", last, e.constant(e.lanes))) as (whole, partly):
            with whole:
                for r in range(rows):
                    e.store(builder.load(sums[r][-1]), at(c, r, vectors - 1))
            with partly:
                for r in range(rows):
                    e.store_masked(builder.load(sums[r][-1]), at(c, r, vectors - 1), last)


def _emit_depthwise(
    rows: int,
    pixels: int,
    slide: int,
    e: _Emitter,
    tiles: Any,
    vectors: Any,
    last: Any,
    table: Any,
    taps: Any,
    offset: Any,
    x_step: Any,
    weights: Any,
    y: Any,
    y_step: Any,
    y_row: Any,
    size: Any,
    limits: Any,
) -> None:
    builder = e.builder
    low, high = e.broadcast(limits), e.broadcast(e.at(limits, e.size))
    with e.loop(tiles) as tile, e.loop(vectors) as vector:
        done = e.times(tile.index, pixels)
        shift = e.times(vector.index, VECTOR)
        mine = e.at(weights, e.times(shift, e.at(taps, 1)))
        sums = [e.registers(pixels) for _ in range(rows)]
        places = [(r, p) for r in range(rows) for p in range(pixels)]
        bias = e.load(e.vector, mine)
        for r, p in places:
            builder.store(bias, sums[r][p])

        def start(tap: Any) -> Any:
            return e.at(e.at(e.at(e.load(INT64, e.at(table, e.times(tap, 8))), offset), e.times(x_step, done)), shift)

        def add(r: int, p: int, x: Any, w: Any) -> None:
            builder.store(e.fma(x, w, builder.load(sums[r][p])), sums[r][p])

        if slide:
            pitch = builder.sdiv(x_step, e.constant(slide))
            w = {}
            for line in range((rows - 1) * slide + 3):  # lines of the input, from the top
                if line < 3:
                    w[line] = [e.load(e.vector, e.at(mine, (1 + 3 * line + v) * VECTOR)) for v in range(3)]
                r = 0 if line < 3 else rows - 1
                first = start(e.constant(9 * r + 3 * (line - r * slide)))
                for q in range((pixels - 1) * slide + 3):
                    x = e.load(e.vector, e.at(first, e.times(pitch, q)))
                    for r, v in ((r, v) for r in range(rows) for v in range(3)):
                        u, (p, rest) = line - r * slide, divmod(q - v, slide)
                        if 0 <= u < 3 and rest == 0 and 0 <= p < pixels:
                            add(r, p, x, w[u][v])
        else:
            with e.loop(taps) as tap:
                one = e.load(e.vector, e.at(mine, e.times(e.at(tap.index, 1), VECTOR)))
                first = start(tap.index)
                for p in range(pixels):
                    add(0, p, e.load(e.vector, e.at(first, e.times(x_step, p))), one)

        def at(r: int, p: int) -> Any:
            return e.at(e.at(e.at(e.at(y, shift), e.times(y_step, done)), e.times(y_row, r)), e.times(y_step, p))

        whole = builder.or_(builder.icmp_signed("<", vector.index, e.at(vectors, -1)), builder.icmp_signed("==", last, e.constant(e.lanes)))
        with builder.if_else(whole) as (then, otherwise):
            with then:
                for r, p in places:
                    e.store(e.clamp(builder.load(sums[r][p]), low, high), at(r, p))
            with otherwise:
                for r, p in places:
                    e.store_masked(e.clamp(builder.load(sums[r][p]), low, high), at(r, p), last)


@intrinsic
def _tiles(
    context, shape, count, last, table, taps, run, offset, a_step, panel, ahead, ahead_step, c, c_step, shortcut, size, limits
):  # fmt: skip
    shapes = [(r, v) for v in range(1, VECTORS + 1) for r in range(1, ROWS[v] + 1)]
    return _cases("tiles", limits, 14, {r * (VECTORS + 1) + v: partial(_emit_tiles, r, v) for r, v in shapes})


@register_jitable
def _depthwise_case(rows, pixels, slide):
    """Return the number of a depthwise tile; a window that shares no taps is laid on one row at a time."""
    return (rows * (PIXELS + 1) + pixels) * 3 + slide


@intrinsic
def _depthwise_tiles(context, shape, count, vectors, last, table, taps, offset, x_step, weights, y, y_step, y_row, size, limits):
    shapes = [(r, p, slide) for slide in range(3) for r in range(1, LINES + 1 if slide else 2) for p in range(1, PIXELS + 1)]
    return _cases("depthwise", limits, 12, {_depthwise_case(*shape): partial(_emit_depthwise, *shape) for shape in shapes})


def _simple(count: int, result: types.Type, emit: Any) -> Any:
    """Return an intrinsic of `count` integers whose code needs no float type of its own."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = emit(_Emitter(context, builder, types.float32), *args)
        return context.get_dummy_value() if value is None else value

    return result(*[types.int64] * count), codegen


def _emit_move(e: _Emitter, pixels: Any, size: Any, source: Any, source_step: Any, target: Any, target_step: Any) -> None:
    builder = e.builder
    whole = builder.and_(size, e.constant(-VECTOR))
    with e.loop(pixels) as pixel:
        here = e.at(source, e.times(source_step, pixel.index))
        there = e.at(target, e.times(target_step, pixel.index))
        with e.loop(builder.sdiv(whole, e.constant(VECTOR))) as vector:
            shift = e.times(vector.index, VECTOR)
            e.store(e.load(e.vector, e.at(here, shift)), e.at(there, shift))
        with builder.if_then(builder.icmp_signed("<", whole, size)):
            pointers = [builder.inttoptr(e.at(where, whole), cgutils.voidptr_t) for where in (there, here)]
            cgutils.raw_memcpy(builder, pointers[0], pointers[1], builder.sub(size, whole), 1)


def _emit_zero(e: _Emitter, target: Any, size: Any) -> None:
    cgutils.memset(e.builder, e.builder.inttoptr(target, cgutils.voidptr_t), size, 0)


def _emit_add(e: _Emitter, place: Any) -> Any:
    return e.builder.atomic_rmw("add", e.builder.inttoptr(place, INT64.as_pointer()), e.constant(1), "seq_cst")


def _emit_look(e: _Emitter, place: Any) -> Any:
    return e.builder.load_atomic(e.builder.inttoptr(place, INT64.as_pointer()), "acquire", 8)


def _emit_swap_if(e: _Emitter, place: Any, before: Any, after: Any) -> Any:
    pair = e.builder.cmpxchg(e.builder.inttoptr(place, INT64.as_pointer()), before, after, "seq_cst")
    return e.builder.extract_value(pair, 0)


def _emit_pause(e: _Emitter) -> None:
    if "x86_64" in llvm.get_process_triple():  # elsewhere a look has to do without
        kind = ir.FunctionType(ir.VoidType(), [])
        e.builder.call(cgutils.get_or_insert_function(e.builder.module, kind, "llvm.x86.sse2.pause"), [])


def _emit_nap(e: _Emitter) -> None:
    if sys.platform != "win32":
        kind = ir.FunctionType(ir.IntType(32), [ir.IntType(32)])
        e.builder.call(cgutils.get_or_insert_function(e.builder.module, kind, "usleep"), [ir.Constant(ir.IntType(32), 1)])


def _emit_call(context: Any, builder: Any, function: Any, kinds: list[Any], args: list[Any]) -> Any:
    """Call a compiled function at an address the way Numba's functions call each other, and return how it ended."""
    kind = context.call_conv.get_function_type(types.none, kinds)
    status, _ = context.call_conv.call_function(builder, builder.inttoptr(function, kind.as_pointer()), types.none, kinds, args)
    return status


def _calling(count: int) -> Any:
    """Return an intrinsic that calls a micro-kernel, and raises what that raises: its address, `count` integers, and that of bounds."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function, *integers, limits = args
        pointer = types.CPointer(types.float32)  # one pointer is like another
        values = [*integers, builder.inttoptr(limits, context.get_value_type(pointer))]
        status = _emit_call(context, builder, function, [*[types.int64] * count, pointer], values)
        with builder.if_then(status.is_error, likely=False):
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.none(*[types.int64] * (count + 2)), codegen


@intrinsic
def _move(context, pixels, size, source, source_step, target, target_step):
    return _simple(6, types.none, _emit_move)


@intrinsic
def _zero(context, target, size):
    return _simple(2, types.none, _emit_zero)


@intrinsic
def _add(context, place):
    """Add one to the number at an address, atomically, and return what it was."""
    return _simple(1, types.int64, _emit_add)


@intrinsic
def _look(context, place):
    """Return the number at an address that other threads change."""
    return _simple(1, types.int64, _emit_look)


@intrinsic
def _swap_if(context, place, before, after):
    """Put `after` at an address if `before` is there, atomically, and return what was there."""
    return _simple(3, types.int64, _emit_swap_if)


@intrinsic
def _pause(context):
    """Tell the processor that this is a loop that waits."""
    return _simple(0, types.none, _emit_pause)


@intrinsic
def _nap(context):
    """Sleep for as short a time as the system knows."""
    return _simple(0, types.none, _emit_nap)


@intrinsic
def _call(context, function, job, thread):
    """Call the compiled function of jobs at an address; what it raises is kept in the job's first number, for `raise_failure`."""
    kinds = [types.int64, types.int64]

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        status = _emit_call(context, builder, args[0], kinds, args[1:])
        with builder.if_then(status.is_error, likely=False):
            failure = builder.inttoptr(args[1], INT64.as_pointer())
            builder.store_atomic(builder.ptrtoint(status.excinfoptr, INT64), failure, "release", 8)
        return context.get_dummy_value()

    return types.none(types.int64, *kinds), codegen


@intrinsic
def _raise_kept(context, failure):
    """Raise in the caller what `call` kept."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code = callconv.RETCODE_USEREXC
        status = context.call_conv._get_return_status(builder, code, builder.inttoptr(args[0], callconv.excinfo_ptr_t))
        context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.none(types.int64), codegen


@intrinsic
def _get(context, address):
    return _simple(1, types.int64, lambda e, address: e.load(INT64, address))


@intrinsic
def _numbers(context, address):
    """Return an address as a pointer to integers, for `numba.carray`."""
    pointer = types.CPointer(types.int64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(pointer))

    return pointer(types.int64), codegen


@intrinsic
def _put(context, address, value):
    return _simple(2, types.none, lambda e, address, value: e.store(value, address))


@intrinsic
def _multiply(
    context, function, size, tables, targets, taps, run, strips, pixels, offset, a_step, weights, columns, first, last, c_step, shift,
    coming, length, limits,
):  # fmt: skip
    return _calling(17)


@intrinsic
def _depthwise(context, function, size, rows, pixels, slide, width, table, taps, x_step, weights, y, y_step, y_row, limits):
    return _calling(12)


def empty(size: int) -> np.ndarray:
    """Return `size` bytes that begin at a multiple of a vector's: no vector straddles two lines of the cache."""
    raw = np.empty(size + VECTOR, np.uint8)
    start = -raw.ctypes.data % VECTOR
    return raw[start : start + size]


def _memory(address: int, shape: tuple[int, ...], steps: tuple[int, ...], size: int) -> np.ndarray:
    """Return the numbers at an address as an array, `steps` bytes apart along each axis."""
    length = size + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
    buffer: Any = (ctypes.c_char * int(length)).from_address(int(address))
    return np.ndarray(shape, f"f{size}", buffer, strides=steps)


def _plain_get(address):
    return ctypes.c_int64.from_address(int(address)).value


def _plain_numbers(address):
    return ctypes.cast(int(address), ctypes.POINTER(ctypes.c_int64))


def _plain_put(address, value):
    ctypes.c_int64.from_address(int(address)).value = int(value)


def _plain_tiles(shape, count, last, table, taps, run, offset, a_step, panel, _ahead, _ahead_step, c, c_step, shortcut, size, limits):
    rows, vectors = divmod(shape, VECTORS + 1)
    rows, columns = count * rows, (vectors - 1) * (VECTOR // size) + last
    weights = _memory(panel, (1 + taps * run, columns), (vectors * VECTOR, size), size)
    sums = np.repeat(weights[:1], rows, axis=0)
    for tap in range(taps):
        pixels = _memory(_plain_get(table + 8 * tap) + offset, (rows, run), (a_step, size), size)
        sums += pixels @ weights[1 + tap * run :][:run]
    sums = np.clip(sums, *_memory(limits, (2,), (size,), size))
    if shortcut:
        sums += _memory(shortcut, (rows, columns), (c_step, size), size)
    _memory(c, (rows, columns), (c_step, size), size)[:] = sums


def _plain_depthwise_tiles(shape, count, vectors, last, table, taps, offset, x_step, weights, y, y_step, y_row, size, limits):
    rows, pixels = divmod(shape // 3, PIXELS + 1)
    pixels, lanes = count * pixels, VECTOR // size
    for row in range(rows):
        for vector in range(vectors):
            width = last if vector == vectors - 1 else lanes
            mine = _memory(weights + vector * VECTOR * (1 + taps), (1 + taps, width), (VECTOR, size), size)
            sums = np.repeat(mine[:1], pixels, axis=0)
            for tap in range(taps):
                start = _plain_get(table + 8 * (row * taps + tap)) + offset + vector * VECTOR
                sums += _memory(start, (pixels, width), (x_step, size), size) * mine[1 + tap]
            here = _memory(y + row * y_row + vector * VECTOR, (pixels, width), (y_step, size), size)
            here[:] = np.clip(sums, *_memory(limits, (2,), (size,), size))


def _plain_move(pixels, size, source, source_step, target, target_step):
    for pixel in range(pixels):
        ctypes.memmove(int(target + pixel * target_step), int(source + pixel * source_step), int(size))


def _plain_zero(target, size):
    ctypes.memset(int(target), 0, int(size))


def _multiply_body(
    size, tables, targets, taps, run, strips, pixels, offset, a_step, weights, columns, first, last, c_step, shift, coming, length, limits
):  # fmt: skip
    """Multiply strips of pixels with the panels first .. last-1 of a matrix of `columns` columns.

    `tables` holds, for each strip, the addresses where the taps of its first pixel begin; `targets` where its outputs go.
    The outermost loop runs over panels: a panel is fetched once and stays in the cache while all pixels pass by.
    Meanwhile the tiles ask, a little each, for the memory that is needed next: the `length` bytes at `coming`, or else the next panel.
    """
    if pixels == 0:  # a thread's share may be nothing
        return
    lanes = VECTOR // size
    vectors = (columns + lanes - 1) // lanes
    count = (vectors + VECTORS - 1) // VECTORS
    for panel in range(first, last):
        begin, end = vectors * panel // count, vectors * (panel + 1) // count
        tail = min(columns - (end - 1) * lanes, lanes)
        here = weights + begin * VECTOR * (1 + taps * run)
        ahead = weights + end * VECTOR * (1 + taps * run)
        rows = ROWS[end - begin]
        tiles = (pixels + rows - 1) // rows
        least, more = pixels // tiles, pixels % tiles
        step = (ahead - here) // (strips * tiles * taps * run) + 1
        if length:
            ahead = coming + (panel - first) * length // (last - first)
            step = length // ((last - first) * strips * tiles * taps * run) + 1
        for strip in range(strips):
            table = tables + strip * taps * 8
            c = get(targets + strip * 8) + begin * VECTOR
            a = offset
            for longer in range(1, -1, -1):  # first the tiles of one row more
                rows, some = least + longer, more if longer else tiles - more
                if some:
                    shape = rows * (VECTORS + 1) + end - begin
                    shortcut = c + shift if shift != 0 else 0
                    matrix_tiles(shape, some, tail, table, taps, run, a, a_step, here, ahead, step, c, c_step, shortcut, size, limits)
                    ahead += some * taps * run * step
                    a += some * rows * a_step
                    c += some * rows * c_step


def _depthwise_body(size, rows, pixels, slide, width, table, taps, x_step, weights, y, y_step, y_row, limits):
    """Convolve `width` channels apart, for `rows` rows of pixels; `table` has the addresses of each row's taps."""
    lanes = VECTOR // size
    vectors = (width + lanes - 1) // lanes
    tail = width - (vectors - 1) * lanes
    tiles = (pixels + PIXELS - 1) // PIXELS
    least, more = pixels // tiles, pixels % tiles
    offset = 0
    for longer in range(1, -1, -1):  # first the tiles of one pixel more
        count, some = least + longer, more if longer else tiles - more
        if some:
            shape = _depthwise_case(rows, count, slide)
            depthwise_tiles(shape, some, vectors, tail, table, taps, offset, x_step, weights, y, y_step, y_row, size, limits)
            offset += some * count * x_step
            y += some * count * y_step


def _compile(body: Any, count: int, size: int, *, cache: bool) -> Any:
    """Compile a function of `count` integers and the address of bounds, which tells the float type."""
    limits = types.CPointer(types.float32 if size == 4 else types.float64)
    return cfunc(types.void(*[types.int64] * count, limits), cache=cache)(body)


@cache
def functions(size: int) -> tuple[int, int]:
    """Return the addresses of `multiply` and `depthwise` for numbers of `size` bytes; compiled when first asked for."""
    if not JIT:
        return 0, 0
    return _address(_compile(_multiply_body, 17, size, cache=True)), _address(_compile(_depthwise_body, 12, size, cache=True))


def _address(function: Any) -> int:
    """Return where the code of a `cfunc` begins, without the wrapper that makes it a function of C, and loses what is raised."""
    return int(function._library.get_pointer_to_function(function.native_name.removeprefix("cfunc.")))


def assembly(size: int) -> str:
    """Return `multiply` in the machine's own language: what there is to read in the lesson's last step."""
    return str(_compile(_multiply_body, 17, size, cache=False)._library.get_asm_str())


def _plain_add(place):
    before = _plain_get(place)  # no other thread works on the job: see `crew.together`
    _plain_put(place, before + 1)
    return before


def _plain_swap_if(place, before, after):
    found = _plain_get(place)
    if found == before:
        _plain_put(place, after)
    return found


def _plain_nap():
    time.sleep(0)


def _plain_call(function, job, thread):
    try:
        _PLAIN[function](job, thread)
    except BaseException as error:
        _FAILURES[id(error)] = error
        _plain_put(job, id(error))


def _plain_multiply(_, *args):
    _multiply_body(*args)


def _plain_depthwise(_, *args):
    _depthwise_body(*args)


_PLAIN: list[Any] = []
_FAILURES: dict[int, BaseException] = {}
_settings: Any = config
JIT: bool = not _settings.DISABLE_JIT
numbers: Any = _numbers if JIT else _plain_numbers
get: Any = _get if JIT else _plain_get
put: Any = _put if JIT else _plain_put
move: Any = _move if JIT else _plain_move
zero: Any = _zero if JIT else _plain_zero
add: Any = _add if JIT else _plain_add
look: Any = _look if JIT else _plain_get
swap_if: Any = _swap_if if JIT else _plain_swap_if
pause: Any = _pause if JIT else _plain_nap
nap: Any = _nap if JIT else _plain_nap
call: Any = _call if JIT else _plain_call
matrix_tiles: Any = _tiles if JIT else _plain_tiles
depthwise_tiles: Any = _depthwise_tiles if JIT else _plain_depthwise_tiles
raise_kept: Any = _raise_kept
multiply: Any = _multiply if JIT else _plain_multiply
depthwise: Any = _depthwise if JIT else _plain_depthwise


@njit(nogil=True)
def wait(place, count, failure=0):
    """Wait until the number at an address is at least `count`, or that at the address `failure`, if there is one, is no longer 0."""
    looks = 0
    while look(place) < count and (failure == 0 or look(failure) == 0):
        looks += 1
        if looks <= PATIENCE:
            pause()
        else:
            nap()  # on a busy machine the one that is waited for may have no core: asleep, this thread leaves it one


@cache
def function_of_jobs(body: Any) -> int:
    """Compile a function of a job's address and a thread's number for `call`, and return its address."""
    if not JIT:
        _PLAIN.append(body)
        return len(_PLAIN) - 1
    return _address(cfunc(types.void(types.int64, types.int64), cache=True)(body))


@njit(nogil=True)
def _raise_failure(failure):
    raise_kept(failure)


def raise_failure(failure: int) -> None:
    """Raise what a function of jobs raised, from what `call` kept of it in the job's first number."""
    if JIT:
        _raise_failure(failure)
    else:
        raise _FAILURES.pop(failure)
