"""Weights on disk: convlab's own `.npz`, and what HF Transformers saves for MobileNet V1 and V2.

An own file holds one array per parameter, under the names of `parameter_shapes`, and a JSON text that
describes the network, its labels and the detail of its training pictures. So the file alone makes a
`Model`. It is read without pickle: loading a file never runs code from it. What a file declares (names, shapes, the network's
sizes) is judged before its numbers are read, so that a small file cannot take much memory.

Transformers saves a directory: `config.json`, from which alpha, resolution, classes, padding, eps and
labels are read, and `model.safetensors`. PyTorch keeps filters as (O, I, KH, KW); here they are (KH, KW, I, O).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from . import files
from .forward import Model, check_parameters
from .geometry import integer
from .layers import Conv, Network, Residual, from_dict, number, parameter_shapes, to_dict, walk
from .mobilenet import mobilenet_v1, mobilenet_v2
from .preprocessing import Preprocessing

HEADER = "convlab"
"""Name of the npz member that holds the JSON description."""

FORMAT = 1

NUMBERS = 100_000_000
"""How many numbers a model from a file may have in its parameters, and in what any of its layers reads or writes."""

CLASSES = 1_000_000
"""How many classes a config may ask for."""

DESCRIPTION = 8_000_000
"""How many characters a description may have: a network's, with the names of its classes."""


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
    files.write(target, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]  # the stub takes **arrays for allow_pickle


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
        If the file is damaged, is of another kind, describes a model larger than `NUMBERS`, or its arrays do not fit its network:
        each missing, superfluous or misshapen one is named. Also if a number is none (NaN), or more than float32 can hold.
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


@dataclass(frozen=True)
class _Member:
    """An array of a `.npz` as its header declares it; its numbers begin at `start`."""

    info: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    start: int

    @classmethod
    def declared(cls, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{info.filename!r} is packed as NumPy packs nothing")
        with archive.open(info) as stream:
            if np.lib.format.read_magic(stream) != (1, 0):
                raise ValueError(f"{info.filename!r} has a header as no plain array has it")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
            if dtype.hasobject:
                raise ValueError(f"{info.filename!r} holds Python objects")
            return cls(info, shape, dtype, fortran, stream.tell())

    def content(self, archive: zipfile.ZipFile) -> bytes:
        """Return the numbers as bytes; they must be as many as declared, and their checksum right."""
        size = math.prod(self.shape) * self.dtype.itemsize
        with archive.open(self.info) as stream:
            stream.read(self.start)
            data = stream.read(size + 1)  # one more, since the checksum is looked at where the member ends
        if len(data) != size:
            raise ValueError(f"{self.info.filename!r} must hold {size} bytes and holds {'more' if len(data) > size else len(data)}")
        return data

    def text(self, archive: zipfile.ZipFile) -> str:
        if self.dtype.kind != "U" or self.shape != ():
            raise ValueError(f"{self.info.filename!r} must be a text: it is {self.dtype} {self.shape}")
        if self.dtype.itemsize > 4 * DESCRIPTION:
            raise ValueError(f"{self.info.filename!r} may have {DESCRIPTION:,} characters at most")
        order = "be" if self.dtype.str.startswith(">") else "le"
        return self.content(archive).decode(f"utf-32-{order}", "surrogatepass").rstrip("\0")

    def array(self, archive: zipfile.ZipFile) -> np.ndarray:
        flat = np.frombuffer(self.content(archive), self.dtype)
        array = flat.reshape(self.shape[::-1]).T if self.fortran else flat.reshape(self.shape)
        return _float32(array)


def _npz(path: Path) -> Model:
    with files.open_file(path) as file:
        with _refused(f"{path} is not a readable .npz of plain arrays"):
            archive = zipfile.ZipFile(file)
            members = {info.filename.removesuffix(".npy"): _Member.declared(archive, info) for info in archive.infolist()}
            text = members[HEADER].text(archive) if HEADER in members else None
        if text is None:
            raise ValueError(f"{path} is a .npz, but not a model: it has no member {HEADER!r}")
        del members[HEADER]
        header = files.json_object(text, f"{path}: member {HEADER!r}")
        if header.get("format") != FORMAT:
            raise ValueError(f"{path} has format {header.get('format')!r}; this convlab reads format {FORMAT}")
        with _named(path):
            network = from_dict(cast(Mapping[str, Any], header.get("network")))
            _check_size(network)
            prepared = header.get("preprocessing")  # files of the first convlabs have none
            preprocessing = None if prepared is None else Preprocessing.from_dict(prepared)
            check_parameters(network, {name: (member.shape, member.dtype) for name, member in members.items()})
        with _refused(f"{path} is not a readable .npz of plain arrays"):
            arrays = {name: member.array(archive) for name, member in members.items()}
    with _named(path):
        _check_numbers(network, arrays)
        return Model(network, arrays, header.get("labels"), header.get("detail"), preprocessing)


@contextlib.contextmanager
def _refused(message: str) -> Iterator[None]:
    """Turn any error into one ValueError: zipfile, zlib and NumPy's reader of headers each have their own, and warn besides."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        raise ValueError(f"{message}: {error}") from error


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let a refusal name the file."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def _check_size(network: Network) -> None:
    """Raise ValueError if the network has more parameters, or a layer meets more numbers, than `NUMBERS`."""
    rule = f"a model from a file may have {NUMBERS:,} numbers at most"
    count = sum(map(math.prod, parameter_shapes(network).values()))
    if count > NUMBERS:
        raise ValueError(f"{rule} as parameters: the network {network.name!r} has {count:,}")
    for visit in walk(network):
        sizes = [math.prod(visit.input), math.prod(visit.output)]
        if visit.geometry is not None:
            sizes.append(visit.geometry.height.padded * visit.geometry.width.padded * visit.input[2])
        if max(sizes) > NUMBERS:
            raise ValueError(f"{rule} between two layers, padding included: {visit.layer.name!r} meets {max(sizes):,}")


def _float32(array: np.ndarray) -> np.ndarray:
    """Return an array as float32, what float32 cannot hold as infinity."""
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _check_numbers(network: Network, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError if the arrays are no numbers that a network can run on."""
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"parameters must be finite float32 numbers: {name} holds others")
    for visit in walk(network):
        match visit.layer:
            case Conv(name, _, _, float(eps)) if (least := arrays[f"{name}.variance"].min()) + np.float32(eps) <= 0:
                raise ValueError(f"variance + eps must be above 0, it is divided by: {name}.variance goes down to {least}")


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
    config = files.json_object(files.read(config_path, DESCRIPTION), str(config_path))
    kind = config.get("model_type")
    family = _FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None:
        raise ValueError(f"{config_path}: model_type must be one of {', '.join(_FAMILIES)}: model_type={kind!r}")
    for key, value in family.fixed.items():
        if config.get(key, value) != value:
            raise ValueError(f"{config_path}: {key} must be {value!r}, other networks are not built here: {key}={config[key]!r}")
    with _named(config_path):
        network = _network(config, family)
        _check_size(network)
        labels = _labels(config)
    tensors = _tensors(weights_path, network, _names(network, family))
    with _named(weights_path):
        _check_numbers(network, tensors)
        return Model(network, tensors, labels)


