"""`convlab tour`."""

from __future__ import annotations

from ..tour import tour
from .reading import Commands, add_command


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "tour",
        "what convlab shows, in under a minute",
        "The worked example counted and run, every kernel verified and timed, two networks counted,\n"
        "and two photos classified by the model that comes with convlab.",
        "example:\n  convlab tour",
    )
    parser.set_defaults(run=lambda arguments, out, err: tour(out, err))
