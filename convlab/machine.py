"""What this machine can do: its name, its vectors, its peaks.

A time alone says little. Set against what the machine could have done in it, it says how much is left to gain
(the roofline of Williams et al. 2009). Two limits are measured here rather than looked up, because clocks differ
between machines, days and instructions:

* **the FMA peak**, in FLOP/s, by a loop that touches registers only: as many independent sums as the micro-kernel of
  `kernels.tiled` keeps, each a chain ``sum = sum * factor + term``, on whole vectors;
* **the memory bandwidth**, in bytes/s, by STREAM's triad ``a = b + scalar * c`` (McCalpin 1995) over arrays that no cache
  holds. As in STREAM an element counts 24 bytes: two numbers read and one written.

Both are compiled loops, so Numba loads when the first is asked for.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import DTypeLike

from .arguments import integer

UNKNOWN_CACHE = 64 << 20
"""Bytes that the last-level cache is taken to have where the system does not tell."""

BURST = 2e-3
"""About how long one call of a burst takes, in seconds: long beside starting threads, short beside a scheduler's tick."""


class Burst(NamedTuple):
    """A call that keeps one part of the machine busy, and how much it does: FLOPs or bytes.

    `run` takes no arguments and returns nothing, so it can be timed like any engine, in turns with others.
    """

    run: Callable[[], None]
    amount: int


