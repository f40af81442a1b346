"""TensorFlow Lite: a flat buffer of tensors and operators, in float (float32, or weights kept as float16).

`parse` reads any `.tflite` as plain values, also one of 8 bits: names, shapes, constants, scales and zero points, operators with their
options. `load` makes a model of a float one. Pictures are NHWC, filters (O, KH, KW, I), depthwise ones (1, KH, KW, O); activations are
fused into operators. Class names are read where the file carries them, as a zip behind the buffer.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..forward import Model
from ..preprocessing import Preprocessing
from .checks import NUMBERS, as_written, check_numbers, check_size, named, refused
from .graph import Builder

DTYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8"}
"""TFLite's numbers for types that networks here meet."""

ACTIVATIONS = {0: None, 1: "relu", 2: "relu between -1 and 1", 3: "relu6", 4: "tanh", 5: "sign"}
"""TFLite's numbers for fused activations."""

LONE = {"RELU": "relu", "RELU6": "relu6", "LOGISTIC": "sigmoid", "HARD_SWISH": "hard_swish", "TANH": "tanh", "ELU": "elu", "PRELU": "prelu"}
SHAPES = ("SHAPE", "STRIDED_SLICE", "PACK", "CONCATENATION", "CAST", "GATHER", "REDUCE_PROD")
"""Operators that compute a shape for a reshape, when a picture comes."""


@dataclass(frozen=True)
class Tensor:
    """A tensor: constant if it has an array; of 8 bits if it has scales, one or as many as `axis` has places."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    array: np.ndarray | None
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int


@dataclass(frozen=True)
class Operator:
    """An operator: TFLite's name, the numbers of the tensors that it reads (-1: left out) and gives, and its options."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any


