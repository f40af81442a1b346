"""The front door: layouts, dtypes, single pictures, bias, and every refusal with its message."""

import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_array_equal
from strategies import Case, cases

import convlab as cl

X, W = Case(cl.ConvSpec(4, 6, 3), 6, 7, batch=2, seed=3).integers()
DEPTHWISE = np.arange(3 * 2 * 4 * 2, dtype=np.float32).reshape(3, 2, 4, 2) - 20
POINTWISE = np.arange(8 * 5, dtype=np.float32).reshape(8, 5) - 15
BIAS = np.arange(5, dtype=np.float32)

# Each function as f(x, **options) on NHWC and on NCHW weights.
FUNCTIONS = {
    "conv2d": (
        lambda x, **options: cl.conv2d(x, W, BIAS.repeat(2)[:6], **options),
        lambda x, **options: cl.conv2d(x, W.transpose(3, 2, 0, 1), BIAS.repeat(2)[:6], layout="NCHW", **options),
    ),
    "depthwise_conv2d": (
        lambda x, **options: cl.depthwise_conv2d(x, DEPTHWISE, BIAS.repeat(2)[:8], **options),
        lambda x, **options: cl.depthwise_conv2d(
            x, DEPTHWISE.reshape(3, 2, 1, 8).transpose(3, 2, 0, 1), BIAS.repeat(2)[:8], layout="NCHW", **options
        ),
    ),
    "pointwise_conv2d": (
        lambda x, **options: cl.pointwise_conv2d(x, POINTWISE[:4], BIAS, **options),
        lambda x, **options: cl.pointwise_conv2d(x, POINTWISE[:4].T, BIAS, layout="NCHW", **options),
    ),
    "separable_conv2d": (
        lambda x, **options: cl.separable_conv2d(x, DEPTHWISE, POINTWISE, BIAS, **options),
        lambda x, **options: cl.separable_conv2d(
            x, DEPTHWISE.reshape(3, 2, 1, 8).transpose(3, 2, 0, 1), POINTWISE.T, BIAS, layout="NCHW", **options
        ),
    ),
}
every_function = pytest.mark.parametrize("name", FUNCTIONS)


# ---- layouts and shapes ----


@every_function
def test_a_single_picture_is_a_batch_of_one_without_the_batch_axis(name):
    nhwc, nchw = FUNCTIONS[name]
    batch = nhwc(X)
    assert_array_equal(np.stack([nhwc(image) for image in X]), batch)
    assert_array_equal(np.stack([nchw(image.transpose(2, 0, 1)) for image in X]), batch.transpose(0, 3, 1, 2))


@every_function
@pytest.mark.parametrize("stride", [1, (2, 1)])
def test_nchw_is_nhwc_transposed(name, stride):
    nhwc, nchw = FUNCTIONS[name]
    y = nchw(X.transpose(0, 3, 1, 2), stride=stride)
    assert_array_equal(y, nhwc(X, stride=stride).transpose(0, 3, 1, 2))
    assert y.flags.c_contiguous


@given(cases())
def test_the_layouts_agree_on_every_convolution(case):
    x, w = case.integers()
    y = cl.conv2d(x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1), layout="NCHW", **case.options)
    assert_array_equal(y, cl.conv2d(x, w, **case.options).transpose(0, 3, 1, 2))


def test_pointwise_takes_pytorchs_1x1_weights_too():
    x, w = X.transpose(0, 3, 1, 2), POINTWISE[:4].T
    assert_array_equal(cl.pointwise_conv2d(x, w[:, :, None, None], layout="NCHW"), cl.pointwise_conv2d(x, w, layout="NCHW"))


def test_depthwise_weights_without_a_multiplier_have_the_multiplier_1():
    assert_array_equal(cl.depthwise_conv2d(X, DEPTHWISE[..., 0]), cl.depthwise_conv2d(X, DEPTHWISE[..., :1]))


