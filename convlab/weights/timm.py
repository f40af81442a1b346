"""What timm saves to a hub: `config.json` with `architecture` and `pretrained_cfg`, and `model.safetensors` or `pytorch_model.bin`.

timm's V1 and V2 pad symmetrically and have PyTorch's eps. Widths and depth are read from the tensors, how a picture is prepared from
`pretrained_cfg`: input size, the part that is cut, filter, mean, deviation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..arguments import integer, number
from ..forward import Model
from ..preprocessing import Preprocessing
from .checks import check_numbers, check_size, named, read_json
from .recognise import titled
from .tensors import TIMM_V1, TIMM_V2, Scheme, classes_of, headed, read, scheme_of, stripped
from .torch import EPS
from .transformers import read_any, weights_of

ARCHITECTURES = {"mobilenetv1": TIMM_V1, "mobilenetv2": TIMM_V2}

HARMLESS = ("num_classes", "drop_rate", "drop_path_rate", "pretrained", "scriptable", "exportable")
PLAIN = {"in_chans": 3, "global_pool": "avg"}
"""What a model may have been made with: what changes nothing when it runs, and what is as timm builds it anyway."""


def load(folder: Path, weights: Path | None = None) -> Model:
    """Return the model of a directory; of another weights file beside its config if one is named."""
    path = folder / "config.json"
    config = read_json(path)
    with named(path):
        known = schemes(config)
        cfg = config.get("pretrained_cfg") or {}
        preprocessing = _preprocessing(cfg)
        labels = _labels(config, cfg)
    source = weights or weights_of(folder)
    with named(source):
        tensors = stripped(read_any(source))
        scheme = headed(tensors, scheme_of(tensors, known))
        described, classes = scheme.describe(tensors), classes_of(tensors, scheme)
        promised = integer("num_classes", config.get("num_classes", 0), 0)
        if classes is None and promised:
            classes = promised  # so that the classifier is listed as missing
        network = titled(described.layers(classes, 1, EPS), *preprocessing.size)
        check_size(network)
        params = read(tensors, scheme, network, described.names)
        check_numbers(network, params)
        return Model(network, params, labels if labels and len(labels) == classes else None, preprocessing=preprocessing)


def schemes(config: Mapping[str, Any]) -> list[Scheme]:
    """Return the schemes of the architecture that a config names, or say what it names instead."""
    architecture = str(config.get("architecture"))
    known = [scheme for name, scheme in ARCHITECTURES.items() if architecture.startswith(f"{name}_")]
    if not known:
        raise ValueError(f"architecture must be one of {', '.join(f'{name}_*' for name in ARCHITECTURES)}: architecture={architecture!r}")
    for key, value in (config.get("model_args") or {}).items():
        if key not in HARMLESS and PLAIN.get(key, ...) != value:
            raise ValueError(f"other networks are not built here: model_args {key}={value!r}")
    if config.get("global_pool", "avg") != "avg":
        raise ValueError(f'global_pool must be "avg": global_pool={config["global_pool"]!r}')
    return known


def _preprocessing(cfg: Mapping[str, Any]) -> Preprocessing:
    """Return what timm's own evaluation does to a picture."""
    size = cfg.get("input_size", [3, 224, 224])
    if not isinstance(size, (list, tuple)) or len(size) != 3 or size[0] != 3:
        raise ValueError(f"input_size must be [3, height, width]: input_size={size!r}")
    height, width = (integer("input_size", side, 1) for side in size[1:])
    part, mode = number("crop_pct", cfg.get("crop_pct") or 0.875), cfg.get("crop_mode") or "center"
    if not 0 < part <= 1:
        raise ValueError(f"crop_pct must be in (0, 1]: crop_pct={part}")
    if mode != "center" or height != width:
        if mode != "squash" or part != 1:
            raise ValueError(
                f'crop_mode must be "center" on a square input, or "squash" of the whole: crop_mode={mode!r}, input_size={size!r}'
            )
        fit, shorter = "stretch", None
    else:
        fit, shorter = "shorter", math.floor(height / part)
    return Preprocessing(
        (height, width),
        fit=fit,
        shorter=shorter,
        resample=cfg.get("interpolation") or "bicubic",
        mean=_three("mean", cfg.get("mean") or (0.485, 0.456, 0.406)),
        deviation=_three("std", cfg.get("std") or (0.229, 0.224, 0.225)),
        whole=True,
        middle="even",
    )


def _three(name: str, values: Any) -> list[float]:
    if not isinstance(values, (list, tuple)) or len(values) != 3:
        raise ValueError(f"{name} must be three numbers: {name}={values!r}")
    return [255 * number(name, value) for value in values]


def _labels(config: Mapping[str, Any], cfg: Mapping[str, Any]) -> list[str] | None:
    names = config.get("label_names") or cfg.get("label_names")
    described = config.get("label_descriptions") or cfg.get("label_descriptions")
    if not isinstance(names, list):
        return None
    return [str(described.get(str(name), name)) if isinstance(described, Mapping) else str(name) for name in names]
