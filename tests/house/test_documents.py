"""The worked numbers of the five texts, counted and run; and every erratum: the claim does not hold, and what does.

`documents 000` to `004` are the course's texts. Each erratum's test first shows that the printed claim is wrong, then
the right value.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import convlab as cl
from convlab.kernels import naive
from convlab.layers import Conv, Dense, Network, Pool, Residual, walk
from convlab.mobilenet import V1_ROWS, V1_STEM, V2_HEAD, V2_ROWS, V2_STEM


class Weight:
    """A weight that counts how often it is multiplied."""

    multiplied = 0

    def __rmul__(self, pixel: object) -> int:
        Weight.multiplied += 1
        return 1


def count(spec: cl.ConvSpec, height: int, width: int) -> tuple[tuple[int, ...], int]:
    """Run the naive kernel with counting weights: the output's shape and the number of multiplications."""
    weights = np.array([Weight() for _ in range(math.prod(spec.weight_shape))], object).reshape(spec.weight_shape)
    pixels = np.ones((1, height, width, spec.in_channels), object)
    Weight.multiplied = 0
    y = naive.standard(pixels, weights, spec.geometry(height, width))
    return y.shape[1:], Weight.multiplied


# Worked numbers


@pytest.mark.parametrize(
    ("spec", "side", "output", "params", "macs"),
    [
        pytest.param(cl.ConvSpec(3, 5, kernel=3), 6, (4, 4, 5), 135, 2160, id="000-standard"),
        pytest.param(cl.ConvSpec.depthwise(3, kernel=3), 6, (4, 4, 3), 27, 432, id="000-depthwise"),
        pytest.param(cl.ConvSpec.pointwise(3, 5), 4, (4, 4, 5), 15, 240, id="000-pointwise"),
        pytest.param(cl.ConvSpec.depthwise(3, kernel=5), 12, (8, 8, 3), 75, 4_800, id="001-depthwise"),
        pytest.param(cl.ConvSpec.pointwise(3, 256), 8, (8, 8, 256), 768, 49_152, id="001-pointwise"),
        pytest.param(cl.ConvSpec(3, 16, kernel=3), 5, (3, 3, 16), 432, 3888, id="004-standard"),
        pytest.param(cl.ConvSpec.depthwise(3, kernel=3), 5, (3, 3, 3), 27, 243, id="004-depthwise"),
        pytest.param(cl.ConvSpec.pointwise(3, 16), 3, (3, 3, 16), 48, 432, id="004-pointwise"),
    ],
)
def test_worked_example_by_formula_and_by_counting(spec: cl.ConvSpec, side: int, output: tuple[int, ...], params: int, macs: int) -> None:
    c = cl.cost(spec, side, side)
    assert (c.params, c.macs) == (params, macs)
    assert count(spec, side, side) == (output, macs)


