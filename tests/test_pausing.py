"""Pauses: of a job, of a queue, of the whole prefix."""

import json
import threading
import time
from typing import Any

import pytest
from conftest import Fleet, Recorder
from helpers import DAILY, FUTURE, HOURLY, PAST, dispatch_at, event, put, queued, server_now, state_of, timeline, turns
from nodes import eventually
from threads import Loops

from redbike import Later, Redbike, ScheduleError, SignalError, StopWork, UnsetJob, WorkerError
from redbike.schedule.forms import read
from redbike.schedule.plan import Action

JOB = "j:A"


def without_pauses(bike: Redbike) -> dict[str, Any]:
    return {name: held for name, held in state_of(bike).items() if name not in (":pauses", ":resume")}


# the word


@pytest.mark.parametrize("inner", ["NOW", HOURLY, "CONTINUE", "EVERY:5m", f"AT:{PAST}", "nonsense", "", "STOP"])
def test_a_paused_schedule_has_no_run(halted: Redbike, worker: Recorder, inner: str) -> None:
    """B12: `PAUSED:` before a schedule is registered as written, and the job has no run, whatever the schedule is."""
    text = f"PAUSED:{inner}"
    plan = halted.set(JOB, text)
    assert plan is not None
    assert (plan.action, plan.registered) == (Action.PAUSE, text)
    assert state_of(halted) | {"-statuses": 0} == {"-control": "HALT", "-schedules": {JOB: text}, "-statuses": 0}
    assert event(halted, JOB) == "STP"
    dispatch_at(halted, FUTURE)
    halted.work()
    assert worker.done == []
    assert read(text).again(0).action is Action.PAUSE


def test_set_paused_takes_the_job_out_of_its_queue(halted: Redbike, worker: Recorder) -> None:
    """B12: a schedule that is set as paused also takes a queued run out of the queue."""
    halted.set("other:A", "CONTINUE")
    halted.set(JOB, "CONTINUE")
    halted.set(JOB, "PAUSED:CONTINUE")
    assert queued(halted) == ["other:A"]
    turns(halted, 2)
    assert worker.done == ["other:A", "other:A"]


def test_a_pause_that_another_program_writes(halted: Redbike, worker: Recorder) -> None:
    """B12: a program that only writes the schedule pauses the job, even if the job is queued already."""
    halted.set(JOB, "CONTINUE")
    halted.set("other:A", "CONTINUE")
    halted.redis.hset(halted.schedules_key, JOB, "PAUSED:CONTINUE")
    turns(halted, 2)
    assert (worker.done, event(halted, JOB)) == (["other:A"], "STP")
    assert queued(halted) == ["other:A"]


# pause and resume


@pytest.mark.parametrize(
    ("schedule", "paused"),
    [
        (HOURLY, f"PAUSED:{HOURLY}"),
        ("CONTINUE", "PAUSED:CONTINUE"),
        ("NOW", "PAUSED:NOW"),
        (f"AT:{FUTURE}", f"PAUSED:AT:{FUTURE}"),
        ("STOP", "PAUSED:STOP"),
    ],
)
def test_pause_and_resume(halted: Redbike, schedule: str, paused: str) -> None:
    """`pause` puts the word on and takes the job off timeline and queue; `resume` plans it from now."""
    halted.set(JOB, schedule)
    before = without_pauses(halted)
    assert halted.pause(JOB, note="why") == paused
    now = state_of(halted)
    assert now["-schedules"] == {JOB: paused}
    assert not {"-timeline", "-work-A", "-work-A-members", ":extra"} & now.keys()
    assert event(halted, JOB) == "STP"
    assert halted.pause(JOB) == paused, "a second pause changes nothing"
    plan = halted.resume(JOB)
    assert plan is not None
    after = state_of(halted)
    assert after | {"-statuses": 0, ":bell:work-A": 0} == before | {"-statuses": 0, ":bell:work-A": 0}
    assert halted.resume(JOB) is None


