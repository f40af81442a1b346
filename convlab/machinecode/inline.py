"""One declaration for an instruction, or for a family of micro-kernels: what it emits, and what stands in for it without the JIT.

What compiled code calls like any other function::

    @inline(stand_in, result)                instructions on integers, put where they are called
    @micro_kernels(stand_in, case, shapes)   one function for each shape of a tile, chosen by the number of its case
    called(body)                             a call of a compiled function, translated on its own, by its address

The decorated function is an *emitter*: its first argument is an `Emitter`, the others are LLVM's values for the arguments that the
callers see. How many there are is read from its signature. A stand-in takes the same arguments as plain numbers; with
`NUMBA_DISABLE_JIT` it runs in the emitter's place, so the whole ladder also runs as plain Python.

**Errors.** Numba's functions return a status to each other. A function that C could call cannot: Numba prints what it raises and goes on.
No error may be lost, so compiled code here never goes through C: `call_by_address` calls as Numba does, and hands on what was raised.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import config
from numba.extending import intrinsic

from .cache import cfunc
from .vectors import INT64, Emitter

_settings: Any = config
JIT: bool = not _settings.DISABLE_JIT

Shape = tuple[int, ...]


def _intrinsic(typing: Callable[..., Any], name: str, parameters: Iterable[str]) -> Any:
    """Return what compiled code calls with these parameters: Numba reads them from the signature of `typing`."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    described: Any = typing
    described.__name__ = name
    described.__signature__ = inspect.Signature([inspect.Parameter(one, kind) for one in ("context", *parameters)])
    return intrinsic(described)


def _parameters(emit: Callable[..., Any], skipped: int) -> list[str]:
    return list(inspect.signature(emit).parameters)[skipped:]


def inline(stand_in: Callable[..., Any], result: Any = types.none) -> Callable[[Callable[..., Any]], Any]:
    """Make an emitter a function of integers for compiled code."""

    def decorate(emit: Callable[..., Any]) -> Any:
        def typing(context: Any, *arguments: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
                value = emit(Emitter(context, builder, types.float32), *values)
                return context.get_dummy_value() if value is None else value

            return result(*[types.int64] * len(arguments)), codegen

        return _intrinsic(typing, emit.__name__, _parameters(emit, 1)) if JIT else stand_in

    return decorate


def micro_kernels(stand_in: Callable[..., Any], case: Callable[..., int], shapes: Sequence[Shape]) -> Callable[[Callable[..., Any]], Any]:
    """Make an emitter a family of functions, called with the number of a case, integers, and a pointer that tells the float type.

    The emitter's second argument is the shape. Each has a function of its own: LLVM's time to translate one grows faster than its length.

    Parameters
    ----------
    stand_in : callable
        As the callers see it: the case's number comes first.
    case : callable
        The number of a shape; compiled code calls it too.
    shapes : sequence of tuple of int
    """

    def decorate(emit: Callable[..., Any]) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            number, *integers, pointer = values
            dtype = signature.args[-1].dtype
            integers.append(builder.ptrtoint(pointer, INT64))
            kind = ir.FunctionType(ir.VoidType(), [INT64] * len(integers))
            end, other = builder.append_basic_block("end"), builder.append_basic_block("none")
            branch = builder.switch(number, other)
            for shape in shapes:
                function = ir.Function(builder.module, kind, f"convlab.{emit.__name__}.{dtype}.{case(*shape)}")
                function.linkage = "internal"
                function.attributes.add("noinline")
                body = ir.IRBuilder(function.append_basic_block("entry"))
                emit(Emitter(context, body, dtype), shape, *function.args)
                body.ret_void()
                block = builder.append_basic_block(f"case{case(*shape)}")
                branch.add_case(ir.Constant(INT64, case(*shape)), block)
                with builder.goto_block(block):
                    builder.call(function, integers)
                    builder.branch(end)
            builder.position_at_end(other)
            builder.unreachable()
            builder.position_at_end(end)
            return context.get_dummy_value()

        def typing(context: Any, *arguments: Any) -> Any:
            return types.none(*[types.int64] * (len(arguments) - 1), arguments[-1]), codegen

        return _intrinsic(typing, emit.__name__, ["case", *_parameters(emit, 2)]) if JIT else stand_in

    return decorate


def call_by_address(context: Any, builder: Any, address: Any, kinds: list[Any], values: Sequence[Any]) -> Any:
    """Emit a call of the compiled function at an address as Numba's functions call each other, and return how it ended."""
    kind = context.call_conv.get_function_type(types.none, kinds)
    status, _ = context.call_conv.call_function(builder, builder.inttoptr(address, kind.as_pointer()), types.none, kinds, values)
    return status


def address_of(compiled: Any) -> int:
    """Return where the code of a `cfunc` begins, without the wrapper that makes it a function of C, and loses what is raised."""
    return int(compiled._library.get_pointer_to_function(compiled.native_name.removeprefix("cfunc.")))


def _compile(body: Callable[..., None], size: int, *, cache: bool) -> Any:
    """Compile a function of integers and, last, a pointer to numbers of `size` bytes."""
    pointer = types.CPointer(types.float32 if size == 4 else types.float64)
    return cfunc(types.void(*[types.int64] * (len(_parameters(body, 0)) - 1), pointer), cache=cache)(body)


@cache
def address(body: Callable[..., None], size: int) -> int:
    """Return where the code of a function for numbers of `size` bytes begins; it is compiled when first asked for. 0 without the JIT."""
    return address_of(_compile(body, size, cache=True)) if JIT else 0


def assembly(body: Callable[..., None], size: int) -> str:
    """Return a function in the machine's own language: what there is to read in the lesson's last step."""
    return str(_compile(body, size, cache=False)._library.get_asm_str())


def called(body: Callable[..., None]) -> Any:
    """Return what compiled code calls to run a function that is translated on its own: its `address` comes first, then its arguments.

    All are integers, the last one the address of numbers. What the function raises, this raises.
    """
    return _intrinsic(_calls(), f"call_{body.__name__}", ["address", *_parameters(body, 0)]) if JIT else partial(_skip, body)


def _skip(body: Callable[..., None], _address: int, *arguments: int) -> None:
    body(*arguments)


def _calls() -> Callable[..., Any]:
    """Return the typing of a function's calls by address."""
    pointer = types.CPointer(types.float32)  # one pointer is like another

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        address, *integers, last = values
        kinds = [*[types.int64] * len(integers), pointer]
        status = call_by_address(context, builder, address, kinds, [*integers, builder.inttoptr(last, context.get_value_type(pointer))])
        with builder.if_then(status.is_error, likely=False):
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return lambda context, *arguments: (types.none(*[types.int64] * len(arguments)), codegen)
