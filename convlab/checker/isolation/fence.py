"""Modules that a submission must not import: a fence, not a wall. Only the standard library."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from types import CodeType
from typing import Any


class Fence(MetaPathFinder):
    """Refuse the import of some modules, however it is asked for.

    It stands in two places. As a finder in `sys.meta_path` it refuses names. As an audit hook, which a program cannot take away again,
    it refuses the code of the modules' files, by whatever way and under whatever name it is loaded.
    """

    def __init__(self, forbidden: Sequence[str]) -> None:
        self.forbidden = tuple(forbidden)
        self.places: dict[str, str] = {}  # how the paths of a module's files begin -> the module

    def refuses(self, name: str) -> bool:
        return any(name == other or name.startswith(f"{other}.") for other in self.forbidden)

    def refuse(self, name: str) -> None:
        # An ImportError, as where the module is not installed: what uses it if it is there goes on without.
        raise ImportError(f"{name} is forbidden here: the kernel must be your own", name=name)

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if self.refuses(fullname):
            self.refuse(fullname)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "import":  # of a name or, where it is compiled, of a file
            file = arguments[1]
        elif event == "exec":
            file = arguments[0].co_filename if isinstance(arguments[0], CodeType) else None
        else:
            return
        for place, name in self.places.items():
            if isinstance(file, str) and file.startswith(place):
                self.refuse(name)

    def raise_it(self) -> None:
        """Let no forbidden module be imported from here on, nor be there already."""
        if not self.forbidden:
            return
        self.places = {place: name for name in self.forbidden for place in _places(name)}
        for name in [name for name in sys.modules if self.refuses(name)]:
            del sys.modules[name]
        sys.meta_path.insert(0, self)
        sys.addaudithook(self.audit)


def _places(name: str) -> list[str]:
    """Return how the paths of a module's files begin. Nothing is imported to find out."""
    top, *inner = name.split(".")
    spec = PathFinder.find_spec(top)
    if spec is None:
        return []
    if spec.submodule_search_locations is None:
        return [spec.origin] if spec.origin is not None else []
    starts = [os.path.join(place, *inner) for place in spec.submodule_search_locations]
    return [start + end for start in starts for end in (os.sep, ".")]  # a folder, or a file with any ending
