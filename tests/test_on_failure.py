"""What becomes of a job whose run raises, outlives its timeout or dies with its worker; `redbike lost`.

Under HALT a call of `work()` is one turn and one of `dispatch()` one pass, so failures are stepped through. Lost runs
are found by a dispatcher that goes round: there, a test takes a job and never ends it.
"""

import csv
import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Fleet, Recorder, Server, dispatch_at, eventually, raising
from processes import Site
from state import state
from threads import Loops

from redbike import Redbike, RoundRobin, UnsetJob
from redbike.cli import main
from redbike.errors import ConfigError

HOUR_S = 3600
HOURLY = "DTSTART:20200101T000000\nRRULE:FREQ=HOURLY"
EXHAUSTED = "DTSTART:20200101T000000\nRRULE:FREQ=HOURLY;COUNT=3"
FUTURE = 4_000_000_000
SOON_S = 0.1  # a timeout that is over soon
JOB = "j:A"


@pytest.fixture
def loops(fleet: Fleet) -> Iterator[Loops]:
    with Loops(fleet) as loops:
        yield loops


def failing(fleet: Fleet, worker: Recorder | None = None, **settings: object) -> Redbike:
    """A bike under HALT whose job `j:A` raises."""
    worker = worker or Recorder()
    worker.acts[JOB] = raising(ValueError("as it was told"))
    bike = fleet(worker, **settings)
    bike.control("HALT")
    return bike


def event(bike: Redbike, jobid: str = JOB) -> str | None:
    status = bike.tell(jobid)["status"]
    return None if status is None else status.partition(":")[0]


def server_now(bike: Redbike) -> float:
    seconds, microseconds = bike.redis.time()
    return float(seconds + microseconds / 1e6)


def held(bike: Redbike) -> dict[str, Any]:
    return state(bike.redis, bike.prefix)


def raw_timeline(bike: Redbike) -> list[bytes]:
    """Its job ids, in one call: for tests that poll."""
    found: Any = bike.redis.zrange(bike.timeline_key, 0, -1)
    return list(found)


def timeline(bike: Redbike) -> dict[str, float]:
    return dict(held(bike).get("-timeline", {}))


def step(bike: Redbike) -> None:
    """Queue all that waits on the timeline, and do one job."""
    dispatch_at(bike, FUTURE * 2)
    bike.work()