@given(cases(kinds=("depthwise",)))
def test_depthwise_is_conv2d_with_one_group_per_channel(case):
    """And output channel c * M + m reads input channel c."""
    x, w = case.integers()
    options = {name: value for name, value in case.options.items() if name != "groups"}
    filters = w.reshape(*case.spec.kernel, case.spec.in_channels, -1)
    y = cl.depthwise_conv2d(x, filters, **options)
    assert_array_equal(y, cl.conv2d(x, w, **case.options))
    multiplier = filters.shape[3]
    for c in range(case.spec.in_channels):
        alone = cl.conv2d(x[..., c : c + 1], filters[:, :, c : c + 1], **options)
        assert_array_equal(y[..., c * multiplier : (c + 1) * multiplier], alone)


def test_one_channel_is_depthwise_and_standard_at_once():
    assert_array_equal(cl.depthwise_conv2d(X[..., :1], W[:, :, :1]), cl.conv2d(X[..., :1], W[:, :, :1]))


def test_the_bias_is_added_to_each_output_channel():
    bias = np.array([1, -2, 3, 0, 5, 100], np.float32)
    assert_array_equal(cl.conv2d(X, W, bias), cl.conv2d(X, W) + bias)
    separable = cl.separable_conv2d(X, DEPTHWISE, POINTWISE)
    assert_array_equal(cl.separable_conv2d(X, DEPTHWISE, POINTWISE, BIAS), separable + BIAS)


def test_lists_are_arrays():
    y = cl.conv2d([[[1], [2]], [[3], [4]]], [[[[1]], [[10]]]], [0.5])
    assert_array_equal(y, [[[21.5]], [[43.5]]])


@every_function
def test_the_result_is_new_and_the_arguments_stay(name):
    nhwc, nchw = FUNCTIONS[name]
    kept = X.copy(), W.copy(), DEPTHWISE.copy(), POINTWISE.copy(), BIAS.copy()
    for y in (nhwc(X), nchw(X.transpose(0, 3, 1, 2))):
        y[...] = 0
    for array, copy in zip((X, W, DEPTHWISE, POINTWISE, BIAS), kept, strict=True):
        assert_array_equal(array, copy)


@given(cases())
def test_im2col_lists_the_windows_in_the_order_of_the_outputs(case):
    x, _ = case.integers(np.int64)
    matrix, g = cl.im2col(x, case.spec), case.geometry
    assert matrix.dtype == x.dtype
    padded = np.pad(x, ((0, 0), *g.padding, (0, 0)))
    rows = iter(matrix)
    for n in range(len(x)):
        for i in range(g.out_height):
            for j in range(g.out_width):
                window = padded[n, [p + g.height.before for p in g.height.taps(i)]][:, [q + g.width.before for q in g.width.taps(j)]]
                assert_array_equal(next(rows), window.ravel())
    assert next(rows, None) is None


# ---- dtypes ----


@pytest.mark.parametrize(
    ("x", "w", "bias", "result"),
    [
        ("float32", "float32", None, "float32"),
        ("float32", "float64", None, "float64"),
        ("float32", "float32", "float64", "float64"),
        ("uint8", "float32", None, "float32"),
        ("uint8", "float32", "uint8", "float32"),
        ("int32", "float32", None, "float64"),
        ("int16", "float32", None, "float32"),
        ("uint8", "int32", None, "int32"),
        ("int32", "int64", None, "int64"),
        ("int32", "uint32", None, "int64"),
        ("float64", "int64", "int32", "float64"),
        ("longlong", "longlong", None, "int64"),
    ],
)
@pytest.mark.parametrize("kernel", cl.KERNELS)
def test_mixed_dtypes_follow_numpys_promotion(kernel, x, w, bias, result):
    if result not in cl.KERNELS[kernel].dtypes:
        with pytest.raises(TypeError, match=f"kernel '{kernel}' takes .*: dtype={result}"):
            cl.conv2d(np.ones((3, 3, 1), x), np.ones((2, 2, 1, 1), w), kernel=kernel)
        return
    y = cl.conv2d(np.full((3, 3, 1), 2, x), np.full((2, 2, 1, 1), 3, w), None if bias is None else np.ones(1, bias), kernel=kernel)
    assert y.dtype == result
    assert_array_equal(y, np.full((2, 2, 1), 24 + (bias is not None)))


