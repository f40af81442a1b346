"""Vectors: how wide this machine's are, how many of them a loop can keep in registers, and a writer of instructions on them.

A processor core has vector registers: one of 512 bits holds 16 float32 numbers, and one *fused multiply-add* (FMA) instruction does 16
multiply-accumulates on it. Compilers vectorise loops, but none keeps 24 sums in registers across three nested ones. So the innermost loops
are written out in LLVM's vector operations, by an `Emitter`, and Numba puts them straight into a compiled function.

`ask_llvm` finds out how wide the vectors are; nothing else depends on the machine.

A **clamp** keeps NaN: it replaces a value only where a comparison holds, and no comparison with NaN does.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import register_jitable

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
"""The most sums that a loop keeps in registers beside its factors, and the vectors in the width of a tile of sums.

512-bit machines have 32 registers; others are taken to have 16.
"""


@register_jitable  # Python calls it as well, and must not compile it for that
def vectors(numbers: int, size: int) -> int:
    """Return how many vectors hold so many numbers of `size` bytes."""
    return (numbers * size + VECTOR - 1) // VECTOR


@register_jitable
def padded(numbers: int, size: int) -> int:
    """Return the bytes of so many numbers, rounded up to whole vectors."""
    return vectors(numbers, size) * VECTOR


class Emitter:
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

    def times(self, stride: Any, count: Any) -> Any:
        """Return stride * count."""
        return self.builder.mul(stride, self.constant(count) if isinstance(count, int) else count)

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
        return self.builder.icmp_signed("<", counts, self.spread(lanes))

    def _masked(self, what: str, result: Any, args: list[Any], pointer: Any) -> Any:
        suffix = "p0" if str(pointer.type) == "ptr" else f"p0{self.name}"  # LLVM named the pointee until version 15
        kind = ir.FunctionType(result, [arg.type for arg in args])
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.masked.{what}.{self.name}.{suffix}")
        return self.builder.call(function, args)

    def spread(self, number: Any) -> Any:
        """Return a vector with the number in every lane."""
        kind = ir.VectorType(number.type, self.lanes)
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros)

    def broadcast(self, address: Any) -> Any:
        """Read one number into every lane."""
        return self.spread(self.load(self.number, address))

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
