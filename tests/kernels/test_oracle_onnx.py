"""The ONNX standard as an oracle: its own Conv cases, and its reference evaluator on random nodes."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import cases

import convlab as cl

onnx = pytest.importorskip("onnx", reason="onnx is an oracle: pip install onnx")
reference = pytest.importorskip("onnx.reference", reason="onnx is an oracle: pip install onnx")


def conv_cases():
    """Return the standard's cases for Conv. Collecting runs every operator's examples, some of which divide by zero on purpose."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return collect_testcases("Conv")


def lower(size, kernel, stride, dilation):
    """Return the zeros (before, after) of SAME_LOWER: as "same", but the odd zero goes in front."""
    ((after, before), _) = cl.ConvSpec(1, 1, kernel, stride, "same", dilation).geometry(size, 1).padding
    return before, after


def run_node(node, x, w, bias=None, **kernel):
    """Run an ONNX Conv node with convlab: NCHW, and pads as (top, left, bottom, right)."""
    said = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    stride, dilation = tuple(said.get("strides", (1, 1))), tuple(said.get("dilations", (1, 1)))
    assert tuple(said.get("kernel_shape", w.shape[2:])) == w.shape[2:]
    match said.get("auto_pad", b"NOTSET"):
        case b"NOTSET":
            top, left, bottom, right = said.get("pads", (0, 0, 0, 0))
            padding = ((top, bottom), (left, right))
        case b"VALID":
            padding = "valid"
        case b"SAME_UPPER":
            padding = "same"
        case b"SAME_LOWER":
            padding = tuple(map(lower, x.shape[2:], w.shape[2:], stride, dilation))
    return cl.conv2d(x, w, bias, stride=stride, padding=padding, dilation=dilation, groups=said.get("group", 1), layout="NCHW", **kernel)


@pytest.mark.parametrize("rung", cl.KERNELS)
@pytest.mark.parametrize("case", conv_cases(), ids=lambda case: case.name)
def test_the_standards_cases(case, rung):
    (node,) = case.model.graph.node
    assert case.data_sets
    for inputs, (expected,) in case.data_sets:
        y = run_node(node, *inputs, kernel=rung)
        assert y.dtype == expected.dtype
        assert y.shape == expected.shape
        assert_allclose(y, expected, rtol=case.rtol, atol=case.atol)  # the tolerances are the standard's


def test_the_standard_has_cases():
    """So that an empty collection does not pass for agreement."""
    assert len(conv_cases()) >= 6


@pytest.mark.parametrize("rung", cl.KERNELS)
@given(case=cases(batches=(1, 2)), auto_pad=st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]), with_bias=st.booleans())
def test_random_nodes(rung, case, auto_pad, with_bias):
    spec = case.spec
    x, w = (array.transpose(axes).copy() for array, axes in zip(case.integers(), ((0, 3, 1, 2), (3, 2, 0, 1)), strict=True))
    bias = [np.arange(spec.out_channels, dtype=np.float32)] if with_bias else []
    if auto_pad == "NOTSET" or (auto_pad == "VALID" and spec.padding != "valid"):  # the picture may be too small without padding
        (top, bottom), (left, right) = case.geometry.padding
        how = {"pads": [top, left, bottom, right]}
    else:
        how = {"auto_pad": auto_pad}
    node = onnx.helper.make_node(
        "Conv",
        ["x", "w", "bias"][: 2 + len(bias)],
        ["y"],
        strides=spec.stride,
        dilations=spec.dilation,
        group=spec.groups,
        kernel_shape=spec.kernel,
        **how,
    )
    inputs = dict(zip(node.input, (x, w, *bias), strict=True))
    (expected,) = reference.ReferenceEvaluator(node).run(None, inputs)
    assert_array_equal(run_node(node, x, w, *bias, kernel=rung), expected)
