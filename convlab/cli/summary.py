"""`convlab summary`."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from .. import zoo
from ..cost import summary
from ..mobilenet import NETWORKS
from ..terminal import show, show_kinds
from .reading import A_MODEL, Commands, add_command, number, refusals


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "summary",
        "a network layer by layer",
        "Count a network layer by layer: output size, parameters, MACs and each layer's share of them.\nNo weights are needed.",
        "examples:\n"
        "  convlab summary mobilenet_v2 --alpha 0.75 --resolution 192\n"
        "  convlab summary mobilenet_v1 --alpha 0.25 --classes 10\n"
        f"  convlab summary {zoo.DEFAULT}",
    )
    parser.add_argument("network", metavar="NETWORK", help=f"{', '.join(NETWORKS)}; or {A_MODEL}")
    for option, kind, text in (
        ("alpha", float, "width multiplier in (0, 2] (default: 1)"),
        ("resolution", number, "side of the square picture, 32 or more (default: 224)"),
        ("classes", number, "outputs of the classifier (default: 1000)"),
    ):
        parser.add_argument(f"--{option}", type=kind, help=text, metavar=option[0].upper())
    parser.add_argument("--padding", choices=("same", "symmetric"), help="as TensorFlow pads, or as PyTorch (default: same)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, out: Console, err: Console) -> int:
    name = arguments.network
    given = {key: value for key in ("alpha", "resolution", "classes", "padding") if (value := getattr(arguments, key)) is not None}
    with refusals():
        if name in NETWORKS:
            network = NETWORKS[name](**given)
        elif given:
            raise ValueError(f"--{', --'.join(given)} only with {' or '.join(NETWORKS)}: {name!r} has its own")
        elif name not in zoo.MODELS and not Path(name).exists():
            raise ValueError(f"a network is {', '.join((*NETWORKS, *zoo.MODELS))} or the path of a model: {name!r} is none")
        else:
            network = zoo.load(name).network
    table = summary(network)
    out.print(table.title, style="bold")
    out.print()
    show(out, table)
    out.print()
    show_kinds(out, network)
    return 0
