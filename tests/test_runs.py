"""What a run carries, when it was due, and how it may end: workers with `perform(run)`."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from typing import Any

import pytest
from conftest import Fleet, Recorder
from helpers import FUTURE, HOURLY, dispatch_at, event, events, queued, server_now, state_of, timeline, turns
from nodes import eventually
from state import records
from threads import Loops

from redbike import BadJob, Later, LeaseLost, PayloadError, Redbike, RoundRobin, Run, ScheduleError

JOB = "j:A"


class Performer(RoundRobin):
    """A worker that lists its runs. `act` is called for each run."""

    def __init__(self, initstring: str = "A") -> None:
        super().__init__(initstring)
        self.runs: list[Run] = []
        self.act: Callable[[Run], object] = lambda _: None

    def perform(self, run: Run) -> object:
        self.runs.append(run)
        return self.act(run)


def raises(error: Exception) -> Callable[[Run], object]:
    def act(_run: Run) -> object:
        raise error

    return act


@pytest.fixture
def performer() -> Performer:
    return Performer()


@pytest.fixture
def bike(fleet: Fleet, performer: Performer) -> Redbike:
    """A halted prefix, so that each call of `work` is one turn."""
    bike = fleet(performer)
    bike.control("HALT")
    return bike


# payload


@pytest.mark.parametrize("text", ["plain", '{"to": "ann"}', "two\nlines", "🚲", " ", "x" * 1_048_576])
def test_a_run_gets_the_payload(bike: Redbike, performer: Performer, text: str) -> None:
    """D11: `perform(run)` gets the text that was set with the job, character for character."""
    bike.set(JOB, "NOW", payload=text)
    bike.work()
    assert [(run.jobid, run.payload, run.queue) for run in performer.runs] == [(JOB, text, "work-A")]


def test_set_without_a_payload_leaves_it(bike: Redbike, performer: Performer) -> None:
    """A `set` without payload leaves the payload as it is, an empty text removes it, and `unset` forgets it."""
    bike.set(JOB, "NOW", payload="first")
    bike.set(JOB, HOURLY)
    assert state_of(bike)[":payloads"] == {JOB: "first"}
    bike.work()
    bike.set(JOB, "NOW", payload="")
    bike.work()
    assert [run.payload for run in performer.runs] == ["first", ""]
    bike.set(JOB, HOURLY, payload="again")
    bike.unset(JOB)
    assert ":payloads" not in state_of(bike)


def test_set_payload_changes_no_plan(bike: Redbike) -> None:
    """`set_payload` changes the payload of a registered job alone, and refuses an unknown job."""
    bike.set(JOB, f"AT:{FUTURE}", payload="old")
    before = state_of(bike)
    bike.set_payload(JOB, "new")
    assert state_of(bike) == before | {":payloads": {JOB: "new"}}
    bike.set_payload(JOB, "")
    assert ":payloads" not in state_of(bike)
    with pytest.raises(ScheduleError, match="'other:A' has no schedule"):
        bike.set_payload("other:A", "text")
    assert ":payloads" not in state_of(bike)


@pytest.mark.parametrize(
    ("payload", "error", "said"),
    [
        ("x" * 1_048_577, PayloadError, "1048577 bytes: at most 1048576"),
        ("\ud800", PayloadError, "not valid UTF-8"),
        ({"to": "ann"}, TypeError, "a payload is text, not dict"),
        (b"bytes", TypeError, "a payload is text, not bytes"),
    ],
)
def test_impossible_payloads(bike: Redbike, payload: Any, error: type[Exception], said: str) -> None:
    """A payload that cannot be kept is an error that says why, and nothing is set."""
    before = state_of(bike)
    for call in (lambda: bike.set(JOB, "NOW", payload=payload), lambda: bike.enqueue(JOB, payload)):
        with pytest.raises(error, match=said):
            call()
    assert state_of(bike) == before


def test_json(bike: Redbike, performer: Performer) -> None:
    """`run.json()` reads the payload; a text that is not JSON makes the job BAD, with the reason."""
    seen: list[object] = []
    performer.act = lambda run: seen.append(run.json())
    bike.set(JOB, "NOW", payload='{"a": [1]}')
    bike.set("none:A", "NOW")
    bike.set("odd:A", HOURLY, payload="{")
    bike.enqueue("odd:A")
    turns(bike, 3)
    assert seen == [{"a": [1]}, None]
    assert event(bike, "odd:A") == "BAD"
    last: Any = bike.details("odd:A")["last_run"]
    assert last["outcome"] == "bad"
    assert "payload is not JSON" in last["error"]


def test_a_payload_for_one_run(bike: Redbike, performer: Performer) -> None:
    """`enqueue` with a payload gives it to the next run alone, also if that run is tried again."""
    bike.set(JOB, f"AT:{FUTURE}", payload="always")
    bike.enqueue(JOB, "once")
    performer.act = raises(Later(0))
    bike.work()
    bike.dispatch()
    performer.act = lambda _: None
    bike.work()
    bike.enqueue(JOB)
    bike.work()
    assert [(run.payload, run.attempt) for run in performer.runs] == [("once", 1), ("once", 2), ("always", 1)]
    assert state_of(bike)[":payloads"] == {JOB: "always"}


def test_a_lost_payload_is_a_run_without_payload(bike: Redbike, performer: Performer) -> None:
    """A1: added keys may be missing: without them a job runs at its time, without payload."""
    bike.set(JOB, "NOW", payload="text")
    for name in (":payloads", ":due"):
        bike.redis.delete(bike.prefix + name)
    bike.work()
    [run] = performer.runs
    assert (run.payload, run.attempt, run.late_s) == ("", 1, 0.0)


# due time


def test_the_due_time_of_a_planned_run(bike: Redbike, performer: Performer) -> None:
    """`due_at` is the time on the timeline, and `late_s` counts from there to the begin."""
    at = round(server_now(bike)) - 90
    bike.set(JOB, f"AT:{at}")
    bike.dispatch()
    bike.work()
    [run] = performer.runs
    assert run.due_at == at
    assert run.late_s == pytest.approx(run.began_at - at)
    assert 89 < run.late_s < 120
    assert records(bike.redis, bike.prefix).get(":due") is None


def test_a_score_of_zero_is_now(bike: Redbike, performer: Performer) -> None:
    """A job that another program put on the timeline with the score 0 is due when the dispatcher finds it."""
    bike.redis.hset(bike.schedules_key, JOB, "STOP")
    bike.redis.zadd(bike.timeline_key, {JOB: 0})
    before = server_now(bike)
    bike.dispatch()
    bike.work()
    assert before <= performer.runs[0].due_at <= server_now(bike)


def test_now_is_due_when_it_is_set(bike: Redbike, performer: Performer) -> None:
    """A job on NOW is due at the time of `set`, however long it waits in its queue."""
    bike.set(JOB, "NOW")
    set_at = server_now(bike)
    time.sleep(0.3)  # it waits
    bike.work()
    assert performer.runs[0].due_at == pytest.approx(set_at, abs=0.2)
    assert performer.runs[0].late_s > 0.25


def test_a_queued_run_keeps_its_due_time(bike: Redbike, performer: Performer) -> None:
    """A job that is enqueued again while it waits in its queue keeps the due time of the run that waits."""
    at = round(server_now(bike)) - 90
    bike.set(JOB, f"AT:{at}")
    bike.dispatch()
    time.sleep(1.1)  # another second
    bike.enqueue(JOB)
    bike.work()
    assert [run.due_at for run in performer.runs] == [at]


def test_a_first_run_of_its_own(bike: Redbike) -> None:
    """`first` is the time of the first run, whatever the schedule says."""
    for schedule in ("NOW", "CONTINUE", HOURLY, "EVERY:5", f"AT:{FUTURE}"):
        bike.set(JOB, schedule, first=FUTURE + 7)
        assert timeline(bike) == {JOB: FUTURE + 7}
    bike.set(JOB, "STOP", first=FUTURE)
    assert timeline(bike) == {}
    with pytest.raises(ValueError, match="first"):
        bike.set(JOB, "NOW", first=float("nan"))


def test_a_due_time_of_an_older_run_is_not_believed(bike: Redbike, performer: Performer) -> None:
    """A1: an old worker leaves the entry of its run behind: a run that an old dispatcher queues later ignores it."""
    bike.set(JOB, HOURLY)
    stale = {JOB: "1000 3 1000"}
    bike.redis.hset(f"{bike.prefix}:due", mapping=stale)
    bike.redis.lpush(bike.queue_for(JOB), JOB)  # as 0.13.1 queues a job
    bike.redis.sadd(f"{bike.queue_for(JOB)}-members", JOB)
    bike.redis.hset(bike.statuses_key, JOB, f"ENQ:{int(server_now(bike))}")
    bike.work()
    [run] = performer.runs
    assert (run.due_at, run.attempt) == (run.began_at, 1)


def test_promote_overwrites_a_stale_due_time(bike: Redbike, performer: Performer) -> None:
    """A1: an entry that was put back for another time is overwritten when the job is due by its schedule."""
    bike.redis.hset(f"{bike.prefix}:due", JOB, "1000 3 k1234.500")
    at = round(server_now(bike)) - 5
    bike.set(JOB, f"AT:{at}")
    bike.dispatch()
    bike.work()
    assert [(run.due_at, run.attempt) for run in performer.runs] == [(at, 1)]


# ends


@pytest.mark.parametrize("schedule", ["NOW", HOURLY, "CONTINUE", None])
def test_later(performer: Performer, bike: Redbike, schedule: str | None) -> None:
    """`Later` puts the run back, on any schedule, with the same due time, and it is no failure."""
    if schedule is None:
        bike.enqueue(JOB, "text")
    else:
        bike.set(JOB, schedule, payload="text")
        if schedule == HOURLY:
            bike.redis.delete(bike.timeline_key)
            bike.enqueue(JOB)
    performer.act = raises(Later(1000))
    bike.work()
    [first] = performer.runs
    assert timeline(bike)[JOB] == pytest.approx(server_now(bike) + 1000, abs=2)
    assert event(bike, JOB) == "TML"
    performer.act = lambda _: None
    dispatch_at(bike, server_now(bike) + 1001)
    bike.work()
    assert [(run.due_at, run.attempt, run.payload) for run in performer.runs] == [
        (first.due_at, 1, "text"),
        (first.due_at, 2, "text"),
    ]
    assert [record.outcome for record in bike.get_history()] == ["done", "later"]
    if schedule is not None:
        last: Any = bike.details(JOB)["last_run"]
        assert (last["count"], last["failures"]) == (1, 0)


@pytest.mark.parametrize("error", [Later(50), BadJob("no")])
@pytest.mark.parametrize("schedule", [HOURLY, f"AT:{FUTURE}", "STOP", "CONTINUE"])
def test_a_set_during_the_run_wins(bike: Redbike, performer: Performer, error: Exception, schedule: str) -> None:
    """Somebody who sets the job during a run wins over `Later` and `BadJob`."""

    def act(_run: Run) -> object:
        bike.set(JOB, schedule)
        raise error

    performer.act = act
    bike.set(JOB, HOURLY)
    bike.enqueue(JOB)
    bike.work()
    expected = {HOURLY: "TML", f"AT:{FUTURE}": "TML", "STOP": "STP", "CONTINUE": "ENQ"}
    assert event(bike, JOB) == expected[schedule]
    assert timeline(bike).get(JOB, FUTURE) != pytest.approx(server_now(bike) + 50, abs=3)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "soon", None])
def test_an_impossible_later(seconds: Any) -> None:
    """`Later` takes a number of seconds from 0 on."""
    with pytest.raises((ValueError, TypeError)):
        Later(seconds)


def test_a_bad_job(bike: Redbike, performer: Performer, caplog: pytest.LogCaptureFixture) -> None:
    """`BadJob` makes the job BAD until it is set, with its reason in the last run and the history."""
    performer.act = raises(BadJob("no such customer"))
    bike.set(JOB, "CONTINUE")
    bike.work()
    assert (event(bike, JOB), queued(bike), timeline(bike)) == ("BAD", [], {})
    [record] = bike.get_history()
    assert (record.outcome, record.error) == ("bad", "BadJob: no such customer")
    assert "no such customer; it does not run until it is set again" in caplog.text
    assert [lost[0] for lost in bike.get_lost()] == [JOB]
    bike.set(JOB, "CONTINUE")
    assert event(bike, JOB) == "ENQ"


def test_the_time_of_the_next_run(bike: Redbike, performer: Performer) -> None:
    """A job on CONTINUE that returns an aware datetime runs again then; other schedules and naive times ignore it."""
    performer.act = lambda _: datetime.fromtimestamp(FUTURE + 0.25, UTC)
    bike.set(JOB, "CONTINUE")
    bike.set("h:A", HOURLY)
    bike.enqueue("h:A")
    turns(bike, 2)
    assert timeline(bike)[JOB] == FUTURE + 0.25
    assert timeline(bike)["h:A"] < FUTURE
    performer.act = lambda _: datetime.fromtimestamp(FUTURE)
    bike.set(JOB, "CONTINUE")
    bike.work()
    assert queued(bike) == [JOB]


# the lease


def test_a_run_is_frozen(bike: Redbike, performer: Performer) -> None:
    """A `Run` cannot be changed, and its id is the value of the run tag while it lasts."""
    tags: list[object] = []
    performer.act = lambda _: tags.append(bike.redis.get(f"{bike.queue_for(JOB)}-{JOB}"))
    bike.set(JOB, "NOW")
    bike.work()
    [run] = performer.runs
    assert tags == [run.id.encode()]
    with pytest.raises(FrozenInstanceError):
        run.attempt = 2  # type: ignore[misc]


def test_extend(fleet: Fleet, loops: Loops) -> None:
    """`extend` lets the lease end later: a job that works on and extends is not lost."""
    performer, ended = Performer(), threading.Event()

    def act(run: Run) -> None:
        for _ in range(6):
            run.extend(0.5)
            time.sleep(0.2)
        ended.set()

    performer.act = act
    bike = fleet(performer, default_timeout=0.4, on_timeout="retry")
    loops.dispatch(on_timeout="retry")
    loops.work(performer, default_timeout=0.4, on_timeout="retry")
    bike.set(JOB, "NOW")
    assert ended.wait(10)
    eventually(lambda: event(bike, JOB) == "STP")
    assert len(performer.runs) == 1
    assert [record.outcome for record in bike.get_history()] == ["done"]
    assert ":running" not in state_of(bike)


def test_extend_a_lost_lease(bike: Redbike, performer: Performer) -> None:
    """`extend` raises LeaseLost if the lease has ended, belongs to another run, or if the run is over."""
    lost: list[str] = []

    def act(run: Run) -> None:
        for tag in (None, "another"):
            bike.redis.delete(f"{bike.queue_for(JOB)}-{JOB}")
            if tag is not None:
                bike.redis.set(f"{bike.queue_for(JOB)}-{JOB}", tag)
            try:
                run.extend(5)
            except LeaseLost as error:
                lost.append(str(error))
        with pytest.raises(ValueError, match="extend"):
            run.extend(0)

    performer.act = act
    bike.set(JOB, "NOW")
    bike.work()
    assert len(lost) == 2
    assert all(JOB in line for line in lost)
    with pytest.raises(LeaseLost):
        performer.runs[0].extend(5)


# async


class Async(Performer):
    """Its jobs share one event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.loops: set[asyncio.AbstractEventLoop] = set()

    async def perform(self, run: Run) -> object:  # type: ignore[override]
        self.runs.append(run)
        self.loops.add(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return self.act(run)


def test_async_perform(fleet: Fleet, loops: Loops) -> None:
    """D11: an async `perform` runs on one event loop, which lives as long as the worker; its errors are failures."""
    worker = Async()
    bike = fleet(worker)
    loops.work(worker)
    worker.act = lambda run: 1 / 0 if run.jobid == "fails:A" else None
    for jobid in ("a:A", "fails:A", "b:A"):
        bike.set(jobid, "NOW")
    eventually(lambda: len(worker.runs) == 3 and events(bike).get("b:A") == "STP")
    assert len(worker.loops) == 1
    assert events(bike)["fails:A"] == "DIE"
    loops.stop()
    assert worker.loops.pop().is_closed()


def test_async_work(fleet: Fleet) -> None:
    """D10: `work` may be async, too."""

    class Worker(Recorder):
        async def work(self, jobid: str) -> object:  # type: ignore[override]
            await asyncio.sleep(0)
            return super().work(jobid)

    worker = Worker()
    bike = fleet(worker)
    bike.control("HALT")
    bike.set(JOB, "CONTINUE")
    bike.work()
    assert (worker.done, queued(bike)) == ([JOB], [JOB])


def test_a_worker_without_work(fleet: Fleet) -> None:
    """D11: a worker with `perform` needs no `work`."""

    class Worker:
        done: list[str] = []  # noqa: RUF012

        def queue_for(self, jobid: str) -> str:  # noqa: ARG002 - part of the protocol
            return "q"

        def queue_names(self) -> list[str]:
            return ["q"]

        def timeout(self, queue_name: str) -> float | None:  # noqa: ARG002 - part of the protocol
            return None

        def perform(self, run: Run) -> None:
            self.done.append(json.dumps([run.jobid, run.queue]))

    bike = fleet(Worker())  # type: ignore[arg-type]
    bike.control("HALT")
    bike.set("j", "NOW")
    bike.work()
    assert Worker.done == ['["j", "q"]']
