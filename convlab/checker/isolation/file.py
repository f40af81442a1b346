"""`check` for a function of a file, and its report."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from ...files import printable
from .. import check
from ..outcome import Crash
from ..report import PropertyResult, Report
from .limits import STANDARD, Limits
from .submission import Submission

SHOWN_LINES = 12

EXAMPLES = Path(__file__).parents[1] / "examples"
"""Files to check: one that is right, others with a mistake each."""


@dataclass(frozen=True, repr=False)
class FileReport(Report):
    """A report of a function in a file, with what it printed.

    Attributes
    ----------
    output : str
    exposed : str
        Why the system did not keep the file from signalling the grader, "" if it did.
    """

    output: str = ""
    exposed: str = ""

    def __str__(self) -> str:
        text = [super().__str__()]
        if self.exposed:
            text += ["", f"Not kept from signalling the grader: {self.exposed}."]
        if self.output:
            lines = self.output.split("\n")
            more = [f"... {len(lines) - SHOWN_LINES} more lines"] if len(lines) > SHOWN_LINES else []
            text += ["", "It printed:", *(f"  {line}" for line in [*lines[:SHOWN_LINES], *more])]
        return "\n".join(text)


def check_file(
    path: str | os.PathLike[str],
    function: str,
    *,
    op: str = "conv2d",
    style: str = "convlab",
    seed: int = 0,
    weights: Mapping[str, float] | None = None,
    limits: Limits = STANDARD,
    siblings: bool = True,
    strict: bool = False,
) -> FileReport:
    r"""Check a function of a file, in a process of its own.

    Two properties come to those of `convlab.check` where they fail: that the file loads, and that nothing is left running.

    Parameters
    ----------
    path : str or path
        The file.
    function : str
        Its function's name.
    op, style, seed, weights, strict
        As in `convlab.check`; the properties here are called "loads" and "ends".
    limits : Limits
        What it may use, and for how long.
    siblings : bool
        Whether it may import the files beside it.

    Raises
    ------
    FileNotFoundError, OSError, ValueError
        If there is no such file, the system cannot start processes so, or there is no such operation, style or property.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "student.py")
    ...     _ = file.write_text("def conv(x, w):\n    import sys; sys.exit()\n")
    ...     report = check_file(file, "conv")
    >>> report.passed, report.properties[0].message
    (False, 'the function called exit() (student.py, line 2: import sys; sys.exit())')
    """
    started = time.monotonic()
    weights = dict(weights or {})
    own = {name: weights.pop(name, 1.0) for name in ("loads", "ends")}
    with Submission(path, function, limits, siblings) as submission:
        try:
            submission.load()
        except Crash as crash:
            result = PropertyResult("loads", "the file loads", False, own["loads"], 1, str(crash))
            report = Report(function, op, style, seed, (result,))
        else:
            # A part of the time stays for starting anew after crashes and for the report.
            seconds = max(0.1, 0.8 * (submission.end - time.monotonic()))
            options: dict[str, Any] = {"op": op, "style": style, "seed": seed, "weights": weights, "strict": strict}
            report = check(submission, max_seconds=seconds, name=function, **options)
            submission.close()
            if submission.left:  # a property only where it fails: nobody earns points by ending
                ended = PropertyResult("ends", "nothing is left running", False, own["ends"], 1, "; ".join(submission.left))
                report = replace(report, properties=(*report.properties, ended))
    name = f"{submission.path.name}:{function}"
    report = replace(report, name=name, seconds=time.monotonic() - started)
    kept = {field.name: getattr(report, field.name) for field in fields(report)}
    return _printable(FileReport(**kept, output=submission.output, exposed=submission.exposed))


def _printable(value: Any) -> Any:
    """Return a dataclass, tuple, list or dict in which every text is printable: names and messages are the submission's."""
    if isinstance(value, str):
        return printable(value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _printable(getattr(value, field.name)) for field in fields(value)})
    if isinstance(value, tuple | list):
        return type(value)(map(_printable, value))
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    return value
