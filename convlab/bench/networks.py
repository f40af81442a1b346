"""Compiled plans side by side: whole networks, on one thread and on all cores."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from .. import machine
from ..arguments import integer
from ..cost import cost
from ..forward import Model
from ..machine import Machine
from ..tables import Table
from ..units import duration, rate, share
from .peak import Peak

if TYPE_CHECKING:
    from ..plan import Plan  # not imported to run: Numba takes its time to load


@dataclass(frozen=True)
class PlanTiming:
    """How long one compiled plan took.

    Attributes
    ----------
    name : str
        The network's.
    batch, threads : int
        Of the plan.
    macs : int
        What one call computes.
    first_call : float
        Seconds to fold and pack the weights and to call the plan once; the very first in a process also loads and compiles code.
    seconds : tuple of float
        One call in each round.
    """

    name: str
    batch: int
    threads: int
    macs: int
    first_call: float
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds of the middle call."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class NetworkBenchmark:
    """Compiled plans timed; prints as a table.

    Attributes
    ----------
    timings : tuple of PlanTiming
    peaks : dict
        Threads -> FLOP/s that as many cores reach in registers alone, measured in the same run; None without the JIT.
    machine : Machine
    """

    timings: tuple[PlanTiming, ...]
    peaks: dict[int, float | None]
    machine: Machine

    @property
    def table(self) -> Table:
        """One row a plan: MACs, first call, minimum, median, MACs per second, share of the peak."""

        def row(timing: PlanTiming) -> tuple[str, ...]:
            least = min(timing.seconds)
            return (
                timing.name,
                f"{timing.batch} x",
                str(timing.threads),
                f"{timing.macs:,}",
                duration(timing.first_call),
                duration(least),
                duration(timing.median),
                rate(timing.macs / least),
                share(2 * timing.macs / least, self.peaks[timing.threads]),
            )

        head = ("network", "batch", "threads", "MACs", "first call", "minimum", "median", "MAC/s", "of peak")
        return Table("compiled plans: verified against the model, then timed", head, [row(timing) for timing in self.timings])

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain dicts, lists, numbers and strings, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return str(self.table)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.table._repr_html_()


CLOSE = 1e-4
"""How far a plan's logits may lie from the model's, as a share of the largest: both round, in other orders, through some 50 layers."""


def bench_networks(*models: Model, batch: SupportsIndex = 1, rounds: SupportsIndex = 30) -> NetworkBenchmark:
    """Compile models, verify the plans against the models, then time them in turns, on one thread and on all cores.

    Parameters
    ----------
    *models : Model
    batch : int
        Pictures in a call.
    rounds : int
        Timed calls of each plan.

    Returns
    -------
    NetworkBenchmark

    Raises
    ------
    ValueError
        If a plan's logits differ from its model's, or no model is given.

    Examples
    --------
    >>> import convlab as cl
    >>> model = cl.Model.random(cl.mobilenet_v1(alpha=0.25, resolution=32, classes=10))
    >>> {timing.macs for timing in bench_networks(model, rounds=1).timings} == {cl.cost(model.network).macs}
    True
    """
    batch, rounds = integer("batch", batch, 1), integer("rounds", rounds, 1)
    if not models:
        raise ValueError("bench_networks needs at least one model")
    rng = np.random.default_rng(0)
    plans: list[tuple[Model, Plan, np.ndarray, float]] = []
    for model in models:
        x = rng.uniform(-1, 1, (batch, *model.network.input)).astype(np.float32)
        expected = model(x, kernel="im2col")
        for threads in sorted({1, machine.cores()}):
            start = time.perf_counter()
            plan = model.compile(batch, threads)
            y = plan(x)
            first_call = time.perf_counter() - start
            worst = float(np.abs(y - expected).max() / np.abs(expected).max())
            if not worst <= CLOSE:
                raise ValueError(
                    f"a plan must agree with its model before it is timed: {model.network.name} differs by {worst:.2g} of the largest"
                )
            plans.append((model, plan, x, first_call))
    seconds: list[list[float]] = [[] for _ in plans]
    peaks = {threads: Peak(np.dtype("float32"), threads) for threads in {plan.threads for _, plan, _, _ in plans}}
    for _ in range(rounds):
        for peak in peaks.values():
            peak.take_turn()
        for (_, plan, x, _), times in zip(plans, seconds, strict=True):
            times.append(machine.seconds(partial(plan, x)))
    timings = (
        PlanTiming(model.network.name, batch, plan.threads, cost(model.network, batch=batch).macs, first, tuple(times))
        for (model, plan, _, first), times in zip(plans, seconds, strict=True)
    )
    return NetworkBenchmark(tuple(timings), {threads: peak.flops for threads, peak in peaks.items()}, machine.describe())