def test_document_001_standard() -> None:
    """12x12x3 with 256 filters of 5x5. One filter is counted in Python; 256 would take seconds."""
    spec = cl.ConvSpec(3, 256, kernel=5)
    assert cl.cost(spec, 12, 12).macs == 1_228_800
    assert cl.cost(spec, 12, 12).params == 19_200
    assert count(cl.ConvSpec(3, 1, kernel=5), 12, 12) == ((8, 8, 1), 1_228_800 // 256)
    y = cl.conv2d(np.ones((12, 12, 3), np.float32), np.ones((5, 5, 3, 256), np.float32), kernel="im2col")
    np.testing.assert_array_equal(y, np.full((8, 8, 256), 75, np.float32))


def test_document_000_step_by_step() -> None:
    g = cl.ConvSpec(3, 5, kernel=3).geometry(6, 6)
    per_filter = math.prod(g.spec.weight_shape[:3])
    assert (g.out_height, g.out_width, g.positions) == (4, 4, 16)
    assert (per_filter, per_filter * 5) == (27, 135)
    assert per_filter * g.positions * 5 == 2160


def test_document_000_comparison() -> None:
    c = cl.compare(6, 6, in_channels=3, out_channels=5, kernel=3)
    assert (c.standard.macs, c.depthwise.macs, c.pointwise.macs, c.separable.macs) == (2160, 432, 240, 672)
    assert (c.input, c.between, c.output) == ((6, 6, 3), (4, 4, 3), (4, 4, 5))
    assert round(c.reduction, 4) == round(1 / 5 + 1 / 9, 4) == 0.3111


def test_document_001_comparison() -> None:
    """Its metrics, with its letters: M x N windows, C channels in, C2 out, H2 x W2 positions."""
    c = cl.compare(12, 12, in_channels=3, out_channels=256, kernel=5)
    M, N, C, C2, H2, W2 = 5, 5, 3, 256, 8, 8
    assert (c.between, c.output) == ((H2, W2, C), (H2, W2, C2))
    assert c.standard.params == M * N * C * C2
    assert c.standard.macs == (H2 * W2 * C2) * (M * N * C)
    assert (c.depthwise.params, c.depthwise.macs) == (M * N * C, (H2 * W2 * C) * (M * N))
    assert (c.pointwise.params, c.pointwise.macs) == (C * C2, (H2 * W2 * C2) * C)
    assert c.separable.params == M * N * C + C * C2
    assert c.separable.macs == (H2 * W2 * C) * (M * N + C2) == 53_952
    assert c.separable.params / c.standard.params == pytest.approx(1 / C2 + 1 / (M * N))


def test_document_004_comparison() -> None:
    c = cl.compare(5, 5, in_channels=3, out_channels=16, kernel=3)
    assert (c.standard.macs, c.depthwise.macs, c.pointwise.macs, c.separable.macs) == (3888, 243, 432, 675)
    assert f"{c.saved:.2%}" == "82.64%"
    assert c.saved == 1 - 675 / 3888
    assert "82.64 %" in str(c)


@pytest.mark.parametrize("kernel", cl.KERNELS)
def test_separable_examples_run_to_the_standard_shapes(kernel: str) -> None:
    rng = np.random.default_rng(0)
    for side, filters in ((6, 5), (5, 16)):
        x = rng.integers(-4, 5, (side, side, 3)).astype(np.float32)
        d, p = rng.integers(-4, 5, (3, 3, 3)).astype(np.float32), rng.integers(-4, 5, (3, filters)).astype(np.float32)
        # A separable convolution is the standard one whose filters are products k[u, v, c, o] = d[u, v, c] * p[c, o].
        whole = cl.conv2d(x, d[..., None] * p, kernel=kernel)
        np.testing.assert_array_equal(cl.separable_conv2d(x, d, p, kernel=kernel), whole)
        assert whole.shape == (side - 2, side - 2, filters)


# Errata of document 000


def test_000_depthwise_is_not_27_times_48() -> None:
    assert 27 * 48 == 1296 != 432
    assert cl.cost(cl.ConvSpec.depthwise(3, kernel=3), 6, 6).macs == 9 * 48 == 27 * 16 == 432


def test_000_table_says_423() -> None:
    _, counted = count(cl.ConvSpec.depthwise(3, kernel=3), 6, 6)
    assert counted == 432 != 423


def test_000_pointwise_input_is_not_4x4x34() -> None:
    filters = np.ones((3, 5), np.float32)
    with pytest.raises(ValueError, match="w reads 3, in_channels=34"):
        cl.pointwise_conv2d(np.ones((4, 4, 34), np.float32), filters)
    between = cl.depthwise_conv2d(np.ones((6, 6, 3), np.float32), np.ones((3, 3, 3), np.float32), kernel="im2col")
    assert between.shape == (4, 4, 3)
    assert cl.pointwise_conv2d(between, filters, kernel="im2col").shape == (4, 4, 5)


def test_000_output_size_lacks_padding_and_the_floor() -> None:
    def printed(n: int, f: int, s: int) -> float:
        return (n - f) / s + 1

    assert printed(6, 3, 1) == cl.ConvSpec(1, 1, 3).geometry(6, 6).out_height == 4  # right without padding at stride 1 ...
    assert printed(6, 3, 1) != cl.ConvSpec(1, 1, 3, padding=1).geometry(6, 6).out_height == 6  # ... not with padding ...
    assert printed(6, 3, 2) == 2.5  # ... nor where the stride leaves a remainder
    assert cl.ConvSpec(1, 1, 3, stride=2).geometry(6, 6).out_height == 2
    for n, f, s, p in itertools.product(range(1, 9), range(1, 5), range(1, 4), range(3)):
        if n + 2 * p >= f:
            x = np.ones((n, n, 1), np.float32)
            y = cl.conv2d(x, np.ones((f, f, 1, 1), np.float32), stride=s, padding=p, kernel="im2col")
            assert y.shape[0] == math.floor((n + 2 * p - f) / s) + 1


def test_000_v1_has_28_layers_not_13() -> None:
    kinds = [layer.kind for layer in cl.cost(cl.mobilenet_v1()).layers]
    weighted = [kind for kind in kinds if kind != "pool"]
    assert kinds.count("depthwise") == kinds.count("pointwise") == sum(row.repeats for row in V1_ROWS) == 13
    assert len(weighted) == 1 + 13 * 2 + 1 == 28


def test_000_the_block_projects_to_its_own_width_not_to_the_original_size() -> None:
    net = cl.mobilenet_v2()
    given, kept = {}, {}
    for visit in walk(net):
        block, _, part = visit.layer.name.partition(".")
        if block.startswith("block") and part:
            given.setdefault(block, visit.input)
            kept[block] = visit.output
    assert len(given) == 17
    assert sum(given[block] == kept[block] for block in given) == 10  # the other 7 change size or width
    assert given["block2"] == (112, 112, 16)
    assert kept["block2"] == (56, 56, 24)


def test_000_the_shortcut_adds_and_skips_nothing() -> None:
    net = cl.mobilenet_v2(alpha=0.35, resolution=32, classes=3)
    shortcuts = [layer for layer in net.layers if isinstance(layer, Residual)]
    assert len(shortcuts) == 10 != 17
    x = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
    steps = list(cl.Model.random(net).trace(x, kernel="im2col"))
    ran = {step.layer.name for step in steps if step.name.endswith(".conv")}
    assert {member.name for layer in shortcuts for member in layer.body} <= ran  # every layer of every block runs
    adds = [step for step in steps if step.name.endswith(".add")]
    assert len(adds) == 10
    assert all(step.cost.macs == 0 and step.cost.elementwise == step.output.size for step in adds)


def test_000_expansion_happens_in_16_blocks_not_17() -> None:
    layers = [visit.layer.name for visit in walk(cl.mobilenet_v2())]
    assert sum(name.endswith(".depthwise") for name in layers) == 17
    assert sum(name.endswith(".expand") for name in layers) == 16
    assert "block1.expand" not in layers  # t = 1: nothing to expand


def test_000_depthwise_processes_all_of_the_data_not_the_important_parts() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(5, 5, 2)), rng.uniform(1, 2, (3, 3, 2))
    y = cl.depthwise_conv2d(x, w, padding="same", kernel="im2col")
    for place in np.ndindex(x.shape):
        changed = x.copy()
        changed[place] += 1
        assert (cl.depthwise_conv2d(changed, w, padding="same", kernel="im2col") != y).any()


