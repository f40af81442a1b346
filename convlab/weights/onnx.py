"""ONNX: a graph of operations, as torch and tf2onnx export it, in float.

Pictures are NCHW inside, filters (O, I, KH, KW); what TensorFlow exports turns its NHWC pictures round at the front. Batch norm may be
there or folded away. Exporters write shapes, pads and bounds as operations on constants: those ONNX's own reference computes.

The file does not say how a picture is prepared, unless it does it itself. Its zeros tell where the weights come from: with TensorFlow's
rule for padding pictures go from -1 to 1, with symmetric zeros they have ImageNet's mean and deviation, as torchvision's.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ..forward import Model
from ..geometry import Sides
from ..layers import Conv, Network
from ..preprocessing import Preprocessing
from .checks import NUMBERS, as_written, check_numbers, check_size, named
from .graph import Builder
from .recognise import convolutions
from .torch import SIDE, torchvision

SHAPES = (
    "Shape",
    "Gather",
    "Unsqueeze",
    "Concat",
    "Slice",
    "Cast",
    "Squeeze",
    "Mul",
    "Div",
    "Sub",
    "Add",
    "Size",
    "ReduceProd",
    "ConstantOfShape",
)
"""Operations on shapes: what they compute is not known before a picture comes, and only reshapes read it."""

BITS = (
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "QLinearConv",
    "QLinearAdd",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
)
RENAMED = {"HardSwish": "hard_swish", "LeakyRelu": "leaky_relu", "HardSigmoid": "hard_sigmoid"}
FOLDED = (
    *("Abs", "Add", "And", "Cast", "Ceil", "Concat", "Constant", "ConstantOfShape", "Div", "Equal", "Expand", "Floor", "Gather", "Greater"),
    *(
        "Identity",
        "Less",
        "Max",
        "Min",
        "Mod",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Pow",
        "Range",
        "Reciprocal",
        "Reshape",
        "Shape",
        "Slice",
        "Sqrt",
    ),
    *("Squeeze", "Sub", "Transpose", "Unsqueeze", "Where", *BITS),
)
"""What is computed where all inputs are constants: exporters write shapes and pads as such, and none of it loops."""

ACTIVATIONS = ("Sigmoid", "Tanh", "Elu", "Selu", "Gelu", "Mish", "Swish", "PRelu", "Softplus", *RENAMED)


def load(path: Path) -> Model:
    """Return the model of an `.onnx` file."""
    try:
        import onnx
    except ModuleNotFoundError:
        raise ModuleNotFoundError('reading .onnx needs onnx: pip install "convlab-engine[formats]"') from None
    try:
        proto = onnx.load(path)
    except Exception as error:  # protobuf's own, and those of files beside it
        raise ValueError(f"{path} is not a readable .onnx file: {error}") from error
    with named(path), as_written("ONNX"):  # nodes that read what none gives, or lack what their operation needs
        return _Reader(proto).model()


class _Reader:
    """Walks the nodes, which ONNX keeps in running order."""

    def __init__(self, proto: Any) -> None:
        from onnx import numpy_helper

        self.proto, graph = proto, proto.graph
        self.constants: dict[str, np.ndarray] = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        self.shapes: set[str] = set()  # values that say a size
        inputs = [each for each in graph.input if each.name not in self.constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise ValueError(f"the network must have one input and one output: it has {len(inputs)} and {len(graph.output)}")
        dims = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim]
        if len(dims) != 4 or 3 not in (dims[1], dims[3]):
            raise ValueError(f"the input must be (N, 3, H, W) or (N, H, W, 3): {inputs[0].name} is {dims}")
        first = dims[1] == 3
        height, width = (dim or SIDE for dim in (dims[2:] if first else dims[1:3]))
        self.channels_first = {inputs[0].name: first}
        self.builder = Builder(inputs[0].name, height, width)

    def model(self) -> Model:
        for node in self.proto.graph.node:
            self._node(node)
        network, params = self.builder.network(self.proto.graph.output[0].name)
        check_size(network)
        check_numbers(network, params)
        return Model(network, params, preprocessing=self.builder.preprocessing(_origin(network)))

    def _node(self, node: Any) -> None:
        from onnx import helper

        name = node.name or f"{node.op_type} that gives {node.output[0]}"
        inputs = [value for value in node.input if value]
        if all(value in self.constants for value in inputs):
            self.constants |= self._computed(node, inputs)
            return
        if node.op_type == "Shape" or (node.op_type in SHAPES and all(value in self.constants or value in self.shapes for value in inputs)):
            self.shapes |= set(node.output)
            return
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        x, y = next(value for value in inputs if value not in self.constants), node.output[0]
        self.channels_first[y] = self.channels_first.get(x, True)
        match node.op_type:
            case "Conv":
                self._conv(name, node, attributes)
            case "BatchNormalization":
                gamma, beta, mean, variance = (self._constant(name, value) for value in inputs[1:])
                self.builder.batch_norm(name, x, y, gamma, beta, mean, variance, attributes.get("epsilon", 1e-5))
            case "Clip" | "Relu" | "Min" | "Max":
                self.builder.activation(name, x, y, self._bounded(name, node, attributes))
            case "Add" | "Mul" | "Sub" | "Div":
                self._arithmetic(name, node.op_type, x, inputs, y)
            case "Pad":
                self._pad(name, node, attributes)
            case "GlobalAveragePool":
                self.builder.pool(name, x, y)
            case "AveragePool":
                self.builder.pool(name, x, y, tuple(attributes["kernel_shape"]))
            case "ReduceMean":
                axes = attributes.get("axes") or self._constant(name, inputs[1]).tolist()
                wanted = [2, 3] if self.channels_first[x] else [1, 2]
                if sorted(axis % 4 for axis in axes) != wanted:
                    raise ValueError(f"a mean must be over height and width: {name} is over axes {axes}")
                self.builder.pool(name, x, y)
            case "Gemm":
                weight = self._constant(name, inputs[1]) * attributes.get("alpha", 1.0)
                bias = self._constant(name, inputs[2]) * attributes.get("beta", 1.0) if len(inputs) > 2 else None
                self.builder.dense(name, x, y, weight.T if attributes.get("transB") else weight, bias)
            case "MatMul":
                self.builder.dense(name, x, y, self._constant(name, inputs[1]))
            case "Transpose":
                self.channels_first[y] = self._turned(name, list(attributes["perm"]), self.channels_first[x])
                self.builder.same(name, x, y)
            case "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" | "Identity" | "Dropout" | "Cast":
                if node.op_type not in ("Identity", "Dropout", "Cast") and self.builder.size != (1, 1):
                    raise ValueError(f"only pooled features may be reshaped: {name} reads a picture")
                self.builder.same(name, x, y)
            case "Softmax" | "LogSoftmax":
                self.builder.softmax(name, x, y)
            case kind if kind in BITS:
                raise ValueError(f"only float networks are read from .onnx: {name} is {kind}, of 8 bits")
            case kind if kind in ACTIVATIONS:
                self.builder.activation(name, x, y, RENAMED.get(kind, kind.lower()))
            case kind:
                raise ValueError(f"MobileNet V1 and V2 have no operation {kind}: {name}")

    def _computed(self, node: Any, inputs: list[str]) -> dict[str, np.ndarray]:
        from onnx import helper
        from onnx.reference import ReferenceEvaluator

        if node.op_type not in FOLDED:
            raise ValueError(f"{node.op_type} of constants is not computed here: {node.name or node.output[0]}")
        if (most := _most(node.op_type, [self.constants[value] for value in inputs])) > NUMBERS:
            raise ValueError(
                f"a model from a file may have {NUMBERS:,} numbers at most as parameters: {node.output[0]} would have {most:,}"
            )
        values = [
            helper.make_tensor_value_info(value, helper.np_dtype_to_tensor_dtype(self.constants[value].dtype), None) for value in inputs
        ]
        outputs = [helper.make_empty_tensor_value_info(value) for value in node.output]
        graph = helper.make_graph([node], "constant", values, outputs)
        alone = helper.make_model(
            graph, opset_imports=self.proto.opset_import, ir_version=self.proto.ir_version, functions=self.proto.functions
        )
        results = ReferenceEvaluator(alone).run(None, {value: self.constants[value] for value in inputs})
        return {name: np.asarray(result) for name, result in zip(node.output, results, strict=True)}

    def _constant(self, name: str, value: str) -> np.ndarray:
        if value not in self.constants:
            raise ValueError(f"weights must be constants: {name} reads {value!r}")
        return self.constants[value]

    def _conv(self, name: str, node: Any, attributes: dict[str, Any]) -> None:
        weight = self._constant(name, node.input[1])
        bias = self._constant(name, node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if weight.ndim != 4 or not self.channels_first[node.input[0]]:
            raise ValueError(f"convolutions must be of pictures (N, C, H, W): {name}")
        stride, dilation = tuple(attributes.get("strides", (1, 1))), tuple(attributes.get("dilations", (1, 1)))
        padding: Any
        match attributes.get("auto_pad", b"NOTSET").decode():
            case "NOTSET":
                top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
                padding = ((top, bottom), (left, right))
            case "VALID":
                padding = "valid"
            case "SAME_UPPER":
                padding = "same"
            case other:
                raise ValueError(f"auto_pad must be NOTSET, VALID or SAME_UPPER: {name} has {other}")
        self.builder.conv(
            name, node.input[0], node.output[0], weight.transpose(2, 3, 1, 0), stride, padding, bias,
            groups=attributes.get("group", 1), dilation=dilation,
        )  # fmt: skip

    def _bounded(self, name: str, node: Any, attributes: dict[str, Any]) -> str:
        if node.op_type == "Relu":
            return "relu"
        low, high = attributes.get("min", -np.inf), attributes.get("max", np.inf)
        if node.op_type == "Clip":
            bounds = [float(self._constant(name, value)) if value else None for value in node.input[1:]] + [None, None]
            low, high = (low if bounds[0] is None else bounds[0]), (high if bounds[1] is None else bounds[1])
        else:
            bound = float(self._constant(name, next(value for value in node.input if value in self.constants)))
            low, high = (0.0, bound) if node.op_type == "Min" else (bound, np.inf)
            last = self.builder.pieces[-1].activation if self.builder.pieces else None
            if node.op_type == "Min" and last != "relu":
                return f"min(x, {high:g})"
        if low == 0 and high in (6, np.inf):
            return "relu6" if high == 6 else "relu"
        return "relu" if low == 0 and high > 1e30 else f"clip({low:g}, {high:g})"

    def _arithmetic(self, name: str, kind: str, x: str, inputs: list[str], y: str) -> None:
        known = [value for value in inputs if value in self.constants]
        if not known:
            if kind != "Add":
                raise ValueError(f"MobileNet V1 and V2 have no {kind} of two values: {name}")
            self.builder.add(name, inputs[0], inputs[1], y)
            return
        if kind in ("Sub", "Div") and inputs[0] in self.constants:
            raise ValueError(f"a constant must stand behind: {name} is {kind} from one")
        constant = self.constants[known[0]].astype(np.float64)
        match kind:
            case "Add":
                self.builder.affine(name, x, y, shift=constant)
            case "Sub":
                self.builder.affine(name, x, y, shift=-constant)
            case "Mul":
                self.builder.affine(name, x, y, scale=constant)
            case _:
                self.builder.affine(name, x, y, scale=1 / constant)

    def _pad(self, name: str, node: Any, attributes: dict[str, Any]) -> None:
        pads = attributes.get("pads")
        if pads is None:
            pads = self._constant(name, node.input[1]).tolist()
        value = float(self._constant(name, node.input[2])) if len(node.input) > 2 and node.input[2] else attributes.get("value", 0.0)
        if attributes.get("mode", b"constant") != b"constant" or value != 0 or len(pads) != 8:
            raise ValueError(f"a picture may be padded with zeros only: {name}")
        rows, columns, rest = (2, 3, (0, 1)) if self.channels_first[node.input[0]] else (1, 2, (0, 3))
        if any(pads[axis] or pads[axis + 4] for axis in rest):
            raise ValueError(f"only height and width may be padded: {name} has pads {pads}")
        sides: Sides = ((int(pads[rows]), int(pads[rows + 4])), (int(pads[columns]), int(pads[columns + 4])))
        self.builder.pad(name, node.input[0], node.output[0], sides)

    @staticmethod
    def _turned(name: str, axes: list[int], first: bool) -> bool:
        if axes == [0, 3, 1, 2] and not first:
            return True
        if axes == [0, 2, 3, 1] and first:
            return False
        raise ValueError(f"axes may be turned from NHWC to NCHW and back: {name} turns them to {axes}")


def _most(kind: str, given: list[np.ndarray]) -> int:
    """Return how many numbers an operation may make of constants."""
    match kind:
        case "ConstantOfShape":
            return math.prod(given[0].ravel().tolist())
        case "Expand":
            return given[0].size * math.prod(given[1].ravel().tolist())
        case "Range":
            start, limit, step = (float(each) for each in given)
            return int(abs((limit - start) / (step or 1)))
        case "Gather":
            return given[0].size * given[1].size
    try:
        return math.prod(np.broadcast_shapes(*(each.shape for each in given)))
    except ValueError:  # no two numbers meet: they are joined, cut or laid anew
        return sum(each.size for each in given)


def _origin(network: Network) -> Preprocessing:
    """Return the preparation of the library whose zeros these are."""
    height, width, _ = network.input
    stem = convolutions(network.layers)[0]
    assert isinstance(stem, Conv)
    return Preprocessing((height, width)) if stem.spec.padding == "same" else torchvision(height, width)
