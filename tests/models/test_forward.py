"""Models: checking their parameters, running them on every rung, tracing them, naming pictures."""

from __future__ import annotations

import os
from itertools import pairwise

import numpy as np
import pytest

import convlab as cl
from convlab import images, ops
from convlab.layers import parameter_shapes, walk

JIT_OFF = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")

# Every kind of layer and of step, yet small enough for the loops of `naive`.
SMALL = cl.Network(
    "small",
    (5, 6, 3),
    (
        cl.Conv("stem", cl.ConvSpec(3, 4, 3, 2, "same"), "relu6"),
        cl.Residual(
            "block",
            (
                cl.Conv("expand", cl.ConvSpec.pointwise(4, 8), "relu"),
                cl.Conv("depthwise", cl.ConvSpec.depthwise(8, 3, padding=1)),
                cl.Conv("project", cl.ConvSpec.pointwise(8, 4), None),
            ),
        ),
        cl.Conv("grouped", cl.ConvSpec(4, 6, (1, 2), groups=2), None, eps=None),
        cl.Conv("biased", cl.ConvSpec(6, 4, 2), "relu", eps=None),
        cl.Pool("pool"),
        cl.Dense("classifier", 4, 3),
    ),
)
NETWORKS = {
    "small": SMALL,
    "v1": cl.mobilenet_v1(alpha=0.25, resolution=32, classes=5),
    "v2": cl.mobilenet_v2(alpha=0.35, resolution=33, classes=5, padding="symmetric"),
}


def pictures(net: cl.Network, n: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (n, *net.input)).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> cl.Model:
    return cl.Model.random(SMALL, seed=3)


def tiny(classes: int = 3, **options) -> cl.Model:
    """Return a model whose logits are the picture's mean red, green and blue, so that its answers are known."""
    net = cl.Network("colours", (4, 4, 3), (cl.Pool("pool"), cl.Dense("classifier", 3, classes)))
    return cl.Model(net, {"classifier.weight": np.eye(3, classes), "classifier.bias": np.zeros(classes)}, **options)


# Parameters


def params_of(net: cl.Network) -> dict[str, np.ndarray]:
    return {name: np.ones(shape) for name, shape in parameter_shapes(net).items()}


def test_params_are_float32_and_contiguous() -> None:
    params = params_of(SMALL)
    params["classifier.weight"] = np.asfortranarray(np.arange(12).reshape(4, 3))  # other order, integers
    params["classifier.bias"] = [1, 2, 3]  # type: ignore[assignment]
    params["stem.gamma"] = np.ones(4, np.float16)
    held = cl.Model(SMALL, params).params
    assert list(held) == list(parameter_shapes(SMALL))
    assert all(array.dtype == np.float32 and array.flags.c_contiguous for array in held.values())
    np.testing.assert_array_equal(held["classifier.weight"], np.arange(12).reshape(4, 3))


def test_every_wrong_parameter_is_named() -> None:
    params = params_of(SMALL)
    del params["stem.gamma"]
    params["stem.momentum"] = np.ones(4)
    params["expand.weight"] = np.ones((1, 1, 8, 4))
    params["project.mean"] = np.array(["a", "b", "c", "d"])
    params["project.beta"] = np.ones(4, complex)
    params["pool.weight"] = np.ones(())
    with pytest.raises(ValueError, match="parameters must fit the network 'small': ") as error:
        cl.Model(SMALL, params)
    assert str(error.value).partition(": ")[2].split("; ") == [
        "missing stem.gamma (4,)",
        "superfluous stem.momentum (4,)",
        "superfluous pool.weight ()",
        "misshapen expand.weight: (1, 1, 8, 4), must be (1, 1, 4, 8)",
        "not of numbers project.beta: dtype=complex128",
        "not of numbers project.mean: dtype=<U1",
    ]


def test_a_long_list_of_faults_is_cut_and_counted() -> None:
    with pytest.raises(ValueError, match=rf"and {len(parameter_shapes(SMALL)) - 12} more$") as error:
        cl.Model(SMALL, {})
    assert str(error.value).count("missing") == 12


