"""on-timeout: what happens to a job whose run takes longer than its timeout, or whose worker dies.

Only a running dispatcher finds lost runs. A test takes a job and never ends the run.
"""

import csv
import signal
import threading
import time
from collections import Counter
from typing import Any

import pytest
from conftest import Fleet, Recorder
from failures import JOB, SOON_S, check_meanwhile, failing, is_index_empty, lose, step
from helpers import EXHAUSTED, HOUR_S, HOURLY, event, lines, server_now, state_of, timeline
from nodes import eventually
from processes import Site
from threads import Loops

from redbike import Redbike, RoundRobin, UnsetJob


def raw_timeline(bike: Redbike) -> list[bytes]:
    """Return the job ids of the timeline in one call, for tests that poll."""
    found: Any = bike.redis.zrange(bike.timeline_key, 0, -1)
    return list(found)


def test_a_run_enqueued_during_a_lost_run_is_not_doubled(fleet: Fleet, loops: Loops) -> None:
    """B10: a dispatcher that finds a job due and lost at the same time queues it once."""
    bike = fleet(on_timeout="retry", default_timeout=SOON_S)
    loops.dispatch(on_timeout="retry")
    bike.set(JOB, "CONTINUE")
    lose(bike, JOB)
    bike.set(JOB, "NOW")
    eventually(lambda: bike.redis.llen(bike.queue_for(JOB)) == 1, 3)
    eventually(lambda: is_index_empty(bike), 3)
    check_meanwhile(bike, "NOW")


def test_a_lost_run_drops_the_job(fleet: Fleet, loops: Loops) -> None:
    """D6: by default, a job whose run exceeded its timeout stays as it was taken."""
    bike = fleet(default_timeout=0.05, history=0)
    bike.set(JOB, "CONTINUE")
    lose(bike, JOB)
    assert ":running" not in state_of(bike)
    loops.dispatch()
    eventually(lambda: not bike.is_working(JOB))
    bike.set("other:A", f"AT:{time.time() + 0.3}")
    eventually(lambda: event(bike, "other:A") == "ENQ")
    assert (event(bike, JOB), timeline(bike)) == ("WRK", {})
    assert [lost[:2] for lost in bike.get_lost()] == [(JOB, "WRK")]


def test_a_lost_run_is_found_within_a_second(fleet: Fleet, loops: Loops) -> None:
    """on-timeout: an idle dispatcher reschedules a job within a second of its timeout."""
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
    assert max(late_s.values()) < 1.1  # plus the delay of a busy machine
    assert min(late_s.values()) > -0.01
    assert ":running" not in state_of(bike)


def test_a_lost_run_is_rescheduled(fleet: Fleet, loops: Loops) -> None:
    """on-timeout: reschedule: each kind of schedule goes on from then, and a one-off ends."""
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
    assert ":retries" not in state_of(bike)


def test_a_lost_run_is_tried_again(fleet: Fleet, loops: Loops) -> None:
    """on-timeout: retry: a lost one-off runs again `retries` times, and then ends."""
    worker = Recorder()
    settings: dict[str, Any] = {"on_timeout": "retry", "retries": 1, "default_timeout": SOON_S}
    bike = fleet(worker, **settings)
    bike.set(JOB, "NOW")
    lose(bike, JOB)
    eventually(lambda: not bike.is_working(JOB))
    loops.dispatch(**settings)
    eventually(lambda: event(bike, JOB) == "TML", 3)
    assert state_of(bike)[":retries"] == {JOB: "1"}
    eventually(lambda: event(bike, JOB) == "ENQ", 3)
    lose(bike, JOB)
    eventually(lambda: event(bike, JOB) == "STP", 3)
    found = state_of(bike)
    assert ":retries" not in found
    assert ":running" not in found
    assert timeline(bike) == {}


def test_a_run_that_ends_in_time_leaves_the_index(fleet: Fleet) -> None:
    """on-timeout: the index of running jobs holds a run by its deadline, exactly as long as it lasts."""
    worker = Recorder()
    bike = fleet(worker, on_timeout="retry", default_timeout=30)
    bike.control("HALT")
    seen: list[dict[str, float]] = []
    worker.acts[JOB] = lambda: seen.append(state_of(bike)[":running"])
    for schedule in ("CONTINUE", "NOW", HOURLY):
        bike.set(JOB, schedule)
        bike.enqueue(JOB)
        bike.work()
        assert ":running" not in state_of(bike)
    for index in seen:
        [(entry, due_at)] = index.items()
        assert entry.split("\n")[1:] == [f"{bike.prefix}-work-A", JOB]
        assert 28 < due_at - server_now(bike) <= 30


