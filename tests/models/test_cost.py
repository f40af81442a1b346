"""Costs: against brute force, as laws, and per layer against the golden tables and the published totals."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import Case, cases

import convlab as cl
from convlab.cost import kind_of, sizes, steps_of
from convlab.layers import parameter_shapes, walk

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "networks.json").read_text(encoding="utf-8"))
BUILD = {"mobilenet_v1": cl.mobilenet_v1, "mobilenet_v2": cl.mobilenet_v2}

NETWORKS = [
    cl.mobilenet_v1(alpha=0.25, resolution=32, classes=7),
    cl.mobilenet_v2(alpha=0.35, resolution=33, classes=3, padding="symmetric"),
    cl.Network("bias and relu", (5, 6, 2), (cl.Conv("a", cl.ConvSpec(2, 4, 3, groups=2), "relu", eps=None), cl.Pool("p"))),
    cl.Network("linear", (4, 4, 3), (cl.Conv("a", cl.ConvSpec.pointwise(3, 2), None), cl.Pool("p"), cl.Dense("d", 2, 5))),
]

counts = st.integers(0, 10**6)
costs = st.builds(cl.Cost, counts, counts, counts, counts, counts, counts, counts)


# Of one convolution


@given(cases(batches=(1,)))
def test_macs_and_params_by_brute_force(case: Case) -> None:
    """Walk output positions, output channels, taps and input channels and count."""
    spec, g = case.spec, case.geometry
    counted = 0
    for _ in range(g.out_height):
        for _ in range(g.out_width):
            for _ in range(spec.out_channels):
                counted += len(g.height.taps(0)) * len(g.width.taps(0)) * (spec.in_channels // spec.groups)
    x, w = case.integers()
    c = cl.cost(spec, case.height, case.width)
    assert c.macs == counted
    assert c.params == c.weights == w.size
    y = cl.conv2d(x, w, **case.options, kernel="im2col")
    assert c.bytes_read == x.nbytes + w.nbytes
    assert c.bytes_written == y.nbytes
    assert c.elementwise == 0


@given(cases(batches=(1,)), st.integers(0, 5), st.booleans(), st.sampled_from(["float16", "float32", "float64"]))
def test_a_batch_scales_macs_and_images_but_not_parameters(case: Case, batch: int, bias: bool, dtype: str) -> None:
    one = cl.cost(case.spec, case.height, case.width, bias=bias, dtype=dtype)
    many = cl.cost(case.spec, case.height, case.width, batch=batch, bias=bias, dtype=dtype)
    parameters = one.params * np.dtype(dtype).itemsize
    assert many.params == one.params
    assert many.macs == batch * one.macs
    assert many.elementwise == batch * one.elementwise
    assert many.bytes_written == batch * one.bytes_written
    assert many.bytes_read - parameters == batch * (one.bytes_read - parameters)


@given(cases(batches=(1,)))
def test_a_bias_adds_one_number_a_channel_and_one_addition_an_output(case: Case) -> None:
    plain, biased = (cl.cost(case.spec, case.height, case.width, bias=bias) for bias in (False, True))
    assert biased.bias == biased.params - plain.params == case.spec.out_channels
    assert biased.macs == plain.macs
    assert biased.elementwise == math.prod(case.geometry.out_shape)
    assert biased.bytes_read == plain.bytes_read + 4 * case.spec.out_channels


@given(cases(batches=(1,)))
def test_dtype_scales_bytes_only(case: Case) -> None:
    single, double = (cl.cost(case.spec, case.height, case.width, dtype=dtype) for dtype in (np.float32, np.float64))
    assert (double.bytes_read, double.bytes_written) == (2 * single.bytes_read, 2 * single.bytes_written)
    assert (double.macs, double.params) == (single.macs, single.params)
    assert double.intensity == pytest.approx(single.intensity / 2)


def test_padded_taps_count() -> None:
    assert cl.cost(cl.ConvSpec(1, 1, 3, padding=1), 1, 1).macs == 9  # eight of them multiply a zero


# Adding up


@given(costs, costs, costs)
def test_costs_add(a: cl.Cost, b: cl.Cost, c: cl.Cost) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + cl.Cost() == a
    for name in ("params", "macs", "flops", "elementwise", "bytes_read", "bytes_written", "weights", "bias", "batch_norm"):
        assert getattr(a + b, name) == getattr(a, name) + getattr(b, name)


@given(costs)
def test_flops_and_intensity(c: cl.Cost) -> None:
    assert c.flops == 2 * c.macs
    moved = c.bytes_read + c.bytes_written
    assert c.intensity == (2 * c.macs / moved if moved else 0.0)


def test_nothing_moved_has_no_intensity() -> None:
    assert cl.Cost().intensity == 0.0


# Of a network


@pytest.mark.parametrize("net", NETWORKS, ids=lambda net: net.name)
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_a_network_is_the_sum_of_its_layers(net: cl.Network, batch: int) -> None:
    counted = cl.cost(net, batch=batch)
    assert counted.network is net
    assert [row.name for row in counted.layers] == [visit.layer.name for visit in walk(net)]
    assert [row.output for row in counted.layers] == [visit.output for visit in walk(net)]
    assert sum((row.cost for row in counted.layers), cl.Cost()) == counted.total
    assert sum(counted.by_kind().values(), cl.Cost()) == counted.total
    assert list(counted.by_kind()) == list(dict.fromkeys(row.kind for row in counted.layers))
    assert (counted.macs, counted.params) == (counted.total.macs, counted.total.params)


@pytest.mark.parametrize("net", NETWORKS, ids=lambda net: net.name)
def test_a_networks_parameters_are_the_arrays_it_needs(net: cl.Network) -> None:
    """All of `parameter_shapes` but batch norm's statistics, which are kept, not trained; they are read all the same."""
    sizes_of = {name: math.prod(shape) for name, shape in parameter_shapes(net).items()}
    trained = {name: size for name, size in sizes_of.items() if name.rpartition(".")[2] not in ("mean", "variance")}
    total = cl.cost(net).total
    assert total.params == sum(trained.values())
    assert total.bytes_read == 4 * (sum(sizes_of.values()) + sum(_inputs(net)))
    assert total.bytes_written == 4 * sum(math.prod(visit.output) for visit in walk(net))