@pytest.mark.parametrize("labels", [[], ["a"], ["a"] * 4])
def test_labels_must_name_every_class(labels: list[str]) -> None:
    with pytest.raises(ValueError, match=f"labels must name every class: {len(labels)} labels, 3 classes"):
        tiny(labels=labels)


@pytest.mark.parametrize(("labels", "message"), [("abc", "labels='abc'"), ([1, 2, 3], r"labels=\[1, 2, 3\]")])
def test_labels_are_strings(labels, message: str) -> None:
    with pytest.raises(TypeError, match=f"labels must be a sequence of strings: {message}"):
        tiny(labels=labels)


@pytest.mark.parametrize(("detail", "error"), [(0, ValueError), (-3, ValueError), (2.5, TypeError), ("32", TypeError)])
def test_detail_is_a_side(detail, error: type[Exception]) -> None:
    with pytest.raises(error, match="detail must be"):
        tiny(detail=detail)


def test_repr_and_summary(model: cl.Model) -> None:
    assert repr(model) == f"Model(small, {sum(array.size for array in model.params.values()):,} numbers)"
    assert str(model.summary()) == str(cl.summary(SMALL))


# Random models


def test_random_models_are_decided_by_their_seed() -> None:
    a, b, c = (cl.Model.random(SMALL, seed=seed) for seed in (7, 7, 8))
    assert all(np.array_equal(a.params[name], b.params[name]) for name in a.params)
    assert not any(np.array_equal(a.params[name], c.params[name]) for name in a.params)


@pytest.mark.parametrize("name", ["v1", "v2"])
def test_random_models_keep_activations_at_a_steady_size(name: str) -> None:
    model = cl.Model.random(NETWORKS[name])
    for step in model.trace(pictures(model.network), kernel="im2col"):
        assert np.isfinite(step.output).all()
        assert 1e-3 < np.abs(step.output).mean() < 1e3
    assert all((model.params[p] > 0).all() for p in model.params if p.endswith("variance"))


# Running


@pytest.mark.parametrize("kernel", cl.KERNELS)
def test_every_rung_gives_the_same_logits(model: cl.Model, kernel: str) -> None:
    x = pictures(SMALL)
    reference = model(x, kernel="naive")
    # Rungs differ in the order of sums of at most 72 products; five layers on, still some dozens of roundings.
    np.testing.assert_allclose(model(x, kernel=kernel), reference, rtol=0, atol=100 * np.finfo(np.float32).eps * np.abs(reference).max())


@pytest.mark.skipif(JIT_OFF, reason="whole networks on Python loops take minutes: NUMBA_DISABLE_JIT is set")
@pytest.mark.parametrize("name", ["v1", "v2"])
def test_jit_and_im2col_agree_on_whole_networks(name: str) -> None:
    model = cl.Model.random(NETWORKS[name])
    x = pictures(model.network)
    reference = model(x, kernel="im2col")
    # Some fifty layers of rounding, each of relative size 2^-23 times the root of the terms summed: 1e-4 is ample,
    # and a wrong tap or border changes the logits by their own size.
    np.testing.assert_allclose(model(x, kernel="jit"), reference, rtol=0, atol=1e-4 * np.abs(reference).max())


def test_against_the_equations_in_float64(model: cl.Model) -> None:
    """The same network written out by hand, in float64."""
    p = {name: array.astype(np.float64) for name, array in model.params.items()}

    def norm(y: np.ndarray, name: str) -> np.ndarray:
        gamma, beta, mean, variance = (p[f"{name}.{part}"] for part in ("gamma", "beta", "mean", "variance"))
        return gamma * (y - mean) / np.sqrt(variance + 1e-3) + beta

    x = pictures(SMALL).astype(np.float64)
    y = norm(cl.conv2d(x, p["stem.weight"], stride=2, padding="same", kernel="im2col"), "stem").clip(0, 6)
    shortcut = y
    y = np.maximum(norm(y @ p["expand.weight"][0, 0], "expand"), 0)
    y = norm(cl.depthwise_conv2d(y, p["depthwise.weight"][:, :, 0], padding=1, kernel="im2col"), "depthwise").clip(0, 6)
    y = norm(y @ p["project.weight"][0, 0], "project") + shortcut
    y = cl.conv2d(y, p["grouped.weight"], p["grouped.bias"], groups=2, kernel="im2col")
    y = np.maximum(cl.conv2d(y, p["biased.weight"], p["biased.bias"], kernel="im2col"), 0)
    logits = y.mean((1, 2)) @ p["classifier.weight"] + p["classifier.bias"]
    np.testing.assert_allclose(model(x, kernel="im2col"), logits, rtol=0, atol=100 * np.finfo(np.float32).eps * np.abs(logits).max())


