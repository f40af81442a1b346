"""Reading what a user types: the parser, sizes and numbers, and how wrong input becomes one line."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from typing import TypeAlias

from rich.console import Console

from .. import zoo
from ..terminal import plain

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"

A_MODEL = f"a model's name ({', '.join(zoo.MODELS)}), a .npz file, or a directory or .safetensors file of HF Transformers"


class Parser(argparse.ArgumentParser):
    """argparse, with complaints of one line."""

    def error(self, message: str) -> None:  # type: ignore[override]  # exit raises
        self.exit(2, plain(f"{self.prog}: {message} (see {self.prog} --help)") + "\n")


def add_command(commands: Commands, name: str, help: str, description: str, epilog: str) -> Parser:
    """Add a subcommand; its texts keep their line breaks."""
    style = argparse.RawDescriptionHelpFormatter
    return commands.add_parser(name, help=help, description=description, epilog=epilog, formatter_class=style, allow_abbrev=False)


class WrongInput(Exception):
    """What the user gave cannot be used; the text is the line to show."""


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn the errors by which the package refuses wrong input, or misses an extra, into `WrongInput`."""
    try:
        yield
    except (ValueError, TypeError, OSError, ModuleNotFoundError, MemoryError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise WrongInput(": ".join(str(part) for part in (error.strerror, error.filename) if part)) from error
        if isinstance(error, MemoryError):
            raise WrongInput(f"not enough memory: {error}".rstrip(": ")) from error
        raise WrongInput(str(error)) from error


def complain(err: Console, prog: str, message: object) -> None:
    """Print one line, however long."""
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
