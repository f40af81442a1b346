"""Hypothesis, as the checker uses it: it looks for a case, makes it smaller, and keeps nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, configuration, find, settings
from hypothesis.errors import Flaky, NoSuchExample, Unsatisfiable

from .strategies import Case


@contextlib.contextmanager
def _nothing_kept() -> Iterator[None]:
    """Give Hypothesis no folder to write to: without a database it still keeps what it has read in the modules of the working directory.

    Where its folder cannot be made, it goes without.
    """
    home: Any = configuration.storage_directory()
    configuration.set_hypothesis_home_dir(os.devnull)
    try:
        yield
    finally:
        configuration.set_hypothesis_home_dir(getattr(home, "path", home))  # older ones return the path itself


def search(strategy: Any, wanted: Callable[[Case], bool], *, random: Any, examples: int, shrink: bool) -> None:
    """Let Hypothesis look for a case, and for the smallest such one; what it finds, `wanted` has seen.

    A function that does not do the same thing twice makes Hypothesis complain; for the checker that is one more way to be wrong.
    """
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    chosen = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        phases=phases,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    with _nothing_kept(), contextlib.suppress(NoSuchExample, Flaky, Unsatisfiable):
        find(strategy, wanted, settings=chosen, random=random)
