"""What HF Transformers saves: `config.json`, `model.safetensors` (whole or in shards) and `preprocessor_config.json`.

The config says alpha, resolution, padding, eps and labels; what it leaves out has Transformers' default. A model may be saved without its
classifier (`MobileNetV2Model`): the network then ends in its pooled features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..arguments import integer, number
from ..forward import Model
from ..layers import Network, Residual
from ..mobilenet import mobilenet_v1, mobilenet_v2
from ..preprocessing import Preprocessing
from .checks import CLASSES, check_numbers, check_size, named, read_json
from .safetensors import read_file, read_shards
from .tensors import TRANSFORMERS_V1, TRANSFORMERS_V2, Scheme, Tensors, read, stripped
from .torch import read_file as read_torch


@dataclass(frozen=True)
class Family:
    scheme: Scheme
    architecture: str
    fixed: Mapping[str, Any]  # config entries that convlab builds one way only


_COMMON = {"hidden_act": "relu6", "num_channels": 3, "min_depth": 8}
_V2 = {"depth_divisible_by": 8, "expand_ratio": 6, "first_layer_is_expansion": True, "finegrained_output": True, "output_stride": 32}
FAMILIES = {
    "mobilenet_v1": Family(TRANSFORMERS_V1, "MobileNetV1", _COMMON),
    "mobilenet_v2": Family(TRANSFORMERS_V2, "MobileNetV2", {**_COMMON, **_V2}),
}
RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's numbers of its filters, which the processor's config uses."""


def load(folder: Path, weights: Path | None = None) -> Model:
    """Return the model of a directory; of another weights file beside its config if one is named."""
    config_path = folder / "config.json"
    if not config_path.is_file():
        raise FileNotFoundError(f"a model saved by Transformers has config.json in its directory: {folder} has none")
    config = read_json(config_path)
    with named(config_path):
        family = family_of(config)
        side = integer("image_size", config.get("image_size", 224), 1)
    with named(folder / PROCESSOR):
        preprocessing = processor(read_json(folder / PROCESSOR), (side, side)) if (folder / PROCESSOR).is_file() else None
    with named(config_path):
        size = (side, side) if preprocessing is None else preprocessing.size  # what the processor gives is what the network gets
        network = _network(config, family, size)
        check_size(network)
        labels: list[str] | None = _labels(config)
    source = weights or weights_of(folder)
    with named(source):
        tensors = stripped(read_any(source))
        if _classes(config) == 0 and any(name.startswith("classifier.") for name in tensors):
            raise ValueError("id2label must name the classes 0 to n-1: it names none, and there is a classifier")
        if _headless(config, tensors):
            network, labels = replace(network, layers=network.layers[:-1]), None
        params = read(tensors, family.scheme, network, family.scheme.describe(tensors).names)
        check_numbers(network, params)
        return Model(network, params, labels, preprocessing=preprocessing)


PROCESSOR = "preprocessor_config.json"
FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")


def weights_of(folder: Path) -> Path:
    """Return the weights' file in a directory; the safe form first."""
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    first, *others = FILES
    raise FileNotFoundError(f"a model saved by Transformers has {first} in its directory, or {' or '.join(others)}: {folder} has none")


def read_any(source: Path) -> Tensors:
    """Return the tensors of a file of any of these kinds."""
    if source.name.endswith(".index.json"):
        return read_shards(source)
    return read_torch(source) if source.suffix == ".bin" else read_file(source)


def family_of(config: Mapping[str, Any]) -> Family:
    """Return the family that a config names, or say what it names instead."""
    kind = config.get("model_type")
    family = FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None:
        raise ValueError(f"model_type must be one of {', '.join(FAMILIES)}: model_type={kind!r}")
    for key, value in family.fixed.items():
        if config.get(key, value) != value:
            raise ValueError(f"{key} must be {value!r}, other networks are not built here: {key}={config[key]!r}")
    known = [f"{family.architecture}ForImageClassification", f"{family.architecture}Model"]
    for architecture in config.get("architectures") or ():
        if architecture not in known:
            raise ValueError(f"the network must be {' or '.join(known)}: architectures={config['architectures']!r}")
    return family


