"""Measure how long the first time takes: importing, compiling, the tour.

python -m benchmarks.startup            about three minutes on a quiet machine
python -m benchmarks.startup --quick    a trial

The tour needs the extra `lab`. Every measurement is a new Python process. "Cold" starts with an empty folder for Numba's
compiled code, as after an installation; "warm" is the same again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from statistics import median
from typing import Any

from . import report, results, rounds

STAGES = """
import json, time
clock = [time.perf_counter()]
import convlab
clock.append(time.perf_counter())
import numba
clock.append(time.perf_counter())
import numpy
network = convlab.mobilenet_v2()
model = convlab.Model.random(network)
x = numpy.zeros((1, *network.input), numpy.float32)
clock.append(time.perf_counter())
plan = model.compile(batch=1)
clock.append(time.perf_counter())
plan(x)
clock.append(time.perf_counter())
plan(x)
clock.append(time.perf_counter())
names = ("import convlab", "import numba", "make the model", "compile", "first call", "second call")
print(json.dumps(dict(zip(names, (b - a for a, b in zip(clock, clock[1:]))))))
"""


def python(*arguments: str, cache: str) -> tuple[float, str]:
    """Run Python with these arguments; return its seconds and its output. A failure is an error with its message."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"python {arguments[0]} {arguments[1].strip().splitlines()[0]} failed:\n{done.stderr}")
    return seconds, done.stdout


def main() -> None:
    """Measure everything a few times, write startup.json, print the targets."""
    chosen = results.options(__doc__, without_tour={"action": "store_true", "help": "leave `convlab tour` out"})
    seconds: dict[str, list[float]] = {}

    def note(what: str, value: float) -> None:
        seconds.setdefault(what, []).append(value)

    record: dict[str, Any] = {**results.header(chosen.quick)}
    times = 1 if chosen.quick else 5
    for i in range(times):
        with tempfile.TemporaryDirectory() as cache:
            rounds.step(f"{i + 1} of {times}: import")
            note("python", python("-c", "pass", cache=cache)[0])
            note("python, import numpy", python("-c", "import numpy", cache=cache)[0])
            note("python, import convlab", python("-c", "import convlab", cache=cache)[0])
            for state in ("cold", "warm"):
                rounds.step(f"{i + 1} of {times}: V2's plan, {state}")
                _, output = python("-c", STAGES, cache=cache)
                for stage, value in json.loads(output).items():
                    note(f"V2's plan, {state}: {stage}", value)
        if not chosen.without_tour:
            with tempfile.TemporaryDirectory() as cache:
                for state in ("first", "second"):
                    rounds.step(f"{i + 1} of {times}: {state} tour")
                    note(f"convlab tour, {state}", python("-m", "convlab", "tour", cache=cache)[0])
    rounds.step("")
    record["seconds"] = {what: {"minimum": min(values), "median": median(values)} for what, values in seconds.items()}
    path = results.save(chosen.out, "startup", record)
    print(report.startup_table(record))
    print()
    print(report.text(report.startup_targets(record)))
    print(f"\nwritten: {path}")


if __name__ == "__main__":
    main()
