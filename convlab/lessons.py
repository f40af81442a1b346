"""The notebooks that come with convlab: where they lie, how to take them out, and what they say to a student's answer.

Functions that a student writes are checked by `convlab.check`; `answer` is for the numbers and words in between.
"""

from __future__ import annotations

import cmath
import json
import numbers
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from . import files

_PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Verdict:
    """What is said to an answer.

    Attributes
    ----------
    passed : bool
    text : str
    """

    passed: bool
    text: str

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


def answer(given: object, right: object, why: str = "", faults: Mapping[Any, str] | Iterable[tuple[Any, str]] = ()) -> Verdict:
    """Judge an answer, and name the slip behind a wrong one.

    Parameters
    ----------
    given : object
        The student's answer, whatever it is; `...` stands for none yet.
    right : object
        The right one: a number, True or False, a word, or several of these as a tuple, a list or an array. Whole numbers are
        compared exactly, others up to a billionth (in single precision a hundred-thousandth), words without regard to case.
    why : str
        One sentence that goes with a right answer.
    faults : mapping of wrong answer to str, or pairs of the two
        What each expected wrong answer forgets. Arrays, which are no keys, come as pairs.

    Returns
    -------
    Verdict
        Of a wrong answer it tells what its slip is or of which kind the right one is, and no more.

    Examples
    --------
    >>> answer(..., 2160)
    Not answered yet: put your answer in place of the three dots.
    >>> answer(432, 2160, faults={432: "that is one filter, and there are five"})
    432 is not right: that is one filter, and there are five.
    >>> answer("2160", 2160)
    '2160' is not right: a number is asked for.
    >>> answer(5 * 16 * 27, 2160, "27 products in each of 5 x 16 sums")
    2,160 is right: 27 products in each of 5 x 16 sums.
    """
    if given is ... or (isinstance(given, list | tuple) and any(part is ... for part in given)):
        return Verdict(False, "Not answered yet: put your answer in place of the three dots.")
    if _same(given, right):
        return Verdict(True, _sentence(f"{_written(given)} is right", why))
    pairs = faults.items() if isinstance(faults, Mapping) else faults
    reason = next((text for wrong, text in pairs if _same(given, wrong)), "")
    if not reason and _kind(given) != _kind(right):
        reason = f"{_kind(right)} is asked for"
    elif not reason and _rounded(given, right):
        reason = "it is near; let Python compute it, without rounding"
    return Verdict(False, _sentence(f"{_written(given)} is not right", reason))


def _sentence(said: str, reason: str) -> str:
    return f"{said}: {reason.rstrip('.')}." if reason else f"{said}."


def _kind(value: object) -> str:
    """Say what kind of answer a value is."""
    match value[()] if isinstance(value, np.ndarray) else value:
        case list() | tuple() | np.ndarray():
            return "a row of values"
        case str():
            return "a word"
        case bool() | np.bool_():
            return "True or False"
        case np.timedelta64():  # NumPy counts it among the integers, but it may be no number
            return "something else"
        case numbers.Real():
            return "a number"
        case numbers.Complex():
            return "a complex number"
    return "something else"


def _same(given: Any, wanted: Any) -> bool:
    """Whether two answers are one: the same kind and shape, and equal up to rounding where they are numbers."""
    given, wanted = (value[()] if isinstance(value, np.ndarray) else value for value in (given, wanted))  # takes numbers out of 0-d arrays
    kind = _kind(given)
    if kind != _kind(wanted):
        return False
    if isinstance(given, np.ndarray) and isinstance(wanted, np.ndarray):
        return _same_arrays(given, wanted)
    match kind:
        case "a row of values":
            return len(given) == len(wanted) and all(map(_same, given, wanted))
        case "a word":
            return str(given).strip().casefold() == str(wanted).strip().casefold()
        case "True or False":
            return bool(given) == bool(wanted)
        case "something else":
            return False
    if isinstance(given, numbers.Rational) and isinstance(wanted, numbers.Rational):
        return bool(given == wanted)
    return _near(given, wanted, _tolerance(given, wanted))


def _same_arrays(given: np.ndarray, wanted: np.ndarray) -> bool:
    one, other = given.dtype.kind, wanted.dtype.kind
    if given.shape != wanted.shape:
        return False
    if (one in "iu" and other in "iu") or (one == other and one in "bU"):
        return bool(np.array_equal(given, wanted))
    if not ((one in "iuf" and other in "iuf") or one == other == "c"):
        return False
    # The largest value sets the scale: a sum that cancels to nearly nothing is as far off as its terms are.
    largest = float(np.max(np.abs(wanted), initial=0, where=np.isfinite(wanted)))
    with np.errstate(over="ignore"):
        return bool(np.allclose(given, wanted, rtol=0, atol=_tolerance(given, wanted) * largest, equal_nan=True))