def _inputs(net: cl.Network) -> list[int]:
    """Return how many image numbers each layer reads: a shortcut reads two images."""
    return [math.prod(visit.input) * (2 if isinstance(visit.layer, cl.Residual) else 1) for visit in walk(net)]


@pytest.mark.parametrize("net", NETWORKS, ids=lambda net: net.name)
def test_a_layer_is_the_sum_of_its_steps(net: cl.Network) -> None:
    for visit, row in zip(walk(net), cl.cost(net, batch=2).layers, strict=True):
        steps = steps_of(visit, batch=2)
        assert sum(steps.values(), cl.Cost()) == row.cost
        assert row.kind == kind_of(visit)
        if isinstance(visit.layer, cl.Conv):
            norm = [] if visit.layer.eps is None else ["batch_norm"]
            activation = [] if visit.layer.activation is None else [visit.layer.activation]
            assert list(steps) == ["conv", *norm, *activation]
            assert all(steps[name].macs == 0 for name in steps if name != "conv")


def test_kinds() -> None:
    kinds = cl.cost(cl.mobilenet_v2()).by_kind()
    assert list(kinds) == ["standard", "depthwise", "pointwise", "shortcut", "pool", "dense"]
    assert kinds["shortcut"].macs == kinds["pool"].macs == 0
    assert kinds["dense"].macs == 1280 * 1000
    assert list(cl.cost(NETWORKS[2]).by_kind()) == ["depthwise", "pool"]


# Golden tables


@pytest.mark.parametrize("key", GOLDEN)
def test_golden_table(key: str) -> None:
    family, alpha, resolution = key.split()
    net = BUILD[family](float(alpha), int(resolution))
    rows = []
    for row in cl.cost(net).layers:
        if row.kind not in ("pool", "shortcut"):
            height, width, channels = row.output if len(row.output) == 3 else (1, 1, *row.output)
            rows.append([height, width, channels, row.cost.params, row.cost.macs])
    assert rows == GOLDEN[key]


