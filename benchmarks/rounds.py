"""Time engines fairly: each in a process of its own, all in turns.

Two engines in one process share thread pools, caches and allocators. Two engines timed one after the other meet different
minutes of the machine. So a driver starts one worker process for each engine, has all of them build the same network, compares
what they compute, and then goes round: each worker in turn makes a few calls while the others sleep.

A turn begins with calls that are not timed (the others have emptied the caches) and ends when the engine's threads have fallen
asleep: thread pools spin for a while (some for a tenth of a second) before they do. What the sleeping workers burn all the same is
measured, and reported as `idle_cpu`: a pool that spins through other engines' turns would show there.

A worker is asked by pipe. An error in it is an error here, with its traceback.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from convlab import Detector, Model, cost, machine
from convlab.layers import Conv, Dense, Network, walk

from . import peers

PAUSE = 0.02
"""Seconds of rest at the end of a turn; as many more as it takes the engine's threads to fall asleep."""

PATIENCE = 2.0
"""Seconds after which an engine that never sleeps is left to spin; `idle_cpu` will tell."""

PEAK = "fma peak"
"""The name under which the machine's own limit takes part in the rounds."""


def random_model(network: Network) -> Model | Detector:
    """Return the network with the weights that every engine is given. A lone convolution's bias is zero: kernels have none."""
    if len(network.outputs) > 1:
        return Detector.random(network)
    model = Model.random(network)
    if len(network.layers) == 1:
        params = {name: np.zeros_like(array) if name.endswith(".bias") else array for name, array in model.params.items()}
        return Model(network, params)
    return model


def pictures(network: Network, batch: int) -> np.ndarray:
    """Return the input that every engine is given, (N, H, W, C)."""
    return np.random.default_rng(1).standard_normal((batch, *network.input), np.float32)


@dataclass
class Turns:
    """What one engine did in all its turns.

    Attributes
    ----------
    seconds : list of list of float
        Seconds of every call, one list a turn.
    idle_cpu : float
        Seconds of processor time that it used between its turns, while others were timed.
    build : float
        Seconds from the model to a callable, compiling included.
    """

    seconds: list[list[float]] = field(default_factory=list)
    idle_cpu: float = 0.0
    build: float = 0.0

    @property
    def minimum(self) -> float:
        """Seconds of the fastest call."""
        return min(map(min, self.seconds))

    @property
    def median(self) -> float:
        """Seconds of the middle call."""
        return statistics.median(second for turn in self.seconds for second in turn)

    def record(self) -> dict[str, Any]:
        """Return the numbers for JSON; of each turn its median."""
        medians = [statistics.median(turn) for turn in self.seconds]
        calls = sum(map(len, self.seconds))
        return {
            "minimum": self.minimum,
            "median": self.median,
            "calls": calls,
            "round_medians": medians,
            "build": self.build,
            "idle_cpu": self.idle_cpu,
        }