def test_several_dispatchers_put_back_each_job_once(
    fleet: Fleet, loops: Loops, caplog: pytest.LogCaptureFixture
) -> None:
    """C6: of several dispatchers, one reschedules each of the runs that are lost at the same time."""
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
    found = state_of(bike)
    assert found[":retries"] == dict.fromkeys(jobids, "1")
    where = Counter([*found.get("-timeline", {}), *found.get("-work-A", [])])
    assert where == Counter(jobids)
    logged = Counter(lines(caplog, "its run is lost (no end was reported within its timeout"))
    assert len(logged) == 250
    assert set(logged.values()) == {1}


def test_the_late_end_changes_nothing(fleet: Fleet, loops: Loops, caplog: pytest.LogCaptureFixture) -> None:
    """D6: a run that goes on after its timeout does not disturb the next run of its job; its end changes nothing."""
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
    before = state_of(bike)
    ends[0].set()
    late_worker.join()
    assert state_of(bike) == before
    assert bike.is_working(JOB)
    assert any("the run counts as lost" in message for message in caplog.messages)
    ends[1].set()
    eventually(lambda: len(second.done) > 1)
    assert first.done == [JOB]
    assert ":retries" not in state_of(bike)


@pytest.mark.parametrize("outcome", ["raises", "unsets"])
def test_a_late_end_before_the_next_run_changes_nothing(fleet: Fleet, loops: Loops, outcome: str) -> None:
    """D6: the same holds while the job waits for its next try, however the late run ends."""
    settings: dict[str, Any] = {"on_timeout": "retry", "on_error": "retry", "default_timeout": SOON_S}
    worker, end = Recorder(), threading.Event()
    error = {"raises": ValueError(), "unsets": UnsetJob()}.get(outcome)

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
    before = state_of(bike)
    assert before[":retries"] == {JOB: "1"}
    end.set()
    late_worker.join()
    assert state_of(bike) == before


def test_a_broken_index_does_not_hold_up_the_others(
    fleet: Fleet, loops: Loops, caplog: pytest.LogCaptureFixture
) -> None:
    """A1: an index of a wrong type or with garbage is reported or passed over, and due jobs run."""
    bike = fleet(on_timeout="retry", default_timeout=SOON_S)
    running = f"{bike.prefix}:running"
    bike.redis.zadd(running, {b"garbage": 1, b"more\ngarbage": 2, b"\xff\n\xff\n\xff": 3})
    bike.set(JOB, "CONTINUE")
    lose(bike, JOB)
    eventually(lambda: not bike.is_working(JOB))
    loops.dispatch(on_timeout="retry")
    eventually(lambda: event(bike, JOB) in ("TML", "ENQ"), 3)
    eventually(lambda: is_index_empty(bike))
    bike.redis.set(running, "garbage")
    eventually(lambda: any("cannot be found" in message for message in caplog.messages), 3)
    bike.set("due:A", f"AT:{time.time() + 0.2}")
    eventually(lambda: event(bike, "due:A") == "ENQ", 3)
    assert sum("cannot be found" in message for message in caplog.messages) == 1


def test_a_worker_that_names_no_queue(fleet: Fleet, loops: Loops) -> None:
    """A1: a lost job is rescheduled even if the dispatcher's worker names no queue for it."""

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


# A killed worker process


@pytest.mark.parametrize("policy", ["drop", "reschedule", "retry"])
def test_a_worker_killed_with_a_job_in_hand(site: Site, bike: Redbike, policy: str) -> None:
    """on-timeout: the running job of a killed worker is lost until `lost --reset`, or goes on, as the conf says."""
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


# The keys


def test_flush_removes_the_index_and_the_counts(fleet: Fleet) -> None:
    """A5: `flush` removes the index of running jobs, the counts of tries, and run tags that only the index names."""
    bike = failing(fleet, on_timeout="retry", on_error="retry")
    bike.set(JOB, "CONTINUE")
    bike.work()
    bike.set("other:A", "CONTINUE")
    lose(bike, "other:A")
    bike.unset("other:A")
    assert {":running", ":retries", "-work-A-other:A"} <= set(state_of(bike))
    bike.flush()
    assert state_of(bike) == {}


def test_flush_believes_no_index_that_leads_elsewhere(fleet: Fleet) -> None:
    """A5: if an entry of the index names a queue of another prefix, `flush` deletes no key there."""
    bike = fleet()
    foreign = f"x{fleet.prefix}-work-A"
    bike.redis.zadd(f"{bike.prefix}:running", {f"tag\n{foreign}\n{JOB}": 1})
    bike.redis.set(f"{foreign}-{JOB}", "a tag")
    bike.flush()
    assert state_of(bike) == {}
    assert bike.redis.delete(f"{foreign}-{JOB}") == 1


def test_the_added_keys_may_be_lost(fleet: Fleet) -> None:
    """A1: without the index or the counts, jobs still run and end."""
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
    assert state_of(bike)[":retries"] == {JOB: "1"}, "the count starts at 1 again"
