"""Runs that go wrong in odd ways: exceptions that fail themselves, late replies, damaged entries."""

import asyncio
import signal
import threading
import time
from typing import Any

import pytest
from conftest import Fleet
from helpers import FUTURE, HOURLY, state_of, turns
from test_runs import JOB, Performer, raises

from redbike import Later, LeaseLost, Redbike, Run
from redbike.engine.coroutines import EventLoop


@pytest.fixture
def performer() -> Performer:
    return Performer()


@pytest.fixture
def bike(fleet: Fleet, performer: Performer) -> Redbike:
    """A halted prefix, so that each call of `work` is one turn."""
    bike = fleet(performer)
    bike.control("HALT")
    return bike


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class NoSeconds(Later):
    def __init__(self) -> None:  # does not call the base class
        pass


class OddSeconds(Later):
    def __init__(self) -> None:
        self.seconds = "soon"  # type: ignore[assignment]


@pytest.mark.parametrize(("error", "outcome"), [(NoText(), "failed"), (NoSeconds(), "later"), (OddSeconds(), "failed")])
def test_odd_exceptions(bike: Redbike, performer: Performer, error: Exception, outcome: str) -> None:
    """D5: an exception whose own methods fail, or that lacks its attributes, ends the run and not the worker."""
    performer.act = raises(error)
    bike.set(JOB, "CONTINUE")
    bike.work()
    assert [record.outcome for record in bike.get_history()] == [outcome]


def test_a_payload_for_a_run_that_was_lost(bike: Redbike, performer: Performer) -> None:
    """The payload of an enqueued run that had no end does not go to a later run."""
    bike.set(JOB, f"AT:{FUTURE}", payload="base")
    bike.enqueue(JOB, "once")
    next(bike.consumer)
    bike.redis.delete(f"{bike.queue_for(JOB)}-{JOB}")
    for _ in range(2):
        bike.enqueue(JOB)
        bike.work()
    assert [run.payload for run in performer.runs] == ["base", "base"]
    assert state_of(bike)[":payloads"] == {JOB: "base"}


def test_a_payload_of_a_run_that_does_not_happen(bike: Redbike, performer: Performer) -> None:
    """The payload of an enqueued run that is paused or replaced by a `set` does not go to a later run."""
    for replace in (lambda: bike.pause(JOB) and bike.resume(JOB), lambda: bike.set(JOB, HOURLY)):
        bike.set(JOB, HOURLY, payload="base")
        bike.enqueue(JOB)
        next(bike.consumer)
        bike.enqueue(JOB, "once")  # during a run
        replace()
        bike.redis.delete(f"{bike.queue_for(JOB)}-{JOB}")
        bike.enqueue(JOB)
        bike.work()
        assert performer.runs[-1].payload == "base"


def test_extend_from_a_thread_that_outlives_its_job(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """An `extend` whose reply comes when the next job runs already changes nothing of that job."""
    performer = Performer()
    bike = fleet(performer)
    store, threads = bike.consumer.present._store, list[threading.Thread]()
    extend, began = store.extend, threading.Event()

    def slow(*arguments: Any) -> bool:
        began.set()
        time.sleep(0.4)  # the reply takes so long
        return extend(*arguments)

    def act(run: Run) -> None:
        if run.jobid == "a:A":

            def ask() -> None:
                with pytest.raises(LeaseLost):
                    run.extend(50)

            threads.append(threading.Thread(target=ask))
            threads[0].start()
            assert began.wait(5)
        else:
            threads[0].join()

    monkeypatch.setattr(store, "extend", slow)
    performer.act = act
    for jobid in ("a:A", "b:A"):
        bike.set(jobid, "NOW")
    bike.control("HALT")
    turns(bike, 2)
    assert [record.jobid for record in bike.get_history()] == ["b:A", "a:A"]
    assert {record.outcome for record in bike.get_history()} == {"done"}


@pytest.mark.parametrize("entry", ["abc 1 SECOND", "inf 1 SECOND", "nan 1 SECOND", "5", "", "5 x SECOND"])
def test_a_damaged_due_time(bike: Redbike, performer: Performer, entry: str) -> None:
    """A1: an entry of the due time that cannot be read counts as unknown."""
    bike.set(JOB, "NOW")
    second = str(bike.tell(JOB)["status"]).partition(":")[2]
    bike.redis.hset(f"{bike.prefix}:due", JOB, entry.replace("SECOND", second))
    bike.work()
    [run] = performer.runs
    assert (run.due_at, run.attempt) == (run.began_at, 1)


def test_a_second_ctrl_c_cancels_an_async_job() -> None:
    """D11: a KeyboardInterrupt cancels the coroutine, which may clean up, and ends the run; the loop can go on."""
    loop, seen = EventLoop(), list[str]()

    async def job() -> None:
        asyncio.get_running_loop().call_later(0.05, signal.raise_signal, signal.SIGINT)
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            seen.append("cancelled")
            await asyncio.sleep(0)
            seen.append("cleaned up")
            raise

    async def next_job() -> str:
        return "next"

    with pytest.raises(KeyboardInterrupt):
        loop.run(job())
    assert seen == ["cancelled", "cleaned up"]
    assert loop.run(next_job()) == "next"
    loop.close()