def _tolerance(*values: Any) -> float:
    """How far apart numbers may lie, as a share."""
    return 1e-5 if any(getattr(value, "dtype", None) in (np.float16, np.float32, np.complex64) for value in values) else 1e-9


def _near(given: Any, wanted: Any, share: float) -> bool:
    try:
        return bool(cmath.isclose(given, wanted, rel_tol=share) or (given != given and wanted != wanted))
    except OverflowError:  # a whole number that no float holds is near none
        return False


def _rounded(given: Any, wanted: Any) -> bool:
    """Whether a number looks like the right one with digits cut off: of whole numbers none is nearly right."""
    numbers_both = _kind(given) == _kind(wanted) == "a number"
    return numbers_both and not isinstance(wanted, numbers.Integral) and _near(given, wanted, 5e-3)


def _written(given: Any, depth: int = 3) -> str:
    """Write an answer on one short line."""
    match given[()] if isinstance(given, np.ndarray) else given:
        case np.ndarray():
            return f"Your array of shape {given.shape}"
        case list() | tuple() if len(given) > 9 or depth == 0:  # a list may hold itself
            return f"Your {type(given).__name__} of length {len(given)}"
        case list() | tuple():
            parts = [_written(part, depth - 1) for part in given]
            text = f"[{', '.join(parts)}]" if isinstance(given, list) else f"({', '.join(parts)}{',' * (len(parts) == 1)})"
        case float():
            text = f"{float(given):,}"
        case None | bool() | np.bool_() | np.floating() | np.timedelta64() | complex():
            text = str(given)
        case numbers.Integral() if int(given).bit_length() < 200:
            text = f"{int(given):,}"
        case str():
            text = repr(str(given))
        case _:
            text = ""
    return text if 0 < len(text) < 80 else f"Your answer, of type {type(given).__name__},"


def folder() -> Path:
    """Return where the notebooks lie: in the installed package, or in the checkout.

    Raises
    ------
    FileNotFoundError
        If this install came without them.
    """
    for place in (_PACKAGE / "notebooks", _PACKAGE.parent / "notebooks"):
        if any(place.glob("[0-9]*.ipynb")):
            return place
    raise FileNotFoundError(f"this install of convlab came without notebooks: there are none in {_PACKAGE} or beside it")


def copy(to: str | os.PathLike[str]) -> dict[str, str]:
    """Copy the notebooks to a folder, to work in; what is there already is left as it is.

    Parameters
    ----------
    to : path
        The folder; it is made where it is absent.

    Returns
    -------
    dict of str to str
        What became of each file: "copied", or it was there already and is the "same", or it is another and was "kept".

    Raises
    ------
    FileNotFoundError
        If this install came without notebooks.
    OSError
        If the folder cannot be made or written to.
    """
    target = Path(to)
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"not a folder: {target}")
    notebooks = sorted(folder().glob("[0-9]*.ipynb"))
    target.mkdir(parents=True, exist_ok=True)
    done = {}
    for notebook in notebooks:
        file, whole = target / notebook.name, notebook.read_bytes()
        if os.path.lexists(file):
            done[file.name] = "same" if file.is_file() and file.read_bytes() == whole else "kept"
            continue
        files.write(file, whole)
        done[file.name] = "copied"
    return done


def can_open() -> bool:
    """Whether JupyterLab is installed, which opens them."""
    return find_spec("jupyterlab") is not None


def results(name: str) -> dict[str, Any]:
    """Return what a benchmark of the project measured, as it was stored.

    Parameters
    ----------
    name : str
        "kernels", "networks", "memory", "startup" or "scaling".

    Raises
    ------
    FileNotFoundError
        If there is no such result.
    """
    places = (_PACKAGE / "notebooks" / "results", _PACKAGE.parent / "benchmarks" / "results")
    stored = {file.stem: file for place in places for file in sorted(place.glob("*.json"))}
    if name not in stored:
        raise FileNotFoundError(f"no stored result {name!r}; there are {', '.join(stored) or 'none'}")
    plain: dict[str, Any] = json.loads(stored[name].read_text(encoding="utf-8"))
    return plain
