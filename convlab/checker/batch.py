"""A folder of submissions: each file checked in processes of its own, one table at the end.

Each file's report is written as soon as it is there, so an interrupted run goes on where it stopped: a file is
checked again only if it, the settings or the checker changed.
"""

from __future__ import annotations

import concurrent.futures as futures
import dataclasses
import hashlib
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..files import file_name, write, write_json
from .grading import to_csv
from .runner import FileReport, Limits, check_file


class Interrupted(RuntimeError):
    """A process that checks was ended from outside; what is done is kept."""


@dataclass(frozen=True)
class Settings:
    """How to check: what `check_file` takes beside the file.

    Examples
    --------
    >>> Settings("my_conv", op="depthwise").style
    'convlab'
    """

    function: str
    op: str = "conv2d"
    style: str = "convlab"
    seed: int = 0
    weights: Mapping[str, float] | None = None
    limits: Limits = field(default_factory=Limits)

    def check(self, path: Path, siblings: bool = True) -> FileReport:
        """Check one file."""
        options = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        return check_file(path, siblings=siblings, **options)


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
    names = (path.relative_to(root) for path in root.glob(pattern) if path.is_file())
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
    done: Callable[[str, FileReport], None] = lambda name, report: None,
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
        Called with each name and report as it becomes known, those of an earlier run first.

    Returns
    -------
    list of dict
        The table's rows, by file.

    Raises
    ------
    NotADirectoryError, ValueError, OSError
        If there are no submissions, or `out` cannot be written.
    Interrupted
        If the system, or a hostile submission, killed a process that checks.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1: jobs={jobs}")
    names = submissions(folder, pattern)
    kept = Path(out, "reports")
    kept.mkdir(parents=True, exist_ok=True)
    common = _common_key(settings)
    known: dict[str, FileReport] = {}
    open_keys: dict[str, str] = {}
    for name in names:
        key = _key(common, Path(folder, name), "/" in name)
        report = _kept(_report_path(kept, name), key)
        if report is None:
            open_keys[name] = key
        else:
            known[name] = report
            done(name, report)
    for name, report in _checked(Path(folder), list(open_keys), settings, jobs):
        write_json(_report_path(kept, name), {"key": open_keys[name], "file": name, "report": report.to_dict()})
        known[name] = report
        done(name, report)
    rows = [row(name, known[name]) for name in names]
    write(Path(out, "table.csv"), to_csv(rows))
    write_json(Path(out, "table.json"), rows)
    return rows


def row(name: str, report: FileReport) -> dict[str, Any]:
    """Return a report as a row of the table."""
    first = next((result for result in report.properties if result.passed is False), None)
    return {
        "file": name,
        "passed": report.passed,
        "score": round(report.score, 4),
        "failed": first.title if first else "",
        "mistake": report.failure.diagnosis.name if report.failure else "",
        "message": " ".join(first.message.split())[:300] if first else "",
        "seconds": round(report.seconds, 2),
    }


def _report_path(kept: Path, name: str) -> Path:
    return kept / file_name(name, ".json")


def _common_key(settings: Settings) -> bytes:
    """Return what every report depends on, the settings and the checker's own files, as a hash."""
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(settings), sort_keys=True).encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.digest()


def _key(common: bytes, path: Path, siblings: bool) -> str:
    """Return what a file's report depends on: all of the above, the file, and those beside it that it can import."""
    digest = hashlib.sha256(common)
    for file in sorted(path.parent.rglob("*.py")) if siblings else [path]:
        try:
            content = file.read_bytes()
        except OSError as error:  # the check will say so
            content = str(error.strerror).encode()
        digest.update(f"{file.relative_to(path.parent)} {len(content)} ".encode(errors="surrogateescape") + content)
    return digest.hexdigest()


def _kept(path: Path, key: str) -> FileReport | None:
    """Return the report of an earlier run if it is still valid; a damaged one is not."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        report = FileReport.from_dict(stored["report"]) if stored["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return report if isinstance(report, FileReport) else None


def _checked(folder: Path, names: Sequence[str], settings: Settings, jobs: int) -> Iterator[tuple[str, FileReport]]:
    """Yield names with their reports as they become known."""
    if not names:
        return
    # Processes, since a check computes here too; spawned, since a fork would copy the progress bar's threads in the middle of their work.
    context = multiprocessing.get_context("spawn")
    before = set(multiprocessing.active_children())
    pool = futures.ProcessPoolExecutor(min(jobs, len(names)), context, initializer=_quiet)
    try:
        tasks = {pool.submit(settings.check, folder / name, "/" in name): name for name in names}
        for task in futures.as_completed(tasks):
            yield tasks[task], task.result()
    except futures.process.BrokenProcessPool as error:
        raise Interrupted("a process that checks was killed, perhaps for want of memory: run again to go on from here") from error
    except BaseException:
        # Ctrl-C, or a bug: whoever is at work now would be waited for. What it runs dies with it.
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    pool.shutdown()


def _quiet() -> None:
    """Leave Ctrl-C to the process that the user sees."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
