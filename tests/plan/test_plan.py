"""The compiled plan against the model it was made from, layer fused by layer, thread by thread."""

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import convlab as cl
from convlab.kernels.tiled import schedule
from convlab.layers import Conv, Dense, Network, Pool, Residual
from convlab.machinecode import threads as pools
from convlab.machinecode.inline import JIT
from convlab.machinecode.vectors import VECTOR
from convlab.plan import Plan
from convlab.plan.arena import Wants, lay_out

pytestmark = pytest.mark.usefixtures("many_cores")

SMALL = cl.mobilenet_v1(alpha=0.25, resolution=32, classes=7)


def pictures(network, batch, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (batch, *network.input)).astype(np.float32)


def agree(model, batch=1, threads=1, seed=0):
    """Run a plan and the model, and compare.

    Both round each layer's sums, of at most some thousand terms, in orders of their own: some 1e-6 of the numbers' size a layer, and
    each layer hands its error on. 1e-4 of the largest logit is far above what some fifty layers gather and far below any mistake.
    """
    x = pictures(model.network, batch, seed)
    y = model.compile(batch, threads)(x)
    expected = model(x, kernel="im2col")
    assert y.dtype == np.float32
    assert y.shape == expected.shape
    assert_allclose(y, expected, rtol=0, atol=1e-4 * max(1, np.abs(expected).max(initial=0)))


@settings(max_examples=8 if JIT else 2)
@given(
    make=st.sampled_from([cl.mobilenet_v1, cl.mobilenet_v2]),
    alpha=st.sampled_from([0.1, 0.25, 0.35, 0.5, 0.75, 1.0, 1.4]) if JIT else st.just(0.1),
    resolution=st.integers(32, 80) if JIT else st.just(33),
    rho=st.sampled_from([1.0, 1.3]) if JIT else st.just(1.0),
    padding=st.sampled_from(["same", "symmetric"]),
    batch=st.sampled_from([1, 7]) if JIT else st.just(1),
    threads=st.integers(1, 3),
)
def test_plans_agree_with_their_models(make, alpha, resolution, rho, padding, batch, threads):
    agree(cl.Model.random(make(alpha, resolution, 11, padding, rho=rho)), batch, threads)


def conv(name, spec, activation="relu6", eps=1e-3):
    return Conv(name, spec, activation, eps)


SAME = {"padding": "same"}
ODD = {
    "standard in the middle": (conv("a", cl.ConvSpec(3, 9, 3, **SAME)), conv("b", cl.ConvSpec(9, 20, 3, 2, "same"), "relu")),
    "grouped": (conv("a", cl.ConvSpec(3, 6, 1)), conv("b", cl.ConvSpec(6, 18, 3, 1, "same", 2, groups=3))),
    "channel multiplier": (conv("a", cl.ConvSpec.depthwise(3, 3, 2, 2)), conv("b", cl.ConvSpec.pointwise(6, 5), None)),
    "large window": (conv("a", cl.ConvSpec.depthwise(3, (5, 4), 1, (2, 3), "same")),),
    "dilated": (conv("a", cl.ConvSpec.depthwise(3, 3, 1, 1, "same", (2, 3))), conv("b", cl.ConvSpec.pointwise(3, 30))),
    "pointwise with a stride": (conv("a", cl.ConvSpec.pointwise(3, 30, 2)), conv("b", cl.ConvSpec.depthwise(30, 3))),
    "pointwise, padded": (conv("a", cl.ConvSpec(3, 5, 1, 1, 2)), conv("b", cl.ConvSpec.pointwise(5, 40))),
    "bias, no batch norm": (conv("a", cl.ConvSpec(3, 8, 3), eps=None), Pool("p"), Dense("d", 8, 5)),
    "expanded, not projected": (conv("a", cl.ConvSpec.pointwise(3, 40)), conv("b", cl.ConvSpec.depthwise(40, 3, 1, 1, "same"))),
    "two depthwise": (conv("a", cl.ConvSpec.depthwise(3, 3)), conv("b", cl.ConvSpec.depthwise(3, 3)), Pool("p")),
    "shortcut over one": (Residual("r", (conv("a", cl.ConvSpec.pointwise(3, 3)),)),),
    "shortcut over a window": (Residual("r", (conv("a", cl.ConvSpec(3, 3, 3, **SAME)),)), conv("b", cl.ConvSpec.pointwise(3, 4))),
    "shortcut that ends depthwise": (Residual("r", (conv("a", cl.ConvSpec.depthwise(3, 3, **SAME)),)), Pool("p")),
    "shortcut with an activation before the sum": (
        conv("s", cl.ConvSpec.pointwise(3, 20), None),
        Residual("r", (conv("a", cl.ConvSpec.pointwise(20, 40)), conv("b", cl.ConvSpec.pointwise(40, 20), "relu6"))),
    ),
    "shortcut after shortcut": tuple(
        Residual(f"r{i}", (conv(f"a{i}", cl.ConvSpec.depthwise(3, 3, **SAME)), conv(f"b{i}", cl.ConvSpec.pointwise(3, 3), None)))
        for i in range(3)
    ),
    "pool alone": (Pool("p"),),
    "classifier alone": (Pool("p"), Dense("d", 3, 4), Dense("e", 4, 70)),
}


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("name", ODD)
def test_networks_that_are_no_mobilenets(name, threads):
    agree(cl.Model.random(Network(name, (12, 11, 3), ODD[name]), seed=3), batch=3, threads=threads)


