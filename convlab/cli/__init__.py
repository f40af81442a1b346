"""The command line: `tour`, `cost`, `summary`, `classify`, `detect`, `bench`, `check`, `step`, `notebooks`, one file each.

`add` gives a command its arguments; `run` takes them, parsed, and two consoles, `out` for what was asked
and `err` for progress and complaints, and returns the exit code. What a user got wrong ends as one line on stderr and
code 2, what the machine lacks (a full disk, no memory) as one line and code 3. Only the calls that judge a user's input stand
inside `refusals`; an error from anywhere else is a bug and keeps its traceback.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..terminal import Terminal
from . import bench, check, classify, cost, detect, notebooks, step, summary, tour
from .reading import FAILED, INTERRUPTED, RIGHT, UNREAD, WRONG_USAGE, Parser, WrongInput, complain, missing

COMMANDS = (tour, cost, summary, classify, detect, bench, check, step, notebooks)
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
    """Run the command line and return its exit code.

    0, or 1 where a checked function is wrong, 2 after wrong input, 3 where the machine failed, 130 after Ctrl-C, 141 where the reader left.

    Examples
    --------
    >>> run(["cost", "6x6x3", "--filters", "5", "--kernel", "0"])       # complains on stderr
    2
    """
    closed = sys.stdout is None
    if closed or sys.stderr is None:
        _keep_numbers()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a file's name or a label may hold what the terminal cannot show
    if not logging.getLogger("PIL").handlers:
        logging.getLogger("PIL").addHandler(logging.NullHandler())  # what Pillow logs of damage, our one line says
    out, err = Terminal(), Terminal(stderr=True)
    prog = "convlab"
    try:
        parser = _parser()
        if not argv:
            parser.print_help(sys.stderr)
            return WRONG_USAGE
        arguments = parser.parse_args(argv)
        prog = f"convlab {arguments.command}"
        code: int = arguments.run(arguments, out, err)
        if not closed:
            sys.stdout.flush()  # here, so that it is noticed here if it cannot be written
    except SystemExit as stop:  # argparse has said what there was to say
        code = int(stop.code or RIGHT)
    except WrongInput as error:
        complain(err, prog, error)
        code = error.code
    except ModuleNotFoundError as error:
        refusal = missing(error)
        if not isinstance(refusal, WrongInput):
            raise
        complain(err, prog, refusal)
        code = refusal.code
    except MemoryError as error:
        complain(err, prog, f"not enough memory: {error}".rstrip(": "))
        code = FAILED
    except KeyboardInterrupt:
        code = INTERRUPTED
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise  # of a file, not of a stream: a bug
        code = _unwritten(err, prog, error)
    if code != RIGHT:
        return code
    if closed:
        complain(err, prog, "standard output is closed")
        return FAILED
    try:
        sys.stdout.flush()  # the help, or the version
    except OSError as error:
        return _unwritten(err, prog, error)
    return RIGHT


def _keep_numbers() -> None:
    """Open what stands in for closed streams: else the next file would get the number of one, and whatever is printed there."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)


def _unwritten(err: Terminal, prog: str, error: OSError) -> int:
    """Say that standard output cannot be written, unless the reader (`head`) has just seen enough; return the exit code."""
    # Python would complain once more when it flushes at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return UNREAD
    complain(err, prog, f"standard output cannot be written: {error.strerror}")
    return FAILED
