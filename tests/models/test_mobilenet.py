"""MobileNet V1 and V2: any alpha and resolution build, and what is built is what the papers' tables say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import convlab as cl
from convlab.layers import walk
from convlab.mobilenet import V1_ROWS, V2_ROWS, scale_v1, scale_v2

alphas = st.floats(0, 2, exclude_min=True)
sides = st.integers(32, 320)
families = st.sampled_from([cl.mobilenet_v1, cl.mobilenet_v2])
paddings = st.sampled_from(["same", "symmetric"])


def convs(net: cl.Network) -> list:
    return [visit for visit in walk(net) if isinstance(visit.layer, cl.Conv)]


# Widths


@given(st.integers(1, 3000), alphas)
def test_v1_rounds_down_and_keeps_8(width: int, alpha: float) -> None:
    scaled = scale_v1(width, alpha)
    assert scaled >= 8
    assert scaled == 8 or scaled <= width * alpha < scaled + 1


@given(st.integers(8, 3000), alphas)
def test_v2_rounds_to_eights_never_below_90_percent(width: int, alpha: float) -> None:
    scaled = scale_v2(width, alpha)
    assert scaled % 8 == 0
    assert scaled >= 8
    assert scaled >= 0.9 * width * alpha
    assert scaled == 8 or scaled - width * alpha < 8


@pytest.mark.parametrize(
    ("alpha", "widths"),
    [
        (1.4, [48, 24, 32, 48, 88, 136, 224, 448, 1792]),
        (1.0, [32, 16, 24, 32, 64, 96, 160, 320, 1280]),
        (0.75, [24, 16, 24, 24, 48, 72, 120, 240, 960]),
        (0.5, [16, 8, 16, 16, 32, 48, 80, 160, 640]),
        (0.35, [16, 8, 8, 16, 24, 32, 56, 112, 448]),
    ],
)
def test_v2_widths_of_the_paper(alpha: float, widths: list[int]) -> None:
    """As the published checkpoints have them."""
    assert [scale_v2(width, alpha) for width in (32, 16, 24, 32, 64, 96, 160, 320, 1280)] == widths


# Any alpha, any resolution


@given(families, alphas, sides, st.integers(1, 2000), paddings)
@example(cl.mobilenet_v2, 5e-324, 32, 1, "same")
@example(cl.mobilenet_v1, 2.0, 32, 1, "symmetric")
def test_any_alpha_and_resolution_build(build, alpha: float, side: int, classes: int, padding: str) -> None:
    net = build(alpha=alpha, resolution=side, classes=classes, padding=padding)
    shape: tuple[int, ...] = (side, side, 3)
    for visit in walk(net):
        assert visit.input == shape
        shape = visit.output
    assert shape == net.output == (classes,)
    *_, last = convs(net)
    assert last.output[:2] == (math.ceil(side / 32),) * 2  # five strides of 2, each rounding up


@given(alphas, sides)
def test_v1_has_13_separable_blocks(alpha: float, side: int) -> None:
    stem, *blocks = convs(cl.mobilenet_v1(alpha, side))
    assert stem.layer.spec.kind == "standard"
    assert [visit.layer.spec.kind for visit in blocks] == ["depthwise", "pointwise"] * 13
    widths = [row.width for row in V1_ROWS for _ in range(row.repeats)]
    assert [visit.output[2] for visit in blocks[1::2]] == [scale_v1(width, alpha) for width in widths]
    assert all(visit.layer.activation == "relu6" for visit in (stem, *blocks))


@given(alphas, sides)
def test_v2_has_17_blocks(alpha: float, side: int) -> None:
    net = cl.mobilenet_v2(alpha, side)
    stem, *blocks, head = convs(net)
    rows = [row for row in V2_ROWS for _ in range(row.repeats)]
    assert len(rows) == 17
    per_block: dict[str, list] = {}
    for visit in blocks:
        per_block.setdefault(visit.layer.name.partition(".")[0], []).append(visit)
    assert list(per_block) == [f"block{i}" for i in range(1, 18)]
    shortcuts = {layer.name for layer in net.layers if isinstance(layer, cl.Residual)}
    for (name, visits), row in zip(per_block.items(), rows, strict=True):
        first, last = visits[0], visits[-1]
        assert len(visits) == (2 if row.t == 1 else 3)
        assert visits[-2].layer.spec.kind == "depthwise"
        assert visits[-2].input[2] == first.input[2] * row.t
        assert last.output[2] == scale_v2(row.width, alpha)
        assert [visit.layer.activation for visit in visits] == ["relu6"] * (len(visits) - 1) + [None]  # linear bottleneck
        assert (name in shortcuts) == (first.input == last.output and visits[-2].layer.spec.stride == (1, 1))
    assert head.output[2] == (1280 if alpha <= 1 else scale_v2(1280, alpha))
    assert stem.output[2] == scale_v2(32, alpha)


@pytest.mark.parametrize("alpha", [1.4, 1.0, 0.75, 0.5, 0.35])
def test_v2_has_10_shortcuts_at_the_papers_widths(alpha: float) -> None:
    assert sum(isinstance(layer, cl.Residual) for layer in cl.mobilenet_v2(alpha).layers) == 10


@given(families, st.integers(32, 400), st.floats(0.1, 2))
def test_rho_scales_the_picture(build, resolution: int, rho: float) -> None:
    side = round(resolution * rho)
    if side < 32:
        with pytest.raises(ValueError, match=r"resolution \* rho must be at least 32"):
            build(0.25, resolution, rho=rho)
    else:
        assert build(0.25, resolution, rho=rho) == build(0.25, side)


@pytest.mark.parametrize("build", [cl.mobilenet_v1, cl.mobilenet_v2])
def test_eps_and_classes_are_passed_on(build) -> None:
    net = build(0.25, 32, classes=7, eps=1e-5)
    assert {visit.layer.eps for visit in convs(net)} == {1e-5}
    assert net.layers[-1] == cl.Dense("classifier", net.layers[-1].in_features, 7)


@pytest.mark.parametrize("build", [cl.mobilenet_v1, cl.mobilenet_v2])
@pytest.mark.parametrize("side", [32, 33, 47, 64])
def test_paddings_differ_in_values_not_in_shapes(build, side: int) -> None:
    same, symmetric = (build(0.25, side, classes=3, padding=padding) for padding in ("same", "symmetric"))
    assert [visit.output for visit in walk(same)] == [visit.output for visit in walk(symmetric)]
    params = cl.Model.random(same).params
    x = np.random.default_rng(0).normal(size=(1, side, side, 3)).astype(np.float32)
    for a, b in zip(cl.Model(same, params).trace(x, "im2col"), cl.Model(symmetric, params).trace(x, "im2col"), strict=True):
        if a.name == "stem.conv":
            # An even side at stride 2 is padded (0, 1) by "same" and (1, 1) by "symmetric"; an odd side (1, 1) by both.
            assert np.array_equal(a.output, b.output) == (side % 2 == 1)
            break
    logits = [cl.Model(net, params)(x, kernel="im2col") for net in (same, symmetric)]
    evens = [visit.input[0] % 2 == 0 for visit in convs(same) if visit.layer.spec.stride == (2, 2)]
    assert np.array_equal(*logits) == (not any(evens))


# Refusing


@pytest.mark.parametrize("build", [cl.mobilenet_v1, cl.mobilenet_v2])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"alpha": 0}, ValueError, r"alpha must be in \(0, 2\]: alpha=0"),
        ({"alpha": -1.0}, ValueError, r"alpha must be in \(0, 2\]: alpha=-1.0"),
        ({"alpha": 2.01}, ValueError, r"alpha must be in \(0, 2\]: alpha=2.01"),
        ({"alpha": math.nan}, ValueError, r"alpha must be in \(0, 2\]: alpha=nan"),
        ({"alpha": "1"}, TypeError, "alpha must be a number: alpha='1'"),
        ({"alpha": None}, TypeError, "alpha must be a number: alpha=None"),
        ({"resolution": 31}, ValueError, r"resolution \* rho must be at least 32: resolution=31, rho=1.0"),
        ({"resolution": 0}, ValueError, "resolution must be at least 1: resolution=0"),
        ({"resolution": 224.0}, TypeError, "resolution must be an integer: resolution=224.0"),
        ({"resolution": [224, 224]}, TypeError, r"resolution must be an integer: resolution=\[224, 224\]"),
        ({"rho": 0.1}, ValueError, r"resolution \* rho must be at least 32: resolution=224, rho=0.1"),
        ({"rho": 0}, ValueError, "rho must be positive and finite: rho=0"),
        ({"rho": math.nan}, ValueError, "rho must be positive and finite: rho=nan"),
        ({"rho": math.inf}, ValueError, "rho must be positive and finite: rho=inf"),
        ({"rho": "1"}, TypeError, "rho must be a number: rho='1'"),
        ({"classes": 0}, ValueError, "out_features must be at least 1: out_features=0"),
        ({"classes": 2.5}, TypeError, "out_features must be an integer: out_features=2.5"),
        ({"padding": "valid"}, ValueError, 'padding must be "same" or "symmetric": padding=\'valid\''),
        ({"padding": 1}, ValueError, 'padding must be "same" or "symmetric": padding=1'),
        ({"eps": -1.0}, ValueError, "eps must be"),
    ],
)
def test_wrong_options_are_refused(build, options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build(**options)
