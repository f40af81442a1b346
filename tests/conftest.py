"""What every test shares: Hypothesis profiles, ``--no-skips`` and the path of the shared data.

``pytest --hypothesis-profile=ci`` (or the variable CI) draws more examples; ``pytest --no-skips`` fails where a
test would be skipped, so that a run can prove that no oracle was absent.
"""

import ctypes
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # for the package `benchmarks`, which is not installed; last, so that an installed convlab is what is tested

# Before NumPy loads: BLAS threads that wait by spinning make small matrices many times slower on a busy machine.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# No deadline: a first call compiles. Derandomised: a red run is red again. `too_slow` judges the machine, not the test.
common = {"deadline": None, "derandomize": True, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=20, **common)
settings.register_profile("ci", max_examples=100, **common)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_addoption(parser):
    parser.addoption("--no-skips", action="store_true", help="fail every test that would be skipped")


def _refuse_skip(report, config):
    """Turn the report of a skip into a failure where no skips are wanted; an expected failure is none."""
    if config.getoption("--no-skips") and report.skipped and not hasattr(report, "wasxfail"):
        *_, reason = report.longrepr
        report.outcome, report.longrepr = "failed", f"{report.nodeid}: {reason} (--no-skips)"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return _refuse_skip((yield), item.config)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _refuse_skip((yield), collector.config)


@pytest.fixture(scope="session")
def shared():
    """Return the folder of real weights and pictures beside the repository."""
    path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the folder ../shared/data beside the repository is absent")
    return path


@pytest.fixture
def guarded():
    """Return a function that puts an array between two forbidden pages."""
    if not hasattr(ctypes.CDLL(None) if os.name == "posix" else object(), "mprotect"):
        pytest.skip("forbidding pages needs mprotect")
    from guard import Guarded

    made = []

    def guard(values):
        made.append(Guarded(values))
        return made[-1]

    yield guard
    for one in made:
        one.free()


@pytest.fixture(scope="module")
def many_cores():
    """Let plans have up to 8 threads, whatever this machine has: what they divide their work into must be right everywhere."""
    from convlab.machinecode import threads

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(threads, "cores", lambda: 8)
        yield