@pytest.mark.parametrize("at", [1795967170.3183749, 1795967170.5, 0.25, -5, 253402300799])
def test_a_time_with_many_digits(halted: Redbike, at: float) -> None:
    """A paused one-off keeps its time to the last digit, in whatever form the server writes it."""
    halted.set(JOB, f"AT:{at}")
    text = halted.pause(JOB)
    assert "e" not in text
    halted.resume(JOB)
    assert timeline(halted) == {JOB: at}


def test_what_a_pause_tells(halted: Redbike) -> None:
    """Who paused a job, since when and why is kept beside it, and goes with the pause."""
    halted.set(JOB, HOURLY)
    halted.pause(JOB, until=FUTURE, note="the printer is broken")
    pause: Any = halted.details(JOB)["pause"]
    assert (pause["note"], pause["until"]) == ("the printer is broken", FUTURE)
    assert "@" in pause["by"]
    assert abs(pause["since"] - server_now(halted)) < 5
    halted.resume(JOB)
    assert halted.details(JOB)["pause"] is None
    for undo in (lambda: halted.set(JOB, HOURLY), lambda: halted.unset(JOB)):
        halted.set(JOB, HOURLY)
        halted.pause(JOB, until=FUTURE, note="x")
        undo()
        assert not {":pauses", ":resume"} & state_of(halted).keys()


def test_missed_runs_are_skipped(halted: Redbike) -> None:
    """A job that is resumed is planned from now, so the runs of the pause do not happen; a missed one-off is due."""
    halted.set(JOB, f"PAUSED:{DAILY}")
    halted.set("once:A", f"PAUSED:AT:{PAST}")
    halted.resume(JOB)
    halted.resume("once:A")
    assert timeline(halted)[JOB] > server_now(halted)
    assert timeline(halted)["once:A"] == PAST


def test_a_running_job_completes(halted: Redbike, worker: Recorder) -> None:
    """A run in progress continues to its end, and then the job is paused."""
    worker.acts[JOB] = lambda: halted.pause(JOB) and None
    halted.set(JOB, "CONTINUE")
    halted.work()
    assert (worker.done, event(halted, JOB), queued(halted)) == ([JOB], "STP", [])
    assert halted.get_schedule(JOB) == "PAUSED:CONTINUE"


def test_an_extra_run_is_paused_too(halted: Redbike) -> None:
    """A run that was enqueued during a run does not happen while the job is paused; a one-off keeps it."""
    halted.set(JOB, f"AT:{FUTURE}")
    halted.enqueue(JOB)
    next(halted.consumer)
    halted.enqueue(JOB)
    assert ":extra" in state_of(halted)
    assert halted.pause(JOB) == f"PAUSED:AT:{FUTURE}"
    assert ":extra" not in state_of(halted)


def test_a_paused_job_is_not_enqueued(halted: Redbike) -> None:
    """`enqueue` of a paused job is an error that says how to resume it, and changes nothing."""
    halted.set(JOB, f"PAUSED:{HOURLY}")
    before = state_of(halted)
    with pytest.raises(ScheduleError, match="'j:A' is paused"):
        halted.enqueue(JOB, "text")
    assert state_of(halted) == before


def test_an_unknown_job_is_not_paused(bike: Redbike) -> None:
    """`pause` of a job without a schedule is an error."""
    with pytest.raises(ScheduleError, match="'j:A' has no schedule"):
        bike.pause(JOB)
    assert bike.resume(JOB) is None
    assert state_of(bike) == {}


def test_a_set_meanwhile_wins(halted: Redbike, monkeypatch: pytest.MonkeyPatch) -> None:
    """`resume` compares the schedule: a job that somebody sets meanwhile keeps the new schedule."""
    halted.set(JOB, f"PAUSED:{HOURLY}")
    pausing = halted._parts.pausing
    asked: list[str] = []

    def schedule_of(jobid: str) -> str | None:
        text = halted.get_schedule(jobid)
        asked.append(str(text))
        if len(asked) == 1:
            halted.set(JOB, f"AT:{FUTURE}")
        return text

    monkeypatch.setattr(pausing, "_schedule_of", schedule_of)
    assert halted.resume(JOB) is None
    assert asked == [f"PAUSED:{HOURLY}", "STOP"]
    assert timeline(halted) == {JOB: FUTURE}


