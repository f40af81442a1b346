"""Files: read only where there is one to read, written whole or not at all; text that is safe on a line."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

Content = str | bytes | Callable[[BinaryIO], object]
"""What a file is to hold: text (kept as UTF-8), bytes, or a function that writes to the opened file."""


_SPECIAL = frozenset('%/\\:*?"<>|')
"""What names of files cannot hold on one system or another, and the sign of an escape."""


def plain(text: object) -> str:
    r"""Return a text as one line without control characters: names and messages may hold line breaks and escape codes.

    Examples
    --------
    >>> plain("two\nlines\x1b[31m")
    'two lines [31m'
    """
    return " ".join(printable(str(text)).split())


def printable(text: str) -> str:
    r"""Return a text with a space for each character that is not to be shown; line breaks stay.

    Examples
    --------
    >>> printable("two\nlines\x1b[31m")
    'two\nlines [31m'
    """
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def file_name(text: str, ending: str = "") -> str:
    """Return a name for a file of that text: one folder deep, as every usual file system takes it, and no two texts alike.

    What does not print, and the separators of paths, become ``%`` and two digits a byte; of a long text only the start is kept, with
    a digest of the whole.

    Examples
    --------
    >>> file_name("week 1/conv.py", ".json")
    'week 1%2Fconv.py.json'
    """
    name = "".join(c if c.isprintable() and c not in _SPECIAL else _escaped(c) for c in text)
    if name.startswith("."):  # hidden, or the folder itself
        name = _escaped(".") + name[1:]
    if len(name.encode()) > 150:
        name = f"{name[:40]}%{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()}"
    return name + ending


def _escaped(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode(errors="surrogatepass"))


def json_object(text: str | bytes, where: str) -> dict[str, Any]:
    """Return the object that a JSON text holds.

    Raises
    ------
    ValueError
        If it is no JSON, too deep, or no object; it begins with `where`.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"{where} is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be a JSON object: it is {type(value).__name__}")
    return value


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading; what is none (a pipe, a device) might never end, and is refused at once.

    Raises
    ------
    OSError
        As `open` raises it.
    ValueError
        If it is no regular file.
    """

    def at_once(name: str, flags: int) -> int:  # without O_NONBLOCK the opening of a pipe waits for someone who writes
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    file = open(path, "rb", opener=at_once)  # noqa: SIM115  # the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError(f"only regular files are read, no pipe and no device; save it to one first: {path}")
    return file


def read(path: str | os.PathLike[str], most: int) -> bytes:
    """Read a regular file of at most `most` bytes.

    Raises
    ------
    OSError, ValueError
        As `open_file`, or if the file is larger.
    """
    with open_file(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"the file may have {most:,} bytes at most: {path}")
    return content


def write(path: str | os.PathLike[str], content: Content) -> None:
    """Write a file whole or not at all: whoever reads it, even after a power cut, finds the old content or the new.

    What is no regular file (a pipe, a device) is written to as it stands. Of a link, the file that it leads to is replaced.

    Parameters
    ----------
    path : path
    content : str, bytes or callable
        Text is kept as UTF-8, line breaks as they are; a function is given the opened file.

    Raises
    ------
    OSError
        If it cannot be written; it names the path.
    """
    with _named(path):
        if not _replaceable(path):
            with open(path, "wb") as file:
                _put(file, content)
            return
        target = Path(os.path.realpath(path))
        with _draft(target) as draft:
            with open(draft, "wb") as file:
                _put(file, content)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                os.chmod(draft, stat.S_IMODE(target.stat().st_mode))
            os.replace(draft, target)


def write_json(path: str | os.PathLike[str], value: object) -> None:
    """Write JSON whole or not at all; what is no JSON number (NaN, infinity) is a bug of the caller."""
    write(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise the `OSError` that `write` would raise, as far as it can be known before; nothing is left behind."""
    with _named(path):
        if _replaceable(path):
            with _draft(Path(os.path.realpath(path))):
                pass
        elif not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def _replaceable(path: str | os.PathLike[str]) -> bool:
    """Whether a new file can take the place of what is there: a regular file or nothing."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return True
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return stat.S_ISREG(mode)


@contextlib.contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """Make an empty file beside the target, under a short name that nobody has; what is left of it is removed."""
    draft = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        open(draft, "xb").close()
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _put(file: BinaryIO, content: Content) -> None:
    if callable(content):
        content(file)
    else:
        file.write(content.encode(errors="backslashreplace") if isinstance(content, str) else content)


@contextlib.contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let an error of the system name the path: it names the draft, or nothing where a disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
