"""What the benchmark scripts have in common: their options, and the JSON files they leave."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import convlab
from convlab import machine

from . import peers

HERE = Path(__file__).parent
RESULTS = HERE / "results"
TRIAL = HERE.parent / "runs" / "quick"


def options(description: str | None, **more: Any) -> argparse.Namespace:
    """Read the command line: `--quick`, `--out`, and a script's own options (name -> arguments of `add_argument`)."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a trial: little of everything, into runs/quick; its numbers say nothing")
    parser.add_argument("--out", type=Path, help="folder for JSON and pictures (benchmarks/results)")
    for name, arguments in more.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **arguments)
    chosen = parser.parse_args()
    chosen.out = chosen.out or (TRIAL if chosen.quick else RESULTS)
    return chosen


def header(quick: bool) -> dict[str, Any]:
    """Return what a reader must know about a run: machine, versions, date, how busy the machine was."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "quick": quick,
        "load_at_start": list(os.getloadavg()),
        "convlab": convlab.__version__,
        "machine": asdict(machine.describe(*peers.PACKAGES)),
    }


def save(folder: Path, name: str, record: dict[str, Any]) -> Path:
    """Write a record as `name`.json. Called after every part, so that a broken run leaves what it had."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return path


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the records of a folder, name -> record."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
