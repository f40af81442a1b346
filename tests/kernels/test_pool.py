"""The pool: workers that join a call awake and asleep, that come late, that are wanted elsewhere, that fail; and how many there are."""

import ctypes
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from convlab import machine
from convlab.machinecode import threads
from convlab.machinecode.atomics import add, function_of_jobs, look, nap, wait
from convlab.machinecode.inline import JIT
from convlab.machinecode.memory import get

compiled = pytest.mark.skipif(not JIT, reason="without the JIT nobody helps: Python runs one thread at a time")


WORKERS, GATE, CALLS = 1, 2, 3
"""A job: what fails; the workers it waits for; whether its gate is open; how often the caller, worker 1, 2 ... came."""


def _count(job, thread):
    """Count this thread in. The caller waits a while for the workers that the job wants, and all until its gate is open."""
    calls = job + 8 * CALLS
    add(calls + 8 * thread)
    for worker in range(1, get(job + 8 * WORKERS) + 1 if thread == 0 else 0):
        looks = 0
        while look(calls + 8 * worker) == 0 and looks < 1000:
            nap()
            looks += 1
    wait(job + 8 * GATE, 1)


def meet(work, mine):
    """Call until all workers that the job wants have come: one that falls asleep as it is called comes to the next call."""
    workers = mine[WORKERS]
    for _ in range(20):
        mine[CALLS:] = 0
        threads.together(work, mine.ctypes.data, workers)
        if (mine[CALLS + 1 :][:workers] == 1).all():
            return
    raise AssertionError("they never all came")


@pytest.fixture(scope="module")
def work():
    return function_of_jobs(_count)


@pytest.fixture
def pool(monkeypatch):
    """A pool of the test's own, so that its workers begin absent."""
    monkeypatch.setattr(threads, "_pools", {})
    pool = threads.pool()
    yield pool
    pool.rest()


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.001)


def job(workers, gate=1, room=3):
    return np.array([0, workers, gate] + [0] * room)


@compiled
def test_workers_join_every_call_once_whether_they_are_absent_asleep_or_watching(pool, work):
    mine = job(2)
    for calls in range(200):
        meet(work, mine)
        assert_array_equal(mine[CALLS:], 1)
        if calls % 50 == 0:
            until(lambda: pool.states() == [threads.ASLEEP] * 2)  # out of patience


@compiled
def test_fewer_workers_than_there_are(pool, work):
    both, one = job(2), job(1)
    meet(work, both)
    meet(work, one)
    assert_array_equal(one[CALLS:], [1, 1, 0])


@compiled
def test_who_has_begun_is_waited_for_and_who_has_not_is_not(pool, work):
    """The worker is at its gate when the caller has come through; with all workers busy elsewhere there is nobody to wait for."""
    mine = job(1)
    meet(work, mine)
    mine[GATE] = 0
    opened = threading.Timer(0.05, lambda: ctypes.c_int64.from_address(mine.ctypes.data + 8 * GATE).__setattr__("value", 1))
    opened.start()
    threads.together(work, mine.ctypes.data, 1)
    assert threads.WORKING not in pool.states()
    gate, alone = threading.Event(), job(0)
    pool.send(gate.wait, 1)
    until(lambda: pool.states() == [threads.ASLEEP])
    threads.together(work, alone.ctypes.data, 1)  # would wait for ever
    gate.set()
    pool.wake(1)
    time.sleep(0.05)
    until(lambda: pool.states() == [threads.ASLEEP])  # after a look round
    assert_array_equal(alone[CALLS:], [1, 0, 0])  # the call was closed when the worker came


@compiled
def test_one_call_at_a_time_has_them(pool, work):
    mine, other = job(1, gate=0), job(0)
    holder = threading.Thread(target=threads.together, args=(work, mine.ctypes.data, 1))
    holder.start()
    until(lambda: pool.wake(1) or mine[CALLS + 1] == 1)  # it may have looked and fallen asleep before the call was open
    assert threads.available(1) == 0
    threads.together(work, other.ctypes.data, 1)
    assert_array_equal(other[CALLS:], [1, 0, 0])
    mine[GATE] = 1
    holder.join()
    assert threads.available(5) == min(5, threads.cores() - 1)
    assert threads.available(0) == 0


@compiled
def test_a_watching_worker_makes_way_for_a_function_of_python(pool, work):
    mine = job(1)
    for _ in range(20):
        meet(work, mine)
        done = threading.Event()
        pool.send(done.set, 1)
        assert done.wait(60)