def test_000_the_picture_is_not_broken_into_parts() -> None:
    """What is broken down is the filter; windows overlap, so neighbouring outputs share inputs."""
    g = cl.ConvSpec.depthwise(3, kernel=3).geometry(6, 6)
    rows = [list(g.height.taps(i)) for i in range(g.out_height)]
    assert set(rows[0]) & set(rows[1]) == {1, 2}
    assert g.positions * 9 > 6 * 6


# Errata of document 001


def reads(outputs: range, taps: range) -> set[int]:
    """Rows of x that the printed equation's x(h' + m) looks at."""
    return {h + m for h in outputs for m in taps}


def test_001_sum_from_1_misses_the_first_row() -> None:
    H, M = 6, 3
    H2 = H - M + 1
    # All counted from 0 except m = 1..M as printed: row 0 is never read and the last window falls off the picture.
    assert reads(range(H2), range(1, M + 1)) == set(range(1, H + 1))
    # All counted from 1, as m = 1..M suggests: row 1, the first, is never read and row 7 does not exist.
    assert reads(range(1, H2 + 1), range(1, M + 1)) == set(range(2, H + 2))
    # Right: m from 0, or h' + m - 1; and that is what the engine reads.
    assert reads(range(H2), range(M)) == set(range(H))
    axis = cl.ConvSpec(1, 1, M).geometry(H, H).height
    assert {row for i in range(axis.output) for row in axis.taps(i)} == set(range(H))
    assert {row - 1 for row in reads(range(1, H2 + 1), range(1, M + 1))} == set(range(1, H + 1))


