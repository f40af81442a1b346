"""What a file under test may use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a file under test may use.

    Parameters
    ----------
    seconds : float
        Wall-clock time for all of it.
    call_seconds : float
        Wall-clock time for one call, and for loading the file.
    memory : int
        MiB of address space, what Python and NumPy take (about 300) included.
    forbid : sequence of str
        Modules that it must not import. A fence, not a wall: a program that wants to can climb it.

    Raises
    ------
    ValueError
        If there is no time, too little memory to load NumPy, or NumPy is forbidden.

    Examples
    --------
    >>> Limits(call_seconds=2).seconds
    60.0
    >>> Limits(seconds=0)
    Traceback (most recent call last):
    ValueError: seconds must be above 0: seconds=0
    """

    seconds: float = 60.0
    call_seconds: float = 10.0
    memory: int = 4096
    forbid: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("seconds", "call_seconds"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be above 0: {name}={getattr(self, name)}")
        if self.memory < 512:
            raise ValueError(f"memory must be at least 512 MiB, or NumPy does not load: memory={self.memory}")
        if "numpy" in self.forbid:
            raise ValueError(f"numpy cannot be forbidden, the arguments are its arrays: forbid={','.join(self.forbid)}")


STANDARD = Limits()
"""What a file gets where nobody says otherwise."""
