"""The micro-kernels: every shape of tile against NumPy, at the very edge of the memory that is theirs."""

import ctypes
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from numpy.testing import assert_array_equal

from convlab.kernels.tiled import depthwise, matmul
from convlab.kernels.tiled.matmul import ROWS, panels
from convlab.kernels.tiled.pack import pack, pack_window
from convlab.kernels.tiled.step import DEPTHWISE
from convlab.machinecode import memory
from convlab.machinecode.inline import JIT, address, assembly
from convlab.machinecode.vectors import SUMS, VECTOR, VECTORS

SIZES = {4: np.float32, 8: np.float64}


def integers(rng, *shape):
    return rng.integers(-8, 9, shape)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("vectors", range(1, VECTORS + 1))
def test_every_tile_is_the_matrix_product_and_stays_in_its_memory(size, vectors, guarded):
    """All rows and tails of a width; weights, input, shortcut and output each end at a forbidden page."""
    dtype, lanes, rng = SIZES[size], VECTOR // size, np.random.default_rng(size)
    channels = 5
    for rows in range(1, ROWS[vectors] + 1):
        for last in {1, lanes - 1, lanes} - {0}:
            columns = (vectors - 1) * lanes + last
            x, w, bias = integers(rng, rows, channels), integers(rng, channels, columns), integers(rng, columns)
            carried = integers(rng, rows, columns)
            a = guarded(x.astype(dtype))
            panel = guarded(pack(w.astype(dtype), bias.astype(dtype)))
            shortcut, y = guarded(carried.astype(dtype)), guarded(np.zeros((rows, columns), dtype))
            table, targets = np.array([a.address]), np.array([y.address])
            limits = np.array([-40, 60], dtype)
            shift = shortcut.address - y.address
            function = address(matmul.multiply, size)
            call_multiply(
                function, size, table.ctypes.data, targets.ctypes.data, 1, channels, 1, rows, 0, channels * size, panel.address, columns,
                0, 1, columns * size, shift, 0, 0, limits.ctypes.data,
            )  # fmt: skip
            assert_array_equal(y.array, np.clip(x @ w + bias, -40, 60) + carried)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("slide", "rows"), [(0, 1), *((slide, rows) for slide in (1, 2) for rows in range(1, depthwise.LINES + 1))])
def test_every_depthwise_tile_is_the_windowed_sum_and_stays_in_its_memory(size, slide, rows, guarded):
    dtype, lanes, rng = SIZES[size], VECTOR // size, np.random.default_rng(size)
    stride = slide or 3
    for pixels in range(1, depthwise.PIXELS + 1):
        for channels in {1, lanes, 2 * lanes - 1}:
            whole = -(-channels // lanes) * lanes
            down, across = ((n - 1) * stride + 3 for n in (rows, pixels))
            x = np.zeros((down, across, whole))
            x[..., :channels] = integers(rng, down, across, channels)
            w, bias = integers(rng, 3, 3, 1, channels), integers(rng, channels)
            source = guarded(x.astype(dtype))
            weights = guarded(pack_window(w.astype(dtype), channels, DEPTHWISE, bias.astype(dtype)))
            y = guarded(np.zeros((rows, pixels, channels), dtype))
            pitch = whole * size
            taps = [(r * stride + u, v) for r in range(rows) for u in range(3) for v in range(3)]
            table = np.array([source.address + (u * across + v) * pitch for u, v in taps])
            limits = np.array([-100, 100], dtype)
            function = address(depthwise.lay, size)
            call_depthwise(
                function, size, rows, pixels, slide, channels, table.ctypes.data, 9, stride * pitch, weights.address, y.address,
                channels * size, pixels * channels * size, limits.ctypes.data,
            )  # fmt: skip
            windows = sliding_window_view(x[..., :channels], (3, 3), axis=(0, 1))[::stride, ::stride]
            sums = np.einsum("ijcuv,uvc->ijc", windows, w[:, :, 0])
            assert_array_equal(y.array, np.clip(sums + bias, -100, 100))


def call(function, body, *args):
    """Call a compiled micro-kernel by its address, as Numba's functions call each other; or its body where the JIT is off."""
    if JIT:
        result, failure = ctypes.c_void_p(), ctypes.c_void_p()
        kind = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * len(args))
        kind(function)(ctypes.addressof(result), ctypes.addressof(failure), *args)
        assert failure.value is None
    else:
        body(*args)


def call_multiply(function, *args):
    call(function, matmul.multiply, *args)


def call_depthwise(function, *args):
    call(function, depthwise.lay, *args)