def _network(config: Mapping[str, Any], family: _Family) -> Network:
    """Return the network that a config describes; what it leaves out has Transformers' default."""
    tf_padding = config.get("tf_padding", True)
    if not isinstance(tf_padding, bool):
        raise ValueError(f"tf_padding must be true or false: tf_padding={tf_padding!r}")
    return family.build(
        alpha=config.get("depth_multiplier", 1.0),
        resolution=config.get("image_size", 224),
        classes=_classes(config),
        padding="same" if tf_padding else "symmetric",
        eps=number("layer_norm_eps", config.get("layer_norm_eps", 1e-3)),
    )


def _classes(config: Mapping[str, Any]) -> int:
    """Return how many classes there are, by their names or by their number alone."""
    names = config.get("id2label")
    if names is None:  # Transformers leaves the names out where there are none
        count = integer("num_labels", config.get("num_labels", 2), 1)
        if count > CLASSES:
            raise ValueError(f"num_labels must be at most {CLASSES:,}: num_labels={count}")
        return count
    if not isinstance(names, dict) or not names or names.keys() != {str(i) for i in range(len(names))}:
        raise ValueError("id2label must name the classes 0 to n-1")
    return len(names)


def _labels(config: Mapping[str, Any]) -> list[str]:
    """Return the class names, ordered by their numbers."""
    names = config.get("id2label") or {}
    return [str(names.get(str(i), f"LABEL_{i}")) for i in range(_classes(config))]


def _names(network: Network, family: _Family) -> dict[str, str]:
    """Return the name there of every parameter here."""
    theirs = {f"{name}.weight": f"{other}.convolution.weight" for name, other in family.names(network)}
    for name, other in family.names(network):
        theirs |= {f"{name}.{part}": f"{other}.{there}" for part, there in _PARTS.items()}
    return theirs | {f"classifier.{part}": f"classifier.{part}" for part in ("weight", "bias")}


def _tensors(path: Path, network: Network, theirs: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Return a file's tensors under convlab's names and in its layout; names in errors are the file's."""
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError:
        raise ModuleNotFoundError('reading .safetensors needs safetensors: pip install "convlab-engine[lab]"') from None
    try:
        with safe_open(path, framework="numpy") as file:
            shapes = {}
            for name in file.keys():  # noqa: SIM118  # no mapping: it has no __iter__
                declared = file.get_slice(name)
                shapes[name] = tuple(declared.get_shape())
                if (dtype := declared.get_dtype()) not in ("F16", "F32", "F64", "I64"):  # whether NumPy knows bfloat16 depends on others
                    raise ValueError(f"{path}: tensors must be float16, float32, float64 or int64: {name} is {dtype}")
            _check_tensors(network, theirs, shapes)
            return {name: _float32(_turned(file.get_tensor(other))) for name, other in theirs.items()}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable .safetensors file: {error}") from error


def _turned(array: np.ndarray) -> np.ndarray:
    """Turn (O, I, KH, KW) into (KH, KW, I, O), and the classifier's (O, I) into (I, O)."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def _check_tensors(network: Network, theirs: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ValueError, naming all that is wrong, if tensors of these shapes are not the network's."""
    needed = {}
    for name, shape in parameter_shapes(network).items():  # turned back
        needed[theirs[name]] = (*shape[:1:-1], *shape[:2]) if len(shape) == 4 else shape[::-1]
    wrong = [f"missing {name}" for name in needed if name not in shapes]
    wrong += [f"misshapen {name}: {shapes[name]}, must be {shape}" for name, shape in needed.items() if shapes.get(name, shape) != shape]
    # PyTorch counts the batches it has seen in training; inference does not use the count.
    wrong += [f"superfluous {name}" for name in shapes if name not in needed and not name.endswith("num_batches_tracked")]
    if wrong:
        more = f" and {len(wrong) - 12} more" if len(wrong) > 12 else ""
        raise ValueError(f"the tensors must fit the network {network.name!r}: {'; '.join(wrong[:12])}{more}")