def test_001_equation_with_m_from_0_is_the_convolution() -> None:
    rng = np.random.default_rng(0)
    x, k = rng.integers(-4, 5, (6, 7, 3)), rng.integers(-4, 5, (3, 2, 3, 5))

    def equation(first: int) -> np.ndarray:
        y = np.zeros((4, 6, 5), x.dtype)
        for h, w, o in np.ndindex(y.shape):
            for m, n, c in np.ndindex(k.shape[:3]):
                y[h, w, o] += x[h + m + first, w + n + first, c] * k[m, n, c, o]
        return y

    np.testing.assert_array_equal(equation(0), cl.conv2d(x, k, kernel="im2col"))
    with pytest.raises(IndexError):
        equation(1)


def test_001_equation_holds_at_stride_1_only() -> None:
    """With a stride s it reads x(s * h' + m, ...): V1 itself has five layers with stride 2."""
    x, k = np.arange(49.0).reshape(7, 7, 1), np.ones((3, 3, 1, 1))
    strided = cl.conv2d(x, k, stride=2, kernel="im2col")
    dense = cl.conv2d(x, k, kernel="im2col")
    assert not np.array_equal(strided, dense[:3, :3])
    np.testing.assert_array_equal(strided, dense[::2, ::2])
    strides = [visit.layer.spec.stride for visit in walk(cl.mobilenet_v1()) if isinstance(visit.layer, Conv)]
    assert strides.count((2, 2)) == 5


def test_001_pointwise_reads_the_depthwise_output() -> None:
    """As printed, y stands on both sides: y of C channels and y of C' cannot be one array, and x is not meant either."""
    rng = np.random.default_rng(0)
    x, d, p = rng.integers(-4, 5, (6, 6, 3)), rng.integers(-4, 5, (3, 3, 3)), rng.integers(-4, 5, (3, 5))
    between = cl.depthwise_conv2d(x, d, kernel="im2col")
    y = cl.separable_conv2d(x, d, p, kernel="im2col")
    assert between.shape != y.shape
    np.testing.assert_array_equal(y, between @ p)
    assert not np.array_equal(y, x[:4, :4] @ p)


def test_001_the_reduction_formula_is_exact_and_is_what_remains() -> None:
    c = cl.compare(12, 12, in_channels=3, out_channels=256, kernel=5)
    assert c.formula == pytest.approx(c.separable.macs / c.standard.macs, rel=1e-15)  # not "approximately"
    assert c.formula < 0.05  # costs fall *to* this share; they fall *by a factor of* its inverse
    assert c.standard.macs / c.separable.macs == pytest.approx(1 / c.formula)
    assert round(1 / c.formula, 1) == 22.8


def test_001_operations_are_macs_and_flops_are_twice_that() -> None:
    c = cl.cost(cl.ConvSpec(3, 256, kernel=5), 12, 12)
    assert c.macs == (8 * 8 * 256) * (5 * 5 * 3)
    assert c.flops == 2 * c.macs != c.macs


def test_001_v2_has_fewer_parameters_than_v1_only_at_full_width() -> None:
    """Below alpha 1 the head keeps its 1280 channels, so V2 has more parameters than V1 of the same alpha."""

    def params(build, alpha: float) -> int:
        return cl.cost(build(alpha)).params

    assert params(cl.mobilenet_v2, 1.0) < params(cl.mobilenet_v1, 1.0)
    for alpha in (0.75, 0.5, 0.25):
        assert params(cl.mobilenet_v2, alpha) > params(cl.mobilenet_v1, alpha)
        assert cl.cost(cl.mobilenet_v2(alpha)).macs < cl.cost(cl.mobilenet_v1(alpha)).macs  # it does compute less


# Errata of document 002


@pytest.mark.parametrize(("kernel", "outputs"), [(3, 5), (3, 64), (5, 256), ((3, 5), 7)])
def test_002_the_blank_reduction_factor(kernel, outputs: int) -> None:
    c = cl.compare(20, 20, in_channels=6, out_channels=outputs, kernel=kernel)
    area = math.prod(c.kernel)
    assert c.separable.macs / c.standard.macs == pytest.approx(1 / outputs + 1 / area, rel=1e-15)


