"""An interrupt that waits: Ctrl-C while Numba loads or compiles.

Python delivers Ctrl-C as an exception between any two of its instructions. Numba and llvmlite let C call Python back while they compile,
and an exception in a function that C calls has nowhere to go: Python prints "Exception ignored" and the interrupt is lost. An
import that breaks off leaves half a package. So the signal is only noted meanwhile, and given to its handler right after.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class _Later:
    """A signal handler that notes the signal for another one, until it is told to hand over."""

    def __init__(self, handler: Callable[[int, FrameType | None], Any]) -> None:
        self.handler = handler
        self.noted = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.noted = True


def uninterrupted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, made to finish before Ctrl-C takes effect. Only the main thread meets signals; elsewhere nothing changes."""

    def finish(*args: Any, **options: Any) -> Any:
        handler = signal.getsignal(signal.SIGINT)
        main = threading.get_ident() == threading.main_thread().ident
        if not main or not callable(handler) or isinstance(handler, _Later):  # within another one that waits
            return function(*args, **options)
        later = _Later(handler)
        try:
            signal.signal(signal.SIGINT, later)
            return function(*args, **options)
        finally:
            signal.signal(signal.SIGINT, handler)
            if later.noted:
                handler(signal.SIGINT, None)

    return finish