@cache
def _loops() -> tuple[Any, Any]:
    """Compile the two loops: fma(turns, factor, term) -> the sum of all chains, and triad(a, b, c, scalar)."""
    from numba import config, types
    from numba.extending import intrinsic

    from .machinecode.cache import njit
    from .machinecode.vectors import SUMS, Emitter

    settings: Any = config
    if settings.DISABLE_JIT:
        raise RuntimeError("peaks are measured by compiled loops: NUMBA_DISABLE_JIT must not be set")

    def chains(context: Any, turns: Any, factor: Any, term: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            e = Emitter(context, builder, signature.return_type)
            turns, factor, term = args[0], e.spread(args[1]), e.spread(args[2])
            sums = e.registers(SUMS)
            for place in sums:
                builder.store(e.vector(None), place)  # zeros
            with e.loop(turns):
                for place in sums:
                    builder.store(e.fma(builder.load(place), factor, term), place)
            total = builder.load(sums[0])
            for place in sums[1:]:
                total = builder.fadd(total, builder.load(place))
            return builder.extract_element(total, e.constant(0))

        return factor(types.int64, factor, factor), codegen

    chain: Any = intrinsic(chains)

    def fma(turns: Any, factor: Any, term: Any) -> Any:
        return chain(turns, factor, term)

    def triad(a: Any, b: Any, c: Any, scalar: Any) -> None:
        for i in range(len(a)):
            a[i] = b[i] + scalar * c[i]

    compiled: Any = njit(nogil=True, fastmath={"contract"})
    return compiled(fma), compiled(triad)


def _together(calls: Sequence[Callable[[], object]]) -> Callable[[], None]:
    """Return a function that runs the calls at the same time, one thread each.

    Where the system lets one say so, each of several threads is tied to a core for that time: a thread that has just been
    woken may otherwise share its waker's core, while another core idles, for longer than a burst lasts.
    """
    first, *others = calls
    allowed = sorted(_allowed())
    places = [{allowed[i % len(allowed)]} if allowed and others else set(allowed) for i in range(len(calls))]
    pools = [ThreadPoolExecutor(1, initializer=_stay_on, initargs=(place,)) for place in places[1:]]

    def run() -> None:
        before = _allowed()
        _stay_on(places[0])
        try:
            running = [pool.submit(call) for pool, call in zip(pools, others, strict=True)]
            first()
            for future in running:
                future.result()
        finally:
            _stay_on(before)

    return run


def _allowed() -> set[int]:
    """Return the cores on which this thread may run, none where the system does not tell."""
    return os.sched_getaffinity(0) if sys.platform == "linux" else set()


def _stay_on(cores: set[int]) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(PermissionError):  # a sandbox may forbid it: the system then decides, as elsewhere
            os.sched_setaffinity(0, cores)


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def fma_burst(dtype: DTypeLike = "float32", threads: SupportsIndex = 1) -> Burst:
    """Return a loop of fused multiply-adds on registers alone, and the FLOPs of one run.

    Parameters
    ----------
    dtype : dtype
        float32 or float64.
    threads : int
        How many run it at once.

    Raises
    ------
    TypeError, ValueError
        If the dtype is another, or threads is not positive.
    RuntimeError
        If Numba's JIT is switched off.
    """
    number, threads = np.dtype(dtype), integer("threads", threads, 1)
    if number.name not in ("float32", "float64"):
        raise TypeError(f"the FMA peak is that of float32 or float64: dtype={number.name}")
    fma, _ = _loops()
    from .machinecode.vectors import SUMS, VECTOR

    # sum = sum / 2 + 1 tends to 2: no overflow and no denormal numbers, which some machines are slow at.
    half, one = np.array([0.5, 1], number)
    loop = partial(fma, 1, half, one)
    loop()  # compiles
    turns = 1 << 10
    while True:
        loop = partial(fma, turns, half, one)
        if min(seconds(loop) for _ in range(3)) > BURST / 2:
            break
        turns *= 2
    flops = 2 * turns * SUMS * (VECTOR // number.itemsize)
    return Burst(_together([loop] * threads), flops * threads)


def triad_burst(threads: SupportsIndex = 1, cache_bytes: int | None = None) -> Burst:
    """Return STREAM's triad over arrays that no cache holds, and the bytes one run moves.

    Parameters
    ----------
    threads : int
        How many run it at once, each on its share of the arrays.
    cache_bytes : int, optional
        What each of the three arrays must exceed fourfold; `last_level_cache()` if left out.

    Raises
    ------
    ValueError
        If threads is not positive.
    RuntimeError
        If Numba's JIT is switched off.
    """
    threads = integer("threads", threads, 1)
    cache_bytes = last_level_cache() or UNKNOWN_CACHE if cache_bytes is None else cache_bytes
    _, triad = _loops()
    length = 4 * cache_bytes // 8 + threads
    a, b, c = (np.full(length, value) for value in (0.0, 1.0, 2.0))  # written, so that the pages exist
    cuts = [length * i // threads for i in range(threads + 1)]
    parts = [slice(*pair) for pair in pairwise(cuts)]
    triad(a[:1], b[:1], c[:1], 3.0)  # compiles
    return Burst(_together([partial(triad, a[part], b[part], c[part], 3.0) for part in parts]), 24 * length)


def _best(burst: Burst, rounds: SupportsIndex) -> float:
    """Return the amount per second of the fastest of some runs."""
    return burst.amount / min(seconds(burst.run) for _ in range(integer("rounds", rounds, 1)))


def fma_peak(dtype: DTypeLike = "float32", threads: SupportsIndex = 1, rounds: SupportsIndex = 20) -> float:
    """Return the most FLOP/s that this machine's vector units do: the best of some rounds of `fma_burst`.

    Examples
    --------
    >>> fma_peak("int32")
    Traceback (most recent call last):
    TypeError: the FMA peak is that of float32 or float64: dtype=int32
    """
    return _best(fma_burst(dtype, threads), rounds)


def bandwidth(threads: SupportsIndex = 1, rounds: SupportsIndex = 5) -> float:
    """Return the most bytes/s between memory and the cores: the best of some rounds of `triad_burst`."""
    return _best(triad_burst(threads), rounds)


def cpu_name() -> str:
    """Return the processor's name as the system tells it and, in brackets, the design that Numba compiles for.

    A virtual machine's "AMD EPYC" may be any of several generations, whose peaks differ by two.

    Examples
    --------
    >>> cpu_name() != ""
    True
    """
    from numba.core.registry import cpu_target

    _, design, _ = cpu_target.target_context.codegen().magic_tuple()
    return f"{_brand()} ({design})"


def _brand() -> str:
    if sys.platform == "linux":
        match = re.search(r"^model name\s*: *(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if match:
            return match[1].strip()
    if sys.platform == "darwin":
        return subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Return how many threads are of use to this process: the processors it may use, or `NUMBA_NUM_THREADS` if that is fewer.

    Kernels and plans never use more. A container's share of a machine counts as the processors that it is worth.
    """
    from .machinecode import threads

    return threads.cores()


def last_level_cache(folder: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> int | None:
    """Return the bytes of the largest cache that the first core sees, or None where the system does not tell.

    Parameters
    ----------
    folder : Path
        Where Linux describes the caches of a core, one folder each.
    """
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    sizes = [path.read_text().strip() for path in folder.glob("index*/size")]
    return max((int(size[:-1]) * units[size[-1]] if size[-1] in units else int(size) for size in sizes), default=None)


def blas() -> str:
    """Return which BLAS NumPy calls and, where threadpoolctl is installed, which of its kernels runs on this machine.

    NumPy knows what it was built with; only the loaded library knows which instructions it chose.
    """
    try:
        import threadpoolctl  # optional
    except ImportError:
        build: Any = np.show_config(mode="dicts")  # type: ignore[call-overload, unused-ignore]  # older stubs lack `mode`
        library = build["Build Dependencies"]["blas"]
        return f"{library['name']} {library['version']}, kernel unknown (threadpoolctl would tell)"
    pools = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    names = [f"{pool['internal_api']} {pool['version']}, kernel {pool.get('architecture', 'unknown')}" for pool in pools]
    return "; ".join(names) or "none found"


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python, NumPy, Numba, llvmlite and of those of `packages` that are installed."""
    found = {"python": platform.python_version()}
    for package in ("numpy", "numba", "llvmlite", *packages):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # what is not installed did not take part
    return found


@dataclass(frozen=True)
class Machine:
    """What a benchmark says about the machine it ran on.

    Attributes
    ----------
    cpu, system : str
        The processor; the operating system.
    cores : int
        Processors that this process may use.
    vector_bits : int
        Width of the vectors that compiled kernels use.
    last_level_cache : int or None
        Bytes.
    blas : str
        NumPy's BLAS and the kernel it chose.
    versions : dict
        Package -> version.
    """

    cpu: str
    system: str
    cores: int
    vector_bits: int
    last_level_cache: int | None
    blas: str
    versions: dict[str, str]


def describe(*packages: str) -> Machine:
    """Describe this machine, and the versions of these packages beside NumPy's and Numba's.

    Examples
    --------
    >>> describe().vector_bits in (128, 256, 512)
    True
    """
    from .machinecode.vectors import VECTOR

    return Machine(cpu_name(), platform.platform(), cores(), 8 * VECTOR, last_level_cache(), blas(), versions(*packages))