def test_002_d_f_is_input_and_output_at_once_only_at_stride_1_with_same_padding() -> None:
    def output(**options) -> int:
        return cl.ConvSpec(1, 1, 3, **options).geometry(14, 14).out_height

    assert output(padding="same") == 14
    assert output() == 12
    assert output(padding="same", stride=2) == 7
    # Reading D_F as the input overcounts the strided depthwise layer fourfold.
    strided = cl.cost(cl.ConvSpec.depthwise(8, 3, stride=2, padding="same"), 14, 14).macs
    assert 4 * strided == 9 * 8 * 14 * 14


def test_002_its_equation_reads_past_the_picture() -> None:
    """F(k+i-1) with k up to D_F reads rows D_F+1 and D_F+2: an output of the input's size needs a padding and its offset."""
    D_F, D_K = 5, 3
    rows = {k + i - 1 for k in range(1, D_F + 1) for i in range(1, D_K + 1)}
    assert max(rows) == D_F + D_K - 1 > D_F
    x, w = np.arange(25.0).reshape(5, 5, 1), np.arange(9.0).reshape(3, 3, 1, 1)
    printed = np.zeros((D_F, D_F))
    padded = np.pad(x[:, :, 0], (0, D_K - 1))
    for k, l in np.ndindex(printed.shape):  # noqa: E741  # the document's letters
        printed[k, l] = sum(w[i, j, 0, 0] * padded[k + i, l + j] for i in range(D_K) for j in range(D_K))
    np.testing.assert_array_equal(printed, cl.conv2d(x, w, padding=((0, 2), (0, 2)), kernel="im2col")[:, :, 0])
    assert not np.array_equal(printed, cl.conv2d(x, w, padding="same", kernel="im2col")[:, :, 0])


def test_002_never_9_times_fewer_and_not_always_8() -> None:
    def times(outputs: int) -> float:
        return 1 / cl.compare(14, 14, in_channels=8, out_channels=outputs, kernel=3, padding="same").reduction

    assert round(times(64), 1) == 7.9
    assert round(times(512), 1) == 8.8
    assert all(times(n) < 8 for n in (1, 16, 64, 71))
    assert times(72) == pytest.approx(8)
    assert all(8 < times(n) < 9 for n in (73, 128, 1024, 10**6))


def standard_v1(alpha: float) -> Network:
    """V1 with a standard convolution wherever it has a separable block."""
    channels = int(V1_STEM * alpha)
    layers: list = [Conv("stem", cl.ConvSpec(3, channels, 3, 2, "same"))]
    for row in V1_ROWS:
        for repeat in range(row.repeats):
            width = int(row.width * alpha)
            stride = row.stride if repeat == 0 else 1
            layers.append(Conv(f"conv{len(layers)}", cl.ConvSpec(channels, width, 3, stride, "same")))
            channels = width
    return Network("v1 of standard convolutions", (224, 224, 3), (*layers, Pool("pool"), Dense("classifier", channels, 1000)))


def test_002_whole_networks_differ() -> None:
    """Howard et al. 2017, table 4: 4866 and 569 million MACs, 29.3 and 4.2 million parameters.

    The paper's 4866 leaves the classifier out, its 569 does not: both with it are 4867 and 569.
    """
    whole, v1 = cl.cost(standard_v1(1.0)), cl.cost(cl.mobilenet_v1())
    assert (round(whole.macs / 1e6), round(v1.macs / 1e6)) == (4867, 569)
    assert (round((whole.macs - 1_024_000) / 1e6), round((v1.macs - 1_024_000) / 1e6)) == (4866, 568)
    assert (round(whole.params / 1e6, 1), round(v1.params / 1e6, 1)) == (29.3, 4.2)
    assert round(whole.macs / v1.macs, 1) == 8.6
    assert round(whole.params / v1.params, 1) == 6.9  # parameters: not 8 to 9
    slim = cl.cost(standard_v1(0.25)).macs / cl.cost(cl.mobilenet_v1(0.25)).macs
    assert slim < 8  # narrow networks: not 8 to 9 either


