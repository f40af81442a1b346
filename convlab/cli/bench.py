"""`convlab bench`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from .. import files, machine
from ..bench import LAYERS, Benchmark, bench, bench_networks, rate
from ..forward import Model
from ..mobilenet import NETWORKS
from ..tables import Table
from ..terminal import show, waiting
from .reading import Commands, add_command, refusals


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "bench",
        "how fast the kernels or the networks are here",
        "Verify, then time: every kernel of the ladder on one layer of each kind, or the compiled plans of MobileNet V1 and V2,\n"
        "on one thread and on all cores. The machine's peak is measured in the same run. Close other programs first.",
        "examples:\n  convlab bench kernels --plot roofline.png\n  convlab bench networks --json networks.json",
    )
    parser.add_argument("what", choices=("kernels", "networks"), help="what to time")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the results here too")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw them: kernels under the machine's roofline, networks as bars")
    parser.set_defaults(run=run)


PLOTS = (".png", ".svg", ".pdf")


def run(arguments: argparse.Namespace, out: Console, err: Console) -> int:
    with refusals():  # what cannot be written is refused before the wait
        if arguments.plot is not None:
            from .. import figures
            from ..machinecode.inline import JIT

            if arguments.plot.suffix not in PLOTS:
                raise ValueError(f"a plot is saved as {', '.join(PLOTS)}: {arguments.plot}")
            if arguments.what == "kernels" and not JIT:
                raise ValueError("a roofline needs the machine's peaks, which compiled loops measure: NUMBA_DISABLE_JIT must not be set")
        for file in filter(None, (arguments.json, arguments.plot)):
            files.check_writable(file)
    if arguments.what == "kernels":
        results = []
        for kind, spec in LAYERS.items():
            with waiting(err, f"compiling, verifying and timing the kernels: {kind}"):
                results.append(bench(spec=spec))
            _show_result(out, results[-1].table)
        where, bandwidth = results[0].machine, None
        if all(result.peak for result in results):  # without the JIT there is none
            with waiting(err, "measuring the memory"):
                bandwidth = machine.bandwidth(where.cores)
            _show_roof(out, results, bandwidth)
        records = [{**result.to_dict(), "bandwidth": bandwidth} for result in results]
        if arguments.plot is not None:
            assert bandwidth is not None, "refused above"
            figure = figures.roofline(*results, peak=max(result.peak or 0.0 for result in results), bandwidth=bandwidth)
    else:
        with waiting(err, "compiling, verifying and timing the plans"):
            result = bench_networks(*(Model.random(build()) for build in NETWORKS.values()))
        _show_result(out, result.table)
        where, records = result.machine, [result.to_dict()]
        if arguments.plot is not None:
            figure = figures.plans(result)
    out.print(f"{where.cpu}, {where.cores} cores, BLAS: {where.blas}", style="dim", soft_wrap=True)
    with refusals():
        if arguments.json is not None:
            files.write_json(arguments.json, records)
        if arguments.plot is not None:
            files.write(arguments.plot, lambda file: figure.savefig(file, format=arguments.plot.suffix[1:]))
    return 0


def _show_roof(out: Console, results: Sequence[Benchmark], bandwidth: float) -> None:
    """Print what the machine can do, and on which side of its ridge the layers lie."""
    peak = max(result.peak or 0.0 for result in results)
    least, *_, most = sorted(timing.intensity for result in results for timing in result.timings)
    out.print(
        f"peak {rate(peak)}FLOP/s, memory {rate(bandwidth)}B/s: below {peak / bandwidth:.1f} FLOPs a byte memory sets the pace;"
        f" these layers have {least:.1f} to {most:.1f}",
        soft_wrap=True,
    )


def _show_result(out: Console, table: Table) -> None:
    out.print(table.title, style="bold")
    out.print()
    show(out, table)
    out.print()
