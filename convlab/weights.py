"""Weights on disk: convlab's own `.npz`, and what HF Transformers saves for MobileNet V1 and V2.

An own file holds one array per parameter, under the names of `parameter_shapes`, and a JSON text that
describes the network, its labels and the detail of its training pictures. So the file alone makes a
`Model`. It is read without pickle: loading a file never runs code from it.

Transformers saves a directory: `config.json`, from which alpha, resolution, classes, padding, eps and
labels are read, and `model.safetensors`. PyTorch keeps filters as (O, I, KH, KW); here they are (KH, KW, I, O).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from .forward import Model
from .geometry import integer
from .layers import Conv, Network, Residual, from_dict, parameter_shapes, to_dict, walk
from .mobilenet import mobilenet_v1, mobilenet_v2
from .preprocessing import Preprocessing

HEADER = "convlab"
"""Name of the npz member that holds the JSON description."""

FORMAT = 1


def save(model: Model, path: str | os.PathLike[str], dtype: str = "float32") -> None:
    """Write a model as one `.npz` file; an existing file is replaced only once the new one is whole.

    Parameters
    ----------
    model : Model
    path : path
        Where to; must end in `.npz`.
    dtype : "float32" or "float16"
        How to store the numbers. float16 halves the file and rounds weights to 11 bits; `load` gives float32
        again. A number that float16 cannot hold is an error.

    Raises
    ------
    ValueError
        If the ending or dtype is another, or a number does not fit the dtype.
    """
    target = Path(path)
    if target.suffix != ".npz":
        raise ValueError(f"a model is saved as .npz: path={target}")
    if dtype not in ("float32", "float16"):
        raise ValueError(f'dtype must be "float32" or "float16": dtype={dtype!r}')
    header = {
        "format": FORMAT,
        "network": to_dict(model.network),
        "labels": model.labels,
        "detail": model.detail,
        "preprocessing": model.preprocessing.to_dict(),
    }
    arrays = {HEADER: np.array(json.dumps(header, ensure_ascii=False))}
    for name, array in model.params.items():
        with np.errstate(over="ignore"):
            arrays[name] = array.astype(dtype)
        if not np.array_equal(np.isfinite(arrays[name]), np.isfinite(array)):
            raise ValueError(f"{name} holds numbers too large for {dtype}: at most {np.finfo(dtype).max}")
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # the stub takes **arrays for allow_pickle
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def load(path: str | os.PathLike[str]) -> Model:
    """Read a model from a convlab `.npz`, or from a directory or `.safetensors` file of HF Transformers.

    Parameters
    ----------
    path : path
        The `.npz` file, the directory, or the `.safetensors` file beside its `config.json`.

    Raises
    ------
    FileNotFoundError
        If there is no such file or no `config.json`.
    ValueError
        If the file is damaged, is of another kind, or its arrays do not fit its network: each missing, superfluous or
        misshapen one is named.
    ModuleNotFoundError
        If safetensors is needed and not installed.
    """
    source = Path(path)
    if not source.exists():
        raise FileNotFoundError(f"no such file or directory: {source}")
    if source.is_dir():
        return _transformers(source / "config.json", source / "model.safetensors")
    if source.suffix == ".safetensors":
        return _transformers(source.with_name("config.json"), source)
    if source.suffix == ".npz":
        return _npz(source)
    raise ValueError(f"weights are a .npz file, a .safetensors file or a directory with config.json: {source}")


def _npz(path: Path) -> Model:
    try:
        with open(path, "rb") as file:  # np.load would leave a file that is no zip open
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                raise ValueError("it holds a single array")
            arrays = {name: content[name] for name in content.files}
    except Exception as error:  # zipfile, zlib and NumPy's reader of headers each have their own
        raise ValueError(f"{path} is not a readable .npz of plain arrays: {error}") from error
    if HEADER not in arrays:
        raise ValueError(f"{path} is a .npz, but not a model: it has no member {HEADER!r}")
    header = _json(str(arrays.pop(HEADER)), f"{path}: member {HEADER!r}")
    if header.get("format") != FORMAT:
        raise ValueError(f"{path} has format {header.get('format')!r}; this convlab reads format {FORMAT}")
    try:
        network = from_dict(cast(Mapping[str, Any], header.get("network")))
        prepared = header.get("preprocessing")  # files of the first convlabs have none
        preprocessing = None if prepared is None else Preprocessing.from_dict(prepared)
        return Model(network, arrays, header.get("labels"), header.get("detail"), preprocessing)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def _json(text: str | bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be a JSON object: it is {type(value).__name__}")
    return value


def _v2(**options: Any) -> Network:
    """Build V2 as Transformers does: its first block belongs to the stem and never has a shortcut.

    convlab's has one below alpha 0.27, where stem and block are equally wide.
    """
    network = mobilenet_v2(**options)
    first = network.layers[1]
    return replace(network, layers=(network.layers[0], *first.body, *network.layers[2:])) if isinstance(first, Residual) else network


@dataclass(frozen=True)
class _Family:
    """How Transformers describes one family of networks and names its layers."""

    build: Callable[..., Network]
    names: Callable[[Network], Iterator[tuple[str, str]]]
    fixed: Mapping[str, Any]  # config entries that convlab builds one way only


def _v1_names(network: Network) -> Iterator[tuple[str, str]]:
    """Yield (name here, name there) of V1's convolutions: its blocks are counted flat, two layers each."""
    convs = [visit.layer.name for visit in walk(network) if isinstance(visit.layer, Conv)]
    yield convs[0], "mobilenet_v1.conv_stem"
    for i, name in enumerate(convs[1:]):
        yield name, f"mobilenet_v1.layer.{i}"