def test_shares_of_v1_by_kind() -> None:
    """Howard et al. 2017, table 2. Its share of the first layer's MACs, 1.19 %, is the only one that is wrong: it should be 1.91 %."""
    counted = cl.cost(cl.mobilenet_v1())
    kinds = counted.by_kind()
    macs = {kind: round(100 * part.macs / counted.macs, 2) for kind, part in kinds.items() if part.macs}
    assert macs == {"standard": 1.91, "depthwise": 3.06, "pointwise": 94.86, "dense": 0.18}
    assert round(94.86 + 3.06 + 1.19 + 0.18, 2) == 99.29
    weights = {kind: round(100 * part.weights / counted.total.weights, 2) for kind, part in kinds.items() if part.weights}
    assert weights == {"standard": 0.02, "depthwise": 1.06, "pointwise": 74.59, "dense": 24.33}  # as printed


def test_the_last_depthwise_layer_of_v1_has_stride_1() -> None:
    """Howard et al. 2017, table 1, prints "Conv dw / s2" on 7x7x1024: its next row and its own total say otherwise."""
    network = cl.mobilenet_v1()
    *_, last, _ = [visit for visit in walk(network) if isinstance(visit.layer, Conv)]
    assert last.layer.spec.stride == (1, 1)
    assert last.input == last.output == (7, 7, 1024)
    printed = cl.compare(7, 7, in_channels=1024, out_channels=1024, kernel=3, stride=2, padding="same")
    kept = cl.compare(7, 7, in_channels=1024, out_channels=1024, kernel=3, padding="same")
    assert printed.output[:2] == (4, 4)
    million = (cl.cost(network).macs - kept.separable.macs + printed.separable.macs) / 1e6
    assert (round(million), round(cl.cost(network).macs / 1e6)) == (534, 569)


# Errata of document 003


def test_003_both_layers_multiply_and_add() -> None:
    """The text says that one layer multiplies and the other adds."""
    ones = np.ones((6, 6, 3))
    added = cl.depthwise_conv2d(ones, np.ones((3, 3, 3)), kernel="naive")
    assert (added == 9).all()  # the depthwise layer adds nine products
    multiplied = cl.pointwise_conv2d(ones, np.full((3, 5), 2.0), kernel="naive")
    assert (multiplied == 6).all()  # the pointwise layer multiplies, 3 * 2, and adds


def test_003_nothing_is_recomputed_by_the_second_filter() -> None:
    """A standard convolution's filters differ. The separable one does not save repeated work: it is a narrower function.

    Its filters are d[u, v, c] * p[c, o]: for each input channel a matrix (taps, outputs) of rank 1.
    """
    rng = np.random.default_rng(0)
    standard = rng.normal(size=(3, 3, 3, 5))
    depthwise, pointwise = rng.normal(size=(3, 3, 3)), rng.normal(size=(3, 5))
    separable = depthwise[..., None] * pointwise
    x = rng.normal(size=(6, 6, 3))
    np.testing.assert_allclose(cl.separable_conv2d(x, depthwise, pointwise), cl.conv2d(x, separable), rtol=0, atol=1e-12)
    for c in range(3):
        assert np.linalg.matrix_rank(standard[:, :, c].reshape(9, 5)) == 5
        assert np.linalg.matrix_rank(separable[:, :, c].reshape(9, 5)) == 1


def test_003_one_window_is_summed_over_its_taps_too() -> None:
    """Summing the products "along all the channels" alone leaves nine numbers of a window, not one."""
    rng = np.random.default_rng(0)
    window, k = rng.integers(-4, 5, (3, 3, 3)), rng.integers(-4, 5, (3, 3, 3))
    products = window * k
    assert products.sum(axis=2).shape == (3, 3)
    assert products.sum() == cl.conv2d(window, k[..., None], kernel="naive")[0, 0, 0]


def test_003_the_kernel_slides_over_the_output_positions() -> None:
    D_x, D_k, M, N = 6, 3, 3, 5
    _, counted = count(cl.ConvSpec(M, N, D_k), D_x, D_x)
    assert counted == 2160 != D_k * D_k * M * D_x * D_x * N
    assert counted == D_k * D_k * M * (D_x - D_k + 1) ** 2 * N
    assert cl.cost(cl.ConvSpec(M, N, D_k, padding="same"), D_x, D_x).macs == D_k * D_k * M * D_x * D_x * N  # right here only


# Errata of document 004


