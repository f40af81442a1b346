"""Keras' `.keras` and `.h5`: MobileNet and MobileNetV2 of keras.applications, whole models and weights alone.

A `.keras` file is a zip of a config and an HDF5 file of weights; an `.h5` file holds both, or weights alone. The config is a graph of
layers, in which a trunk may be nested and other layers stand before it (rescaling, augmentation, which rests) and behind it (pooling, dense
layers). It is read as data: what would have to be run, a Lambda layer, is refused. Filters are (KH, KW, I, O) as here, depthwise ones
(KH, KW, C, multiplier).

Weights alone are told by the names that keras.applications gives its layers; such a network takes pictures of 224x224.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..forward import Model
from ..mobilenet import V1_ROWS, V1_STEM, V2_HEAD, V2_ROWS, V2_STEM
from ..preprocessing import Preprocessing
from .checks import DESCRIPTION, NUMBERS, as_written, check_numbers, check_size, named
from .graph import Builder
from .recognise import titled
from .tensors import Described, Names, Scheme, Tensor, classes_of, read, scheme_of, width

SIDE = 224
EPS = 1e-3

RESTING = re.compile(r"Random[A-Z]\w*|\w*Dropout\w*|GaussianNoise|ActivityRegularization")
"""Layers that do something only while a network is trained."""

Arrays = Mapping[str, Sequence[np.ndarray]]
"""The arrays of each layer that has some, in Keras' order."""


def load(path: Path) -> Model:
    """Return the model of a `.keras` or `.h5` file."""
    with named(path), as_written("Keras"):
        h5py = _h5py()
        try:
            with files.open_file(path) as file:
                if not zipfile.is_zipfile(file):
                    with h5py.File(path, "r") as content:
                        return _whole(content)
                archive = zipfile.ZipFile(file)
                config = files.json_object(_member(archive, "config.json", DESCRIPTION), "config.json")
                with h5py.File(io.BytesIO(_member(archive, "model.weights.h5", 4 * NUMBERS)), "r") as content:
                    return _graph(config, _arrays(content, config))
        except (OSError, KeyError, zipfile.BadZipFile, RuntimeError) as error:  # as HDF5 and zip say that a file is damaged
            if isinstance(error, FileNotFoundError):
                raise
            lacking = isinstance(error, KeyError)
            said = f"it has no {error}" if lacking else str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"it is not a readable file of Keras: {said}") from error


def _h5py() -> Any:
    try:
        import h5py
    except ModuleNotFoundError:
        raise ModuleNotFoundError('reading .keras and .h5 needs h5py: pip install "convlab-engine[formats]"') from None
    return h5py


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    with archive.open(name) as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{name} may have {most:,} bytes at most")
    return content


def _whole(content: Any) -> Model:
    """Return the model of an open HDF5 file: of its config, or of weights with the names of keras.applications."""
    config = content.attrs.get("model_config")
    if config is None:
        return _applications(_arrays(content, None))
    return _graph(files.json_object(config, "model_config"), _arrays(content["model_weights"], None))


def _arrays(group: Any, config: Mapping[str, Any] | None) -> Arrays:
    """Return every layer's arrays, from either arrangement of HDF5: by the names of weights, or by numbered `vars`."""
    arrays: dict[str, list[np.ndarray]] = {}
    count = 0

    def take(layer: str, dataset: Any) -> None:
        nonlocal count
        count += dataset.size
        if count > NUMBERS:
            raise ValueError(f"a model from a file may have {NUMBERS:,} numbers at most")
        arrays.setdefault(layer, []).append(np.asarray(dataset))

    if "layer_names" in group.attrs:  # the older arrangement: each group lists its weights, a nested model's all in one
        for owner in map(_text, group.attrs["layer_names"]):
            for weight in map(_text, group[owner].attrs["weight_names"]):
                take(weight.split("/")[-2] if "/" in weight else owner, group[owner][weight])
        return arrays
    if config is not None:
        for layer, numbered in _numbered(group, config):
            for i in range(len(numbered)):
                take(layer, numbered[str(i)])
        return arrays
    found: list[Any] = []
    group.visititems(lambda name, each: found.append(each) if name.endswith("/vars") and not name.startswith("optimizer") else None)
    for each in found:
        for i in range(len(each)):
            take(_text(each.attrs.get("name", each.name)), each[str(i)])
    return arrays