def next_hour(bike: Redbike) -> float:
    return float((server_now(bike) // HOUR_S + 1) * HOUR_S)


# A run that raises


@pytest.mark.parametrize("schedule", ["CONTINUE", HOURLY, "NOW"])
def test_a_failed_run_drops_the_job(fleet: Fleet, schedule: str) -> None:
    """D5: by default a job whose run raised is `DIE` and in no place, whatever its schedule, which it keeps."""
    bike = failing(fleet)
    bike.set(JOB, schedule)
    step(bike)
    assert event(bike) == "DIE"
    found = held(bike)
    assert set(found) == {"-schedules", "-statuses", "-control", ":bell:work-A"}
    assert found["-schedules"] == {JOB: "STOP" if schedule == "NOW" else schedule}


def test_a_failed_run_reschedules_continue(fleet: Fleet) -> None:
    """on-error: reschedule: a job on `CONTINUE` that raises runs again after a second, so that it does not spin."""
    bike = failing(fleet, on_error="reschedule")
    bike.set(JOB, "CONTINUE")
    before = server_now(bike)
    bike.work()
    assert event(bike) == "TML"
    assert before + 1 <= timeline(bike)[JOB] <= server_now(bike) + 1
    assert ":retries" not in held(bike)


def test_a_failed_run_reschedules_a_recurrence(fleet: Fleet) -> None:
    """on-error: reschedule: a recurrence goes on with its next occurrence."""
    bike = failing(fleet, on_error="reschedule")
    bike.set(JOB, HOURLY)
    expected = next_hour(bike)
    step(bike)
    assert timeline(bike)[JOB] in (expected, next_hour(bike))


@pytest.mark.parametrize("schedule", ["NOW", "AT:1"])
def test_a_failed_one_off_has_nothing_to_follow(fleet: Fleet, schedule: str) -> None:
    """on-error: reschedule: of a one-off that raised, `DIE` remains, and no further run."""
    bike = failing(fleet, on_error="reschedule")
    bike.set(JOB, schedule)
    step(bike)
    assert event(bike) == "DIE"
    assert not timeline(bike)


@pytest.mark.parametrize("schedule", ["NOW", "AT:1"])
def test_a_failed_one_off_is_tried_again(fleet: Fleet, schedule: str) -> None:
    """on-error: retry: a one-off that keeps raising is run once and `retries` times more, and is then `DIE`."""
    worker = Recorder()
    bike = failing(fleet, worker, on_error="retry", retries=2)
    bike.set(JOB, schedule)
    seen = []
    for _ in range(5):
        step(bike)
        seen.append((len(worker.done), event(bike), held(bike).get(":retries")))
    assert seen == [(1, "TML", {JOB: "1"}), (2, "TML", {JOB: "2"}), *[(3, "DIE", None)] * 3]
    assert bike.tell(JOB) | {"status": ""} == {"status": "", "next_run": None, "schedule": "STOP", "working": False}


@pytest.mark.parametrize("schedule", ["CONTINUE", HOURLY])
def test_when_the_tries_are_used_up_the_schedule_decides(fleet: Fleet, schedule: str) -> None:
    """on-error: retry: after the last try the job goes on by its schedule, and its tries are forgotten."""
    worker = Recorder()
    bike = failing(fleet, worker, on_error="retry", retries=2)
    bike.set(JOB, schedule)
    for _ in range(2):
        step(bike)
        assert timeline(bike)[JOB] < server_now(bike) + 10
    step(bike)
    assert len(worker.done) == 3
    assert ":retries" not in held(bike)
    due_at = timeline(bike)[JOB]
    if schedule == HOURLY:
        assert due_at % HOUR_S == 0
    else:
        assert 0.5 < due_at - server_now(bike) <= 1
    step(bike)
    assert held(bike)[":retries"] == {JOB: "1"}, "the next failure begins anew"


def test_a_recurrence_without_further_runs_is_tried_again(fleet: Fleet) -> None:
    """on-error: retry: the last occurrence of a recurrence has its tries as well, and then `DIE`."""
    bike = failing(fleet, on_error="retry", retries=1)
    bike.set(JOB, EXHAUSTED, after=1_577_836_800)
    step(bike)
    assert held(bike)[":retries"] == {JOB: "1"}
    step(bike)
    assert (event(bike), timeline(bike)) == ("DIE", {})


def test_success_forgets_the_tries(fleet: Fleet) -> None:
    """on-error: retry: a try that goes well ends the row, and the job goes on by its schedule."""
    worker = Recorder()
    bike = failing(fleet, worker, on_error="retry", retries=2)
    bike.set(JOB, HOURLY)
    step(bike)
    step(bike)
    assert held(bike)[":retries"] == {JOB: "2"}
    del worker.acts[JOB]
    step(bike)
    assert ":retries" not in held(bike)
    assert timeline(bike)[JOB] % HOUR_S == 0
    worker.acts[JOB] = raising(ValueError())
    step(bike)
    assert held(bike)[":retries"] == {JOB: "1"}


@pytest.mark.parametrize("end", ["StopWork", "UnsetJob"])
def test_a_job_that_ends_itself_forgets_the_tries(fleet: Fleet, end: str) -> None:
    """on-error: retry: `StopWork` and `UnsetJob` in a try leave no count behind."""
    from redbike import StopWork

    worker = Recorder()
    bike = failing(fleet, worker, on_error="retry")
    bike.set(JOB, "CONTINUE")
    step(bike)
    worker.acts[JOB] = raising(StopWork() if end == "StopWork" else UnsetJob())
    step(bike)
    assert ":retries" not in held(bike)
    assert event(bike) == ("STP" if end == "StopWork" else None)


def test_delays_grow_and_are_bounded(fleet: Fleet) -> None:
    """on-error: retry: the delays are 1, 2, 4 … seconds, up to half as much more or less, at most five minutes."""
    bike = failing(fleet, on_error="retry", retries=100)
    bike.set(JOB, "NOW")
    for count in range(12):
        dispatch_at(bike, FUTURE * 2)
        before = server_now(bike)
        bike.work()
        due_at = timeline(bike)[JOB]
        assert due_at >= before + min(300, 0.5 * 2**count) - 0.001, count
        assert due_at <= server_now(bike) + min(300, 1.5 * 2**count) + 0.001, count


def test_delays_are_jittered(fleet: Fleet) -> None:
    """on-error: retry: jobs that fail together are not tried again together."""
    worker = Recorder()
    jobids = [f"{n}:A" for n in range(20)]
    worker.acts |= dict.fromkeys(jobids, raising(ValueError()))
    bike = fleet(worker, on_error="retry")
    bike.control("HALT")
    for jobid in jobids:
        bike.set(jobid, "NOW")
        bike.work()
    due = timeline(bike).values()
    assert len({round(due_at, 2) for due_at in due}) > 10
    assert max(due) - min(due) > 0.3


def test_a_retry_is_run_by_dispatcher_and_worker(fleet: Fleet, loops: Loops) -> None:
    """on-error: retry: with loops that go round, a job that fails once is done within its delay, and only once more."""
    worker, failures = Recorder(), iter([ValueError("once")])

    def act() -> None:
        for failure in failures:
            raise failure

    worker.acts[JOB] = act
    loops.work(worker, on_error="retry")
    loops.dispatch(on_error="retry")
    bike = fleet()
    bike.set(JOB, "NOW")
    eventually(lambda: event(bike) == "STP", 4)
    assert worker.done == [JOB, JOB]
    assert ":retries" not in held(bike)


# Who sets a job meanwhile wins

MEANWHILE: dict[str, Callable[[Redbike], object]] = {
    "STOP": lambda bike: bike.set(JOB, "STOP"),
    "unset": lambda bike: bike.unset(JOB),
    "future": lambda bike: bike.set(JOB, f"AT:{FUTURE}"),
    "hourly": lambda bike: bike.set(JOB, HOURLY),
    "NOW": lambda bike: bike.set(JOB, "NOW"),
    "enqueue": lambda bike: bike.enqueue(JOB),
}


def check_meanwhile(bike: Redbike, what: str) -> None:
    """What was asked for stands, and nothing of a retry."""
    found = held(bike)
    assert ":retries" not in found
    planned, queued = timeline(bike), found.get("-work-A", [])
    match what:
        case "STOP":
            assert (planned, queued, found["-schedules"]) == ({}, [], {JOB: "STOP"})
        case "unset":
            assert set(found) <= {"-control", ":bell:work-A"}
        case "future":
            assert (planned, queued) == ({JOB: FUTURE}, [])
        case "hourly":
            assert planned[JOB] % HOUR_S == 0
            assert queued == []
        case _:
            # Due at once, once.
            assert queued == [JOB] or planned[JOB] <= server_now(bike)
            assert len(queued) + len(planned) == 1


@pytest.mark.parametrize("schedule", ["CONTINUE", "NOW", HOURLY])
@pytest.mark.parametrize("what", MEANWHILE)
def test_setting_a_job_in_its_run_wins_over_the_retry(fleet: Fleet, schedule: str, what: str) -> None:
    """B10: what is set during a run that then raises is what happens, and no retry."""
    worker = Recorder()
    bike = fleet(worker, on_error="retry")
    bike.control("HALT")

    def act() -> None:
        MEANWHILE[what](bike)
        raise ValueError

    worker.acts[JOB] = act
    bike.set(JOB, schedule)
    step(bike)
    check_meanwhile(bike, what)


@pytest.mark.parametrize("what", [what for what in MEANWHILE if what != "enqueue"])
def test_setting_a_job_in_the_delay_wins_over_the_retry(fleet: Fleet, what: str) -> None:
    """B8: what is set while a job waits for its next try replaces the retry, and its count."""
    bike = failing(fleet, on_error="retry")
    bike.set(JOB, "CONTINUE")
    bike.work()
    assert held(bike)[":retries"] == {JOB: "1"}
    MEANWHILE[what](bike)
    check_meanwhile(bike, what)


@pytest.mark.parametrize("schedule", ["CONTINUE", "NOW", HOURLY])
@pytest.mark.parametrize("what", MEANWHILE)
def test_setting_a_job_in_its_run_wins_over_the_recovery(fleet: Fleet, loops: Loops, schedule: str, what: str) -> None:
    """B10: the same for what is set during a run that is then lost."""
    bike = fleet(on_timeout="retry", default_timeout=SOON_S)
    bike.control("HALT")
    bike.set(JOB, schedule)
    dispatch_at(bike, FUTURE)
    assert next(bike.consumer)[0] == JOB
    MEANWHILE[what](bike)
    eventually(lambda: not bike.is_working(JOB))
    bike.clear_control()
    loops.dispatch(on_timeout="retry")
    eventually(lambda: is_index_empty(bike), 3)
    check_meanwhile(bike, what)


def is_index_empty(bike: Redbike) -> bool:
    return not bike.redis.exists(f"{bike.prefix}:running")


def test_a_run_that_is_asked_for_in_a_lost_run_is_not_doubled(fleet: Fleet, loops: Loops) -> None:
    """B10: a dispatcher that sees a job due and lost at the same time queues it once."""
    bike = fleet(on_timeout="retry", default_timeout=SOON_S)
    loops.dispatch(on_timeout="retry")
    bike.set(JOB, "CONTINUE")
    lose(bike, JOB)
    bike.set(JOB, "NOW")
    eventually(lambda: bike.redis.llen(bike.queue_for(JOB)) == 1, 3)
    eventually(lambda: is_index_empty(bike), 3)
    check_meanwhile(bike, "NOW")


# A run that outlives its timeout


def lose(bike: Redbike, *jobids: str) -> None:
    """Take these jobs as a worker would that dies with them in hand."""
    for jobid in jobids:
        assert next(bike.consumer)[0] == jobid


def test_a_lost_run_drops_the_job(fleet: Fleet, loops: Loops) -> None:
    """D6: by default a job whose run outlived its timeout stays as it was taken, and no index is kept."""
    bike = fleet(default_timeout=0.05)
    bike.set(JOB, "CONTINUE")
    lose(bike, JOB)
    assert ":running" not in held(bike)
    loops.dispatch()
    eventually(lambda: not bike.is_working(JOB))
    bike.set("other:A", f"AT:{time.time() + 0.3}")
    eventually(lambda: event(bike, "other:A") == "ENQ")
    assert (event(bike), timeline(bike)) == ("WRK", {})
    assert [lost[:2] for lost in bike.get_lost()] == [(JOB, "WRK")]


def test_a_lost_run_is_found_within_a_second(fleet: Fleet, loops: Loops) -> None:
    """on-timeout: a dispatcher that has nothing else to do puts a job back within a second of its timeout."""
    worker = Recorder("A:B:C:D")
    bike = fleet(worker, on_timeout="reschedule")
    timeouts = {"A": 0.05, "B": 0.35, "C": 0.65, "D": 0.95}
    for code, timeout_s in timeouts.items():
        worker.timeouts[f"{bike.prefix}-work-{code}"] = timeout_s
        bike.set(f"j:{code}", HOURLY)
        bike.enqueue(f"j:{code}")
        bike.redis.zrem(bike.timeline_key, f"j:{code}")
    loops.dispatch(on_timeout="reschedule")
    began = time.monotonic()
    lose(bike, *(f"j:{code}" for code in timeouts))
    late_s: dict[str, float] = {}
    while len(late_s) < len(timeouts):
        for jobid in [str(raw, "utf-8") for raw in raw_timeline(bike)]:
            late_s.setdefault(jobid, time.monotonic() - began - timeouts[jobid[-1]])
        assert time.monotonic() < began + 5
        time.sleep(0.005)
    assert max(late_s.values()) < 1.1  # with what a busy machine takes
    assert min(late_s.values()) > -0.01
    assert ":running" not in held(bike)


def test_a_lost_run_is_rescheduled(fleet: Fleet, loops: Loops) -> None:
    """on-timeout: reschedule: each kind of schedule goes on from then, and a one-off is over."""
    bike = fleet(on_timeout="reschedule", default_timeout=SOON_S)
    jobs = {"often:A": "CONTINUE", "hourly:A": HOURLY, "once:A": "NOW", "last:A": EXHAUSTED}
    for jobid, schedule in jobs.items():
        bike.set(jobid, schedule)
        bike.enqueue(jobid)
    bike.redis.delete(bike.timeline_key)
    before = server_now(bike)
    lose(bike, *jobs)
    eventually(lambda: not bike.is_working("last:A"))
    loops.dispatch(on_timeout="reschedule")
    eventually(lambda: is_index_empty(bike), 3)
    planned = timeline(bike)
    assert planned.pop("hourly:A") % HOUR_S == 0
    assert planned.pop("often:A", before) <= server_now(bike) + 1
    assert planned == {}
    assert [event(bike, jobid) for jobid in ("once:A", "last:A")] == ["STP", "STP"]
    assert ":retries" not in held(bike)


def test_a_lost_run_is_tried_again(fleet: Fleet, loops: Loops) -> None:
    """on-timeout: retry: a lost one-off is run again as often as is set, and is then over."""
    worker = Recorder()
    settings: dict[str, Any] = {"on_timeout": "retry", "retries": 1, "default_timeout": SOON_S}
    bike = fleet(worker, **settings)
    bike.set(JOB, "NOW")
    lose(bike, JOB)
    eventually(lambda: not bike.is_working(JOB))
    loops.dispatch(**settings)
    eventually(lambda: event(bike) == "TML", 3)
    assert held(bike)[":retries"] == {JOB: "1"}
    eventually(lambda: event(bike) == "ENQ", 3)
    lose(bike, JOB)
    eventually(lambda: event(bike) == "STP", 3)
    found = held(bike)
    assert ":retries" not in found
    assert ":running" not in found
    assert timeline(bike) == {}


def test_a_run_that_ends_in_time_leaves_the_index(fleet: Fleet) -> None:
    """on-timeout: the index of running jobs holds a run as long as it lasts, by its deadline, and not longer."""
    worker = Recorder()
    bike = fleet(worker, on_timeout="retry", default_timeout=30)
    bike.control("HALT")
    seen: list[dict[str, float]] = []
    worker.acts[JOB] = lambda: seen.append(held(bike)[":running"])
    for schedule in ("CONTINUE", "NOW", HOURLY):
        bike.set(JOB, schedule)
        bike.enqueue(JOB)
        bike.work()
        assert ":running" not in held(bike)
    for index in seen:
        [(entry, due_at)] = index.items()
        assert entry.split("\n")[1:] == [f"{bike.prefix}-work-A", JOB]
        assert 28 < due_at - server_now(bike) <= 30


def test_several_dispatchers_put_back_each_job_once(
    fleet: Fleet, loops: Loops, caplog: pytest.LogCaptureFixture
) -> None:
    """C6: of runs that are lost at the same time, each is put back by one dispatcher, whoever else looks."""
    jobids = [f"{n}:A" for n in range(250)]
    bike = fleet(on_timeout="retry", default_timeout=0.5)
    for jobid in jobids:
        bike.set(jobid, HOURLY)
        bike.enqueue(jobid)
    bike.redis.delete(bike.timeline_key)
    for _ in range(4):
        loops.dispatch(on_timeout="retry")
    lose(bike, *jobids)
    lost_at = time.monotonic() + 0.5
    eventually(lambda: is_index_empty(bike), 5)
    assert time.monotonic() - lost_at < 2.5, "and soon, though they are more than a batch"
    loops.stop()
    found = held(bike)
    assert found[":retries"] == dict.fromkeys(jobids, "1")
    where = Counter([*found.get("-timeline", {}), *found.get("-work-A", [])])
    assert where == Counter(jobids)
    logged = Counter(message for message in caplog.messages if "outlived its timeout: on-timeout says" in message)
    assert len(logged) == 250
    assert set(logged.values()) == {1}


def test_the_late_end_changes_nothing(fleet: Fleet, loops: Loops, caplog: pytest.LogCaptureFixture) -> None:
    """D6: a run that goes on after its timeout does no harm to the next run of its job, and its end no difference."""
    settings: dict[str, Any] = {"on_timeout": "retry", "default_timeout": 0.3}
    first, second = Recorder(), Recorder()
    ends = [threading.Event(), threading.Event()]
    first.acts[JOB] = lambda: ends[0].wait(20) and None
    second.acts[JOB] = lambda: ends[1].wait(20) and None
    second.timeouts[f"{fleet.prefix}-work-A"] = 30
    bike = fleet(**settings)
    late_worker = loops.work(first, **settings)
    bike.set(JOB, "CONTINUE")
    eventually(lambda: first.done)
    late_worker.tell()  # it takes no other job
    loops.dispatch(**settings)
    loops.work(second, **settings)
    eventually(lambda: second.done, 5)
    before = held(bike)
    ends[0].set()
    late_worker.join()
    assert held(bike) == before
    assert bike.is_working(JOB)
    assert any("its end changes nothing" in message for message in caplog.messages)
    ends[1].set()
    eventually(lambda: len(second.done) > 1)
    assert first.done == [JOB]
    assert ":retries" not in held(bike)


@pytest.mark.parametrize("verdict", ["raises", "unsets"])
def test_a_late_end_before_the_next_run_changes_nothing(fleet: Fleet, loops: Loops, verdict: str) -> None:
    """D6: the same where the job waits for its next try, however the late run ends."""
    settings: dict[str, Any] = {"on_timeout": "retry", "on_error": "retry", "default_timeout": SOON_S}
    worker, end = Recorder(), threading.Event()
    error = {"raises": ValueError(), "unsets": UnsetJob()}.get(verdict)

    def act() -> None:
        end.wait(20)
        if error is not None:
            raise error

    worker.acts[JOB] = act
    bike = fleet(**settings)
    late_worker = loops.work(worker, **settings)
    bike.set(JOB, "CONTINUE")
    eventually(lambda: worker.done)
    late_worker.tell()
    eventually(lambda: not bike.is_working(JOB))
    dispatcher = loops.dispatch(**settings)
    eventually(lambda: bike.redis.exists(f"{bike.prefix}:retries"), 3)
    dispatcher.stop()
    before = held(bike)
    assert before[":retries"] == {JOB: "1"}
    end.set()
    late_worker.join()
    assert held(bike) == before


def test_a_broken_index_does_not_hold_up_the_others(
    fleet: Fleet, loops: Loops, caplog: pytest.LogCaptureFixture
) -> None:
    """A1: an index of a wrong type, or with garbage in it, is reported or passed over, and jobs that are due run."""
    bike = fleet(on_timeout="retry", default_timeout=SOON_S)
    running = f"{bike.prefix}:running"
    bike.redis.zadd(running, {b"garbage": 1, b"more\ngarbage": 2, b"\xff\n\xff\n\xff": 3})
    bike.set(JOB, "CONTINUE")
    lose(bike, JOB)
    eventually(lambda: not bike.is_working(JOB))
    loops.dispatch(on_timeout="retry")
    eventually(lambda: event(bike) in ("TML", "ENQ"), 3)
    eventually(lambda: is_index_empty(bike))
    bike.redis.set(running, "garbage")
    eventually(lambda: any("cannot be looked after" in message for message in caplog.messages), 3)
    bike.set("due:A", f"AT:{time.time() + 0.2}")
    eventually(lambda: event(bike, "due:A") == "ENQ", 3)
    assert sum("cannot be looked after" in message for message in caplog.messages) == 1


def test_a_worker_that_names_no_queue(fleet: Fleet, loops: Loops) -> None:
    """A1: a lost job that the dispatcher's worker can name no queue for is put back all the same."""

    class Picky(RoundRobin):
        def queue_for(self, jobid: str) -> str:
            if jobid == JOB:
                raise ValueError("not mine")
            return super().queue_for(jobid)

    bike = fleet(on_timeout="reschedule", default_timeout=SOON_S)
    bike.set(JOB, HOURLY)
    bike.enqueue(JOB)
    bike.redis.delete(bike.timeline_key)
    lose(bike, JOB)
    eventually(lambda: not bike.is_working(JOB))
    loops.dispatch(Picky("A"), on_timeout="reschedule")
    eventually(lambda: JOB in timeline(bike), 3)


# A worker process that is killed


@pytest.fixture
def site(server: Server, prefix: str, tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path, server, prefix) as site:
        yield site


@pytest.mark.parametrize("policy", ["drop", "reschedule", "retry"])
def test_a_worker_killed_with_a_job_in_hand(site: Site, bike: Redbike, policy: str) -> None:
    """on-timeout: the job of a worker that was killed is lost until `lost --reset`, or goes on, as the conf says."""
    workers, conf = site.folder / "workers.py", site.folder / ".redbike.conf"
    workers.write_text(workers.read_text().replace("return 60", "return 0.3"))
    conf.write_text(conf.read_text().replace("[redbike]", f"[redbike]\non-timeout: {policy}"))
    site.start("dispatch")
    bike.set("slow-1:A", "CONTINUE")
    victim = site.start("work")
    eventually(lambda: site.runs("begin") == ["slow-1:A"], 20)
    victim.send_signal(signal.SIGKILL)
    victim.wait(10)
    (site.folder / "go-on").touch()
    site.start("work")
    if policy == "drop":
        eventually(lambda: not bike.is_working("slow-1:A"))
        shown = site.run("lost")
        [(jobid, last, _)] = csv.reader(shown.stdout.splitlines())
        assert (jobid, last) == ("slow-1:A", "WRK")
        assert "slow-1:A" not in site.runs()
        assert site.run("lost", "--reset").stdout == shown.stdout
    eventually(lambda: "slow-1:A" in site.runs(), 20)
    assert list(bike.get_lost()) == []


# redbike lost


@pytest.fixture
def mixed(fleet: Fleet, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Redbike:
    """Jobs in every place, three of them lost: one that died, one whose worker died, one that another program wrote."""
    worker = Recorder("A:B:C")
    bike = fleet(worker)
    bike.control("HALT")
    worker.acts["died:A"] = worker.acts["died once:A"] = raising(ValueError())
    for jobid, schedule in (("died:A", "CONTINUE"), ("died once:A", "NOW")):
        bike.set(jobid, schedule)
        next_turn(bike, worker, jobid)
    bike.set("killed:B", HOURLY)
    bike.enqueue("killed:B")
    bike.redis.zrem(bike.timeline_key, "killed:B")
    while next(bike.consumer)[0] != "killed:B":
        pass
    bike.redis.delete(f"{bike.prefix}-work-B-killed:B")
    bike.redis.hset(bike.schedules_key, "written:A", HOURLY)
    bike.set("working:C", "CONTINUE")
    while next(bike.consumer)[0] != "working:C":
        pass
    live = ("queued:A", "CONTINUE"), ("now:A", "NOW"), ("hourly:A", HOURLY), ("stopped:A", "STOP"), ("bad:A", "x")
    for jobid, schedule in (*live, ("at:A", f"AT:{FUTURE}"), ("over:A", EXHAUSTED)):
        bike.set(jobid, schedule)
    bike.redis.hset(bike.schedules_key, "old one-off:A", "NOW")
    monkeypatch.chdir(tmp_path)
    connection = "".join(f"{name}: {value}\n" for name, value in server.config.items())
    Path(".redbike.conf").write_text(f"[redbike]\nprefix: {bike.prefix}\n[redbike-redis]\n{connection}")
    return bike


def next_turn(bike: Redbike, worker: Recorder, jobid: str) -> None:
    while jobid not in worker.done:
        bike.work()


LOST = {"died:A": "DIE", "killed:B": "WRK", "written:A": ""}


def test_lost_finds_jobs_in_no_place(mixed: Redbike) -> None:
    """`get_lost` gives the jobs in no place whose schedule leads on, with their last event, and no others."""
    mixed.redis.hset(mixed.schedules_key, "old one-off:A", "STOP")
    found = list(mixed.get_lost())
    assert {jobid: event for jobid, event, _ in found} == LOST
    now = server_now(mixed)
    for _, last, timestamp in found:
        assert timestamp == 0 if last == "" else now - 5 < timestamp <= now


def test_lost_up_to_a_time(mixed: Redbike) -> None:
    """`before` leaves out what happened later."""
    mixed.redis.hset(mixed.schedules_key, "old one-off:A", "STOP")
    mixed.redis.hset(mixed.statuses_key, "died:A", "DIE:1000")
    assert {jobid for jobid, *_ in mixed.get_lost(before=1000)} == {"died:A", "written:A"}
    assert {jobid for jobid, *_ in mixed.get_lost(before=999)} == {"written:A"}


def test_reset_puts_back_what_is_lost(mixed: Redbike, capsys: pytest.CaptureFixture[str]) -> None:
    """`redbike lost --reset` prints the lost jobs as CSV and puts exactly these back; then none is lost."""
    mixed.redis.hset(mixed.schedules_key, "old one-off:A", "STOP")
    before = held(mixed)
    assert main(["lost"]) == 0
    listed = capsys.readouterr().out
    assert {row[0]: row[1] for row in csv.reader(listed.splitlines())} == LOST
    assert held(mixed) == before, "looking changes nothing"
    assert main(["lost", "--reset"]) == 0
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(listed.splitlines())
    after = held(mixed)
    assert set(after["-work-A"]) - set(before["-work-A"]) == {"died:A"}
    put_back = {jobid for jobid in after["-timeline"] if jobid not in before["-timeline"]}
    assert put_back == {"killed:B", "written:A"}
    assert all(after["-timeline"][jobid] % HOUR_S == 0 for jobid in put_back)
    assert after["-schedules"] == before["-schedules"]
    untouched = set(before["-statuses"]) - set(LOST)
    assert {jobid: after["-statuses"][jobid] for jobid in untouched} == {
        jobid: before["-statuses"][jobid] for jobid in untouched
    }
    assert main(["lost", "--reset"]) == 0
    assert capsys.readouterr().out == ""
    assert held(mixed) == after


def test_reset_by_time(mixed: Redbike, capsys: pytest.CaptureFixture[str]) -> None:
    """`redbike lost --before --reset` puts back only what has been lost since then or longer."""
    mixed.redis.hset(mixed.schedules_key, "old one-off:A", "STOP")
    mixed.redis.hset(mixed.statuses_key, "died:A", "DIE:1000")
    assert main(["lost", "--before=1000", "--reset"]) == 0
    assert {row.partition(",")[0] for row in capsys.readouterr().out.splitlines()} == {"died:A", "written:A"}
    assert [jobid for jobid, *_ in mixed.get_lost()] == ["killed:B"]


@pytest.mark.parametrize(
    "jobid", ["queued:A", "now:A", "hourly:A", "stopped:A", "bad:A", "at:A", "over:A", "working:C"]
)
def test_reset_leaves_others_alone(mixed: Redbike, jobid: str) -> None:
    """`reset` of a job that is in its place, or has no further run, changes nothing and says so."""
    before = held(mixed)
    assert mixed.reset(jobid) is False
    assert mixed.reset("unknown:A") is False
    assert held(mixed) == before


def test_a_job_that_is_set_meanwhile_is_not_reset(fleet: Fleet) -> None:
    """`reset` goes by the state at that moment: of two at the same time one puts the job back."""
    bike = fleet()
    bike.redis.hset(bike.schedules_key, JOB, "CONTINUE")
    [(lost, _, _)] = bike.get_lost()
    assert [bike.reset(lost), bike.reset(lost)] == [True, False]
    assert held(bike)["-work-A"] == [JOB]


def test_lost_in_pages(fleet: Fleet) -> None:
    """F4: thousands of jobs are looked through in pages and calls of bounded size."""
    bike = fleet()
    numbers = range(5000)
    bike.redis.hset(bike.schedules_key, mapping={f"{n}:A": "CONTINUE" for n in numbers})
    bike.redis.zadd(bike.timeline_key, {f"{n}:A": FUTURE for n in numbers if n % 10})
    calls: list[int] = []
    scripts = bike._scripts
    look = scripts.lost

    def counting(jobs: Any) -> Any:
        calls.append(len(jobs))
        return look(jobs)

    scripts.lost = counting  # type: ignore[method-assign]
    assert sorted(int(jobid[:-2]) for jobid, *_ in bike.get_lost()) == list(range(0, 5000, 10))
    assert max(calls) <= 1000
    assert len(calls) >= 5
    lost = bike.get_lost()
    assert next(lost)
    assert len(calls) < 2 * 5000 // max(calls), "a page is read when it is asked for"


def test_one_job_without_a_queue_does_not_hide_the_others(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """A2: a job that no queue can be told for is reported, and the other lost ones are found."""

    class Picky(RoundRobin):
        def queue_for(self, jobid: str) -> str:
            if jobid == "odd":
                raise ValueError("not mine")
            return super().queue_for(jobid)

    bike = fleet(Picky("A"))
    bike.redis.hset(bike.schedules_key, mapping={"odd": "CONTINUE", JOB: "CONTINUE", b"\xff:A": "CONTINUE"})
    assert {jobid for jobid, *_ in bike.get_lost()} == {JOB, "\udcff:A"}
    assert any("'odd'" in message for message in caplog.messages)


# The keys, and the settings


def test_flush_removes_the_index_and_the_counts(fleet: Fleet) -> None:
    """A5: `flush` removes the index of running jobs and the counts of tries, and tags that only the index knows."""
    bike = failing(fleet, on_timeout="retry", on_error="retry")
    bike.set(JOB, "CONTINUE")
    bike.work()
    bike.set("other:A", "CONTINUE")
    lose(bike, "other:A")
    bike.unset("other:A")
    assert {":running", ":retries", "-work-A-other:A"} <= set(held(bike))
    bike.flush()
    assert held(bike) == {}


def test_flush_believes_no_index_that_leads_elsewhere(fleet: Fleet) -> None:
    """A5: an entry of the index that names a queue of another prefix does not make `flush` delete a key there."""
    bike = fleet()
    foreign = f"x{fleet.prefix}-work-A"
    bike.redis.zadd(f"{bike.prefix}:running", {f"tag\n{foreign}\n{JOB}": 1})
    bike.redis.set(f"{foreign}-{JOB}", "a tag")
    bike.flush()
    assert held(bike) == {}
    assert bike.redis.delete(f"{foreign}-{JOB}") == 1


def test_the_added_keys_may_be_lost(fleet: Fleet) -> None:
    """A1: without the index, or the counts, jobs run and end as ever."""
    worker = Recorder()
    bike = failing(fleet, worker, on_timeout="retry", on_error="retry", retries=1)

    def drop_keys() -> None:
        bike.redis.delete(f"{bike.prefix}:running", f"{bike.prefix}:retries")

    worker.acts["fine:A"] = drop_keys
    bike.set("fine:A", "CONTINUE")
    bike.work()
    assert event(bike, "fine:A") == "ENQ"
    bike.set("fine:A", "STOP")
    bike.work()
    bike.set(JOB, "CONTINUE")
    bike.work()
    drop_keys()
    step(bike)
    assert held(bike)[":retries"] == {JOB: "1"}, "counted anew"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"on_timeout": "later"}, "on_timeout: 'later' is none of drop, reschedule, retry"),
        ({"on_error": ""}, "on_error: '' is none of drop, reschedule, retry"),
        ({"retries": 0}, "retries: 0 is not a whole number from 1 to 100"),
        ({"retries": 101}, "retries: 101 is not a whole number from 1 to 100"),
        ({"retries": "3"}, "retries: '3' is not a whole number from 1 to 100"),
        ({"retries": True}, "retries: True is not a whole number from 1 to 100"),
        ({"retries": 1.0}, "retries: 1.0 is not a whole number from 1 to 100"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    """H: a policy that there is not is refused when the object is made, with those that there are."""
    with pytest.raises(ConfigError) as error:
        Redbike(Recorder(), **settings)
    assert str(error.value) == message


def test_failures_are_logged(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """D5: whatever becomes of it, a run that raised is in the log with its traceback."""
    bike = failing(fleet, on_error="retry")
    bike.set(JOB, "NOW")
    bike.work()
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "died" in record.message
    assert record.exc_info