def test_golden_tables_are_all_there() -> None:
    v1 = [f"mobilenet_v1 {alpha} {side}" for alpha in ("1", "0.75", "0.5", "0.25") for side in (224, 192, 160, 128)]
    v2 = [f"mobilenet_v2 {alpha} {side}" for alpha in ("1.4", "1", "0.75", "0.5", "0.35") for side in (224, 192, 160, 128, 96)]
    assert list(GOLDEN) == v1 + v2


def test_totals() -> None:
    v1, v2 = cl.cost(cl.mobilenet_v1()), cl.cost(cl.mobilenet_v2())
    assert (v1.macs, v1.params) == (568_740_352, 4_231_976)
    assert v1.macs - v1.by_kind()["dense"].macs == 567_716_352
    assert (v2.macs, v2.params) == (300_774_272, 3_504_872)


V1_PUBLISHED = {  # Howard et al. 2017, tables 6 and 7: million MACs
    (1.0, 224): 569,
    (0.75, 224): 325,
    (0.5, 224): 149,
    (0.25, 224): 41,
    (1.0, 192): 418,
    (1.0, 160): 290,
    (1.0, 128): 186,
}


def test_v1_published_macs() -> None:
    """Rounded to whole millions, except for one that is cut: 290.68 is printed as 290."""
    counted = {key: cl.cost(cl.mobilenet_v1(*key)).macs / 1e6 for key in V1_PUBLISHED}
    assert {key: round(macs) for key, macs in counted.items()} == {**V1_PUBLISHED, (1.0, 160): 291}
    assert int(counted[1.0, 160]) == 290


V2_PUBLISHED = {  # TF-slim's table of V2 checkpoints: million parameters; million MACs at 224, 192, 160, 128, 96
    1.4: (6.06, (582,)),
    1.3: (5.34, (509,)),
    1.0: (3.47, (300, 221, 154, 99, 56)),
    0.75: (2.61, (209, 153, 107, 69, 39)),
    0.5: (1.95, (97, 71, 50, 32, 18)),
    0.35: (1.66, (59, 43, 30, 20, 11)),
}