class Worker:
    """A process that serves one object, made in it by ``factory(*args)``: ``call(name, ...)`` calls a method of it there.

    Parameters
    ----------
    factory : callable
        Importable by name; called in the new process.
    threads : int
        For every library that asks the environment.
    """

    def __init__(self, factory: Callable[..., Any], *args: Any, threads: int = 1) -> None:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        context = multiprocessing.get_context("spawn")  # a fork would inherit pools and caches
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, factory, args), daemon=True)
        saved = dict(os.environ)
        os.environ.update(dict.fromkeys(names, str(threads)))
        try:
            self.process.start()
        finally:
            os.environ.clear()
            os.environ.update(saved)
        theirs.close()
        self._answer("start")

    def call(self, method: str, *args: Any) -> Any:
        """Call a method of the served object and return its result."""
        self.pipe.send((method, args))
        return self._answer(method)

    def _answer(self, what: str) -> Any:
        try:
            good, answer = self.pipe.recv()
        except EOFError:
            self.process.join()
            raise RuntimeError(f"a worker died during {what!r}: exit code {self.process.exitcode}") from None
        if not good:
            raise RuntimeError(f"a worker failed during {what!r}:\n{answer}")
        return answer

    def stop(self) -> None:
        """End the process."""
        self.pipe.close()
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _serve(pipe: Connection, factory: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Make the object, then answer calls until the driver closes the pipe."""
    try:
        served = factory(*args)
        pipe.send((True, None))
        while True:
            method, args = pipe.recv()
            pipe.send((True, getattr(served, method)(*args)))
    except EOFError:
        return
    except BaseException:
        pipe.send((False, traceback.format_exc()))


def rest() -> float:
    """Sleep until this process's other threads sleep too; return the processor time used so far."""
    end = time.perf_counter() + PATIENCE
    while True:
        before = time.process_time()
        time.sleep(PAUSE)
        now = time.process_time()
        if now - before < PAUSE / 10 or time.perf_counter() > end:
            return now


class Contestant:
    """An engine in its worker: builds a model, computes, is timed in turns."""

    def __init__(self, engine: str, threads: int) -> None:
        self.engine, self.threads = engine, threads
        self.run: Callable[[], Any] = lambda: None
        self.rested = 0.0

    def build(self, network: Network, batch: int) -> tuple[float, Any]:
        """Build the network with its random weights; return the seconds it took and what the engine computes."""
        model, x = random_model(network), pictures(network, batch)
        start = time.perf_counter()
        self.run = peers.ENGINES[self.engine](model, x, self.threads)
        y = self.output()
        seconds = time.perf_counter() - start
        self.rested = rest()
        return seconds, y

    def output(self) -> peers.Result:
        """Return what the engine computes now."""
        result = self.run()
        return {name: np.array(y) for name, y in result.items()} if isinstance(result, dict) else np.array(result)

    def turn(self, calls: int, warm: int) -> tuple[list[float], float]:
        """Make some calls; return their seconds, and the processor time used since the last turn's end."""
        idle = time.process_time() - self.rested
        for _ in range(warm):
            self.run()
        seconds = []
        for _ in range(calls):
            start = time.perf_counter()
            self.run()
            seconds.append(time.perf_counter() - start)
        self.rested = rest()
        return seconds, idle


class Limit(Contestant):
    """The machine's FMA peak, which takes part in the rounds like an engine."""

    def build(self, network: Network, batch: int) -> tuple[float, Any]:
        """Compile the loop; return the seconds and the FLOPs of one call. The network plays no part."""
        start = time.perf_counter()
        burst = machine.fma_burst("float32", self.threads)
        self.run, self.rested = burst.run, time.process_time()
        return time.perf_counter() - start, burst.amount


def tolerance(network: Network) -> float:
    """Return how far two right results may lie apart, as a share of the largest output.

    A sum of n float32 products in another order differs by about sqrt(n) roundings; the layers' differences
    add up. Eight times that leaves room for the unlucky output, and is far below what any mistake would make.
    """
    lengths = [np.prod(v.layer.spec.weight_shape[:3]) for v in walk(network) if isinstance(v.layer, Conv)]
    lengths += [v.layer.in_features for v in walk(network) if isinstance(v.layer, Dense)]
    return float(8 * np.finfo(np.float32).eps * np.sqrt(lengths).sum())


def check(engine: str, network: Network, y: peers.Result, reference: peers.Result) -> float:
    """Return the largest difference as a share of the largest output, each output by itself; raise if it is no rounding."""
    if isinstance(y, dict) or isinstance(reference, dict):
        theirs, ours = (list(outputs) if isinstance(outputs, dict) else ["one"] for outputs in (y, reference))
        if not (isinstance(y, dict) and isinstance(reference, dict) and theirs == ours):
            raise RuntimeError(f"{engine} must give the outputs {', '.join(ours)} on {network.name}: it gives {', '.join(theirs)}")
        return max(check(engine, network, y[name], reference[name]) for name in reference)
    if y.shape != reference.shape:
        raise RuntimeError(f"{engine} must give {reference.shape} on {network.name}: it gives {y.shape}")
    difference = float(np.abs(y - reference).max() / np.abs(reference).max())
    if not difference <= tolerance(network):
        raise RuntimeError(
            f"{engine} must agree before it is timed: on {network.name} it differs by {difference:.1e} of the largest output"
        )
    return difference


def reference(network: Network, batch: int) -> peers.Result:
    """Return what convlab's unfused forward pass computes, on im2col."""
    return random_model(network)(pictures(network, batch), kernel="im2col")


@dataclass
class Match:
    """Engines on one network: their turns, how far they differ from the reference, and the FMA rate of the same rounds, FLOP/s.

    `peak` is the loop's best call, `typical` its median: on a quiet machine with a steady clock they are the same.
    """

    turns: dict[str, Turns]
    differences: dict[str, float]
    peak: float
    typical: float


def record(name: str, network: Network, batch: int, threads: int, match: Match) -> dict[str, Any]:
    """Return a match for JSON."""
    return {
        "network": name,
        "batch": batch,
        "threads": threads,
        "macs": cost(network).macs,
        "fma_peak": match.peak,
        "fma_typical": match.typical,
        "tolerance": tolerance(network),
        "differences": match.differences,
        "engines": {engine: turns.record() for engine, turns in match.turns.items()},
    }


class Arena:
    """The workers of some engines, kept for one network after another.

    Use it as a context manager; leaving it ends the processes.
    """

    def __init__(self, engines: Sequence[str], threads: int) -> None:
        self.workers: dict[str, Worker] = {}
        for engine in engines:
            self.workers[engine] = Worker(Contestant, engine, threads, threads=threads)
        self.workers[PEAK] = Worker(Limit, PEAK, threads, threads=threads)

    def __enter__(self) -> Arena:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.stop()

    def match(self, network: Network, batch: int, rounds: int, turn_seconds: float) -> Match:
        """Build, compare, time in turns of about `turn_seconds` each, and compare again."""
        turns, differences, amount = {}, {}, 0
        expected = reference(network, batch)
        for name, worker in self.workers.items():
            step(f"{network.name} batch {batch}: building {name}")
            seconds, result = worker.call("build", network, batch)
            turns[name] = Turns(build=seconds)
            if name == PEAK:
                amount = result
            else:
                differences[name] = check(name, network, result, expected)
        calls = {}
        for name, worker in self.workers.items():
            seconds, _ = worker.call("turn", 3, 1)
            calls[name] = max(1, round(turn_seconds / min(seconds)))
        names = list(self.workers)
        for i in range(rounds):
            step(f"{network.name} batch {batch}: round {i + 1} of {rounds}")
            for name in names[i % len(names) :] + names[: i % len(names)]:  # each round begins with another
                seconds, idle = self.workers[name].call("turn", calls[name], max(1, calls[name] // 10))
                turns[name].seconds.append(seconds)
                turns[name].idle_cpu += idle
        for name in differences:  # an engine that went wrong meanwhile timed something else
            check(name, network, self.workers[name].call("output"), expected)
        step("")
        peak = turns.pop(PEAK)
        return Match(turns, differences, amount / peak.minimum, amount / peak.median)


def step(text: str) -> None:
    """Show what is going on, in place on a terminal and line by line elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)