@pytest.mark.parametrize("threads", [1, 2])
def test_steps_that_outgrow_the_cache_run_in_blocks(monkeypatch, threads):
    """As on large pictures, but quick: with a cache of 2 KiB every step goes a row or two at a time."""
    monkeypatch.setattr(schedule, "CACHE", 2048)
    model = cl.Model.random(cl.mobilenet_v2(alpha=0.1, resolution=48, classes=5))
    assert (model.compile(threads=threads)._steps["block"] < 8).any()
    agree(model, threads=threads)


def test_threads_change_nothing():
    """Who computes a number does not change the order of its sum. (With the JIT off BLAS does the sums, in an order of its own.)"""
    model = cl.Model.random(cl.mobilenet_v2(alpha=0.1, resolution=40, classes=5))
    x = pictures(model.network, 3)
    alone = model.compile(3, threads=1)(x)
    for threads in (2, 3):
        assert_allclose(model.compile(3, threads)(x), alone, rtol=0, atol=0 if JIT else 1e-4)


def test_the_arena_is_as_small_as_can_be_for_the_networks_of_the_papers():
    for network in (cl.mobilenet_v1(), cl.mobilenet_v2()):
        params = {name: np.zeros(shape, np.float32) for name, shape in cl.layers.parameter_shapes(network).items()}
        for threads in (1, 2):
            plan = Plan(network, params, threads=threads)
            assert plan.arena_bytes == plan.least


@given(st.lists(st.tuples(*[st.integers(0, 9 * VECTOR)] * 3, st.integers(0, 8)), min_size=1, max_size=9))
def test_what_lives_at_the_same_time_does_not_share_memory(drawn):
    """`lay_out` on invented steps: outputs, rings and middles of any size, each step reading the one before and one further back."""
    last = len(drawn) - 1
    wants = [Wants(*sizes, tuple({i - 1, i - 1 - back} & set(range(i)))) for i, (*sizes, back) in enumerate(drawn)]
    arena = lay_out(wants)
    assert arena.size >= arena.least
    ends = [max((i for i, want in enumerate(wants) if value in want.reads), default=value) for value in range(len(wants))]
    for i, (want, places) in enumerate(zip(wants, arena.places, strict=True)):
        held = [(places.ring, want.ring), (places.middle, want.middle)]
        held += [(arena.places[v].output, wants[v].output) for v in range(i + 1) if v < last and ends[v] >= i]
        spans = sorted((start, start + size) for start, size in held if size)
        assert all(start % VECTOR == 0 for start, _ in spans)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        assert all(end <= arena.size for _, end in spans)