def _numbered(group: Any, config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (layer, its numbered arrays): groups are called after the layers' kinds, counted in the config's order."""
    counts: dict[str, int] = {}
    for layer in _layers(config):
        kind = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"\W+|(.)([A-Z][a-z0-9]+)", r"\1_\2", layer["class_name"])).lower()
        n = counts[kind] = counts.get(kind, -1) + 1
        place = f"layers/{kind}_{n}" if n else f"layers/{kind}"
        if place not in group:
            continue
        if "layers" in layer["config"]:
            yield from _numbered(group[place], layer)
        elif "vars" in group[place]:
            yield layer["config"]["name"], group[place]["vars"]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _layers(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    inner = config["config"]
    return inner if isinstance(inner, list) else inner["layers"]  # Keras' first Sequential was a list


def _graph(config: Mapping[str, Any], arrays: Arrays) -> Model:
    """Return the model that a config describes."""
    with as_written("Keras"):
        height, width_ = _input_size(config)
        builder = Builder("picture", height, width_)
        output = _Walk(builder, arrays).model(config, "picture")
    network, params = builder.network(output)
    check_size(network)
    check_numbers(network, params)
    return Model(network, params, preprocessing=builder.preprocessing(Preprocessing((height, width_), "square")))


def _input_size(config: Mapping[str, Any]) -> tuple[int, int]:
    """Return the size of the first layer that says one; 224 where it is left open."""
    for layer in _layers(config):
        if "layers" in layer["config"]:
            return _input_size(layer)
        inner = layer["config"]
        shape = inner.get("batch_shape") or inner.get("batch_input_shape") or (layer.get("build_config") or {}).get("input_shape")
        if shape:
            if len(shape) != 4 or shape[3] != 3:
                raise ValueError(f"pictures must be (N, H, W, 3): {inner.get('name')} takes {shape}")
            return shape[1] or SIDE, shape[2] or SIDE
    raise ValueError("the config says no input shape")


class _Walk:
    """Walks a config's layers, nested ones too, and tells a `Builder` what they do."""

    def __init__(self, builder: Builder, arrays: Arrays) -> None:
        self.builder, self.arrays = builder, arrays

    def model(self, config: Mapping[str, Any], given: str, lead: str = "") -> str:
        """Tell the layers of a model that is given one value; return the value that it gives."""
        if config["class_name"] == "Sequential":
            value = given
            for layer in _layers(config):
                value = self.layer(layer, [value], {}, lead)
            return value
        inner = config["config"]
        outputs = inner["output_layers"]
        if outputs and isinstance(outputs[0], list):
            (outputs,) = outputs if len(outputs) == 1 else [None]
        if outputs is None or len(inner["input_layers"]) not in (1, 3):
            raise ValueError(f"the network must have one input and one output: {inner.get('name')} has others")
        values: dict[str, str] = {}
        for layer in _layers(config):
            name = layer["config"].get("name") or layer["name"]
            if layer["class_name"] == "InputLayer":
                values[name] = given
                continue
            nodes = layer["inbound_nodes"]
            if len(nodes) != 1:
                raise ValueError(f"a layer must be used once: {name} is used {len(nodes)} times")
            sources, constants = _inbound(nodes[0])
            values[name] = self.layer(layer, [values[source] for source in sources], constants, lead)
        return values[outputs[0]]

    def layer(self, layer: Mapping[str, Any], given: list[str], constants: Mapping[str, Any], lead: str) -> str:
        """Tell one layer; return the value that it gives."""
        kind, config = layer["class_name"], layer["config"]
        name = config.get("name") or layer["name"]
        x, y, build = given[0], f"{lead}{name}", self.builder
        if config.get("data_format", "channels_last") not in ("channels_last", None):
            raise ValueError(f"pictures must be channels_last: {name} has data_format={config['data_format']!r}")
        match kind:
            case "InputLayer":
                return x
            case "Functional" | "Model" | "Sequential":
                return self.model(layer, x, f"{y}/")
            case "Conv2D" | "DepthwiseConv2D":
                return self._conv(kind, name, config, x, y)
            case "BatchNormalization":
                parts = [part for part, there in (("gamma", config["scale"]), ("beta", config["center"])) if there] + ["mean", "variance"]
                found = dict(zip(parts, self._of(name, len(parts)), strict=True))
                build.batch_norm(name, x, y, found.get("gamma"), found.get("beta"), found["mean"], found["variance"], config["epsilon"])
            case "Dense":
                weight, bias = self._weight_and_bias(name, config)
                build.dense(name, x, y, weight, bias)
                return self._activated(name, y, config["activation"])
            case "ReLU":
                plain = not config.get("negative_slope") and not config.get("threshold")
                known = {None: "relu", 6.0: "relu6"}.get(config.get("max_value")) if plain else None
                build.activation(name, x, y, known or f"relu of {config.get('max_value')}, {config.get('negative_slope')}")
            case "Activation":
                build.same(name, x, y)
                return self._activated(name, y, config["activation"])
            case "Softmax":
                build.softmax(name, x, y)
            case "ZeroPadding2D":
                (top, bottom), (left, right) = config["padding"]
                build.pad(name, x, y, ((top, bottom), (left, right)))
            case "Add" if len(given) == 2:
                build.add(name, given[0], given[1], y)
            case "GlobalAveragePooling2D":
                build.pool(name, x, y)
            case "Flatten" | "Reshape" if build.size == (1, 1):
                build.same(name, x, y)
            case "Rescaling":
                build.affine(name, x, y, config["scale"], config["offset"])
            case _ if RESTING.fullmatch(kind):
                build.same(name, x, y)
            case _:
                return self._operation(kind, name, config, x, y, constants)
        return y

    def _operation(self, kind: str, name: str, config: Mapping[str, Any], x: str, y: str, constants: Mapping[str, Any]) -> str:
        """Tell arithmetic with a number, which `preprocess_input` puts into a graph."""
        word = str(config.get("function", kind)).rpartition(".")[2].lower()  # tf.math.truediv, or the class TrueDivide
        numbers = [value for value in constants.values() if isinstance(value, (int, float)) and not isinstance(value, bool)]
        if len(numbers) != 1:
            raise ValueError(f"MobileNet V1 and V2 have no layer {kind}: {name}")
        number = float(numbers[0])
        match word:
            case "truediv" | "truedivide" | "divide":
                self.builder.affine(name, x, y, scale=1 / number)
            case "subtract" | "sub":
                self.builder.affine(name, x, y, shift=-number)
            case "multiply" | "mul":
                self.builder.affine(name, x, y, scale=number)
            case "add":
                self.builder.affine(name, x, y, shift=number)
            case _:
                raise ValueError(f"MobileNet V1 and V2 have no layer {kind}: {name}")
        return y

    def _conv(self, kind: str, name: str, config: Mapping[str, Any], x: str, y: str) -> str:
        weight, bias = self._weight_and_bias(name, config)
        if weight.ndim != 4:
            raise ValueError(f"a filter must be (KH, KW, I, O): {name} has {weight.shape}")
        groups = config.get("groups", 1)
        if kind == "DepthwiseConv2D":
            groups = weight.shape[2]
            weight = weight.reshape(*weight.shape[:2], 1, -1)
        stride, dilation = tuple(config["strides"]), tuple(config.get("dilation_rate", (1, 1)))
        self.builder.conv(name, x, y, weight, stride, config["padding"], bias, groups=groups, dilation=dilation)
        return self._activated(name, y, config["activation"])

    def _activated(self, name: str, value: str, activation: Any) -> str:
        """Tell a layer's own activation, which a config names; return the value behind it."""
        word = activation.get("class_name", activation.get("config")) if isinstance(activation, dict) else activation
        if word in (None, "linear"):
            return value
        if word == "softmax":
            self.builder.softmax(name, value, f"{value} activated")
        else:
            self.builder.activation(name, value, f"{value} activated", str(word))
        return f"{value} activated"

    def _of(self, name: str, count: int) -> Sequence[np.ndarray]:
        found = self.arrays.get(name, ())
        if len(found) != count:
            raise ValueError(f"the weights must fit the config: {name} needs {count} arrays, the file holds {len(found)}")
        return found

    def _weight_and_bias(self, name: str, config: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray | None]:
        weight, *bias = self._of(name, 1 + bool(config["use_bias"]))
        return weight, bias[0] if bias else None


def _inbound(node: Any) -> tuple[list[str], dict[str, Any]]:
    """Return the layers that a layer reads and its other arguments, as Keras 2 or 3 writes them."""
    if isinstance(node, dict):  # Keras 3
        sources: list[str] = []
        constants: dict[str, Any] = {}

        def take(key: str, value: Any) -> None:
            if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
                sources.append(value["config"]["keras_history"][0])
            elif isinstance(value, list):
                for i, each in enumerate(value):
                    take(f"{key}.{i}", each)
            else:
                constants[key] = value

        for i, value in enumerate(node["args"]):
            take(str(i), value)
        for key, value in node["kwargs"].items():
            take(key, value)
        return sources, constants
    if node and isinstance(node[0], str):  # a single source without the outer list
        node = [node]
    return [each[0] for each in node], {key: value for each in node if len(each) > 3 for key, value in each[3].items()}


# Weights alone: keras.applications' names.


def _applications_v1(tensors: Mapping[str, Tensor]) -> Described:
    names, blocks = {"stem": Names("conv1", "conv1_bn")}, []
    rows = [(row, stride) for row in V1_ROWS for stride in (row.stride, *[1] * (row.repeats - 1))]
    for i, (row, stride) in enumerate(rows, 1):
        names[f"block{i}.depthwise"] = Names(f"conv_dw_{i}", f"conv_dw_{i}_bn")
        names[f"block{i}.pointwise"] = Names(f"conv_pw_{i}", f"conv_pw_{i}_bn")
        blocks.append((width(tensors, names[f"block{i}.pointwise"], row.width), stride))
    return Described(width(tensors, names["stem"], V1_STEM), blocks, None, names)


def _applications_v2(tensors: Mapping[str, Tensor]) -> Described:
    names, blocks = {"stem": Names("Conv1", "bn_Conv1")}, []
    stem = channels = width(tensors, names["stem"], V2_STEM)
    rows = [(row, stride) for row in V2_ROWS for stride in (row.stride, *[1] * (row.repeats - 1))]
    for i, (row, stride) in enumerate(rows, 1):
        inside, t = (f"block_{i - 1}" if i > 1 else "expanded_conv"), 1
        if row.t != 1:
            names[f"block{i}.expand"] = Names(f"{inside}_expand", f"{inside}_expand_BN")
            t = max(2, width(tensors, names[f"block{i}.expand"], channels * row.t) // channels)
        names[f"block{i}.depthwise"] = Names(f"{inside}_depthwise", f"{inside}_depthwise_BN")
        names[f"block{i}.project"] = Names(f"{inside}_project", f"{inside}_project_BN")
        channels = width(tensors, names[f"block{i}.project"], row.width)
        blocks.append((t, channels, stride))
    names["head"] = Names("Conv_1", "Conv_1_bn")
    return Described(stem, blocks, width(tensors, names["head"], V2_HEAD), names)


APPLICATIONS_V1 = Scheme("keras.applications' MobileNet", r"conv_pw_1\.", _applications_v1, "conv_preds")
APPLICATIONS_V2 = Scheme("keras.applications' MobileNetV2", r"expanded_conv_project\.", _applications_v2, "predictions")


def _applications(arrays: Arrays) -> Model:
    """Return the model of weights alone, told by their names."""
    tensors = {}
    for layer, found in arrays.items():
        parts = ("weight", "bias", "running_mean", "running_var") if len(found) == 4 else ("weight", "bias")
        for part, array in zip(parts, found, strict=False):
            turned = _as_torch(layer, array)
            tensors[f"{layer}.{part}"] = Tensor(turned.shape, lambda turned=turned: turned)  # type: ignore[misc]
    scheme = scheme_of(tensors, (APPLICATIONS_V1, APPLICATIONS_V2))
    described = scheme.describe(tensors)
    network = titled(described.layers(classes_of(tensors, scheme), "same", EPS), SIDE, SIDE)
    check_size(network)
    params = read(tensors, scheme, network, described.names)
    check_numbers(network, params)
    return Model(network, params)


def _as_torch(layer: str, array: np.ndarray) -> np.ndarray:
    """Turn Keras' (KH, KW, I, O), depthwise (KH, KW, C, multiplier) and dense (I, O) as PyTorch has them."""
    if layer == "conv_preds" and array.ndim == 4:
        array = array[0, 0]
    if array.ndim == 4:
        return array.transpose(2, 3, 0, 1) if "depthwise" in layer or "_dw_" in layer else array.transpose(3, 2, 0, 1)
    return array.T