@pytest.mark.parametrize("alpha", V2_PUBLISHED)
def test_v2_published(alpha: float) -> None:
    """Its MACs are cut to whole millions, not rounded (153.94 is 153); its parameters leave batch norm out."""
    params, macs = V2_PUBLISHED[alpha]
    total = cl.cost(cl.mobilenet_v2(alpha)).total
    assert round((total.weights + total.bias) / 1e6, 2) == params
    assert tuple(cl.cost(cl.mobilenet_v2(alpha, side)).macs // 10**6 for side in (224, 192, 160, 128, 96)[: len(macs)]) == macs


@given(st.sampled_from([cl.mobilenet_v1, cl.mobilenet_v2]), st.sampled_from([0.35, 0.5, 1.0]), st.integers(1, 7))
def test_macs_grow_with_the_square_of_the_side(build, alpha: float, times: int) -> None:
    """Where every stride divides evenly: the convolutions' MACs are those at 32 pixels, times the area."""

    def convolutions(side: int) -> int:
        counted = cl.cost(build(alpha, side))
        return counted.macs - counted.by_kind()["dense"].macs

    assert convolutions(32 * times) == times**2 * convolutions(32)


# Comparisons


@given(
    side=st.integers(6, 14),
    channels=st.integers(1, 9),
    filters=st.integers(1, 40),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    padding=st.sampled_from(["valid", "same", 1]),
    dilation=st.integers(1, 2),
)
def test_reduction_is_the_formula(side, channels, filters, kernel, stride, padding, dilation) -> None:
    c = cl.compare(
        side, side + 1, in_channels=channels, out_channels=filters, kernel=kernel, stride=stride, padding=padding, dilation=dilation
    )
    assert Fraction(c.separable.macs, c.standard.macs) == Fraction(1, filters) + Fraction(1, math.prod(kernel))
    assert c.formula == pytest.approx(c.reduction, rel=1e-15 * 4)  # three roundings of 2^-53 each, at most
    assert c.saved == 1 - c.reduction
    assert c.separable == c.depthwise + c.pointwise
    assert c.between == (*c.output[:2], channels)
    assert (c.input, c.output[2], c.kernel) == ((side, side + 1, channels), filters, kernel)
    assert c.standard == cl.cost(cl.ConvSpec(channels, filters, kernel, stride, padding, dilation), side, side + 1)
    assert c.depthwise == cl.cost(cl.ConvSpec.depthwise(channels, kernel, 1, stride, padding, dilation), side, side + 1)
    assert c.pointwise == cl.cost(cl.ConvSpec.pointwise(channels, filters), *c.output[:2])


def test_comparison_reads_as_the_documents_table() -> None:
    c = cl.compare(6, 6, in_channels=3, out_channels=5, kernel=3)
    rows = {row[0]: row[1:6] for row in c.table}
    assert rows["standard"] == ("5 x (3x3x3)", "6x6x3", "4x4x5", "135", "2,160")
    assert rows["depthwise"] == ("3 x (3x3)", "6x6x3", "4x4x3", "27", "432")
    assert rows["pointwise"] == ("5 x (1x1x3)", "4x4x3", "4x4x5", "15", "240")
    assert rows["separable"] == ("depthwise + pointwise", "6x6x3", "4x4x5", "42", "672")
    assert "672 / 2,160 = 0.3111 = 1/5 + 1/9: 68.89 % saved" in str(c)
    assert "2,160" in c._repr_html_()


def test_a_separable_convolution_can_cost_more() -> None:
    c = cl.compare(6, 6, in_channels=3, out_channels=1, kernel=3)
    assert c.reduction > 1
    assert c.saved < 0
    assert "-11.11 % saved" in str(c)


# The per-layer table


@pytest.mark.parametrize("net", NETWORKS, ids=lambda net: net.name)
def test_summary(net: cl.Network) -> None:
    table = cl.summary(net)
    counted = cl.cost(net)
    *rows, total = table.rows
    assert [row[0] for row in rows] == [layer.name for layer in counted.layers]
    assert [row[2] for row in rows] == [sizes(layer.output) for layer in counted.layers]
    assert [int(row[4].replace(",", "")) for row in rows] == [layer.cost.macs for layer in counted.layers]
    assert [int(row[3].replace(",", "")) for row in rows] == [layer.cost.params for layer in counted.layers]
    assert sum(float(row[5].removesuffix(" %")) for row in rows) == pytest.approx(100, abs=0.05 * len(rows))  # each rounded to 0.1
    assert total == ("total", "", sizes(net.output), f"{counted.params:,}", f"{counted.macs:,}", "100.0 %")


def test_a_network_without_macs_has_a_summary() -> None:
    table = cl.summary(cl.Network("pool only", (4, 4, 3), (cl.Pool("pool"),)))
    assert table.rows == [("pool", "pool", "3", "0", "0", "0.0 %"), ("total", "", "3", "0", "0", "0.0 %")]


# Errors


def test_a_spec_needs_a_size_and_a_network_has_one() -> None:
    spec, net = cl.ConvSpec(3, 5, 3), NETWORKS[0]
    with pytest.raises(TypeError, match="a ConvSpec knows no picture size: give height and width"):
        cl.cost(spec)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="a ConvSpec knows no picture size"):
        cl.cost(spec, 6)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="a network knows its own picture size: leave height and width out"):
        cl.cost(net, 32, 32)  # type: ignore[call-overload]


def test_cost_refuses_other_things() -> None:
    with pytest.raises(TypeError, match="cost counts a ConvSpec or a Network: got str"):
        cl.cost("mobilenet_v2")  # type: ignore[call-overload]


@pytest.mark.parametrize("batch", [-1, -7])
def test_cost_refuses_a_negative_batch(batch: int) -> None:
    with pytest.raises(ValueError, match=f"batch must be at least 0: batch={batch}"):
        cl.cost(NETWORKS[0], batch=batch)


def test_cost_refuses_half_a_picture() -> None:
    with pytest.raises(TypeError, match=r"batch must be an integer: batch=1\.5"):
        cl.cost(NETWORKS[0], batch=1.5)  # type: ignore[call-overload]


def test_errors_of_the_spec_come_through() -> None:
    with pytest.raises(ValueError, match="the output would be empty"):
        cl.cost(cl.ConvSpec(3, 5, 7), 6, 6)
    with pytest.raises(ValueError, match="out_channels must be at least 1: out_channels=0"):
        cl.compare(6, 6, in_channels=3, out_channels=0, kernel=3)
