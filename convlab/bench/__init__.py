"""Verify, warm up, time: kernels side by side on one workload.

A time says something only about code that is right, so every kernel is compared before it is timed. The
inputs are small integers, whose sums are exact in every dtype and in every order: kernels must agree to
the last bit. `naive` is the reference as far as it is quick enough; beyond that `im2col`, which has just agreed with it.

A slow kernel cannot run what a fast one needs to show itself. So each climbs through ever larger crops of the
workload (sides halved: 7x7, 14x14, 28x28, ...) until one takes it too long, and is timed on the largest
that did not. The row says which, and MACs per second compare rows of different sizes.

The first call stands apart: there a compiled kernel loads Numba and is compiled, or read from Numba's cache on
disk. Then the kernels take turns, so that whatever else the machine does meanwhile meets them all alike. A turn begins with
a rest, in which the threads of the one before fall asleep. Of its calls the last is timed: by then a kernel's own threads are
awake and on cores of their own, and the caches know its data, as in a network, whose layers follow each other.
The minimum is the best estimate of what the code needs; a median far above it tells of a busy machine.

How good a time is, only the machine can say. So its peak is measured in the same rounds (`machine.fma_burst`, on all cores, as
kernels may use them), and each row shows what share of it the kernel reached. Arithmetic intensity, FLOPs per byte that
must be moved, tells whether a kernel could reach it at all: below peak / bandwidth the memory sets the pace (Williams et al. 2009).
"""

from ..units import duration, rate
from .kernels import LAYERS, Benchmark, Timing, bench
from .networks import CLOSE, NetworkBenchmark, PlanTiming, bench_networks

__all__ = ["CLOSE", "LAYERS", "Benchmark", "NetworkBenchmark", "PlanTiming", "Timing", "bench", "bench_networks", "duration", "rate"]