def _network(config: Mapping[str, Any], family: Family, size: tuple[int, int]) -> Network:
    """Return the network that a config describes; what it leaves out has Transformers' default."""
    tf_padding = config.get("tf_padding", True)
    if not isinstance(tf_padding, bool):
        raise ValueError(f"tf_padding must be true or false: tf_padding={tf_padding!r}")
    build = mobilenet_v1 if family.scheme is TRANSFORMERS_V1 else _v2
    network = build(
        alpha=config.get("depth_multiplier", 1.0),
        resolution=size[0],
        classes=max(1, _classes(config)),
        padding="same" if tf_padding else "symmetric",
        eps=number("layer_norm_eps", config.get("layer_norm_eps", 1e-3)),
    )
    return (
        network if size[0] == size[1] else replace(network, input=(*size, 3), name=f"{network.name.rpartition(' ')[0]} {size[0]}x{size[1]}")
    )


def _v2(**options: Any) -> Network:
    """Build V2 as Transformers does: its first block belongs to the stem and never has a shortcut.

    convlab's has one below alpha 0.27, where stem and block are equally wide.
    """
    network = mobilenet_v2(**options)
    first = network.layers[1]
    return replace(network, layers=(network.layers[0], *first.body, *network.layers[2:])) if isinstance(first, Residual) else network


def _classes(config: Mapping[str, Any]) -> int:
    """Return how many classes there are, by their names or by their number alone."""
    names = config.get("id2label")
    if names is None:  # Transformers leaves the names out where there are none
        count = integer("num_labels", config.get("num_labels", 2), 0)
        if count > CLASSES:
            raise ValueError(f"num_labels must be at most {CLASSES:,}: num_labels={count}")
        return count
    if not isinstance(names, dict) or names.keys() != {str(i) for i in range(len(names))}:
        raise ValueError("id2label must name the classes 0 to n-1")
    return len(names)


def _labels(config: Mapping[str, Any]) -> list[str]:
    """Return the class names, ordered by their numbers."""
    names = config.get("id2label") or {}
    return [str(names.get(str(i), f"LABEL_{i}")) for i in range(max(1, _classes(config)))]


def _headless(config: Mapping[str, Any], tensors: Tensors) -> bool:
    """Whether the model was saved without a classifier: the tensors have none, and the config promises none."""
    promised = any(name.endswith("ForImageClassification") for name in config.get("architectures") or ()) and _classes(config) > 0
    return not promised and not any(name.startswith("classifier.") for name in tensors)


def processor(config: Mapping[str, Any], otherwise: tuple[int, int]) -> Preprocessing:
    """Return what a processor's config says; `otherwise` is the size where it says none. What it leaves out has Transformers' default."""
    resized, cropped = config.get("do_resize", True), config.get("do_center_crop", True)
    size, crop = config.get("size", 256), config.get("crop_size", 224)
    shorter = None
    if isinstance(size, Mapping) and "shortest_edge" in size:
        shorter = integer("size shortest_edge", size["shortest_edge"], 1)
    elif not isinstance(size, Mapping):
        shorter = integer("size", size, 1)
    target = _pair("crop_size", crop) if cropped else otherwise
    if not resized:
        fit = "crop"
    elif shorter is not None:
        fit = "shorter"
    else:
        whole = _pair("size", size)
        target = target if cropped else whole
        if target != whole:
            raise ValueError(f"a picture scaled to a size of its own must not be cropped to another: size={size!r}, crop_size={crop!r}")
        fit = "stretch"
    scale = number("rescale_factor", config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0
    if scale <= 0:
        raise ValueError(f"rescale_factor must be above 0: rescale_factor={scale}")
    normalised = config.get("do_normalize", True)
    mean, deviation = (
        _three(key, config.get(key, 0.5)) if normalised else (float(key == "image_std"),) * 3 for key in ("image_mean", "image_std")
    )
    resample = config.get("resample", 2)
    if resample not in RESAMPLE:
        raise ValueError(f"resample must be one of Pillow's filters 0 to 5: resample={resample!r}")
    return Preprocessing(
        target,
        fit=fit,
        shorter=shorter,
        resample=RESAMPLE[resample],
        mean=[value / scale for value in mean],
        deviation=[value / scale for value in deviation],
        order="BGR" if config.get("do_flip_channel_order", False) else "RGB",
        whole=True,
    )


def _pair(name: str, size: Any) -> tuple[int, int]:
    if isinstance(size, Mapping):
        size = size.get("height"), size.get("width")
    pair = size if isinstance(size, (tuple, list)) else (size, size)
    if len(pair) != 2:
        raise ValueError(f"{name} must be a number or a height and a width: {name}={size!r}")
    return integer(f"{name} height", pair[0], 1), integer(f"{name} width", pair[1], 1)


def _three(name: str, value: Any) -> tuple[float, ...]:
    return tuple(number(name, part) for part in value) if isinstance(value, (list, tuple)) else (number(name, value),) * 3