def test_a_picture_of_bytes_works_with_float_filters():
    picture = np.full((4, 4, 3), 255, np.uint8)
    assert_array_equal(cl.conv2d(picture, np.ones((3, 3, 3, 1), np.float32)), np.full((2, 2, 1), 27 * 255, np.float32))


def test_narrow_integers_alone_would_overflow():
    with pytest.raises(TypeError, match=r"narrower sums overflow\): x.dtype=uint8, w.dtype=uint8 give uint8"):
        cl.conv2d(np.ones((3, 3, 1), np.uint8), np.ones((2, 2, 1, 1), np.uint8))
    with pytest.raises(TypeError, match=r"x.dtype=uint8, w.dtype=uint8, bias.dtype=int16 give int16"):
        cl.conv2d(np.ones((3, 3, 1), np.uint8), np.ones((2, 2, 1, 1), np.uint8), np.ones(1, np.int16))


@pytest.mark.parametrize("dtype", ["float16", "longdouble", "complex64", "bool", "uint64", "U3", "S3", "object", "M8[s]", "i4,i4"])
def test_other_dtypes_are_refused_by_name(dtype):
    dtype = np.dtype(dtype)
    wrong = {"x": (np.zeros((3, 3, 1), dtype), W[..., :1, :1]), "w": (X[..., :1], np.zeros((2, 2, 1, 1), dtype))}
    for name, arguments in wrong.items():
        with pytest.raises(TypeError, match=rf"{name} must be float32, float64, int32, int64: {name}.dtype=") as caught:
            cl.conv2d(*arguments)
        assert str(dtype) in str(caught.value)
    with pytest.raises(TypeError, match=r"bias must be float32, .*: bias.dtype="):
        cl.conv2d(X, W, np.zeros(6, dtype))


@pytest.mark.parametrize("x", ["photo.png", None, object(), {"x": 1}])
def test_what_is_no_array_is_refused(x):
    with pytest.raises(TypeError, match=r"x must be float32, .*: x.dtype="):
        cl.conv2d(x, W)


