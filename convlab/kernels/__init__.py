"""The ladder: every way convlab knows to run a convolution, slowest first.

Each rung is a `Kernel`: up to four functions with one contract::

    (x: (N, H, W, C) contiguous, w: (KH, KW, C/groups, O) contiguous, geometry) -> y: (N, OH, OW, O)

x and w have one dtype and are read-only, y has the same dtype. The front door (`convlab.conv2d`)
has checked everything before a kernel runs, so kernels hold no checks.

`KERNELS` is read-only; tests and benchmarks walk it, so no rung is timed untested. A function of
your own with this contract, or a `Kernel` made of some, goes wherever a rung's name goes.

How far each rung gets on this machine, as a share of its FMA peak, `convlab bench kernels` measures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType

import numpy as np

from ..geometry import ConvGeometry, Kind
from ..machinecode.interrupts import uninterrupted
from . import im2col, naive

KernelFunction = Callable[[np.ndarray, np.ndarray, ConvGeometry], np.ndarray]

FLOATS = ("float32", "float64")
NUMBERS = (*FLOATS, "int32", "int64")
"""The dtypes convlab convolves. Narrower integers would overflow in any real sum."""


@dataclass(frozen=True)
class Kernel:
    """A named set of functions, one for each kind of convolution.

    Parameters
    ----------
    name : str
        As reports show it.
    standard : callable
        ``f(x, w, geometry) -> y`` for groups=1, any window. Also runs the pointwise
        convolutions of a kernel without `pointwise`: a 1x1 window is a window.
    depthwise, pointwise, grouped : callable, optional
        The same contract where groups=in_channels, where the window is 1x1, and for any other
        groups. What is missing is run by the fastest rung, and the result says so.
    dtypes : tuple of str
        What the functions take; `"auto"` passes over rungs that do not take the input's dtype.

    Examples
    --------
    >>> def one_tap_at_a_time(x, w, g):
    ...     y = np.zeros((len(x), *g.out_shape), x.dtype)
    ...     for u in range(w.shape[0]):
    ...         for v in range(w.shape[1]):
    ...             y += x[:, u : u + g.out_height, v : v + g.out_width] @ w[u, v]
    ...     return y
    >>> mine = Kernel("mine", standard=one_tap_at_a_time)   # right only at stride 1, without padding
    >>> import convlab as cl
    >>> cl.conv2d(np.ones((6, 6, 3)), np.ones((3, 3, 3, 5)), kernel=mine)[0, 0]
    array([27., 27., 27., 27., 27.])
    """

    name: str
    standard: KernelFunction
    depthwise: KernelFunction | None = None
    pointwise: KernelFunction | None = None
    grouped: KernelFunction | None = None
    dtypes: tuple[str, ...] = NUMBERS

    def function(self, kind: Kind) -> KernelFunction | None:
        """Return the function that runs this kind of convolution, or None if the kernel has none."""
        own: KernelFunction | None = getattr(self, kind)
        return self.standard if own is None and kind == "pointwise" else own


@dataclass(frozen=True)
class _Later:
    """A kernel function that imports its module at the first call: Numba takes its time to load."""

    module: str
    name: str

    def __call__(self, x: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
        function: KernelFunction = getattr(uninterrupted(import_module)(f"{__name__}.{self.module}"), self.name)
        return function(x, w, geometry)


def _rung(name: str, dtypes: tuple[str, ...], door: str | None = None) -> Kernel:
    """Return a compiled rung: its module has a function for each kind of convolution, or one for all."""
    standard, depthwise, pointwise, grouped = (_Later(name, door or kind) for kind in ("standard", "depthwise", "pointwise", "grouped"))
    return Kernel(name, standard, depthwise, pointwise, grouped, dtypes)


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        kernel.name: kernel
        for kernel in (
            Kernel("naive", naive.standard, naive.standard, naive.standard, naive.standard),
            Kernel("im2col", im2col.standard, im2col.depthwise, im2col.pointwise, im2col.grouped),
            _rung("jit", NUMBERS),
            _rung("tiled", FLOATS, door="convolve"),
        )
    }
)
"""The ladder in order, name -> `Kernel`; the last rung is the fastest."""


def fastest(dtype: np.dtype) -> Kernel:
    """Return the highest rung that takes `dtype`: what `kernel="auto"` means."""
    return next(kernel for kernel in reversed(list(KERNELS.values())) if dtype.name in kernel.dtypes)


def resolve(kernel: str | Kernel | KernelFunction, dtype: np.dtype) -> Kernel:
    """Return the `Kernel` that a name, a `Kernel` or a plain function stands for.

    Raises
    ------
    ValueError
        If no rung has this name.
    TypeError
        If it is none of the three, or does not take `dtype`.
    """
    if isinstance(kernel, str):
        if kernel == "auto":
            return fastest(dtype)
        if kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {', '.join(map(repr, ('auto', *KERNELS)))}: kernel={kernel!r}")
        kernel = KERNELS[kernel]
    if not isinstance(kernel, Kernel):
        if not callable(kernel):
            raise TypeError(f"kernel must be a name, a Kernel or a function f(x, w, geometry): kernel={kernel!r}")
        kernel = Kernel(getattr(kernel, "__name__", type(kernel).__name__), standard=kernel)
    if dtype.name not in kernel.dtypes:
        raise TypeError(f"kernel {kernel.name!r} takes {', '.join(kernel.dtypes)}: dtype={dtype.name}")
    return kernel