def test_a_pause_ends_by_itself(fleet: Fleet, loops: Loops) -> None:
    """With `until`, an idle dispatcher resumes the job within a second."""
    worker = Recorder()
    bike = fleet(worker)
    loops.dispatch()
    loops.dispatch()
    loops.work(worker)
    bike.set(JOB, f"AT:{server_now(bike) + 0.1}")
    until = server_now(bike) + 1.5
    bike.pause(JOB, until=until)
    time.sleep(0.6)  # the time of the job passes, and nothing may happen
    assert worker.done == []
    eventually(lambda: worker.done == [JOB], 10)
    eventually(lambda: list(bike.get_history()) != [])  # the run has ended, and its end is reported then
    [record] = bike.get_history()
    assert until <= record.began < until + 1.5
    assert not {":pauses", ":resume"} & state_of(bike).keys()


@pytest.mark.parametrize("until", [float("nan"), float("inf")])
def test_an_impossible_until(bike: Redbike, until: float) -> None:
    """`until` is a finite time."""
    bike.set(JOB, HOURLY)
    with pytest.raises(ValueError, match="until"):
        bike.pause(JOB, until=until)


def test_a_one_off_that_is_put_off_while_paused(halted: Redbike, worker: Recorder) -> None:
    """A one-off that is paused during its run and raises Later keeps that run for the time when it is resumed."""

    def act() -> None:
        halted.pause(JOB)
        raise Later(0)

    worker.acts[JOB] = act
    halted.set(JOB, "NOW")
    halted.work()
    assert str(halted.get_schedule(JOB)).startswith("PAUSED:AT:")
    worker.acts.clear()
    halted.resume(JOB)
    halted.dispatch()
    halted.work()
    assert worker.done == [JOB, JOB]


def test_jobs_that_cannot_be_resumed(fleet: Fleet, loops: Loops) -> None:
    """A paused job whose queue_for() fails stops no dispatcher, and delays no other job."""

    class Picky(Recorder):
        def queue_for(self, jobid: str) -> str:
            if jobid.startswith("odd"):
                raise KeyError(jobid)
            return super().queue_for(jobid)

    bike = fleet()
    for number in range(200):
        bike.redis.hset(bike.schedules_key, f"odd{number}:A", f"PAUSED:{HOURLY}")
        bike.redis.zadd(f"{bike.prefix}:resume", {f"odd{number}:A": PAST})
    bike.set(JOB, f"AT:{FUTURE}")
    bike.pause(JOB, until=PAST + 1)
    loop = loops.dispatch(Picky())
    eventually(lambda: bike.get_schedule(JOB) == "STOP", 10)
    assert loop.is_running()
    eventually(lambda: bike.redis.zcount(f"{bike.prefix}:resume", "-inf", server_now(bike)) == 0)


def test_what_is_left_of_a_pause(halted: Redbike, worker: Recorder) -> None:
    """A job that stops or unsets itself after it was paused during its run leaves no pause behind."""
    for error in (StopWork(), UnsetJob()):

        def act(error: Exception = error) -> None:
            halted.pause(JOB, until=FUTURE, note="x")
            raise error

        worker.acts[JOB] = act
        halted.set(JOB, "CONTINUE")
        halted.work()
        assert not {":pauses", ":resume"} & state_of(halted).keys()


def test_a_job_in_a_long_queue(halted: Redbike, worker: Recorder) -> None:
    """A job that is paused in a queue of thousands leaves it, and runs once when it is resumed."""
    put(halted, *(f"{n}:A" for n in range(3000)))
    halted.set(JOB, "NOW")
    assert halted.pause(JOB) == "PAUSED:NOW"
    halted.resume(JOB)
    worker.acts = dict.fromkeys((f"{n}:A" for n in range(3000)), lambda: None)
    turns(halted, 3001)
    assert worker.done.count(JOB) == 1


# queues


