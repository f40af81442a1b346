"""Models on disk: convlab's own `.npz`, and what other libraries save. A file for each format; which one it is, its content says.

Nothing is ever unpickled here: `.npz` is read without pickle, what torch saved by torch itself with `weights_only=True`, and
the other formats are data.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from .. import files
from ..forward import Detector, Model
from . import hub, keras, npz, onnx, safetensors, tflite, timm, torch, transformers
from .checks import CLASSES, DESCRIPTION, NUMBERS, named, read_json
from .npz import FORMAT, HEADER, save

__all__ = ["CLASSES", "DESCRIPTION", "FORMAT", "FORMATS", "HEADER", "NUMBERS", "load", "save"]


def _safetensors(path: Path) -> Model:
    if path.with_name("config.json").is_file():
        return _configured(path.parent, path)
    with named(path):
        return torch.model(safetensors.read_file(path))


FORMATS: Mapping[str, Callable[[Path], Model | Detector]] = MappingProxyType(
    {
        ".npz": npz.load,
        ".safetensors": _safetensors,
        ".pth": torch.load,
        ".pt": torch.load,
        ".bin": torch.load,
        ".keras": keras.load,
        ".h5": keras.load,
        ".hdf5": keras.load,
        ".onnx": onnx.load,
        ".tflite": tflite.load,
    }
)
"""The usual ending of each format, and its reader."""


def load(path: str | os.PathLike[str]) -> Model | Detector:
    """Read a model from a file or directory of any of the formats; its content says which, not its name.

    Parameters
    ----------
    path : path or str
        convlab's `.npz`; a directory (or the weights' file in it) that Transformers or timm saved; a state dict of
        torchvision's MobileNetV2, saved by torch; what Keras saved; ONNX; TFLite. Or, where there is no such path,
        the id of a model on the Hugging Face hub, ``owner/name``.

    Raises
    ------
    FileNotFoundError
        If there is no such file or no `config.json`.
    ValueError
        If the file is damaged, is of another kind, describes a model larger than `NUMBERS`, is no MobileNet, or its arrays do not
        fit its network: the missing, superfluous and misshapen ones are named. Also if a number is none (NaN), or more than
        float32 can hold.
    ModuleNotFoundError
        If a package is needed and not installed.
    """
    source = Path(path)
    if not source.exists():
        if on_hub(path):
            return load(hub.fetch(str(path), judge))
        raise FileNotFoundError(f"no such file or directory: {source}")
    if source.is_dir():
        return _folder(source)
    if source.name == "config.json" or source.name.endswith(".index.json"):
        return _folder(source.parent)
    ending = kind(source) or (source.suffix if source.suffix in FORMATS else None)
    if ending is None:
        raise ValueError(f"weights are a file of one of the kinds {', '.join(FORMATS)}, or a directory with config.json: {source}")
    return FORMATS[ending](source)


def on_hub(name: str | os.PathLike[str]) -> bool:
    """Whether a name is no path here, and has the form of a hub's id."""
    return hub.is_id(name) and Path(name).suffix not in FORMATS and not Path(name).exists()


def kind(path: Path) -> str | None:
    """Return the ending of the format that a file's content is of; None if it is of none."""
    with files.open_file(path) as file:
        head = file.read(32)
        size = path.stat().st_size
        if head.startswith(b"PK"):
            try:
                names = zipfile.ZipFile(file).namelist()
            except Exception:  # cut off, or no zip after all: the ending decides who complains
                return None
            if any(name.endswith(("/data.pkl", "/constants.pkl")) for name in names):
                return ".pth"
            if "model.weights.h5" in names:
                return ".keras"
            return ".npz" if any(name.endswith(".npy") for name in names) else None
    if head[4:8] == b"TFL3":
        return ".tflite"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return ".h5"
    if head.startswith(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."):  # the number with which torch's older container begins
        return ".pth"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return ".safetensors"
    if head[:1] == b"\x08" and head[2:3] in (b"\x12", b"\x3a", b"\x42"):  # the fields with which an ONNX model may begin
        return ".onnx"
    return None


def _folder(folder: Path) -> Model | Detector:
    if (folder / "config.json").exists():
        return _configured(folder, None)
    found = [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix in FORMATS]
    if len(found) == 1:
        return load(found[0])
    if found:
        raise ValueError(
            f"a directory without config.json may hold one weights' file: {folder} holds {', '.join(path.name for path in found)}"
        )
    raise FileNotFoundError(f"a model saved by Transformers or timm has config.json in its directory: {folder} has none")


def judge(folder: Path) -> None:
    """Raise ValueError if a directory's config describes a network that is not read here."""
    path = folder / "config.json"
    config = read_json(path)
    with named(path):
        if "architecture" in config:
            timm.schemes(config)
        else:
            transformers.family_of(config)


def _configured(folder: Path, source: Path | None) -> Model:
    """Read what a config describes: timm's names an architecture, Transformers' a model type."""
    config = read_json(folder / "config.json")
    return (timm if "architecture" in config else transformers).load(folder, source)