def test_a_single_image_is_a_batch_of_one(model: cl.Model) -> None:
    x = pictures(SMALL, 1)
    single = model(x[0], kernel="im2col")
    assert single.shape == (3,)
    np.testing.assert_array_equal(single, model(x, kernel="im2col")[0])
    assert list(model.trace(x[0], kernel="im2col"))[-1].output.shape == (1, 3)


@pytest.mark.parametrize("name", NETWORKS)
def test_images_of_a_batch_do_not_meet(name: str) -> None:
    """Whatever stands beside a picture, its logits are the same but for BLAS, which may sum larger matrices in another order."""
    model = cl.Model.random(NETWORKS[name])
    x = pictures(model.network, 3)
    together = model(x, kernel="im2col")
    alone = np.stack([model(image, kernel="im2col") for image in x])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5 * np.abs(alone).max())
    np.testing.assert_allclose(model(x[::-1], kernel="im2col")[::-1], together, rtol=0, atol=1e-5 * np.abs(alone).max())


def test_an_empty_batch_gives_no_logits(model: cl.Model) -> None:
    assert model(pictures(SMALL, 0), kernel="im2col").shape == (0, 3)


def test_float64_and_odd_layouts_are_taken(model: cl.Model) -> None:
    x = pictures(SMALL, 2)
    expected = model(x, kernel="im2col")
    assert expected.dtype == np.float32
    backwards = np.ascontiguousarray(x[:, ::-1])[:, ::-1]
    for same in (x.astype(np.float64), np.asfortranarray(x), backwards, x.tolist(), x.astype(">f4")):
        np.testing.assert_array_equal(model(same, kernel="im2col"), expected)


def test_the_input_is_left_as_it_was(model: cl.Model) -> None:
    x = pictures(SMALL)
    x.flags.writeable = False
    before = {name: array.copy() for name, array in model.params.items()}
    model(x, kernel="im2col")
    assert all(np.array_equal(model.params[name], before[name]) for name in before)


@pytest.mark.parametrize("shape", [(5, 6), (6, 5, 3), (5, 6, 1), (1, 1, 5, 6, 3), (2, 5, 6, 4), (90,)])
def test_a_wrong_shape_is_refused(model: cl.Model, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"x must be \(N, 5, 6, 3\) or \(5, 6, 3\): x.shape=") as error:
        model(np.zeros(shape, np.float32))
    assert str(shape) in str(error.value)
    with pytest.raises(ValueError, match="x must be"):
        model.trace(np.zeros(shape, np.float32))  # at the call, not at the first step


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "bool", "complex64", "object", "U1"])
def test_a_wrong_dtype_is_refused(model: cl.Model, dtype: str) -> None:
    with pytest.raises(TypeError, match=r"x must be float32 or float64, as preprocess\(\) returns: x.dtype="):
        model(np.zeros((5, 6, 3), dtype))


def test_an_unknown_kernel_is_refused(model: cl.Model) -> None:
    with pytest.raises(ValueError, match=r"kernel must be one of .*kernel='fastest'"):
        model(pictures(SMALL), kernel="fastest")


# Tracing


@pytest.mark.parametrize("name", NETWORKS)
def test_trace_ends_in_the_logits(name: str) -> None:
    model = cl.Model.random(NETWORKS[name])
    x = pictures(model.network)
    *_, last = model.trace(x, kernel="im2col")
    np.testing.assert_array_equal(last.output, model(x, kernel="im2col"))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("n", [0, 1, 3])
def test_the_traces_costs_add_up_to_the_networks(name: str, n: int) -> None:
    model = cl.Model.random(NETWORKS[name])
    steps = list(model.trace(pictures(model.network, n), kernel="im2col"))
    assert sum((step.cost for step in steps), cl.Cost()) == cl.cost(model.network, batch=n).total


