"""A folder of submissions: each file checked in processes of its own, one table at the end.

Each file's report is written as soon as it is there, so an interrupted run goes on where it stopped: a file is
checked again only if it, the settings or convlab changed, or if it could not be judged.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..files import check_writable, file_name, plain, write, write_json
from . import graders
from .graders import Settings
from .grading import to_csv
from .isolation import FileReport
from .isolation.submission import LARGEST_PROGRAM, require_processes

PACKAGE = Path(__file__).parents[1]


def submissions(folder: str | os.PathLike[str], pattern: str = "*.py") -> list[str]:
    """Return the files to check, relative to the folder and sorted; hidden ones and ``__pycache__`` are none.

    Raises
    ------
    NotADirectoryError, ValueError
        If there is no such folder, or nothing in it fits the pattern.
    """
    root = Path(folder)
    if not root.is_dir():
        raise NotADirectoryError(f"no such folder: {folder}")
    names = (path.relative_to(root) for path in root.glob(pattern) if not path.is_dir())  # a pipe or a device is a submission that fails
    found = sorted(name.as_posix() for name in names if not any(part.startswith((".", "__")) for part in name.parts))
    if not found:
        raise ValueError(f"no file of the folder fits the pattern: folder={str(folder)!r}, pattern={pattern!r}")
    return found


def check_folder(
    folder: str | os.PathLike[str],
    settings: Settings,
    out: str | os.PathLike[str],
    jobs: int = 1,
    pattern: str = "*.py",
    done: Callable[[str, FileReport | str], None] = lambda name, report: None,
) -> list[dict[str, Any]]:
    """Check every submission of a folder and write the table.

    Parameters
    ----------
    folder : path
        Where the files are. Files directly in it cannot import one another; those in a folder of their own
        (``pattern="*/conv.py"``) can import what lies beside them.
    settings : Settings
    out : path
        A folder, made if there is none: ``table.csv``, ``table.json`` and in ``reports/`` a report per file.
    jobs : int
        Files checked at a time.
    pattern : str
        Which files, as `pathlib.Path.glob` reads it.
    done : callable
        Called with each name and report, or why there is none, as it becomes known, those of an earlier run first.

    Returns
    -------
    list of dict
        The table's rows, by file. Where a file could not be judged, since the process that checks was killed, say, "passed" and "score" are
        None; the next run checks it again.

    Raises
    ------
    NotADirectoryError, ValueError, OSError
        If there are no submissions, the system cannot start processes so, or `out` cannot be written.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1: jobs={jobs}")
    require_processes()
    names = submissions(folder, pattern)
    kept = Path(out, "reports")
    kept.mkdir(parents=True, exist_ok=True)
    check_writable(Path(out, "table.csv"))
    common = _common_key(settings)
    known: dict[str, FileReport | str] = {}
    open_keys: dict[str, str] = {}
    for name in names:
        key = _key(common, Path(folder, name), "/" in name)
        report = _kept(_report_path(kept, name), key)
        if report is None:
            open_keys[name] = key
        else:
            known[name] = report
            done(name, report)
    for name, found in _checked(Path(folder), list(open_keys), settings, jobs):
        if isinstance(found, FileReport):
            values = found.to_dict()
            stored = {"key": open_keys[name], "digest": _digest(values), "file": plain(name), "report": values}
            write_json(_report_path(kept, name), stored)
        known[name] = found
        done(name, found)
    rows = [row(name, known[name]) for name in names]
    write(Path(out, "table.csv"), to_csv(rows))
    write_json(Path(out, "table.json"), rows)
    return rows


def row(name: str, report: FileReport | str) -> dict[str, Any]:
    """Return a report, or why there is none, as a row of the table."""
    file = plain(name)
    if isinstance(report, str):
        message = plain(report)
        return {"file": file, "passed": None, "score": None, "failed": "", "mistake": "", "message": message, "seconds": None}
    first = next((result for result in report.properties if result.passed is False), None)
    return {
        "file": file,
        "passed": report.passed,
        "score": round(report.score, 4),
        "failed": first.title if first else "",
        "mistake": report.failure.diagnosis.name if report.failure else "",
        "message": " ".join(first.message.split())[:300] if first else "",
        "seconds": round(report.seconds, 2),
    }


def _report_path(kept: Path, name: str) -> Path:
    return kept / file_name(name, ".json")


# What a report depends on


def _common_key(settings: Settings) -> bytes:
    """Return what every report depends on, the settings, convlab's own files and what runs them, as a hash."""
    versions = [platform.python_version(), *map(importlib.metadata.version, ("numpy", "hypothesis"))]
    digest = hashlib.sha256(json.dumps([asdict(settings), versions], sort_keys=True).encode())
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(f"{file.relative_to(PACKAGE)} ".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.digest()


def _key(common: bytes, path: Path, siblings: bool) -> str:
    """Return what a file's report depends on: all of the above, the file, and those beside it that it can import."""
    digest = hashlib.sha256(common)
    for file in sorted(_programs(path.parent)) if siblings else [path]:
        digest.update(os.fsencode(os.path.relpath(file, path.parent)) + b"\0" + _content(file))
    return digest.hexdigest()


def _programs(root: Path) -> Iterator[str]:
    """Yield the Python files in and below a folder; folders deeper than a path can be long hold nothing that can be imported."""
    waiting = [os.fspath(root)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.name.endswith(".py"):
                        yield entry.path
        except OSError:
            continue  # nor can they be imported


def _content(file: str | os.PathLike[str]) -> bytes:
    """Return a hash of a program; of what is none, a pipe, a device or a file too large, what kind of thing it is."""
    try:
        # A pipe that nobody writes to must not be waited for.
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as opened:
            status = os.fstat(opened.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_PROGRAM:
                return f"{status.st_mode} {status.st_size} {status.st_mtime_ns}".encode()
            return hashlib.sha256(opened.read(LARGEST_PROGRAM)).digest()
    except OSError as error:  # the check will say so
        return str(error.strerror).encode()


def _digest(values: dict[str, Any]) -> str:
    """Return a hash of a report as it is stored."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _kept(path: Path, key: str) -> FileReport | None:
    """Return the report of an earlier run if it is still valid; a damaged one is not."""
    try:
        stored = json.loads(path.read_bytes())
        if stored["key"] != key or stored["digest"] != _digest(stored["report"]):
            return None
        report = FileReport.from_dict(stored["report"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return report if isinstance(report, FileReport) else None


def _checked(folder: Path, names: list[str], settings: Settings, jobs: int) -> Iterator[tuple[str, FileReport | str]]:
    """Yield names with their reports as they become known."""
    return graders.checked([(name, (folder / name).absolute(), "/" in name) for name in names], settings, jobs)
