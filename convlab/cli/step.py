"""`convlab step`."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from .. import files
from ..files import plain
from ..stepper import Setting, page
from .reading import Commands, add_command, number, padding, pair, picture_size, refusals


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "step",
        "an interactive page: window, matrix and output, step by step",
        "Write an HTML file to open in a browser: it steps a window through a convolution, with the row of the im2col matrix,\n"
        "the written-out sum and the output cell side by side, and sliders for everything. It needs no network.",
        "examples:\n"
        "  convlab step --out page.html\n"
        "  convlab step --out page.html --size 6x6x3 --filters 5             the documents' example\n"
        "  convlab step --out page.html --size 8x7x4 --filters 4 --kernel 3x2 --stride 2 --padding same --groups 4",
    )
    start = Setting()
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="where to write the page")
    parser.add_argument(
        "--size",
        type=picture_size,
        default=(start.height, start.width, start.channels),
        metavar="HxWxC",
        help=f"input: height, width, channels (default: {start.height}x{start.width}x{start.channels})",
    )
    for option, reader, default, text in (
        ("filters", number, start.filters, "output channels"),
        ("kernel", pair, start.kernel_height, "window: 3, or 3x2 (height x width)"),
        ("stride", number, start.stride, "step of the window"),
        ("padding", padding, start.padding, "same, valid, or zeros on every side"),
        ("dilation", number, start.dilation, "step between taps"),
        ("groups", number, start.groups, "slices of the channels"),
    ):
        parser.add_argument(f"--{option}", type=reader, default=default, metavar=option[0].upper(), help=f"{text} (default: {default})")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, out: Console, err: Console) -> int:
    height, width, channels = arguments.size
    kernel = arguments.kernel
    kernel_height, kernel_width = (kernel, kernel) if isinstance(kernel, int) else kernel
    with refusals():
        setting = Setting(
            height=height,
            width=width,
            kernel_height=kernel_height,
            kernel_width=kernel_width,
            stride=arguments.stride,
            padding=arguments.padding,
            dilation=arguments.dilation,
            groups=arguments.groups,
            channels=channels,
            filters=arguments.filters,
        )
        files.check_writable(arguments.out)
    html = page(setting)
    with refusals():
        files.write(arguments.out, html)
    out.print(plain(f"{arguments.out}: {len(html.encode()) / 1e6:.1f} MB; open it in a browser"), soft_wrap=True)
    return 0
