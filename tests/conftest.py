"""What every test shares: Hypothesis profiles, ``--no-skips`` and the path of the shared data.

``pytest --hypothesis-profile=ci`` (or the variable CI) draws more examples; ``pytest --no-skips`` fails where a
test would be skipped, so that a run can prove that no oracle was absent.
"""

import ctypes
import os
import shutil
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


QUIET = ["gpu", "quic", "background-networking", "component-update", "sync"]


@pytest.fixture(scope="module")  # not longer: while Playwright runs, its event loop is in other tests' way
def browser():
    """Return Debian's Chromium, driven by Playwright, whose own browsers are not used."""
    playwright = pytest.importorskip("playwright.sync_api", reason="driving a browser needs Playwright: pip install playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is absent: apt-get install chromium")
    with playwright.sync_playwright() as p:
        options = ["--no-sandbox", "--no-first-run", *(f"--disable-{what}" for what in QUIET)]
        started = p.chromium.launch(executable_path=chromium, args=options)
        yield started
        started.close()


@pytest.fixture
def tab(browser):
    """Return a function that opens a file; at the end nothing may have been complained of nor loaded from elsewhere."""
    opened, wrong = [], []

    def open_(path=None, clock=False, **options):
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 1000}, **options})
        opened.append(context)
        view = context.new_page()
        view.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        view.on("pageerror", lambda error: wrong.append(str(error)))
        view.on("request", lambda request: wrong.append(request.url) if not request.url.startswith(("file:", "data:")) else None)
        if clock:
            view.clock.install(time=0)
        view.goto(path.as_uri() if path else "about:blank")
        if clock:
            view.clock.pause_at(3600)  # seconds: from now on time passes only where a test says so, however busy the machine is
        return view

    yield open_
    for context in opened:
        context.close()
    assert wrong == []


OTHER_MACHINES = {
    "generic": ({"NUMBA_CPU_NAME": "generic"}, 16),
    "haswell": ({"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}, 32),
    "skylake-avx512": ({"NUMBA_CPU_NAME": "skylake-avx512", "NUMBA_CPU_FEATURES": ""}, 64),
}
"""Variables that tell Numba that the machine is another, and the bytes of its vectors."""


@pytest.fixture(scope="session")
def other_machine(tmp_path_factory):
    """Return a function name -> environment, bytes of a vector, that keeps the code for each machine in one place for all tests."""
    from convlab.machinecode.vectors import VECTOR

    caches = {}

    def environment(name):
        variables, vector = OTHER_MACHINES[name]
        if os.uname().machine != "x86_64" or vector > VECTOR:
            pytest.skip(f"this machine cannot run code for {name}")
        if name not in caches:
            caches[name] = tmp_path_factory.mktemp(name)
        path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        return {**os.environ, **variables, "NUMBA_CACHE_DIR": str(caches[name]), "PYTHONPATH": path}, vector

    return environment
