"""Which format a file or directory is, told by its content."""

from __future__ import annotations

import os
from pathlib import Path

from ..forward import Model
from . import onnx, timm, torch, transformers
from .checks import read_json


def load(path: str | os.PathLike[str]) -> Model:
    source = Path(path)
    if source.is_dir():
        config = read_json(source / "config.json")
        return timm.load(source) if "architecture" in config else transformers.load(source)
    if source.suffix==".onnx":
        return onnx.load(source)
    return torch.load(source)