def test_the_picture_is_read_and_the_logits_written_within_their_bounds(guarded):
    model = cl.Model.random(cl.mobilenet_v2(alpha=0.1, resolution=33, classes=5))
    plan = model.compile(threads=1)
    x = pictures(model.network, 1)
    expected = plan(x)
    picture, logits = guarded(x), guarded(np.zeros((1, 5), np.float32))
    plan._job(plan._spaces(1), 1).run(picture.array, logits.array)
    assert_array_equal(logits.array, expected)


@pytest.mark.parametrize(("batch", "threads", "arenas"), [(1, 1, 1), (3, 1, 1), (1, 2, 1), (4, 2, 2), (5, 2, 3), (0, 2, 0)])
def test_memory_is_asked_for_only_where_pictures_use_it(batch, threads, arenas):
    """Batch 1 is run by all threads in one arena; whole pictures need one for each thread; what is left over one more."""
    plan = cl.Model.random(SMALL).compile(batch, threads=threads)
    sizes = [space.arena.size for space in plan._spaces(threads)]
    assert sum(sizes) == arenas * plan.arena_bytes
    assert len(sizes) == threads + (threads > 1)


def test_nothing_is_written_outside_the_arena_or_read_from_it_before_it_was_written():
    """Margins around the arena keep their bytes; an arena full of NaN changes nothing."""
    model = cl.Model.random(cl.mobilenet_v2(alpha=0.1, resolution=36, classes=5))
    plan = model.compile(threads=1)
    x = pictures(model.network, 1)
    expected = plan(x)
    space = plan._spaces(1)[0]
    margin = 4096
    for filler in (0, np.nan):
        whole = np.full((plan.arena_bytes + 2 * margin) // 4 + VECTOR, filler, np.float32)
        start = margin + -(whole.ctypes.data + margin) % VECTOR
        whole[: start // 4] = whole[(start + plan.arena_bytes) // 4 :] = 12345
        y = np.empty((1, 5), np.float32)
        space.arena = whole.view(np.uint8)[start : start + plan.arena_bytes]
        with np.errstate(invalid="ignore"):  # padding lanes may hold anything
            plan._job([space], 1).run(x, y)
        assert_array_equal(y, expected)
        assert (whole[: start // 4] == 12345).all()
        assert (whole[(start + plan.arena_bytes) // 4 :] == 12345).all()


@pytest.mark.parametrize("wrong", [(32, 32, 3), (1, 32, 32, 3), (3, 32, 32, 3), (2, 32, 33, 3), (2, 32, 32, 1), (0, 32, 32, 3), (2,)])
def test_another_shape_is_refused(wrong):
    plan = cl.Model.random(SMALL).compile(batch=2, threads=1)
    with pytest.raises(ValueError, match=r"x must have the shape that the plan was compiled for, \(2, 32, 32, 3\): x.shape="):
        plan(np.zeros(wrong, np.float32))


def test_wrong_arguments_are_refused():
    model = cl.Model.random(SMALL)
    with pytest.raises(TypeError, match=r"x must be float32 or float64, as preprocess\(\) returns: x.dtype=uint8"):
        model.compile(threads=1)(np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="threads must be at least 1: threads=0"):
        model.compile(threads=0)
    with pytest.raises(ValueError, match="batch must be at least 0: batch=-1"):
        model.compile(batch=-1)


def test_one_picture_may_come_without_its_axis_and_hostile_in_memory():
    model = cl.Model.random(SMALL)
    plan = model.compile(threads=1)
    x = pictures(SMALL, 1)
    expected = plan(x)
    assert_array_equal(plan(x[0]), expected[0])
    assert_array_equal(plan(np.asfortranarray(x)), expected)
    assert_array_equal(plan(x[:, ::-1, ::-1][:, ::-1, ::-1]), expected)
    assert_array_equal(plan(x.astype(np.float64)), expected)
    frozen = x.copy()
    frozen.flags.writeable = False
    assert_array_equal(plan(frozen), expected)


def test_an_empty_batch_is_a_batch():
    assert cl.Model.random(SMALL).compile(batch=0, threads=2)(np.zeros((0, 32, 32, 3), np.float32)).shape == (0, 7)


def test_nan_and_infinity_come_through_as_in_the_model():
    """A clamp must not swallow a NaN: relu6(NaN) is NaN, so a picture with one gives no confident answer."""
    layers = (
        conv("a", cl.ConvSpec(3, 20, 3, **SAME)),
        conv("b", cl.ConvSpec.depthwise(20, 3, **SAME)),
        conv("c", cl.ConvSpec.pointwise(20, 9)),
    )
    model = cl.Model.random(Network("x", (9, 9, 3), layers))
    x = pictures(model.network, 1)
    x[0, 1, 1, 0], x[0, 7, 7, 1], x[0, 1, 7, 2] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        expected = model(x, kernel="im2col")
        y = model.compile(threads=1)(x)
    assert 0 < np.isnan(expected).sum() < expected.size
    assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_a_plan_can_be_pickled_and_copied():
    plan = cl.Model.random(SMALL).compile(threads=2)
    x = pictures(SMALL, 1)
    expected = plan(x)
    for other in (pickle.loads(pickle.dumps(plan)), copy.deepcopy(plan), pickle.loads(pickle.dumps(copy.copy(plan)))):
        assert_array_equal(other(x), expected)
        assert (other.network, other.batch, other.threads) == (plan.network, plan.batch, plan.threads)


def test_a_plan_from_another_kind_of_machine_is_refused():
    """Its weights are packed for other vectors: to run it would read past their ends."""
    plan = cl.Model.random(SMALL).compile(threads=1)
    state = plan.__getstate__() | {"_vector": 2 * VECTOR}
    with pytest.raises(ValueError, match=rf"vectors it was compiled for: {2 * VECTOR} bytes, here {VECTOR}; compile it anew"):
        Plan.__new__(Plan).__setstate__(state)


@pytest.mark.parametrize("threads", [1, 2])
def test_many_threads_may_call_one_plan(threads):
    plan = cl.Model.random(cl.mobilenet_v2(alpha=0.1, resolution=32, classes=5)).compile(threads=threads)
    xs = [pictures(plan.network, 1, seed) for seed in range(16)]
    expected = [plan(x) for x in xs]
    calls = (1_000 if os.environ.get("CI") else 100) if JIT else 1
    start = threading.Barrier(16)

    def work(i):
        start.wait()
        return all(np.allclose(plan(xs[i]), expected[i], rtol=0, atol=0 if JIT else 1e-4) for _ in range(calls))

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(16)))


def _child(plan, x, results):
    results.put(plan(x))


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # that is what is tested
def test_a_plan_works_in_a_child_process(method):
    """After use, with helpers running: a forked child inherits none of them, and a lock that may be held."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    plan = cl.Model.random(SMALL).compile(threads=2)
    x = pictures(SMALL, 1)
    expected = plan(x)
    context = multiprocessing.get_context(method)
    results = context.Queue()
    pools.pool()._words[0, pools.OWNER // 8] = 1  # as in the midst of another thread's call
    try:
        child = context.Process(target=_child, args=(plan, x, results))
        child.start()
    finally:
        pools.pool()._words[0, pools.OWNER // 8] = 0
    try:
        assert_array_equal(results.get(timeout=120), expected)
        child.join(60)
        assert child.exitcode == 0
    finally:
        child.kill()


@pytest.mark.skipif(not JIT, reason="only compiled code is cached")
def test_an_installation_that_cannot_be_written_to_caches_elsewhere(tmp_path):
    """Numba's cache stands beside the code. A file in that place keeps even root from it; then the user's cache has to do."""
    package, source = tmp_path / "site", Path(cl.__file__).parent
    for path in source.rglob("*.py"):
        copied = package / "convlab" / path.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(path.read_bytes())
    for folder in ("machinecode", "kernels/tiled"):
        (package / "convlab" / folder / "__pycache__").write_text("in the way")
    script = (
        "import numpy as np, convlab as cl\n"
        "plan = cl.Model.random(cl.mobilenet_v1(alpha=0.1, resolution=32, classes=3)).compile(threads=1)\n"
        "print(cl.__file__, plan(np.zeros((32, 32, 3), np.float32)).shape)"
    )
    environment = {**os.environ, "PYTHONPATH": str(package), "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("NUMBA_CACHE_DIR", None)
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{package / 'convlab' / '__init__.py'} (3,)\n"
    assert list((tmp_path / "cache").rglob("job._work*.nbi"))


@pytest.mark.skipif(not JIT, reason="without the JIT the times mean nothing")
def test_explain_accounts_for_every_layer():
    network = cl.mobilenet_v2(alpha=0.1, resolution=32, classes=5)
    table = cl.Model.random(network).compile(threads=1).explain(rounds=2)
    *steps, total = list(table)
    assert [row[0] for row in steps] == ["stem", *(f"block{i}" for i in range(1, 18)), "head + pool + classifier"]
    assert steps[3][1] == "pointwise, depthwise, pointwise, shortcut"
    # The pooling is one multiply-accumulate a number here, and none in the cost of the network.
    pooled = 1280
    assert int(total[3].replace(",", "")) == cl.cost(network).macs + pooled
    assert all(float(row[5]) > 0 for row in table)


@pytest.mark.parametrize("name", ["mobilenet_v1_0.25_224", "mobilenet_v2_1.0_224"])
@pytest.mark.skipif(not JIT, reason="a whole network at 224 x 224 takes minutes without the JIT")
def test_real_weights_give_the_logits_of_transformers(name):
    pytest.importorskip("safetensors", reason="reads the weights")
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "imagenet"
    if not folder.is_dir():
        pytest.skip("../shared/data is absent")
    with np.load(folder / "expected.npz") as expected:
        x, logits = expected["images"].astype(np.float32) / np.float32(127.5) - np.float32(1), expected[name]
    plan = cl.load(folder / name).compile(batch=len(x), threads=2)
    y = plan(x)
    assert_array_equal(y.argmax(axis=1), logits.argmax(axis=1))
    assert_allclose(y, logits, rtol=0, atol=1e-4 * np.abs(logits).max())


def test_a_spare_job_that_another_thread_takes_first_is_replaced():
    class Taken(list):
        """Looks as if it held a job, which is gone when it is wanted."""

        def __len__(self):
            return 1

        def pop(self):
            raise IndexError("pop from empty list")

    plan = cl.Model.random(SMALL).compile(threads=1)
    x = pictures(SMALL, 1)
    expected = plan(x)
    plan._spare = Taken(), Taken()
    assert_array_equal(plan(x), expected)


@pytest.mark.parametrize("activation", ["relu6", "relu", None])
def test_dense_layers_one_after_another(activation: str | None) -> None:
    """A head of several dense layers, as people put on a trunk: the plan and the model agree, and the activation acts."""
    trunk = cl.mobilenet_v1(0.25, 32, classes=24)
    *before, last = trunk.layers
    hidden = cl.Dense("hidden", last.in_features, 24, activation)
    net = cl.Network("headed", trunk.input, (*before, hidden, cl.Dense("classifier", 24, 5)))
    model = cl.Model.random(net, seed=3)
    x = np.random.default_rng(0).uniform(-1, 1, (2, *net.input)).astype(np.float32)
    steps = {step.name: step.output for step in model.trace(x, kernel="im2col")}
    if activation is not None:
        assert (steps["hidden"] < 0).any()
        assert (steps[f"hidden.{activation}"] >= 0).all()
    np.testing.assert_allclose(model.compile(batch=2)(x), steps["classifier"], rtol=1e-3, atol=1e-4)


def test_more_threads_than_cores_are_no_more_than_the_cores(monkeypatch):
    """Nor do they cost anything: a plan for 2**31 - 1 parts would take minutes to lay out, and more memory than there is."""
    model = cl.Model.random(SMALL)
    monkeypatch.setattr(pools, "cores", lambda: 2)
    assert model.compile(threads=2**31 - 1).threads == 2
    assert model.compile().threads == 2
    monkeypatch.setattr(pools, "cores", lambda: 1)
    assert model.compile(threads=64).threads == 1
