"""Wrong files, as `fuzz.py` makes them: each is read rightly or refused in one line, without much time or memory."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COUNT = 1500 if os.environ.get("CI") else 80
"""Files of each kind."""


def test_no_file_ends_in_anything_but_an_answer_or_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for module in ("PIL", "rich", "safetensors"):
        pytest.importorskip(module, reason="wrong files need their readers")
    script = Path(__file__).with_name("fuzz.py")
    environment = {**os.environ, "PYTHONPATH": str(script.parents[2])}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), "0", str(COUNT)], capture_output=True, text=True, env=environment, timeout=3000
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found.pop("failed") == []
    kinds = {"npz", "detectors", "transformers", "pictures"}
    if importlib.util.find_spec("onnx") is not None:
        kinds.add("onnx")
        assert found.pop("right") == [0, ""]  # before it was changed
    assert set(found) == kinds
    for counted in found.values():
        assert counted["tried"] == COUNT == counted["read"] + counted["refused"]
        assert min(counted["read"], counted["refused"]) > 0
    with capsys.disabled():
        print(f"\nwrong files: {found}")