def test_steps_are_named_and_in_order(model: cl.Model) -> None:
    steps = list(model.trace(pictures(SMALL), kernel="im2col"))
    assert [(step.name, step.output.shape[1:]) for step in steps] == [
        ("stem.conv", (3, 3, 4)),
        ("stem.batch_norm", (3, 3, 4)),
        ("stem.relu6", (3, 3, 4)),
        ("expand.conv", (3, 3, 8)),
        ("expand.batch_norm", (3, 3, 8)),
        ("expand.relu", (3, 3, 8)),
        ("depthwise.conv", (3, 3, 8)),
        ("depthwise.batch_norm", (3, 3, 8)),
        ("depthwise.relu6", (3, 3, 8)),
        ("project.conv", (3, 3, 4)),
        ("project.batch_norm", (3, 3, 4)),
        ("block.add", (3, 3, 4)),
        ("grouped.conv", (3, 2, 6)),
        ("biased.conv", (2, 1, 4)),
        ("biased.relu", (2, 1, 4)),
        ("pool", (4,)),
        ("classifier", (3,)),
    ]
    by_name = {visit.layer.name: visit.layer for visit in walk(SMALL)}
    assert all(step.layer == by_name[step.name.partition(".")[0]] for step in steps)
    assert [step.kernel for step in steps] == ["im2col" if step.name.endswith(".conv") else None for step in steps]


def test_the_shortcut_adds_the_blocks_input(model: cl.Model) -> None:
    steps = {step.name: step.output for step in model.trace(pictures(SMALL), kernel="im2col")}
    np.testing.assert_array_equal(steps["block.add"], steps["stem.relu6"] + steps["project.batch_norm"])


def test_tracing_is_lazy_and_steps_do_not_share_memory(model: cl.Model) -> None:
    runs = []

    def counted(x, w, geometry):
        runs.append(geometry.spec.kind)
        return cl.KERNELS["im2col"].function("standard")(x, w, geometry)

    trace = model.trace(pictures(SMALL), kernel=cl.Kernel("counted", counted))
    assert runs == []
    next(trace)
    assert runs == ["standard"]
    outputs = [step.output for step in model.trace(pictures(SMALL), kernel="im2col")]
    assert not any(np.shares_memory(a, b) for a, b in pairwise(outputs))


# A kernel of one's own


def mine(x, w, geometry):
    return cl.KERNELS["im2col"].function("standard")(x, w, geometry)


def test_an_own_kernel_runs_and_is_reported(model: cl.Model) -> None:
    whole = cl.KERNELS["im2col"]
    own = cl.Kernel("own", mine, depthwise=whole.depthwise, grouped=whole.grouped)
    x = pictures(SMALL)
    steps = list(model.trace(x, kernel=own))
    assert {step.kernel for step in steps if step.name.endswith(".conv")} == {"own"}
    np.testing.assert_array_equal(steps[-1].output, model(x, kernel="im2col"))


def test_what_an_own_kernel_lacks_is_run_by_the_ladder_and_said(model: cl.Model) -> None:
    fastest = list(cl.KERNELS)[-1]
    with pytest.warns(UserWarning, match="kernel 'mine' has no (depthwise|grouped) convolution: run by") as warned:
        steps = {step.name: step.kernel for step in model.trace(pictures(SMALL), kernel=mine)}
    assert len(warned) == 2
    with pytest.warns(UserWarning, match="kernel 'mine' has no") as called:
        model(pictures(SMALL), kernel=mine)
    assert {warning.filename for warning in (*warned, *called)} == {__file__}  # the caller's line, not ours
    assert (steps["stem.conv"], steps["expand.conv"], steps["biased.conv"]) == ("mine", "mine", "mine")
    assert (steps["depthwise.conv"], steps["grouped.conv"]) == (fastest, fastest)


def test_an_own_kernels_wrong_shape_is_refused(model: cl.Model) -> None:
    def cropped(x, w, geometry):
        return mine(x, w, geometry)[:, 1:]

    with pytest.raises(ValueError, match=r"kernel 'cropped' must return float32 \(2, 3, 3, 4\): it returned float32 \(2, 2, 3, 4\)"):
        model(pictures(SMALL), kernel=cropped)