def test_parts_are_shared_and_each_is_done_once(pool):
    start, seen = threading.Barrier(3 if JIT else 1), []

    def part(number):
        start.wait(60)  # passed only by several threads at once
        seen.append(number)

    threads.share(part, [(0,), (1,), (2,)])
    assert sorted(seen) == [0, 1, 2]


@pytest.mark.parametrize("where", ["caller", "worker"])
def test_what_a_part_raises_is_raised_by_the_call(pool, where):
    caller = threading.get_ident()

    def part(number):
        if JIT and where == "worker" and threading.get_ident() == caller:
            until(lambda: failed)
            return
        failed.append(number)
        raise ArithmeticError(f"part {number}")

    failed = []
    with pytest.raises(ArithmeticError, match=r"part [01]"):
        threads.share(part, [(0,), (1,)])
    seen = []
    threads.share(seen.append, [(0,), (1,)])
    assert sorted(seen) == [0, 1]


def _fail(job, thread):
    """Count this thread in, the caller waits a while for the worker; then raise if the job says so for this thread."""
    add(job + 16 + 8 * thread)
    looks = 0
    while look(job + 24) < get(job + 8) and looks < 10_000:
        nap()
        looks += 1
    if get(job + 32 + 8 * thread) != 0:
        raise ArithmeticError("as the job says")


@pytest.mark.parametrize("fails", [0, pytest.param(1, marks=compiled)], ids=["caller", "worker"])
@pytest.mark.parametrize("workers", [0, 1])
def test_what_compiled_work_raises_is_raised_by_the_call(pool, workers, fails):
    work = function_of_jobs(_fail)
    mine = np.array([0, workers if JIT else 0, 0, 0, fails == 0, fails == 1])

    def often():
        for _ in range(20):  # a worker that falls asleep as it is called comes to the next call
            threads.together(work, mine.ctypes.data, workers)

    if workers >= fails:
        with pytest.raises(ArithmeticError, match="as the job says"):
            often()
    mine[4:] = 0
    threads.together(work, mine.ctypes.data, workers)  # the next call knows nothing of it


@compiled
def test_where_no_thread_can_be_started_the_caller_works_alone(pool, work, monkeypatch):
    def refuse(*args):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads._thread, "start_new_thread", refuse)
    mine, seen = job(0), []
    threads.together(work, mine.ctypes.data, 2)
    assert_array_equal(mine[CALLS:], [1, 0, 0])
    threads.share(seen.append, [(0,), (1,)])
    assert seen == [0, 1]


def test_slots_stand_on_lines_of_their_own(pool):
    assert pool.address % threads.LINE == 0
    assert pool._words.strides[0] == threads.LINE


def cores(**environment):
    command = [
        sys.executable,
        "-c",
        "from convlab import machine; from convlab.machinecode import threads; print(machine.cores(), threads.cores())",
    ]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=300, check=True).stdout.split()


def test_one_rule_says_how_many_threads_are_of_use():
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    assert cores(NUMBA_NUM_THREADS="1") == ["1", "1"]
    assert cores(NUMBA_NUM_THREADS="100") == [str(machine.cores())] * 2
    assert 1 <= machine.cores() <= allowed


@pytest.mark.parametrize(
    ("names", "files", "share"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, np.inf),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "300000 100000\n"}, 2),
        ("0::/not/shown/inside\n", {"cpu.max": "50000 100000\n"}, 0.5),
        (
            "4:cpu,cpuacct:/a\n1:name=systemd:/a\n",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "-1", "cpu,cpuacct/a/cpu.cfs_period_us": "100000"},
            np.inf,
        ),
        ("4:cpu,cpuacct:/a\n0::/\n", {"cpu,cpuacct/a/cpu.cfs_quota_us": "400000", "cpu,cpuacct/a/cpu.cfs_period_us": "100000"}, 4),
        ("0::/\n", {"cpu.max": "strange\n"}, np.inf),
        ("0::/\n", {}, np.inf),
    ],
)
def test_a_containers_share_is_read(tmp_path, names, files, share):
    (tmp_path / "own").write_text(names)
    for name, text in files.items():
        file = tmp_path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert threads.read_quota(tmp_path / "groups", tmp_path / "own") == share
    assert threads.read_quota(tmp_path / "groups", Path(tmp_path / "absent")) == np.inf


def test_a_container_with_a_share_of_the_machine_has_as_many_threads(monkeypatch):
    monkeypatch.setattr(threads, "_quota", [0.5])
    assert machine.cores() == 1
    monkeypatch.setattr(threads, "_quota", [1.5])
    assert machine.cores() == min(2, os.cpu_count())