# ---- refusals ----


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cl.conv2d(X[0, 0], W), r"x must be \(N, H, W, C\), or one image without N: x.shape=\(7, 4\)"),
        (lambda: cl.conv2d(X[None], W), r"x must be \(N, H, W, C\), or one image without N: x.shape=\(1, 2, 6, 7, 4\)"),
        (lambda: cl.conv2d(X[0, 0], W, layout="NCHW"), r"x must be \(N, C, H, W\), or one image without N"),
        (lambda: cl.conv2d(X, W, layout="HWC"), """layout must be "NHWC" or "NCHW": layout='HWC'"""),
        (lambda: cl.conv2d(X[:, :0], W), r"x must have at least one row, column and channel .*: x.shape=\(2, 0, 7, 4\)"),
        (lambda: cl.conv2d(X[..., :0], W[:, :, :0]), r"w must be \(KH, KW, C / groups, O\), none of them 0: w.shape=\(3, 3, 0, 6\)"),
        (lambda: cl.conv2d(X, W[0]), r"w must be \(KH, KW, C / groups, O\), none of them 0: w.shape=\(3, 4, 6\)"),
        (lambda: cl.conv2d(X, W[..., :0]), r"none of them 0: w.shape=\(3, 3, 4, 0\)"),
        (lambda: cl.conv2d(X, W[0], layout="NCHW"), r"w must be \(O, C / groups, KH, KW\), none of them 0: w.shape=\(3, 4, 6\)"),
        (lambda: cl.conv2d(X, W[:, :, :3]), "w must read in_channels / groups channels: w reads 3, in_channels=4, groups=1"),
        (lambda: cl.conv2d(X, W, groups=2), "w must read in_channels / groups channels: w reads 4, in_channels=4, groups=2"),
        (lambda: cl.conv2d(X, W, groups=3), "groups must divide in_channels: in_channels=4, groups=3"),
        (lambda: cl.conv2d(X, W[:, :, :1, :5], groups=4), "groups must divide out_channels: out_channels=5, groups=4"),
        (lambda: cl.conv2d(X, W, BIAS), r"bias must have one number per output channel: bias.shape=\(5,\), out_channels=6"),
        (lambda: cl.conv2d(X, W, 1.0), r"bias must have one number per output channel: bias.shape=\(\), out_channels=6"),
        (lambda: cl.conv2d(X, W, np.ones((1, 6))), r"bias must have one number per output channel: bias.shape=\(1, 6\)"),
        (lambda: cl.conv2d(X, W, stride=0), "stride must be at least 1: stride=0"),
        (lambda: cl.conv2d(X, W, padding="SAME"), 'padding must be "valid", "same".*: padding=\'SAME\''),
        (lambda: cl.conv2d(X, W, dilation=4), "the window must fit into the padded input: along the height the input is 6"),
        (
            lambda: cl.depthwise_conv2d(X, DEPTHWISE[:, :, :3]),
            r"w must have filters for each channel of x: w.shape=\(3, 2, 3, 2\), C=4",
        ),
        (lambda: cl.depthwise_conv2d(X, DEPTHWISE[0, 0]), r"w must be \(KH, KW, C\) or \(KH, KW, C, M\), none of them 0: w.shape=\(4, 2\)"),
        (
            lambda: cl.depthwise_conv2d(X.transpose(0, 3, 1, 2), W.transpose(3, 2, 0, 1), layout="NCHW"),
            r"w must be \(C \* M, 1, KH, KW\): w.shape=\(6, 4, 3, 3\), C=4",
        ),
        (
            lambda: cl.depthwise_conv2d(X.transpose(0, 3, 1, 2), np.ones((6, 1, 3, 3)), layout="NCHW"),
            r"w must be \(C \* M, 1, KH, KW\): w.shape=\(6, 1, 3, 3\), C=4",
        ),
        (lambda: cl.pointwise_conv2d(X, POINTWISE), "w must read in_channels / groups channels: w reads 8, in_channels=4, groups=1"),
        (lambda: cl.pointwise_conv2d(X, W), r"w must be \(C, O\), none of them 0: w.shape=\(3, 3, 4, 6\)"),
        (
            lambda: cl.pointwise_conv2d(X.transpose(0, 3, 1, 2), W, layout="NCHW"),
            r"w must be \(O, C\) or \(O, C, 1, 1\), none of them 0: w.shape=\(3, 3, 4, 6\)",
        ),
        (
            lambda: cl.separable_conv2d(X, DEPTHWISE[:, :, :3], POINTWISE),
            r"w must have filters for each channel of x: w.shape=\(3, 2, 3, 2\)",
        ),
        (lambda: cl.separable_conv2d(X, DEPTHWISE, POINTWISE[:4]), "w must read in_channels / groups channels: w reads 4, in_channels=8"),
        (
            lambda: cl.separable_conv2d(X, DEPTHWISE, POINTWISE, BIAS[:4]),
            r"bias must have one number per output channel: bias.shape=\(4,\)",
        ),
        (lambda: cl.im2col(X, cl.ConvSpec(3, 5, 3)), r"x must have the spec's channels: x.shape=\(2, 6, 7, 4\), in_channels=3"),
        (lambda: cl.im2col(X, cl.ConvSpec(4, 5, 7)), "the window must fit into the padded input"),
    ],
)
def test_wrong_input_gets_the_rule_and_the_values(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("options", [{"stride": 1.5}, {"dilation": True}, {"groups": 2.0}, {"padding": None}])
def test_options_are_integers(options):
    (name,) = options
    with pytest.raises(TypeError, match=f"{name} must be an integer: {name}="):
        cl.conv2d(X, W, **options)


@pytest.mark.parametrize("spec", [cl.ConvSpec(3, 2, 1), cl.ConvSpec(3, 2, (1, 4)), cl.ConvSpec(3, 2, 2, padding=1)], ids=str)
def test_im2col_is_the_callers_own(spec):
    x = np.ones((1, 4, 4, 3))
    cl.im2col(x, spec)[...] = 7
    assert_array_equal(x, 1)