@given(st.integers(1, 40), st.integers(1, 150), st.sampled_from(list(SIZES)))
def test_packing_keeps_every_weight_and_pads_with_zeros(rows, columns, size):
    lanes = VECTOR // size
    w = np.random.default_rng(0).integers(1, 9, (rows, columns)).astype(SIZES[size])
    packed = pack(w, np.full(columns, 10, w.dtype))
    vectors = -(-columns // lanes)
    assert packed.size == (1 + rows) * vectors * lanes
    assert packed.sum() == w.sum() + 10 * columns
    assert panels(columns, size) == -(-vectors // VECTORS)


@settings(max_examples=10)
@given(st.integers(0, 3), st.integers(1, 200), st.integers(0, 7))
def test_moving_pixels_copies_all_of_each_and_nothing_else(pixels, size, gap):
    source = np.random.default_rng(0).integers(0, 255, max(pixels, 1) * size, np.uint8)
    target = np.zeros((max(pixels, 1), size + gap), np.uint8)
    move(pixels, size, source.ctypes.data, size, target.ctypes.data, size + gap)
    assert_array_equal(target[:pixels, :size], source.reshape(-1, size)[:pixels])
    assert not target[:, size:].any()


def move(*args):
    if JIT:
        from numba import njit

        global _moving
        if _moving is None:
            _moving = njit(lambda a, b, c, d, e, f: memory.move(a, b, c, d, e, f))
        _moving(*args)
    else:
        memory.move(*args)


_moving = None


def test_the_tile_fits_the_registers():
    """Sums, a panel's vectors and one spread number: 32 registers of 512 bits, or 16 narrower ones."""
    for vectors in range(1, VECTORS + 1):
        assert ROWS[vectors] * vectors + vectors + 1 <= (32 if VECTOR == 64 else 16)


FORCED = """
import re, sys
import numpy as np
import convlab as cl
from convlab.kernels.tiled import matmul
from convlab.machinecode.inline import assembly
from convlab.machinecode.vectors import VECTOR
assert VECTOR == {vector}, VECTOR
rng = np.random.default_rng(0)
for spec in (cl.ConvSpec(3, 21, 3, 2, "same"), cl.ConvSpec.depthwise(37, 3, padding="same"), cl.ConvSpec.pointwise(19, 70)):
    x, w = (rng.integers(-8, 9, shape).astype(np.float32) for shape in ((1, 9, 11, spec.in_channels), spec.weight_shape))
    options = dict(stride=spec.stride, padding=spec.padding, groups=spec.groups)
    np.testing.assert_array_equal(cl.conv2d(x, w, kernel="tiled", **options), cl.conv2d(x, w, kernel="im2col", **options))
model = cl.Model.random(cl.mobilenet_v2(alpha=0.35, resolution=32, classes=7))
x = rng.uniform(-1, 1, (32, 32, 3)).astype(np.float32)
np.testing.assert_allclose(model.compile(threads=2)(x), model(x, kernel="im2col"), rtol=1e-4, atol=1e-4)
code = assembly(matmul.multiply, 4)
print("zmm" in code, "ymm" in code, "vfmadd" in code)
"""


@pytest.mark.skipif(not JIT, reason="machines are told apart by the JIT")
@pytest.mark.parametrize("name", ["generic", "haswell", "skylake-avx512"])
def test_other_machines_give_the_same_numbers(name, other_machine):
    """Numba is told that the machine is another; where this one lacks the instructions, there is nothing to run."""
    environment, vector = other_machine(name)
    script = FORCED.format(vector=vector)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(vector == 64), str(vector >= 32), str(vector >= 32)]


@pytest.mark.skipif(not JIT, reason="there is no assembly without the JIT")
def test_the_largest_tile_keeps_its_sums_in_registers():
    """Every innermost loop with that many FMAs: no vector goes to the stack, and the largest tile has such a loop."""
    if VECTOR != 64:
        pytest.skip("read for 512-bit vectors only")
    loops = [(fmas, spills) for fmas, spills in basic_blocks(assembly(matmul.multiply, 4)) if fmas >= SUMS]
    assert any(fmas % SUMS == 0 for fmas, _ in loops)
    assert all(spills == 0 for _, spills in loops)


def basic_blocks(assembly):
    """Yield the FMAs, and the vectors read from or written to the stack, of each stretch of code between jumps and their targets."""
    fmas = spills = 0
    for line in assembly.splitlines():
        if line.startswith((".LBB", "convlab")) or line.lstrip().startswith("j"):
            yield fmas, spills
            fmas = spills = 0
        fmas += "vfmadd" in line
        spills += "zmm" in line and "rsp" in line
