"""Importing convlab is cheap: nothing heavy loads before it is used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import convlab as cl

HEAVY = ["numba", "llvmlite", "rich", "PIL", "matplotlib", "safetensors", "hypothesis", "torch"]


def loaded_after(code: str) -> set[str]:
    """Run code in a fresh interpreter and return which packages it has loaded."""
    code += "\nimport json, sys\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return set(json.loads(ran.stdout.splitlines()[-1]))


RUNNING = """
import convlab as cl, numpy as np
for kernel in ("naive", "im2col"):
    cl.conv2d(np.ones((4, 4, 2)), np.ones((3, 3, 2, 2)), kernel=kernel)
    cl.depthwise_conv2d(np.ones((4, 4, 2)), np.ones((3, 3, 2)), kernel=kernel)
    cl.pointwise_conv2d(np.ones((4, 4, 2)), np.ones((2, 3)), kernel=kernel)
    cl.conv2d(np.ones((4, 4, 4)), np.ones((3, 3, 2, 4)), groups=2, kernel=kernel)
cl.Model.random(cl.mobilenet_v1(0.25, 32, classes=3))(np.zeros((32, 32, 3)), kernel="im2col")
"""
COUNTING = "import convlab as cl; cl.cost(cl.mobilenet_v2()); str(cl.summary(cl.mobilenet_v1()))"


@pytest.mark.parametrize("code", ["import convlab", COUNTING, RUNNING], ids=["import", "counting", "naive and im2col"])
def test_nothing_heavy_is_loaded(code: str) -> None:
    assert loaded_after(code) & set(HEAVY) == set()


def test_a_compiled_kernel_loads_numba() -> None:
    """The counter-test: the measurement above would see it."""
    code = "import convlab as cl, numpy as np; cl.conv2d(np.ones((4, 4, 2)), np.ones((3, 3, 2, 2)), kernel='jit')"
    assert "numba" in loaded_after(code)


def test_importing_prints_and_warns_nothing() -> None:
    ran = subprocess.run([sys.executable, "-W", "error", "-c", "import convlab"], capture_output=True, text=True, check=False, timeout=120)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_all_names_what_there_is() -> None:
    import convlab

    assert sorted(set(convlab.__all__)) == sorted(convlab.__all__)
    assert [name for name in convlab.__all__ if not hasattr(convlab, name)] == []


def test_dir_shows_what_is_for_use_and_nothing_else():
    assert sorted([*cl.__all__, "__version__"]) == dir(cl)
