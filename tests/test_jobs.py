"""D5, E3, G4: what jobs do to the process that runs them, and that it stays a worker all the same."""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Fleet, Recorder, Server
from helpers import event, raising
from nodes import eventually
from processes import Site
from threads import Loops

from redbike import Redbike, RoundRobin
from redbike.engine.waiting import WakeChannel
from redbike.errors import WorkerError
from redbike.logs import RateLimitedLog

MISCHIEF = """
import asyncio
import os
import signal
import sys
import time

from workers import Scribe


class Mischief(Scribe):
    def work(self, jobid):
        getattr(self, jobid.partition(":")[0])()
        self.note("end", jobid)

    def good(self):
        pass

    def forks(self):
        if os.fork() == 0:
            self.note("child", "-")
            sys.exit(0)

    def ignores(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def loops(self):
        async def main():
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
        asyncio.run(main())

    def blocks(self):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

    def closes(self):
        sys.stdout.close()

    def silences(self):
        sys.stderr.close()

    def breaks(self):
        sys.stderr.close()
        raise ValueError
"""


@pytest.fixture
def site(server: Server, prefix: str, tmp_path: Path, fleet: Fleet) -> Iterator[Site]:
    del fleet  # it removes the keys of the prefix
    (tmp_path / "mischief.py").write_text(MISCHIEF)
    with Site(tmp_path, server, prefix) as site:
        yield site


# forks


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        (lambda: sys.exit(0), 0),
        (lambda: sys.exit(7), 7),
        (lambda: None, 0),
        (raising(ValueError("v")), 1),
        (raising(KeyboardInterrupt()), 1),
        (raising(SystemExit("a word")), 1),
    ],
)
def test_a_child_that_a_job_forks_is_no_worker(
    halted: Redbike, worker: Recorder, ends: Callable[[], object], code: int
) -> None:
    """D5: a child that a job forked writes nothing to Redis and runs no other job, however it ends."""
    children = []

    def act() -> None:
        child = os.fork()
        if child == 0:
            ends()
        else:
            children.append(os.waitpid(child, 0)[1])

    worker.acts["j:A"] = act
    halted.set("j:A", "CONTINUE")
    halted.work()
    assert [os.waitstatus_to_exitcode(status) for status in children] == [code]
    assert (event(halted, "j:A"), halted.is_working("j:A")) == ("ENQ", False)
    assert worker.done == ["j:A"]


def test_no_second_worker_is_left(site: Site, fleet: Fleet) -> None:
    """D5: a worker whose jobs fork ends at TERM, and leaves no process behind."""
    bike = fleet()
    worker = site.start_idle("work", "mischief:Mischief('A')")
    bike.set("forks:A", "NOW")
    eventually(lambda: {"end", "child"} <= {note[0] for note in site.notes()})
    eventually(lambda: event(bike, "forks:A") == "STP")
    worker.terminate()
    assert worker.wait(10) == 0
    [child] = [int(note[2]) for note in site.notes() if note[0] == "child"]
    assert child != worker.pid
    eventually(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text())


def test_a_redbike_is_usable_in_a_child_of_the_user(fleet: Fleet) -> None:
    """H: a process that the user forks may work, because only children of a job are ended."""
    worker = Recorder()
    bike = fleet(worker)
    bike.control("HALT")
    bike.set("j:A", "NOW")
    child = os.fork()
    if child == 0:
        bike.work()
        os._exit(0 if worker.done == ["j:A"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# work that never runs


class Yields(RoundRobin):
    def work(self, jobid: str) -> object:
        yield jobid


class AsyncYields(RoundRobin):
    async def work(self, jobid: str) -> object:  # type: ignore[override]
        yield jobid


class AsyncNames(RoundRobin):
    async def queue_names(self) -> list[str]:  # type: ignore[override]
        return []


@pytest.mark.parametrize("loop", ["work", "dispatch"])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Yields, r"Yields: work\(\) has a yield"),
        (AsyncYields, r"work\(\) has a yield"),
        (AsyncNames, r"queue_names\(\) is async"),
    ],
)
def test_methods_that_a_call_does_not_run_are_refused(
    fleet: Fleet, kind: type[RoundRobin], said: str, loop: str
) -> None:
    """D10: a worker whose methods a call does not run is an error at the start, and no job is lost."""
    with (
        Redbike(kind("A"), redis_config=fleet.server.config, timefile=fleet.folder / "t") as bike,
        pytest.raises(WorkerError, match=said),
    ):
        getattr(bike, loop)()


async def _later() -> None: ...


def _future() -> object:
    loop = asyncio.new_event_loop()
    try:
        return loop.create_future()
    finally:
        loop.close()


@pytest.mark.parametrize("result", [_later, lambda: (i for i in ()), _future])
def test_a_result_that_would_have_to_be_run_is_die(
    halted: Redbike, worker: Recorder, result: Callable[[], object], caplog: pytest.LogCaptureFixture
) -> None:
    """D5: a job whose work() returns an awaitable or a generator has not run: it is `DIE`, and one line says why."""
    worker.acts["j:A"] = result
    halted.set("j:A", "CONTINUE")
    halted.work()
    assert event(halted, "j:A") == "DIE"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "which nobody runs" in caplog.text