def _v2_names(network: Network) -> Iterator[tuple[str, str]]:
    """Yield (name here, name there) of V2's convolutions: the first block belongs to the stem there."""
    parts = {"expand": "expand_1x1", "depthwise": "conv_3x3", "project": "reduce_1x1"}
    for visit in walk(network):
        if isinstance(visit.layer, Conv):
            name = visit.layer.name
            block, _, part = name.partition(".")
            if name == "stem":
                yield name, "mobilenet_v2.conv_stem.first_conv"
            elif name == "head":
                yield name, "mobilenet_v2.conv_1x1"
            elif block == "block1":
                yield name, f"mobilenet_v2.conv_stem.{parts[part]}"
            else:
                yield name, f"mobilenet_v2.layer.{int(block.removeprefix('block')) - 2}.{parts[part]}"


_COMMON = {"hidden_act": "relu6", "num_channels": 3, "min_depth": 8}
_FAMILIES = {
    "mobilenet_v1": _Family(mobilenet_v1, _v1_names, _COMMON),
    "mobilenet_v2": _Family(
        _v2,
        _v2_names,
        {
            **_COMMON,
            "depth_divisible_by": 8,
            "expand_ratio": 6,
            "first_layer_is_expansion": True,
            "finegrained_output": True,
            "output_stride": 32,
        },
    ),
}

_PARTS = {
    "gamma": "normalization.weight",
    "beta": "normalization.bias",
    "mean": "normalization.running_mean",
    "variance": "normalization.running_var",
}


def _transformers(config_path: Path, weights_path: Path) -> Model:
    for needed in (config_path, weights_path):
        if not needed.is_file():
            raise FileNotFoundError(f"a model saved by Transformers has {needed.name} in its directory: {needed.parent} has none")
    config = _json(config_path.read_bytes(), str(config_path))
    kind = config.get("model_type")
    family = _FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None:
        raise ValueError(f"{config_path}: model_type must be one of {', '.join(_FAMILIES)}: model_type={kind!r}")
    for key, value in family.fixed.items():
        if config.get(key, value) != value:
            raise ValueError(f"{config_path}: {key} must be {value!r}, other networks are not built here: {key}={config[key]!r}")
    try:
        labels, network = _labels(config), _network(config, family)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{config_path}: {error}") from error
    return Model(network, _renamed(network, family, _tensors(weights_path)), labels)


def _network(config: Mapping[str, Any], family: _Family) -> Network:
    """Return the network that a config describes; what it leaves out has Transformers' default."""
    tf_padding = config.get("tf_padding", True)
    if not isinstance(tf_padding, bool):
        raise ValueError(f"tf_padding must be true or false: tf_padding={tf_padding!r}")
    return family.build(
        alpha=config.get("depth_multiplier", 1.0),
        resolution=config.get("image_size", 224),
        classes=len(_labels(config)),
        padding="same" if tf_padding else "symmetric",
        eps=config.get("layer_norm_eps", 1e-3),
    )


def _labels(config: Mapping[str, Any]) -> list[str]:
    """Return the class names, ordered by their numbers."""
    names = config.get("id2label")
    if names is None:  # Transformers leaves the names out where there are none
        return [f"LABEL_{i}" for i in range(integer("num_labels", config.get("num_labels", 2), 1))]
    if not isinstance(names, dict) or not names or names.keys() != {str(i) for i in range(len(names))}:
        raise ValueError("id2label must name the classes 0 to n-1")
    return [str(names[str(i)]) for i in range(len(names))]


def _tensors(path: Path) -> dict[str, np.ndarray]:
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError:
        raise ModuleNotFoundError('reading .safetensors needs safetensors: pip install "convlab-engine[lab]"') from None
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118  # no mapping: it has no __iter__
                dtype = file.get_slice(name).get_dtype()
                if dtype not in ("F16", "F32", "F64", "I64"):  # whether NumPy knows bfloat16 depends on what else is installed
                    raise ValueError(f"{path}: tensors must be float16, float32, float64 or int64: {name} is {dtype}")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable .safetensors file: {error}") from error


def _renamed(network: Network, family: _Family, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the tensors under convlab's names and in its layout; names in errors are the file's."""
    theirs = {f"{name}.weight": f"{other}.convolution.weight" for name, other in family.names(network)}
    for name, other in family.names(network):
        theirs |= {f"{name}.{part}": f"{other}.{there}" for part, there in _PARTS.items()}
    theirs |= {f"classifier.{part}": f"classifier.{part}" for part in ("weight", "bias")}
    shapes = parameter_shapes(network)
    params, wrong = {}, []
    for name, other in theirs.items():
        array = tensors.pop(other, None)
        if array is None:
            wrong.append(f"missing {other}")
            continue
        # (O, I, KH, KW) -> (KH, KW, I, O), and the classifier's (O, I) -> (I, O)
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        if array.shape != shapes[name]:
            there = (*shapes[name][:1:-1], *shapes[name][:2]) if len(shapes[name]) == 4 else shapes[name][::-1]
            found = (*array.shape[:1:-1], *array.shape[:2]) if array.ndim == 4 else array.shape[::-1]
            wrong.append(f"misshapen {other}: {found}, must be {there}")
        params[name] = array
    # PyTorch counts the batches it has seen in training; inference does not use the count.
    wrong += [f"superfluous {name}" for name in tensors if not name.endswith("num_batches_tracked")]
    if wrong:
        more = f" and {len(wrong) - 12} more" if len(wrong) > 12 else ""
        raise ValueError(f"the tensors must fit the network {network.name!r}: {'; '.join(wrong[:12])}{more}")
    return params
