"""Removing a folder, whatever a submission made in it: trees deeper than any path is long, folders without rights, pipes.

Only the standard library: the keeper loads this file too.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import time


def remove(path: str, seconds: float = 30.0) -> None:
    """Remove a folder and all that is in it; none is fine.

    Folders within folders are moved up to the first level before they are emptied, so no path grows and nothing recurses.

    Raises
    ------
    OSError
        If something cannot be removed, or there is too much to be removed in time.
    """
    until = time.monotonic() + seconds
    with contextlib.suppress(FileNotFoundError):
        top = _opened(path)
        try:
            token = secrets.token_hex(8)
            names = (f".{token}-{number}" for number in itertools.count())
            waiting = _files_removed(top)
            while waiting:
                if time.monotonic() > until:
                    raise TimeoutError(f"more folders than can be removed in {seconds:g} s")
                name = waiting.pop()
                folder = _opened(name, top)
                try:
                    for inner in _files_removed(folder):
                        moved = next(names)
                        try:
                            os.rename(inner, moved, src_dir_fd=folder, dst_dir_fd=top)
                        except PermissionError:  # to move a folder one needs its rights
                            os.close(_opened(inner, folder))
                            os.rename(inner, moved, src_dir_fd=folder, dst_dir_fd=top)
                        waiting.append(moved)
                finally:
                    os.close(folder)
                os.rmdir(name, dir_fd=top)
        finally:
            os.close(top)
        os.rmdir(path)


def _opened(name: str, within: int | None = None) -> int:
    """Open a folder, which is given the rights that emptying it needs."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        folder = os.open(name, flags, dir_fd=within)
    except PermissionError:  # it is its own, so that it can be changed
        os.chmod(name, 0o700, dir_fd=within)
        folder = os.open(name, flags, dir_fd=within)
    os.chmod(folder, 0o700)
    return folder


def _files_removed(folder: int) -> list[str]:
    """Remove what is no folder, and return the names of the folders."""
    with os.scandir(folder) as found:
        entries = list(found)
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=folder)
    return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