# exceptions that are not an Exception


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), GeneratorExit(), KeyboardInterrupt(), BaseException("b"), SystemExit(3)]
)
def test_no_exception_of_a_job_ends_the_worker(
    halted: Redbike, worker: Recorder, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """D5: any exception of a job makes it `DIE` with its traceback, and the next job runs."""
    worker.acts["bad:A"] = raising(error)
    halted.set("bad:A", "CONTINUE")
    halted.set("good:A", "NOW")
    halted.work()
    halted.work()
    assert worker.done == ["bad:A", "good:A"]
    assert event(halted, "bad:A") == "DIE"
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_an_interruption_leaves_its_traceback(
    halted: Redbike, worker: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """D5: an interruption by a signal also leaves its traceback, and the previous handler is restored."""
    before = signal.getsignal(signal.SIGINT)
    worker.acts["j:A"] = lambda: signal.raise_signal(signal.SIGINT)
    halted.set("j:A", "NOW")
    with pytest.raises(KeyboardInterrupt):
        halted.work()
    assert [record.exc_info is not None for record in caplog.records] == [True]
    assert signal.getsignal(signal.SIGINT) is before


# signals


@pytest.mark.parametrize("job", ["ignores", "loops", "blocks"])
def test_signal_handlers_outlive_jobs(site: Site, fleet: Fleet, job: str) -> None:
    """E3: a job may replace, remove or block the handling of TERM: after it TERM ends the worker with 0 as before."""
    bike = fleet()
    worker = site.start_idle("work", "mischief:Mischief('A')")
    for number in range(2):
        bike.set(f"{job}:{number}:A", "NOW")
    eventually(lambda: len(site.runs()) == 2)
    eventually(lambda: event(bike, f"{job}:1:A") == "STP")
    worker.terminate()
    assert worker.wait(10) == 0
    assert site.stderr_of(worker).count("SIGTERM") == 1


def test_the_handlers_of_an_application_outlive_jobs(halted: Redbike, worker: Recorder) -> None:
    """E3: the same holds for the handlers of an application that calls work() in its main thread."""
    came: list[int] = []
    former = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        worker.acts["j:A"] = lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL)
        halted.set("j:A", "NOW")
        halted.work()
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, former)
    assert came == [signal.SIGTERM]


# streams


def test_a_job_may_close_the_streams(site: Site, fleet: Fleet) -> None:
    """G4: a worker whose job closed stdout or stderr runs the next jobs, and ends with 0 and without a traceback."""
    bike = fleet()
    worker = site.start_idle("work", "mischief:Mischief('A')")
    for jobid in ("closes:A", "breaks:A", "breaks:again:A", "good:A"):
        bike.set(jobid, "NOW")
    eventually(lambda: event(bike, "good:A") == "STP")
    worker.terminate()
    assert worker.wait(10) == 0
    assert "Traceback" not in site.stderr_of(worker)


# loops and threads


@pytest.mark.parametrize("kind", ["work", "dispatch"])
@pytest.mark.parametrize("schedule", ["STOP", "CONTINUE"])
def test_close_ends_the_loops_of_other_threads(
    loops: Loops, kind: str, schedule: str, caplog: pytest.LogCaptureFixture
) -> None:
    """H: `close()` during `work()` or `dispatch()` in another thread ends these after the running job."""
    worker = Recorder()
    worker.acts["j:A"] = lambda: time.sleep(0.05)
    loop = getattr(loops, kind)(worker)
    loop.bike.set("j:A", schedule)
    eventually(lambda: loop.bike.redis.client_list(_type="pubsub") if kind == "dispatch" else True)
    eventually(lambda: bool(worker.done) or schedule == "STOP" or kind == "dispatch")
    loop.bike.close()
    loop.join()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not loop.bike.is_working("j:A")


def test_interrupting_the_wait_of_another_thread_does_no_harm(loops: Loops) -> None:
    """H: `interrupt()` from another thread than the waiting thread raises nothing."""
    loop = loops.work()
    eventually(lambda: any(client["cmd"] == "blpop" for client in loop.bike.redis.client_list()))
    loop.bike.interruptible_wait.interrupt()
    assert loop.is_running()


def test_a_time_beyond_all_times(fleet: Fleet) -> None:
    """C1: `dispatch(after=…)` far beyond the year 10000 does its pass and goes on, also while a due job runs."""
    bike = fleet()
    bike.set("j:A", "CONTINUE")
    next(bike.consumer)
    bike.redis.zadd(bike.timeline_key, {"j:A": 1})
    stop = threading.Event()
    other = fleet(stop_event=stop)
    thread = threading.Thread(target=lambda: other.dispatch(after=1e19), daemon=True)
    thread.start()
    try:
        eventually(lambda: Path(other.timefile).exists())
        assert 1 < (bike.tell("j:A")["next_run"] or 0) < 1e12
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


def test_a_flood_of_wake_up_calls_is_taken_in_pieces(bike: Redbike) -> None:
    """H: one wait reads a limited number of calls: a program that publishes fast does not hold up a dispatcher."""
    channel = f"{bike.prefix}-wake"
    calls = WakeChannel(bike.redis, channel, RateLimitedLog(bike.log))
    calls.subscribe()
    try:
        for _ in range(1000):
            bike.redis.publish(channel, "")
        waits = 0
        while calls.wait(0.2):
            waits += 1
        assert 2 <= waits <= 10
    finally:
        calls.close()
