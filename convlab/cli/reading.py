"""Reading what a user types: the parser, sizes and numbers, and how wrong input becomes one line."""

from __future__ import annotations

import argparse
import contextlib
import errno
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from rich.console import Console

from .. import zoo
from ..files import plain

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"

A_MODEL = (
    f"a model's name ({', '.join(zoo.MODELS)}), a file or directory that convlab, Transformers, timm, torch, Keras, ONNX or TFLite wrote,"
    " or a hub's id"
)


RIGHT, WRONG, WRONG_USAGE, FAILED, INTERRUPTED, UNREAD = 0, 1, 2, 3, 130, 141
"""Exit codes. WRONG, a checked function, is the checker's alone. FAILED: convlab or the machine did. UNREAD: the reader left."""

MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
"""Errors of the system that no other input would mend."""

COMPILERS = ("numba", "llvmlite")


class Parser(argparse.ArgumentParser):
    """argparse, with complaints of one line."""

    def parse_args(self, args: Sequence[str]) -> argparse.Namespace:  # type: ignore[override]  # one of its overloads
        for argument in args:
            if re.fullmatch("--[^=]+=--", argument):  # argparse takes the value for the sign that options end, and stumbles
                self.error(f"argument {argument[:-3]}: invalid value: '--'")
        return super().parse_args(args)

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print; argparse of Python 3.11 says nothing where help or version cannot be written."""
        with contextlib.suppress(OSError) if file is sys.stderr else contextlib.nullcontext():
            print(message, end="", file=file)

    def error(self, message: str) -> None:  # type: ignore[override]  # exit raises
        self.exit(2, plain(f"{self.prog}: {message} (see {self.prog} --help)") + "\n")


def add_command(commands: Commands, name: str, help: str, description: str, epilog: str) -> Parser:
    """Add a subcommand; its texts keep their line breaks."""
    style = argparse.RawDescriptionHelpFormatter
    return commands.add_parser(name, help=help, description=description, epilog=epilog, formatter_class=style, allow_abbrev=False)


class WrongInput(Exception):
    """What the user asked for cannot be done; the text is the line to show, and `code` says whose fault it is."""

    def __init__(self, line: object, code: int = WRONG_USAGE) -> None:
        super().__init__(line)
        self.code = code


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn the errors by which the package refuses wrong input, misses an extra or meets a full machine into `WrongInput`."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing(error) from error
    except MemoryError as error:
        raise WrongInput(f"not enough memory: {error}".rstrip(": "), FAILED) from error
    except OSError as error:
        line = ": ".join(str(part) for part in (error.strerror, error.filename) if part) if error.strerror else error
        raise WrongInput(line, FAILED if error.errno in MACHINE else WRONG_USAGE) from error
    except (ValueError, TypeError) as error:
        raise WrongInput(error) from error


def missing(error: ModuleNotFoundError) -> Exception:
    """Return what a module that is not there means: a line, if it is an extra or the compiler; else a bug, the error itself."""
    if error.name is None:  # ours, which name the missing extra, have no name
        return WrongInput(error)
    if error.name.partition(".")[0] in COMPILERS:
        return WrongInput(f"this needs Numba, and there is no {error.name}: pip install numba (the kernels naive and im2col run without)")
    return error


def complain(err: Console, prog: str, message: object) -> None:
    """Print one line, however long; where nobody can read it, the exit code alone has to say it."""
    with contextlib.suppress(OSError):
        err.print(plain(f"{prog}: {message}"), soft_wrap=True)


def number(text: str) -> int:
    """Read a whole number; nine digits are more than any picture has, and keep every product printable."""
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) <= 9):
        raise argparse.ArgumentTypeError(f"must be a whole number of at most 9 digits: {text!r}")
    return int(text)


def picture_size(text: str) -> tuple[int, int, int]:
    """Read "6x6x3" as (6, 6, 3)."""
    try:
        height, width, channels = map(number, text.lower().split("x"))
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(f"must be HEIGHTxWIDTHxCHANNELS, such as 6x6x3: {text!r}") from None
    return height, width, channels


def pair(text: str) -> int | tuple[int, int]:
    """Read "3" as 3 and "3x2" as (3, 2)."""
    try:
        height, *width = map(number, text.lower().split("x"))
        if not width:
            return height
        (only,) = width
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(f"must be a number or HEIGHTxWIDTH, such as 3 or 3x2: {text!r}") from None
    return height, only


def padding(text: str) -> str | int | tuple[int, int]:
    """Read "same", "valid", "1" or "1x2"."""
    if text in ("same", "valid"):
        return text
    try:
        return pair(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"must be same, valid, a number or HEIGHTxWIDTH, such as 1 or 1x2: {text!r}") from None


def at_least_one(text: str) -> int:
    count = number(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1: {text!r}")
    return count