def test_004_pointwise_filters_are_1x1x3_not_of_size_1() -> None:
    spec = cl.ConvSpec.pointwise(3, 16)
    assert spec.weight_shape == (1, 1, 3, 16)
    assert cl.cost(spec, 3, 3).params == 48 != 16


def test_004_fewer_multiplications_are_not_all_of_speed() -> None:
    """Document 000's example: a third of the multiplications, but more bytes moved."""
    c = cl.compare(6, 6, in_channels=3, out_channels=5, kernel=3)

    def moved(cost: cl.Cost) -> int:
        return cost.bytes_read + cost.bytes_written

    assert c.separable.macs < c.standard.macs / 3
    assert (moved(c.standard), moved(c.separable)) == (1292, 1304)
    assert c.separable.intensity < c.standard.intensity / 3


# Errata of the published tables

SLIM_V1 = {  # TF-slim's table of V1 checkpoints: million MACs at 224, 192, 160, 128
    1.0: (569, 418, 291, 186),
    0.75: (317, 233, 162, 104),
    0.5: (150, 110, 77, 49),
    0.25: (41, 34, 21, 14),
}


def test_slim_v1_macs() -> None:
    wrong = {}
    for alpha, row in SLIM_V1.items():
        for resolution, printed in zip((224, 192, 160, 128), row, strict=True):
            macs = cl.cost(cl.mobilenet_v1(alpha, resolution, classes=1001)).macs / 1e6
            if round(macs) != printed:
                wrong[alpha, resolution] = (printed, round(macs, 1))
    assert wrong == {
        (0.75, 224): (317, 325.4),
        (0.75, 192): (233, 239.3),
        (0.75, 160): (162, 166.4),
        (0.75, 128): (104, 106.8),
        (0.5, 224): (150, 149.5),  # 149.4976 exactly: the paper's 149 is right
        (0.25, 192): (34, 30.2),
    }


def test_slim_v1_parameters_count_three_numbers_a_channel() -> None:
    """4.24, 2.59, 1.34 and 0.47 million fit neither the trained numbers (two a channel) nor all that are kept (four)."""
    printed = {1.0: 4.24, 0.75: 2.59, 0.5: 1.34, 0.25: 0.47}

    def million(alpha: float, per_channel: int) -> float:
        c = cl.cost(cl.mobilenet_v1(alpha, classes=1001)).total
        return round((c.weights + c.bias + per_channel * c.batch_norm // 2) / 1e6, 2)

    fits = [n for n in range(5) if all(million(alpha, n) == value for alpha, value in printed.items())]
    assert fits == [3]
    assert million(1.0, 2) == 4.23


def test_keras_says_529_million_at_every_resolution() -> None:
    """Keras's tables print 529 for V1 1.0 at 224, and again at 192, 160 and 128."""
    counted = [round(cl.cost(cl.mobilenet_v1(resolution=side)).macs / 1e6) for side in (224, 192, 160, 128)]
    assert counted == [569, 418, 291, 186]
    assert 529 not in counted


def test_expanding_the_t_1_block_is_a_mistake() -> None:
    """With a 1x1 expansion in the first block V2 counts 313,619,328 MACs."""

    def layers():
        channels = V2_STEM
        yield Conv("stem", cl.ConvSpec(3, channels, 3, 2, "same"))
        number = 0
        for row in V2_ROWS:
            for repeat in range(row.repeats):
                number += 1
                wide, stride = channels * row.t, row.stride if repeat == 0 else 1
                yield Conv(f"expand{number}", cl.ConvSpec.pointwise(channels, wide))  # the mistake: at t = 1 too
                yield Conv(f"depthwise{number}", cl.ConvSpec.depthwise(wide, 3, 1, stride, "same"))
                yield Conv(f"project{number}", cl.ConvSpec.pointwise(wide, row.width), activation=None)
                channels = row.width
        yield Conv("head", cl.ConvSpec.pointwise(channels, V2_HEAD))
        yield Pool("pool")
        yield Dense("classifier", V2_HEAD, 1000)

    mistaken = cl.cost(Network("expanded at t = 1", (224, 224, 3), tuple(layers()))).macs
    assert mistaken == 313_619_328
    assert cl.cost(cl.mobilenet_v2()).macs == 300_774_272 == mistaken - 112 * 112 * 32 * 32