def test_a_held_queue(fleet: Fleet, loops: Loops) -> None:
    """Nothing is taken from a held queue, but jobs enter it; other queues go on, and a release wakes workers."""
    worker = Recorder("A:B")
    bike = fleet(worker)
    loops.work(worker)
    loops.dispatch(Recorder("A:B"))
    assert bike.hold("work-A", "the database moves") is False
    assert bike.hold("work-A") is True
    bike.set("a:A", "NOW")
    bike.set("at:A", f"AT:{server_now(bike)}")
    bike.set("b:B", "NOW")
    eventually(lambda: worker.done == ["b:B"])
    eventually(lambda: set(queued(bike)) == {"a:A", "at:A"})
    time.sleep(1.2)  # a worker looks once per second
    assert worker.done == ["b:B"]
    assert bike.details("a:A")["queue_held"] is True
    assert list(bike.get_held()) == ["work-A"]
    assert bike.release("work-A") is True
    eventually(lambda: set(worker.done) == {"a:A", "at:A", "b:B"}, 2)
    assert bike.release("work-A") is False
    assert ":held" not in state_of(bike)


def test_the_first_turn_heeds_a_hold(halted: Redbike, worker: Recorder) -> None:
    """A hold is heeded by every turn, also by the first turn of a call, which ignores a halt."""
    halted.set(JOB, "NOW")
    halted.hold("work-A")
    turns(halted, 2)
    assert next(halted.consumer)[0] is None
    assert worker.done == []
    halted.release("work-A")
    halted.work()
    assert worker.done == [JOB]


@pytest.mark.parametrize("name", ["", "two\nlines", "schedules"])
def test_an_impossible_queue(bike: Redbike, name: str) -> None:
    """A name that no queue can have is an error."""
    with pytest.raises(WorkerError):
        bike.hold(name)


@pytest.mark.parametrize("content", ["{", "[]", '"text"', "7", '{"work-B": {}}'])
def test_a_hold_that_cannot_be_read(halted: Redbike, worker: Recorder, content: str) -> None:
    """A1: an entry that cannot be read holds nothing."""
    halted.redis.set(f"{halted.prefix}:held", content)
    halted.set(JOB, "NOW")
    halted.work()
    assert worker.done == [JOB]
    assert isinstance(halted.get_held(), dict)


# the prefix


def test_pause_of_the_prefix(fleet: Fleet, loops: Loops) -> None:
    """E4: under PAUSE, dispatchers queue nothing and workers take nothing, and all stay alive; RESUME ends it."""
    worker = Recorder()
    bike = fleet(worker)
    bike.control("pause")
    bike.clear_control()  # as each `dispatch` and `work` of the command line does
    loops.dispatch()
    loops.work(worker)
    bike.set("now:A", "NOW")
    bike.set("at:A", f"AT:{server_now(bike)}")
    time.sleep(1.2)  # both look once per second
    assert (worker.done, queued(bike), list(timeline(bike))) == ([], ["now:A"], ["at:A"])
    assert not bike.is_halted()
    bike.control("RESUME")
    eventually(lambda: sorted(worker.done) == ["at:A", "now:A"], 3)


def test_pause_and_halt(fleet: Fleet, loops: Loops) -> None:
    """E4: a HALT under PAUSE ends the loops, and the prefix stays paused."""
    bike = fleet()
    loop = loops.work(Recorder())
    bike.control("PAUSE")
    bike.control("HALT")
    eventually(lambda: not loop.is_running())
    bike.clear_control()
    assert list(bike.get_held()) == [""]
    bike.control("RESUME")
    assert ":held" not in state_of(bike)


def test_unknown_signals(bike: Redbike) -> None:
    """E1: the known signals are HALT, PAUSE and RESUME."""
    with pytest.raises(SignalError, match="HALT, PAUSE, RESUME"):
        bike.control("WAIT")


def test_several_who_hold(bike: Redbike) -> None:
    """Queues are held and released at the same time without losing each other."""
    names = [f"work-{n}" for n in range(20)]
    threads = [threading.Thread(target=bike.hold, args=(name, f"note of {name}")) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: entry["note"] for name, entry in bike.get_held().items()} == {n: f"note of {n}" for n in names}
    assert json.loads(bike.redis.get(f"{bike.prefix}:held") or b"").keys() == set(names)
    for name in names:
        assert bike.release(name)
