"""Sizes, padding and positions against a count of the windows, one by one; and every refusal."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import cases, pairs

import convlab as cl

small = st.integers(1, 12)
axes = st.builds(cl.Axis, small, st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.integers(0, 4), st.integers(0, 4)).filter(
    lambda axis: axis.padded >= axis.extent
)


def windows_that_fit(axis):
    """Lay the window at every stride-th position from the start of the padding, and keep those that end inside it."""
    fitting, start = [], -axis.before
    while True:
        taps = [start + k * axis.dilation for k in range(axis.kernel)]
        if taps[-1] > axis.input + axis.after - 1:
            return fitting
        fitting.append(taps)
        start += axis.stride


@given(axes)
def test_an_axis_has_the_windows_that_fit_and_no_other(axis):
    windows = windows_that_fit(axis)
    assert axis.output == len(windows)
    assert [list(axis.taps(i)) for i in range(axis.output)] == windows
    assert [axis.start(i) for i in range(axis.output)] == [taps[0] for taps in windows]
    assert axis.unread == axis.input + axis.after - 1 - windows[-1][-1]


@given(axes)
def test_the_remainder_is_dropped_and_smaller_than_a_stride(axis):
    assert 0 <= axis.unread < axis.stride
    assert (axis.output - 1) * axis.stride + axis.extent + axis.unread == axis.padded


@given(small, small, pairs(st.integers(1, 5)), pairs(st.integers(1, 5)), pairs(st.integers(1, 4)))
def test_same_gives_one_output_per_stride_and_the_odd_zero_behind(height, width, kernel, stride, dilation):
    geometry = cl.ConvSpec(1, 1, kernel, stride, "same", dilation).geometry(height, width)
    assert (geometry.out_height, geometry.out_width) == (-(-height // stride[0]), -(-width // stride[1]))
    for before, after in geometry.padding:
        assert after - before in (0, 1)
    for axis in (geometry.height, geometry.width):
        # No more zeros than needed: without the last one, the last window would not fit.
        assert axis.before + axis.after == 0 or axis.unread == 0


def test_stride_2_same_and_padding_1_give_one_shape_from_different_pixels():
    same = cl.ConvSpec(3, 8, 3, stride=2, padding="same").geometry(224, 224)
    ones = cl.ConvSpec(3, 8, 3, stride=2, padding=1).geometry(224, 224)
    assert same.padding == ((0, 1), (0, 1))
    assert ones.padding == ((1, 1), (1, 1))
    assert same.out_shape == ones.out_shape == (112, 112, 8)
    assert list(same.height.taps(0)) == [0, 1, 2]
    assert list(ones.height.taps(0)) == [-1, 0, 1]


def test_floor_leaves_the_last_pixels_unread():
    axis = cl.ConvSpec(1, 1, 3, stride=2).geometry(8, 7).height
    assert (axis.output, axis.unread) == (3, 1)
    assert list(axis.taps(2)) == [4, 5, 6]


@given(cases())
def test_a_geometry_says_its_shapes(case):
    geometry, spec = case.geometry, case.spec
    assert geometry.spec == spec
    assert geometry.in_shape == (case.height, case.width, spec.in_channels)
    assert geometry.out_shape == (geometry.height.output, geometry.width.output, spec.out_channels)
    assert geometry.positions == geometry.out_height * geometry.out_width
    assert spec.weight_shape == (*spec.kernel, spec.in_channels // spec.groups, spec.out_channels)


def test_an_int_a_pair_and_four_sides_say_the_same():
    short = cl.ConvSpec(2, 4, 3, stride=2, padding=1, dilation=2)
    assert short == cl.ConvSpec(2, 4, (3, 3), (2, 2), (1, 1), (2, 2))
    assert short == cl.ConvSpec(2, 4, [3, 3], [2, 2], [[1, 1], [1, 1]], [2, 2])
    assert short == cl.ConvSpec(np.int64(2), np.uint8(4), np.int32(3), np.int8(2), np.int16(1), np.int64(2), np.int64(1))
    assert short != cl.ConvSpec(2, 4, 3, stride=2, padding=2, dilation=2)
    assert len({short, cl.ConvSpec(2, 4, (3, 3), 2, ((1, 1), (1, 1)), 2)}) == 1
    assert short.kernel == (3, 3)
    assert short.padding == ((1, 1), (1, 1))


def test_pairs_are_height_then_width():
    geometry = cl.ConvSpec(1, 1, kernel=(2, 3), stride=(1, 2), padding=(4, 0), dilation=(3, 1)).geometry(5, 9)
    assert geometry.height == cl.Axis(input=5, kernel=2, stride=1, dilation=3, before=4, after=4)
    assert geometry.width == cl.Axis(input=9, kernel=3, stride=2, dilation=1, before=0, after=0)
    sides = cl.ConvSpec(1, 1, 2, padding=((1, 2), (3, 4))).geometry(5, 9)
    assert sides.padding == ((1, 2), (3, 4))


def test_numbers_are_kept_as_plain_ints():
    spec = cl.ConvSpec(np.int64(2), np.int64(4), np.int64(3), padding=np.int64(1))
    numbers = [spec.in_channels, spec.out_channels, spec.groups, *spec.kernel, *spec.stride, *spec.dilation, *spec.padding[0]]
    assert {type(number) for number in numbers} == {int}


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        (cl.ConvSpec(3, 5, 3), "standard"),
        (cl.ConvSpec(3, 5, (1, 3)), "standard"),
        (cl.ConvSpec(4, 4, 3, groups=2), "grouped"),
        (cl.ConvSpec(4, 4, 1, groups=2), "grouped"),
        (cl.ConvSpec.depthwise(4, 3, multiplier=2), "depthwise"),
        (cl.ConvSpec.pointwise(3, 5, stride=2), "pointwise"),
        (cl.ConvSpec(1, 1, 3), "standard"),
    ],
)
def test_kind_names_what_a_kernel_must_run(spec, kind):
    assert spec.kind == kind


def test_depthwise_and_pointwise_are_specs_like_any():
    assert cl.ConvSpec.depthwise(4, 3, 2, stride=2, padding="same", dilation=1) == cl.ConvSpec(4, 8, 3, 2, "same", 1, groups=4)
    assert cl.ConvSpec.pointwise(4, 8, stride=(1, 2)) == cl.ConvSpec(4, 8, 1, (1, 2))


def test_specs_and_geometries_are_values():
    spec = cl.ConvSpec(3, 5, 3)
    geometry = spec.geometry(6, 7)
    assert hash(geometry) == hash(cl.ConvSpec(3, 5, (3, 3)).geometry(6, 7))
    assert geometry == cl.ConvSpec(3, 5, 3).geometry(6, 7) != spec.geometry(7, 6)
    for value, name in ((spec, "groups"), (geometry, "height"), (geometry.height, "stride")):
        with pytest.raises(AttributeError, match="cannot assign"):
            setattr(value, name, 2)


def test_repr_shows_what_was_resolved():
    assert repr(cl.ConvSpec(3, 5, 3, stride=2)) == (
        "ConvSpec(in_channels=3, out_channels=5, kernel=(3, 3), stride=(2, 2), padding='valid', dilation=(1, 1), groups=1)"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_channels": 0}, "in_channels must be at least 1: in_channels=0"),
        ({"out_channels": -2}, "out_channels must be at least 1: out_channels=-2"),
        ({"kernel": 0}, "kernel must be at least 1: kernel=0"),
        ({"kernel": (3, 0)}, "kernel width must be at least 1: kernel width=0"),
        ({"kernel": (3, 3, 3)}, r"kernel must be an integer or a pair \(height, width\): kernel=\(3, 3, 3\)"),
        ({"kernel": ()}, r"kernel must be an integer or a pair \(height, width\): kernel=\(\)"),
        ({"stride": 0}, "stride must be at least 1: stride=0"),
        ({"stride": (0, 1)}, "stride height must be at least 1: stride height=0"),
        ({"dilation": 0}, "dilation must be at least 1: dilation=0"),
        ({"padding": -1}, "padding must be at least 0: padding=-1"),
        ({"padding": ((0, -1), (0, 0))}, "padding bottom must be at least 0: padding bottom=-1"),
        ({"padding": "full"}, """padding must be "valid", "same", an integer, a pair or .*: padding='full'"""),
        ({"padding": (1, 2, 3, 4)}, r"padding must be .*: padding=\(1, 2, 3, 4\)"),
        ({"padding": ((1, 1), 1)}, r"padding must be .*: padding=\(\(1, 1\), 1\)"),
        ({"padding": ((1, 1, 1), (1, 1))}, r"padding must be .*: padding=\(\(1, 1, 1\), \(1, 1\)\)"),
        ({"groups": 0}, "groups must be at least 1: groups=0"),
        ({"groups": 4}, "groups must divide in_channels: in_channels=6, groups=4"),
        ({"groups": 3}, "groups must divide out_channels: out_channels=4, groups=3"),
        ({"stride": 2**31}, "stride must be at most 2147483647: stride=2147483648"),
        ({"padding": 10**30}, f"padding must be at most 2147483647: padding={10**30}"),
    ],
)
def test_a_wrong_value_is_refused_with_the_rule_and_the_value(options, message):
    with pytest.raises(ValueError, match=message):
        cl.ConvSpec(**{"in_channels": 6, "out_channels": 4, "kernel": 3} | options)


@pytest.mark.parametrize("name", ["in_channels", "out_channels", "kernel", "stride", "padding", "dilation", "groups"])
@pytest.mark.parametrize("value", [True, 1.0, None, np.float32(2), np.array([1, 1])])
def test_only_integers_are_sizes(name, value):
    if isinstance(value, np.ndarray) and name not in ("in_channels", "out_channels", "groups"):
        value = np.array(1.5)  # two integers are a pair
    with pytest.raises(TypeError, match=f"{name} must be an integer: {name}="):
        cl.ConvSpec(**{"in_channels": 6, "out_channels": 4, "kernel": 3} | {name: value})


@pytest.mark.parametrize("name", ["in_channels", "kernel", "stride", "dilation", "groups"])
def test_words_are_no_sizes(name):
    with pytest.raises(TypeError, match=f"{name} must be an integer: {name}='same'"):
        cl.ConvSpec(**{"in_channels": 6, "out_channels": 4, "kernel": 3} | {name: "same"})


@pytest.mark.parametrize(
    ("options", "name"),
    [({"kernel": (3, 2.0)}, "kernel width"), ({"padding": ((0, 1), (True, 1))}, "padding left"), ({"padding": ("a", 1)}, "padding height")],
)
def test_the_part_that_is_wrong_is_named(options, name):
    with pytest.raises(TypeError, match=f"{name} must be an integer"):
        cl.ConvSpec(**{"in_channels": 6, "out_channels": 4, "kernel": 3} | options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"kernel": 7},
            r"along the height the input is 6 \+ padding 0 \+ 0 = 6, the window 7 \(kernel=7, dilation=1\); the output would be empty",
        ),
        ({"kernel": (1, 9)}, r"along the width the input is 7 \+ padding 0 \+ 0 = 7, the window 9"),
        ({"kernel": 3, "dilation": 4, "padding": 1}, r"height the input is 6 \+ padding 1 \+ 1 = 8, the window 9 \(kernel=3, dilation=4\)"),
    ],
)
def test_an_output_that_would_be_empty_says_the_sizes(options, message):
    with pytest.raises(ValueError, match=message):
        cl.ConvSpec(1, 1, **options).geometry(6, 7)


def test_a_window_as_large_as_the_input_has_one_position():
    assert cl.ConvSpec(1, 1, (6, 7)).geometry(6, 7).positions == 1


@pytest.mark.parametrize(("size", "error"), [((0, 5), ValueError), ((5, -1), ValueError), ((5.0, 5), TypeError), ((True, 5), TypeError)])
def test_a_picture_has_a_whole_positive_size(size, error):
    with pytest.raises(error, match=r"(height|width) must be"):
        cl.ConvSpec(1, 1, 1).geometry(*size)


def test_arrays_are_the_lists_that_they_hold() -> None:
    """Of NumPy or of anything else that knows `tolist`."""
    arrays = {"kernel": np.array([3, 2]), "stride": np.array([2, 1]), "dilation": np.array(2), "padding": np.array([1, 2])}
    assert cl.ConvSpec(3, 5, **arrays) == cl.ConvSpec(3, 5, (3, 2), (2, 1), (1, 2), 2)
    assert cl.ConvSpec(3, 5, 3, padding=np.array([[1, 0], [2, 3]])).padding == ((1, 0), (2, 3))
    with pytest.raises(TypeError, match=r"padding height must be an integer: padding height=1\.5"):
        cl.ConvSpec(3, 5, 3, padding=np.array([1.5, 2]))
    with pytest.raises(TypeError, match="stride must be an integer: stride=True"):
        cl.ConvSpec(3, 5, 3, stride=np.bool_(True))
    with pytest.raises(ValueError, match=r"kernel must be an integer or a pair \(height, width\): kernel=\[1, 2, 3\]"):
        cl.ConvSpec(3, 5, np.array([1, 2, 3]))
