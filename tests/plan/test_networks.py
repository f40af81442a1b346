"""Plans of any network against their models, layer by layer: the table of steps as NumPy reads it, and the compiled run of it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from guard import Guarded
from hypothesis import assume, given, settings
from networks import drawn, exact
from numpy.testing import assert_allclose, assert_array_equal

import convlab as cl
from convlab.kernels.tiled import job, schedule
from convlab.kernels.tiled.step import ARENA, DEPTHWISE, INPUT, NOTHING, NOWHERE, OUTPUT
from convlab.layers import Conv, Network, Pool, Residual
from convlab.machinecode.inline import JIT
from convlab.machinecode.vectors import VECTOR, VECTORS
from convlab.plan import SIZE

pytestmark = pytest.mark.usefixtures("many_cores")

LANES = VECTOR // SIZE

NETWORKS = int(os.environ.get("CONVLAB_NETWORKS", (2000 if os.environ.get("CI") else 120) if JIT else 6))
"""How many networks are drawn, of each kind of vector."""


def unpacked(weights, start, rows, columns):
    """Return bias (columns,) and matrix (rows, columns) from the panels that begin at number `start`."""
    vectors = -(-columns // LANES)
    count = -(-vectors // VECTORS)
    panels = []
    for panel in range(count):
        wide = (vectors * (panel + 1) // count - vectors * panel // count) * LANES
        panels.append(weights[start : start + (1 + rows) * wide].reshape(1 + rows, wide))
        start += (1 + rows) * wide
    whole = np.concatenate(panels, axis=1)[:, :columns]
    return whole[0], whole[1:]


class Interpreter:
    """Runs a plan's table of steps on one picture with plain NumPy: what the table says, without what makes it fast.

    Before each step its scratch is filled with NaN, so that no step is given the memory of a value that is still wanted.
    """

    def __init__(self, plan, x):
        self.plan, self.x = plan, x
        self.weights = plan._weights.view(np.float32)
        self.arena = np.full(plan.arena_bytes // SIZE, np.nan, np.float32)
        self.y = np.full(plan.network.output, np.nan, np.float32)

    def run(self):
        for row in self.plan._steps:
            self.step(row)
        return self.y

    def step(self, s):
        def value(name, count):
            place = int(s[name])
            return {INPUT: self.x.ravel(), ARENA: self.arena[place // SIZE :][:count]}[s[f"{name}_base"]]

        def clamped(sums, stage):
            return np.clip(sums, *self.weights[s[f"{stage}_clamp"] // SIZE :][:2])

        threads, wide = self.plan.threads, -(-s["expanded"] // LANES) * VECTOR
        scratch = {"ring": s["ring_bytes"] * threads, "middle": s["middle_bytes"] * threads}
        if s["phases"] == 2:
            scratch["middle"] = s["out_height"] * s["out_width"] * wide
        for name, size in scratch.items():
            assert s[name] + size <= self.plan.arena_bytes
            self.arena[s[name] // SIZE :][: size // SIZE] = np.nan
        channels, expanded, outputs = s["channels"], s["expanded"], s["outputs"]
        if s["window"] == NOTHING:
            y = value("source", s["out_height"] * channels).reshape(-1, channels)
        else:
            x = value("source", s["height"] * s["width"] * channels).reshape(s["height"], s["width"], channels)
            if s["expands"]:
                x = clamped(self.expanded(x, s["expand_weights"] // SIZE, channels, expanded, s["slice"]), "expand")
            y = clamped(self.laid(x, s), "window")
        if s["projects"]:
            bias, matrix = unpacked(self.weights, s["project_weights"] // SIZE, expanded, outputs)
            y = clamped(y.reshape(-1, expanded) @ matrix + bias, "project")
        y = y.ravel()
        if s["shortcut_base"] != NOWHERE:
            y = y + value("shortcut", y.size)
        if s["target_base"] == OUTPUT:
            self.y[...] = y.reshape(self.y.shape)
        else:
            self.arena[s["target"] // SIZE :][: y.size] = y

    def expanded(self, x, start, channels, wide, width):
        parts = []
        for first in range(0, wide, width):
            columns = min(width, wide - first)
            bias, matrix = unpacked(self.weights, start + first * (1 + channels), channels, columns)
            parts.append(x @ matrix + bias)
        return np.concatenate(parts, axis=2)

    def laid(self, x, s):
        """Return the window's sums on x (H, W, expanded)."""
        rows, columns = s["out_height"], s["out_width"]
        taps = [(u * s["dilation_height"], v * s["dilation_width"]) for u, v in np.ndindex(s["kernel_height"], s["kernel_width"])]
        down, across = (rows - 1) * s["stride_height"] + 1, (columns - 1) * s["stride_width"] + 1
        sides = max(down + taps[-1][0], s["top"] + x.shape[0]), max(across + taps[-1][1], s["left"] + x.shape[1])
        padded = np.zeros((*sides, s["expanded"]), x.dtype)
        padded[s["top"] :, s["left"] :][: x.shape[0], : x.shape[1]] = x
        windows = np.stack([padded[u : u + down : s["stride_height"], v : v + across : s["stride_width"]] for u, v in taps], axis=2)
        start = s["window_weights"] // SIZE
        if s["window"] == DEPTHWISE:
            vectors = -(-s["expanded"] // LANES)
            packed = self.weights[start:][: vectors * (1 + len(taps)) * LANES].reshape(vectors, 1 + len(taps), LANES)
            packed = packed.transpose(1, 0, 2).reshape(1 + len(taps), -1)[:, : s["expanded"]]
            return np.einsum("ijtc,tc->ijc", windows, packed[1:]) + packed[0]
        parts = []
        for group in range(s["groups"]):
            run, outputs = s["expanded"] // s["groups"], s["outputs"] // s["groups"]
            begin = start + group * -(-outputs // LANES) * LANES * (1 + len(taps) * run)
            bias, matrix = unpacked(self.weights, begin, len(taps) * run, outputs)
            parts.append(windows[..., group * run : (group + 1) * run].reshape(rows, columns, -1) @ matrix + bias)
        return np.concatenate(parts, axis=2)


def right(y, expected, rounded):
    """Assert that outputs are those of the model: to the last bit unless a pooling's division, or real weights, were rounded."""
    if not rounded:
        assert_array_equal(y, expected)
    else:  # see `agree` in test_plan.py
        assert_allclose(y, expected, rtol=0, atol=1e-4 * max(1, np.abs(expected).max(initial=0)))


def guarded_empty(size):
    """Return memory like `memory.empty`, but between forbidden pages, and full of NaN."""
    return Guarded(np.full(-(-size // VECTOR) * VECTOR, 255, np.uint8)).array[:size]


@settings(max_examples=NETWORKS)
@given(drawn())
def test_a_plan_gives_what_its_model_gives(drawn):
    """Its steps as NumPy reads them; and the compiled run, where arenas, weights, tables and pictures end at forbidden pages."""
    model, x = drawn.model, drawn.pictures
    expected = model(x, kernel="im2col")
    assume(exact(model, x))
    rounded = any(isinstance(layer, Pool) for layer in drawn.network.layers)
    with pytest.MonkeyPatch.context() as patched, np.errstate(invalid="ignore"):  # padding lanes may hold anything
        patched.setattr(schedule, "CACHE", drawn.cache)
        plan = model.compile(drawn.batch, drawn.threads)
        right(np.stack([Interpreter(plan, picture).run() for picture in x]), expected, rounded)
        patched.setattr(job, "empty", guarded_empty)
        plan._weights = Guarded(plan._weights).array
        for _ in range(2):
            right(plan(Guarded(x).array), expected, rounded)


@pytest.mark.skipif(not JIT, reason="machines are told apart by the JIT")
@pytest.mark.parametrize("name", ["generic", "haswell"])
def test_a_plan_gives_what_its_model_gives_on_other_machines(name, other_machine):
    environment, _ = other_machine(name)
    test = f"{__file__}::{test_a_plan_gives_what_its_model_gives.__name__}"
    environment |= {"CONVLAB_NETWORKS": str(NETWORKS // 3)}
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", test]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False, cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def chain(*layers):
    """Return layers (name, spec) as convolutions with a bias and relu6."""
    return tuple(Conv(f"c{i}", spec, "relu6", None) for i, spec in enumerate(layers))


POINT, APART = cl.ConvSpec.pointwise, lambda channels: cl.ConvSpec.depthwise(channels, 3, padding="same")
FOUND = {
    "a shortcut that ends expand, depthwise": (Residual("r", chain(POINT(4, 64), POINT(64, 4), APART(4))),),
    "the same, more channels than before": (Residual("r", chain(POINT(4, 16), APART(16), POINT(16, 4), POINT(4, 4), APART(4))),),
    "a shortcut that ends pointwise, depthwise": (Residual("r", chain(POINT(4, 4), APART(4))),),
    "one channel is mixed": chain(POINT(4, 1), POINT(1, 1)),
    "one channel is mixed and laid": chain(POINT(4, 1), POINT(1, 1), cl.ConvSpec(1, 1, 3, padding="same"), POINT(1, 5)),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", FOUND)
def test_networks_that_once_went_wrong(name, threads):
    """An expansion filled rings that were laid out for its input; a mixing of one channel counted as a window, and was left out."""
    model = cl.Model.random(Network("found", (32, 32, 4), FOUND[name]), seed=1)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 4)).astype(np.float32)
    right(model.compile(threads=threads)(x), model(x, kernel="im2col"), True)


@pytest.mark.parametrize("threads", [1, 2])
def test_what_compiled_code_raises_is_raised_by_the_call(threads):
    """A step of no channels divides by zero in the midst of a micro-kernel, in whichever thread; the others do not wait for it."""
    model = cl.Model.random(Network("wide", (24, 24, 8), chain(POINT(8, 64), POINT(64, 64))), seed=1)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 24, 24, 8)).astype(np.float32)
    plan = model.compile(threads=threads)
    expected = plan(x)
    for _ in range(3):
        plan._steps["expanded"][1] = 0
        with pytest.raises((ZeroDivisionError, RuntimeWarning)):  # the warning is NumPy's, without the JIT
            plan(x)
        plan._steps["expanded"][1] = 64
        assert_array_equal(plan(x), expected)
