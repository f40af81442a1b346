"""`convlab notebooks`."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from rich.console import Console

from .. import lessons
from ..files import plain
from .reading import Commands, add_command, refusals


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "notebooks",
        "copy the notebooks to a folder, to work in",
        "Copy the notebooks that teach all this, from one window to a kernel of your own, to a folder. What is there\n"
        "already is never overwritten: for fresh copies name another folder.",
        "examples:\n"
        "  convlab notebooks                                    into the folder notebooks\n"
        "  convlab notebooks course && jupyter lab course/01_one_window.ipynb",
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path("notebooks"), metavar="DIR", help="where (default: notebooks)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, out: Console, err: Console) -> int:
    folder = arguments.folder
    with refusals():
        done = lessons.copy(folder)
    for fate, text in (("copied", "copied"), ("same", "there already, as they come")):
        if count := list(done.values()).count(fate):
            out.print(plain(f"{folder}: {count} notebook{'s' if count > 1 else ''} {text}"), soft_wrap=True)
    if kept := [name for name, fate in done.items() if fate == "kept"]:
        text = f"left as you have it: {', '.join(kept)} (for a fresh copy name another folder, or move yours away)"
        out.print(plain(text), soft_wrap=True)
    if not lessons.can_open():
        out.print('JupyterLab, which opens them, is missing: pip install "convlab-engine[lab]"', soft_wrap=True)
    out.print("open the first with:", "  " + plain(f"jupyter lab {shlex.quote(str(folder / min(done)))}"), sep="\n", soft_wrap=True)
    return 0
