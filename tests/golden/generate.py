"""Write networks.json: per-layer shapes, parameters and MACs of MobileNet V1 and V2, without convlab.

The networks are Hugging Face Transformers' (torch), built on torch's "meta" device: shapes run through, numbers do
not. A hook at each convolution and at the classifier notes what passes.

    pip install torch transformers && python tests/golden/generate.py

networks.json was written with torch 2.13.0 and transformers 5.23.0.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import MobileNetV1Config, MobileNetV1ForImageClassification, MobileNetV2Config, MobileNetV2ForImageClassification

FAMILIES = {
    "mobilenet_v1": (MobileNetV1Config, MobileNetV1ForImageClassification, (1.0, 0.75, 0.5, 0.25), (224, 192, 160, 128)),
    "mobilenet_v2": (MobileNetV2Config, MobileNetV2ForImageClassification, (1.4, 1.0, 0.75, 0.5, 0.35), (224, 192, 160, 128, 96)),
}
CLASSES = 1000


def layers(model: torch.nn.Module, resolution: int) -> list[list[int]]:
    """Return [height, width, channels, parameters, MACs] of each convolution (with its batch norm) and the classifier."""
    rows: list[list[int]] = []

    def conv(module: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        _, channels, height, width = output.shape
        weights = module.weight.numel()
        rows.append([height, width, channels, weights + 2 * channels, weights * height * width])

    def dense(module: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        weights = module.weight.numel()
        rows.append([1, 1, output.shape[1], weights + module.bias.numel(), weights])

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(conv)
        elif isinstance(module, torch.nn.Linear):
            module.register_forward_hook(dense)
    model.eval()(torch.empty(1, 3, resolution, resolution, device="meta"))
    assert sum(row[3] for row in rows) == sum(p.numel() for p in model.parameters())
    return rows


def main() -> None:
    """Write one line a network: its key is "family alpha resolution"."""
    lines = []
    for family, (config, build, alphas, resolutions) in FAMILIES.items():
        for alpha in alphas:
            for resolution in resolutions:
                with torch.device("meta"):
                    model = build(config(depth_multiplier=alpha, image_size=resolution, num_labels=CLASSES))
                rows = json.dumps(layers(model, resolution), separators=(",", ":"))
                lines.append(f'"{family} {alpha:g} {resolution}": {rows}')
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    Path(__file__).with_name("networks.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
