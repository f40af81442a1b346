"""The command line: `tour`, `cost`, `summary`, `classify`, `bench`, `check`, `step`, `notebooks`, one file each.

`add` gives a command its arguments; `run` takes them, parsed, and two consoles, `out` for what was asked
and `err` for progress and complaints, and returns the exit code. What a user got wrong ends as one line on stderr and
code 2. Only the calls that judge a user's input stand inside `refusals`; an error from anywhere else is
a bug and keeps its traceback.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from rich.console import Console

from .. import __version__
from . import bench, check, classify, cost, notebooks, step, summary, tour
from .reading import Parser, WrongInput, complain

COMMANDS = (tour, cost, summary, classify, bench, check, step, notebooks)
"""In the order in which help lists them."""


def _parser() -> Parser:
    parser = Parser(
        prog="convlab",
        description="How convolution works, what it costs, and how fast it can be made.",
        epilog="start here:\n  convlab tour\n\neach command explains itself with examples:\n  convlab cost --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"convlab {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser


def run(argv: Sequence[str]) -> int:
    """Run the command line and return its exit code: 0, or 2 after wrong input, 130 after Ctrl-C.

    Examples
    --------
    >>> run(["cost", "6x6x3", "--filters", "5", "--kernel", "0"])       # complains on stderr
    2
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a file's name or a label may hold what the terminal cannot show
    # Labels and file names are shown as they are, not read as rich's [markup] or :emoji:.
    out, err = (Console(stderr=stderr, markup=False, emoji=False, highlight=False) for stderr in (False, True))
    parser = _parser()
    if not argv:
        parser.print_help(sys.stderr)
        return 2
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has said what there was to say
        return int(stop.code or 0)
    try:
        code: int = arguments.run(arguments, out, err)
        sys.stdout.flush()  # here, so that a closed pipe is noticed here
        return code
    except WrongInput as error:
        complain(err, f"convlab {arguments.command}", error)
        return 2
    except ModuleNotFoundError as error:
        if error.name is not None:  # an import failed that must not; ours, which name the missing extra, have no name
            raise
        complain(err, f"convlab {arguments.command}", error)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (`head`) has seen enough. Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
