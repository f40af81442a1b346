"""`convlab cost`."""

from __future__ import annotations

import argparse

from rich.console import Console

from ..compare import compare
from ..terminal import show_comparison
from .reading import Commands, add_command, number, padding, pair, picture_size, refusals


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "cost",
        "what a convolution costs, standard and separable",
        "Count the parameters, multiply-accumulates (MACs) and bytes of a standard convolution and of the separable\n"
        "one (depthwise, then pointwise) that replaces it. One MAC is one multiplication with its addition.",
        "examples:\n"
        "  convlab cost 6x6x3 --filters 5 --kernel 3            a picture of 6x6 pixels with 3 channels:\n"
        "                                                       2160 MACs against 432 + 240 = 672\n"
        "  convlab cost 224x224x3 --filters 32 --kernel 3 --stride 2 --padding same\n"
        "                                                       the first layer of MobileNet",
    )
    parser.add_argument("picture", type=picture_size, metavar="HxWxC", help="input: height, width, channels, such as 6x6x3")
    parser.add_argument("--filters", type=number, required=True, metavar="N", help="output channels")
    parser.add_argument("--kernel", type=pair, required=True, metavar="K", help="window: 3, or 3x2 (height x width)")
    parser.add_argument("--stride", type=pair, default=1, metavar="S", help="step of the window: 2, or 2x1 (default: 1)")
    parser.add_argument(
        "--padding", type=padding, default="valid", metavar="P", help="same, valid, 1 or 1x2: zeros around the picture (default: valid)"
    )
    parser.add_argument("--dilation", type=pair, default=1, metavar="D", help="step between taps: 2, or 2x1 (default: 1)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, out: Console, err: Console) -> int:
    height, width, channels = arguments.picture
    with refusals():
        comparison = compare(
            height,
            width,
            in_channels=channels,
            out_channels=arguments.filters,
            kernel=arguments.kernel,
            stride=arguments.stride,
            padding=arguments.padding,
            dilation=arguments.dilation,
        )
    show_comparison(out, comparison)
    return 0
