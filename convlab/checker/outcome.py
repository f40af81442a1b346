"""What one call did: its result or its error, the arguments that it changed, and whose memory its result lies in.

A function that runs in another process is watched there, where its arguments are: this file needs NumPy and the standard library alone.
"""

from __future__ import annotations

import itertools
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..files import plain

CallArguments = tuple[Sequence[Any], Mapping[str, Any]]
"""Positional arguments and keywords."""


class Crash(RuntimeError):
    """The process that ran the function is gone: it died, ran out of time or of memory."""


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class Outcome:
    """What a call did.

    Attributes
    ----------
    value : object
        What came back, arrays as they were at that moment; None where it raised.
    error : str
        What was raised, "" if nothing.
    crashed : bool
        Whether the process is gone with it.
    nothing : bool
        Whether the error is that it returned None.
    changed : tuple of (int or str)
        Arguments that hold something else after the call: positions and keywords.
    aliases : tuple of int
        Which of the result's parts lie in the memory of an argument; a result that is no tuple is part 0.
    overwritten : bool
        Whether an earlier result changed when the function was called again.
    """

    value: Any = None
    error: str = ""
    crashed: bool = False
    nothing: bool = False
    changed: tuple[int | str, ...] = ()
    aliases: tuple[int, ...] = ()
    overwritten: bool = False


class Watched(ABC):
    """A function elsewhere, whose calls are watched where it runs."""

    @abstractmethod
    def watch(self, calls: Sequence[CallArguments], size: int, most: int | None) -> Outcome:
        """Do there what `watch` does; raise what the function raises, and `Crash` where there will be no answer."""


def observe(function: Callable[..., Any] | Watched, calls: Sequence[CallArguments], size: int = 0, most: int | None = None) -> Outcome:
    """Call a function on arguments in turn and say what the last call did; whatever it raises is part of the answer.

    Parameters
    ----------
    function : callable or Watched
    calls : sequence of (positional, keywords)
        The arrays of later calls are written into those of the first where they fit, as a loop that trains does it: what a function
        keeps by the address of its arguments is out of date then.
    size : int
        How many numbers the right result has, see `soil`.
    most : int, optional
        How many items of a tuple that comes back are looked at: behind the result there may be a large cache.

    Examples
    --------
    >>> def double(x):
    ...     x *= 2
    ...     return x
    >>> seen = observe(double, [([np.ones(2)], {})])
    >>> seen.value, seen.changed, seen.aliases
    (array([2., 2.]), (0,), (0,))
    """
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):  # the numbers are judged, not what is said about them
            warnings.simplefilter("ignore")
            return function.watch(calls, size, most) if isinstance(function, Watched) else watch(function, calls, size, most)
    except Crash as crash:
        return Outcome(error=str(crash), crashed=True)
    except (Exception, SystemExit) as error:
        return Outcome(error=f"raised {type(error).__name__}: {cut(str(error))}")


def watch(function: Callable[..., Any], calls: Sequence[CallArguments], size: int = 0, most: int | None = None) -> Outcome:
    """Call a function on arguments in turn and say what the last call did; what it raises is raised."""
    first = _given(*calls[0])
    results: list[tuple[list[np.ndarray], list[np.ndarray]]] = []
    outcome = Outcome()
    for positional, keywords in calls:
        given = {name: _refilled(first.get(name), value) for name, value in _given(positional, keywords).items()}
        before = {name: taken(value) for name, value in given.items()}
        soil(size)
        result = function(*(given[i] for i in range(len(positional))), **{name: given[name] for name in keywords})
        if isinstance(result, tuple):
            result = result[:most]
        value = taken(result)  # at once: what the function does to its result later is another matter
        parts = _parts(result)
        arrays = [value for value in given.values() if isinstance(value, np.ndarray)]
        changed = tuple(name for name, value in given.items() if not _same(value, before[name]))
        aliases = tuple(i for i, part in enumerate(parts) if any(np.may_share_memory(part, array) for array in arrays))
        overwritten = any(not _same(now, then) for earlier in results for now, then in zip(*earlier, strict=True))
        results.append((parts, [part.copy() for part in parts]))
        outcome = Outcome(value, changed=changed, aliases=aliases, overwritten=outcome.overwritten or overwritten)
    return outcome


def _given(positional: Sequence[Any], keywords: Mapping[str, Any]) -> dict[int | str, Any]:
    given: dict[int | str, Any] = dict(enumerate(positional))
    given.update(keywords)
    return given


def _refilled(first: Any, value: Any) -> Any:
    """Return the first call's array with a later call's numbers, where they fit."""
    if first is value or not isinstance(first, np.ndarray) or not isinstance(value, np.ndarray):
        return value
    if first.shape != value.shape or first.dtype != value.dtype or not first.flags.writeable:
        return value
    first[...] = value
    return first


def taken(value: Any) -> Any:
    """Return what lists, tuples, dicts and arrays hold now, by value; of an array's subclass the plain array."""
    if isinstance(value, np.ndarray):
        return np.array(value)
    if type(value) in (list, tuple):
        return type(value)(map(taken, value))
    if type(value) is dict:
        return {key: taken(item) for key, item in value.items()}
    return value


def _parts(result: Any) -> list[np.ndarray]:
    """Return a result's arrays: itself, or the first few of a tuple; a tensor's numbers count as an array."""
    parts = result[:2] if isinstance(result, (tuple, list)) else [result]
    return [np.asarray(part) if isinstance(part, np.ndarray) or hasattr(part, "__array__") else np.empty(0) for part in parts]


def _same(now: Any, then: Any) -> bool:
    """Return whether an argument or a result still holds what it held."""
    if isinstance(now, np.ndarray):
        return now.dtype == then.dtype and np.array_equal(now, then, equal_nan=now.dtype.kind in "fc")
    if type(now) is dict:
        return now.keys() == then.keys() and all(_same(value, then[key]) for key, value in now.items())
    if type(now) in (list, tuple):
        return len(now) == len(then) and all(map(_same, now, then))
    return type(now) is type(then) and bool(now == then) if isinstance(now, (int, float, str)) else True


_ODD = itertools.cycle((1e9 + 7, -3e8 - 1))
"""Two numbers in turn, so that a result with uncleared memory in it is another one in the next call."""


def soil(size: int) -> None:
    """Fill memory of the result's size with an odd number and free it: `np.empty` gets it back, and shows what was never written."""
    odd = next(_ODD)
    soiled = [np.full(size, odd, dtype) for dtype in (np.float64, np.float32) for _ in range(4)]
    del soiled


def cut(text: str, most: int = 300) -> str:
    """Return a text as one line of printable characters, not longer than `most`."""
    line = plain(text)
    return line if len(line) <= most else line[: most - 3] + "..."
