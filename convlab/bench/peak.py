"""The machine's peak, in the same rounds."""

from __future__ import annotations

import numpy as np

from .. import machine


class Peak:
    """The machine's FMA peak, measured in turns with what is timed: a busy moment meets both, and nothing exceeds it by that.

    Where Numba's JIT is switched off there is none: Python does not come near enough to measure it.
    """

    def __init__(self, number: np.dtype, threads: int) -> None:
        from ..machinecode.inline import JIT

        self._burst = machine.fma_burst(number, threads) if JIT and number.kind == "f" else None
        self._seconds: list[float] = []

    def take_turn(self) -> None:
        """Run the burst a few times."""
        if self._burst is not None:
            self._seconds += [machine.seconds(self._burst.run) for _ in range(4)]

    @property
    def flops(self) -> float | None:
        """FLOP/s of the fastest run."""
        return None if self._burst is None else self._burst.amount / min(self._seconds)