def test_a_wrong_kernel_changes_the_logits(model: cl.Model) -> None:
    def flipped(x, w, geometry):
        return mine(x, w[::-1, ::-1], geometry)

    whole = cl.KERNELS["im2col"]
    own = cl.Kernel("flipped", flipped, depthwise=whole.depthwise, grouped=whole.grouped)
    x = pictures(SMALL)
    assert not np.allclose(model(x, kernel=own), model(x, kernel="im2col"))


# Pictures


def test_preprocess_by_hand() -> None:
    model = tiny()
    picture = np.random.default_rng(0).integers(0, 256, (9, 15, 3), dtype=np.uint8)
    middle = images.resize(picture[:, 3:12], 4, 4)
    np.testing.assert_array_equal(model.preprocess(picture), middle / np.float32(127.5) - np.float32(1))
    assert model.preprocess(picture).dtype == np.float32


def test_preprocess_leaves_a_picture_of_the_right_size_unscaled() -> None:
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
    np.testing.assert_array_equal(tiny().preprocess(picture), picture.astype(np.float32) / np.float32(127.5) - np.float32(1))


def test_preprocess_reaches_from_minus_1_to_1() -> None:
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert (tiny().preprocess(black) == -1).all()
    assert (tiny().preprocess(white) == 1).all()


def test_detail_shrinks_first() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    expected = images.resize(images.resize(picture, 2, 2), 4, 4) / np.float32(127.5) - np.float32(1)
    np.testing.assert_array_equal(tiny(detail=2).preprocess(picture), expected)


RED = np.zeros((6, 9, 3), np.uint8) + np.array([255, 51, 0], np.uint8)


def test_classify_an_array() -> None:
    found = tiny(labels=["red", "green", "blue"]).classify(RED)
    probabilities = ops.softmax(np.array([1.0, 51 / 127.5 - 1, -1.0]))
    assert [label for label, _ in found] == ["red", "green", "blue"]
    np.testing.assert_allclose([p for _, p in found], probabilities, rtol=1e-6)  # logits are float32
    assert all(type(p) is float for _, p in found)


def test_classify_takes_what_as_rgb_takes() -> None:
    model = tiny(labels=["red", "green", "blue"])
    expected = model.classify(RED)
    assert model.classify(np.dstack([RED, np.full(RED.shape[:2], 255, np.uint8)])) == expected
    grey = model.classify(RED[:, :, 0])
    assert len({p for _, p in grey}) == 1
    assert grey == model.classify(RED[:, :, :1])


def test_classify_a_file(tmp_path) -> None:
    image = pytest.importorskip("PIL.Image", reason="reading pictures needs Pillow")
    image.fromarray(RED).save(tmp_path / "red.png")
    model = tiny(labels=["red", "green", "blue"])
    assert model.classify(tmp_path / "red.png") == model.classify(str(tmp_path / "red.png")) == model.classify(RED)


@pytest.mark.parametrize("top", [1, 2, 3, 5])
def test_top(top: int) -> None:
    found = tiny(labels=["red", "green", "blue"]).classify(RED, top=top)
    assert [label for label, _ in found] == ["red", "green", "blue"][:top]


@pytest.mark.parametrize("top", [0, -1])
def test_top_must_be_positive(top: int) -> None:
    with pytest.raises(ValueError, match=f"top must be at least 1: top={top}"):
        tiny().classify(RED, top=top)


def test_classes_without_labels_are_numbered() -> None:
    assert [label for label, _ in tiny().classify(RED)] == ["class 0", "class 1", "class 2"]


def test_equal_probabilities_keep_the_classes_order() -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    assert [label for label, _ in tiny().classify(black)] == ["class 0", "class 1", "class 2"]


@pytest.mark.parametrize(
    ("picture", "error", "message"),
    [
        (RED.astype(np.float32), TypeError, r"a picture's numbers must be uint8 \(0 to 255\): dtype=float32"),
        (RED[0, 0], ValueError, "a picture must be"),
        (np.zeros((4, 4, 2), np.uint8), ValueError, r"a picture must be .*: shape=\(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, r"a picture must be .*: shape=\(0, 4, 3\)"),
    ],
)
def test_classify_refuses_other_arrays(picture, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        tiny().classify(picture)
