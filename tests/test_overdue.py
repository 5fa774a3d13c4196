"""What the log says of runs that exceed their timeout or fail, and when it says so."""

import logging
import re
import threading
import time
from typing import Any

import pytest
from conftest import Fleet, Recorder
from helpers import raising
from nodes import eventually
from threads import Loops

from redbike import RoundRobin
from redbike.engine.outcome import TakenRun
from redbike.engine.watchdog import Watchdog

JOB = "j:A"
THEN = {
    "drop": r"unless it was set meanwhile, the job does not run again \(on-timeout: drop\); see `redbike lost`",
    "retry": "on-timeout: retry decides what comes next",
}


@pytest.mark.parametrize("choice", THEN)
def test_a_run_is_reported_when_it_exceeds_its_timeout(
    fleet: Fleet, loops: Loops, caplog: pytest.LogCaptureFixture, choice: str
) -> None:
    """D6: the worker says at the timeout how long the run has taken, what follows, and which setting to change."""
    worker, end = Recorder(), threading.Event()
    worker.acts[JOB] = lambda: end.wait(20) and None
    settings: dict[str, Any] = {"default_timeout": 0.3, "on_timeout": choice}
    loop = loops.work(worker, **settings)
    fleet(**settings).set(JOB, "AT:1")
    loops.dispatch(**settings)
    said = rf"job 'j:A' has taken 0\.\d+ s, its timeout is 0.3 s: the run counts as lost, and {THEN[choice]}\."
    eventually(lambda: any(re.match(said, message) for message in caplog.messages))
    assert not end.is_set(), "the run goes on"
    loop.tell()
    end.set()
    loop.join()
    warnings = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING and "took" in one.message]
    assert not warnings, "the end is no second warning"
    assert sum(bool(re.match(said, message)) for message in caplog.messages) == 1


@pytest.mark.parametrize("choice", ["drop", "retry"])
def test_a_run_that_fails_says_what_follows(
    fleet: Fleet, loops: Loops, caplog: pytest.LogCaptureFixture, choice: str
) -> None:
    """D5: the line of a job that died says what becomes of it, and names the setting."""
    worker = Recorder()
    worker.acts[JOB] = raising(RuntimeError("no"))
    loops.work(worker, on_error=choice)
    fleet().set(JOB, "NOW")
    then = THEN[choice].replace("on-timeout", "on-error")
    eventually(lambda: any(re.match(f"job 'j:A' died: {then}", message) for message in caplog.messages))


def run(timeout_s: float) -> TakenRun:
    return TakenRun("j:A", "tag", "q", None, 0.0, time.monotonic(), timeout_s)


def test_an_idle_worker_reports_nothing(fleet: Fleet, loops: Loops, caplog: pytest.LogCaptureFixture) -> None:
    """D6: a run that ended in time is not reported later, while the worker is idle."""
    worker = Recorder()
    loops.work(worker, default_timeout=0.3)
    fleet().set(JOB, "NOW")
    eventually(lambda: worker.done)
    time.sleep(0.8)  # more than two timeouts
    assert not [message for message in caplog.messages if "counts as lost" in message]


def test_without_a_further_thread_a_worker_works(fleet: Fleet, loops: Loops, monkeypatch: pytest.MonkeyPatch) -> None:
    """D: where the system allows no further thread, jobs run all the same."""
    worker = Recorder()
    loops.work(worker)

    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    fleet().set(JOB, "NOW")
    eventually(lambda: worker.done)
    monkeypatch.undo()


def test_each_run_is_reported_once_and_short_runs_never() -> None:
    """Of several runs, also with different timeouts, those that exceed theirs are reported, each once."""
    reported: list[TakenRun] = []
    with Watchdog(0.05, reported.append) as watchdog:
        for _ in range(20):
            watchdog.watch(run(10))
            time.sleep(0.01)
        assert reported == []
        short = run(0.05)
        watchdog.watch(short)
        eventually(lambda: reported, 2)
        time.sleep(0.15)
    assert reported == [short]
    assert not [thread for thread in threading.enumerate() if thread.name == "watchdog of redbike"]


def test_a_loop_without_a_run_starts_no_thread(fleet: Fleet) -> None:
    """Under HALT, a call of `work` that finds nothing starts no thread."""
    bike = fleet(RoundRobin("A"))
    bike.control("HALT")
    bike.work()
    assert not [thread for thread in threading.enumerate() if thread.name == "watchdog of redbike"]