@dataclass(frozen=True)
class Graph:
    """A network as TFLite holds it, operators in running order."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def parse(content: bytes) -> Graph:
    """Return the graph in a `.tflite` file's bytes.

    Raises
    ------
    ValueError
        If the buffer is damaged or holds more than one graph.
    ModuleNotFoundError
        If the package tflite is not installed.
    """
    try:
        import tflite
    except ModuleNotFoundError:
        raise ModuleNotFoundError('reading .tflite needs tflite: pip install "convlab-engine[formats]"') from None
    with refused("it is not a readable .tflite file"):  # a damaged buffer leads its reader anywhere
        model = tflite.Model.GetRootAsModel(content, 0)
        if model.SubgraphsLength() != 1:
            raise ValueError(f"it must hold one graph: it holds {model.SubgraphsLength()}")
        graph = model.Subgraphs(0)
        tensors = tuple(_tensor(model, graph.Tensors(i)) for i in range(graph.TensorsLength()))
        operators = tuple(_operator(tflite, model, graph.Operators(i)) for i in range(graph.OperatorsLength()))
        if len(tensors) > 100_000 or any(not -1 <= i < len(tensors) for each in operators for i in (*each.inputs, *each.outputs)):
            raise ValueError("an operator reads a tensor that is not there")
        return Graph(tensors, operators, _numbers(graph.InputsAsNumpy()), _numbers(graph.OutputsAsNumpy()))


def _numbers(values: Any) -> tuple[int, ...]:
    return () if isinstance(values, int) else tuple(int(value) for value in values)  # the reader gives 0 for none


def _tensor(model: Any, tensor: Any) -> Tensor:
    shape = _numbers(tensor.ShapeAsNumpy())
    dtype = DTYPES.get(tensor.Type(), f"type {tensor.Type()}")
    data = model.Buffers(tensor.Buffer()).DataAsNumpy() if tensor.Buffer() else 0
    array = None
    if not isinstance(data, int) and len(data):
        array = np.frombuffer(data.tobytes(), np.dtype(dtype).newbyteorder("<")).reshape(shape)
    scale, zero_point, axis = np.zeros(0, np.float32), np.zeros(0, np.int64), 0
    quantised = tensor.Quantization()
    if quantised is not None and quantised.ScaleLength():
        scale, zero_point, axis = quantised.ScaleAsNumpy(), quantised.ZeroPointAsNumpy(), quantised.QuantizedDimension()
    return Tensor(tensor.Name().decode(), shape, dtype, array, scale, zero_point, axis)


def _operator(tflite: Any, model: Any, operator: Any) -> Operator:
    code = model.OperatorCodes(operator.OpcodeIndex())
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    kind = tflite.opcode2name(number) if number in tflite.BUILTIN_OPCODE2NAME else f"operator {number}"
    options = None
    name = next((name for name, value in vars(tflite.BuiltinOptions).items() if value == operator.BuiltinOptionsType()), "NONE")
    if operator.BuiltinOptions() is not None and hasattr(tflite, name):
        options = getattr(tflite, name)()
        options.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
    return Operator(kind, _numbers(operator.InputsAsNumpy()), _numbers(operator.OutputsAsNumpy()), options)


def load(path: Path) -> Model:
    """Return the model of a float `.tflite` file."""
    content = files.read(path, 4 * NUMBERS)
    with named(path), as_written("TensorFlow"):
        graph = parse(content)
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise ValueError(f"the network must have one input and one output: it has {len(graph.inputs)} and {len(graph.outputs)}")
        model = _Reader(graph).model()
        labels = _labels(content, model.network.output[-1])
        return model if labels is None else Model(model.network, model.params, labels, preprocessing=model.preprocessing)


class _Reader:
    """Walks the operators of a float graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.constants = {i: tensor.array for i, tensor in enumerate(graph.tensors) if tensor.array is not None}
        self.shapes: set[int] = set()
        given = graph.tensors[graph.inputs[0]]
        if len(given.shape) != 4 or given.shape[3] != 3:
            raise ValueError(f"the input must be (N, H, W, 3): {given.name} is {given.shape}")
        for tensor in graph.tensors:
            if len(tensor.scale) and tensor.dtype in ("uint8", "int8", "int16"):
                raise ValueError(f"only float networks are read here: {tensor.name} is {tensor.dtype} with a scale")
        self.builder = Builder(self._value(graph.inputs[0]), given.shape[1], given.shape[2])

    def model(self) -> Model:
        for operator in self.graph.operators:
            self._operator(operator)
        network, params = self.builder.network(self._value(self.graph.outputs[0]))
        check_size(network)
        check_numbers(network, params)
        return Model(network, params, preprocessing=self.builder.preprocessing(Preprocessing(network.input[:2])))

    def _value(self, i: int) -> str:
        return f"{self.graph.tensors[i].name} ({i})"  # names need not be unique

    def _operator(self, operator: Operator) -> None:
        inputs = [i for i in operator.inputs if i >= 0]
        kind, name, build = operator.kind, self.graph.tensors[operator.outputs[0]].name or operator.kind, self.builder
        if kind == "DEQUANTIZE" and inputs[0] in self.constants:  # float16 weights
            self.constants[operator.outputs[0]] = self.constants[inputs[0]].astype(np.float32)
            return
        if kind in SHAPES and all(i in self.constants or i in self.shapes or kind == "SHAPE" for i in inputs):
            self.shapes |= set(operator.outputs)
            return
        tracked = [i for i in inputs if i not in self.constants and i not in self.shapes]
        if not tracked:
            raise ValueError(f"{kind} of constants alone is not computed: {name}")
        x, y, options = self._value(tracked[0]), self._value(operator.outputs[0]), operator.options
        match kind:
            case "CONV_2D" | "DEPTHWISE_CONV_2D":
                weight, bias = self._weight_and_bias(name, operator, 4)
                if kind == "CONV_2D":
                    weight, groups = weight.transpose(1, 2, 3, 0), 1
                else:
                    weight = weight.transpose(1, 2, 0, 3)
                    groups = weight.shape[3] // max(1, options.DepthMultiplier())
                stride, padding = (options.StrideH(), options.StrideW()), "valid" if options.Padding() else "same"
                dilation = max(1, options.DilationHFactor()), max(1, options.DilationWFactor())
                build.conv(name, x, y, weight, stride, padding, bias, groups=groups, dilation=dilation)
            case "FULLY_CONNECTED":
                weight, bias = self._weight_and_bias(name, operator, 2)
                build.dense(name, x, y, weight.T, bias)
            case "ADD" if len(tracked) == 2:
                build.add(name, self._value(tracked[0]), self._value(tracked[1]), y)
            case "ADD" | "SUB" | "MUL" | "DIV":
                if len(tracked) != 1 or (kind in ("SUB", "DIV") and inputs[0] in self.constants):
                    raise ValueError(f"MobileNet V1 and V2 have no {kind} like this: {name}")
                number = self.constants[next(i for i in inputs if i in self.constants)].astype(np.float64)
                if kind in ("ADD", "SUB"):
                    build.affine(name, x, y, shift=number if kind == "ADD" else -number)
                else:
                    build.affine(name, x, y, scale=number if kind == "MUL" else 1 / number)
            case "PAD":
                zeros = self._constant(name, inputs[1]).tolist()
                if len(zeros) != 4 or any(zeros[0] + zeros[3]):
                    raise ValueError(f"only height and width may be padded: {name} has {zeros}")
                (top, bottom), (left, right) = zeros[1:3]
                build.pad(name, x, y, ((top, bottom), (left, right)))
            case "MEAN":
                axes = sorted(int(axis) % 4 for axis in self._constant(name, inputs[1]).ravel())
                if axes != [1, 2]:
                    raise ValueError(f"a mean must be over height and width: {name} is over axes {axes}")
                build.pool(name, x, y)
            case "AVERAGE_POOL_2D":
                build.pool(name, x, y, (options.FilterHeight(), options.FilterWidth()))
            case "RESHAPE" | "SQUEEZE" if build.size == (1, 1):
                build.same(name, x, y)
            case "SOFTMAX":
                build.softmax(name, x, y)
            case _ if kind in LONE:
                build.activation(name, x, y, LONE[kind])
            case "QUANTIZE" | "DEQUANTIZE":
                raise ValueError(f"only float networks are read here: {name} is {kind}")
            case _:
                raise ValueError(f"MobileNet V1 and V2 have no operator {kind}: {name}")
        fused = ACTIVATIONS.get(options.FusedActivationFunction(), "unknown") if hasattr(options, "FusedActivationFunction") else None
        if fused is not None:
            build.activation(name, y, y, fused)

    def _constant(self, name: str, i: int) -> np.ndarray:
        if i not in self.constants:
            raise ValueError(f"weights must be constants: {name} reads {self.graph.tensors[i].name}")
        return self.constants[i]

    def _weight_and_bias(self, name: str, operator: Operator, rank: int) -> tuple[np.ndarray, np.ndarray | None]:
        _, weight, *bias = operator.inputs
        found = self._constant(name, weight)
        if found.ndim != rank:
            raise ValueError(f"weights must have {rank} axes: {name} has {found.shape}")
        return found, self._constant(name, bias[0]) if bias and bias[0] >= 0 else None


def _labels(content: bytes, classes: int) -> Sequence[str] | None:
    """Return the class names that stand in a text beside the buffer, if there is one of that many lines."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except zipfile.BadZipFile:  # most files carry none
        return None
    with refused("the texts behind its buffer are damaged"):
        for info in archive.infolist():
            if info.filename.endswith(".txt") and info.file_size < math.isqrt(NUMBERS) * 100:
                lines = archive.read(info).decode().splitlines()
                if len(lines) == classes:
                    return lines
    return None
