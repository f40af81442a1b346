"""Durations, speeds and shares, written with three digits."""

from __future__ import annotations

import math


def duration(seconds: float) -> str:
    """Write a duration with three digits.

    Examples
    --------
    >>> duration(12.34), duration(0.0123), duration(0.0000456)
    ('12.3 s', '12.3 ms', '45.6 us')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{_three(seconds / size)} {unit}"
    return f"{_three(seconds / 1e-6)} us"


def rate(per_second: float) -> str:
    """Write an amount per second with three digits: MACs, FLOPs, bytes.

    Examples
    --------
    >>> rate(3_140_000), rate(45_600_000_000)
    ('3.14 M', '45.6 G')
    """
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if per_second >= size:
            return f"{_three(per_second / size)} {unit}"
    return f"{_three(per_second / 1e3)} k"


def percent(part: float, digits: int = 1) -> str:
    """Write a part of one as a percentage, with a space as SI has it.

    Examples
    --------
    >>> percent(0.3111), percent(1, digits=0)
    ('31.1 %', '100 %')
    """
    return f"{part:.{digits}%}".replace("%", " %")


def share(flops: float, peak: float | None) -> str:
    """Write a speed as a share of the peak; nothing where there is none."""
    return "" if peak is None else percent(flops / peak)


def _three(value: float) -> str:
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}" if value >= 0.01 else f"{value:.1g}"
