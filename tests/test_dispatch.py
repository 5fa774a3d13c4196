"""Dispatching: which jobs a pass moves, which time counts, and several dispatchers at once."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Fleet, Recorder, Running
from helpers import DAILY, FUTURE, PAST, checked_queue, dispatch_at, halt_at_once, server_now, timeline
from nodes import eventually
from state import state

from redbike import Redbike

# C1: passes


def test_pass_moves_due_jobs(halted: Redbike) -> None:
    """C1: a pass moves every job that is due from the timeline into its queue, and no other."""
    worker = Recorder("A:B")
    halted.worker = worker
    halted.set("a:A", f"AT:{PAST}")
    halted.set("b:B", f"AT:{PAST + 1}")
    halted.set("c:A", f"AT:{FUTURE}")
    halted.set("d:A", f"AT:{PAST - 1}")
    halted.dispatch()
    after = state(halted.redis, halted.prefix)
    assert after.pop("-schedules") == dict.fromkeys(["a:A", "b:B", "c:A", "d:A"], "STOP")
    events = {job: status[:3] for job, status in after.pop("-statuses").items()}
    assert events == {"a:A": "ENQ", "b:B": "ENQ", "c:A": "TML", "d:A": "ENQ"}
    assert after == {
        "-control": "HALT",
        "-timeline": {"c:A": FUTURE},
        "-work-A": ["a:A", "d:A"],  # the job that was due first leaves first, on the right
        "-work-A-members": {"a:A", "d:A"},
        ":bell:work-A": ["1"],
        "-work-B": ["b:B"],
        "-work-B-members": {"b:B"},
        ":bell:work-B": ["1"],
    }


def test_pass_is_whole(halted: Redbike) -> None:
    """C1: one pass moves all due jobs, however many, in the order in which they became due."""
    jobs = [f"{number:04}:A" for number in range(1_001)]
    halted.redis.zadd(halted.timeline_key, {job: PAST + number for number, job in enumerate(jobs)})
    halted.dispatch()
    assert checked_queue(halted) == jobs
    assert timeline(halted) == {}


@pytest.mark.parametrize("order", ["first the stop", "first the halt"])
def test_pass_of_a_stopped_dispatcher(halted: Redbike, fleet: Fleet, order: str) -> None:
    """C1, C2: a dispatcher whose stop event was set at its start does one pass and writes the time file once, like a
    halted dispatcher.
    """
    if order == "first the stop":
        halted.clear_control()
    stop = threading.Event()
    stop.set()
    dispatcher = fleet(stop_event=stop)
    jobs = [f"{number:04}:A" for number in range(401)]
    halted.redis.zadd(halted.timeline_key, {job: PAST + number for number, job in enumerate(jobs)})
    dispatcher.dispatch()
    assert checked_queue(halted) == jobs
    assert abs(int(Path(dispatcher.timefile).read_text()) - server_now(halted)) < 3


def test_first_pass_goes_by_after(halted: Redbike) -> None:
    """C1: the first pass uses `after`, including that second, whatever the time file says."""
    Path(halted.timefile).write_text(str(PAST + 9))
    for offset in (-1, 0, 1):
        halted.set(f"{offset}:A", f"AT:{PAST + offset}")
    halted.dispatch(after=PAST)
    assert checked_queue(halted) == ["-1:A", "0:A"]
    halted.dispatch(after=0)
    assert list(timeline(halted)) == ["1:A"]


def test_no_pass_goes_by_a_time_to_come(halted: Redbike) -> None:
    """C1: an `after` in the future of the server's clock counts as the server's time: nothing runs early."""
    halted.set("now:A", f"AT:{PAST}")
    halted.set("future:A", f"AT:{FUTURE}")
    halted.dispatch(after=FUTURE)
    assert checked_queue(halted) == ["now:A"]
    assert timeline(halted) == {"future:A": FUTURE}


def test_first_pass_goes_by_the_time_file(halted: Redbike) -> None:
    """C1: without `after`, the first pass uses the time file, so that no job that became due since then is early."""
    Path(halted.timefile).write_text("1500000000")
    halted.set("old:A", "AT:1500000000")
    halted.set("new:A", "AT:1500000001")
    halted.dispatch()
    assert checked_queue(halted) == ["old:A"]
    halted.dispatch()
    assert checked_queue(halted) == ["old:A", "new:A"]


def test_first_pass_goes_by_now(halted: Redbike) -> None:
    """C1: without `after` and without a time file, the first pass uses the present."""
    halted.set("old:A", f"AT:{int(server_now(halted))}")
    halted.set("new:A", f"AT:{int(server_now(halted)) + 100}")
    halted.dispatch()
    assert checked_queue(halted) == ["old:A"]


def test_later_passes_go_by_now(bike: Redbike, fleet: Fleet, running: Running) -> None:
    """C1: every later pass uses the present: jobs that `after` left out follow at once."""
    bike.set("old:A", f"AT:{PAST}")
    bike.set("newer:A", f"AT:{PAST + 2}")
    bike.set("future:A", f"AT:{FUTURE}")
    running(lambda stop: lambda: fleet(stop_event=stop).dispatch(after=PAST + 1))
    eventually(lambda: checked_queue(bike) == ["old:A", "newer:A"])
    assert timeline(bike) == {"future:A": FUTURE}


def test_event_of_the_first_pass_is_now(halted: Redbike) -> None:
    """C1, A3: whichever time the first pass uses, the status of a queued job has the time at which it was queued,
    neither future nor past.
    """
    halted.set("future:A", f"AT:{FUTURE}")
    dispatch_at(halted, FUTURE)
    halted.set("past:A", f"AT:{PAST}")
    halted.dispatch(after=PAST)
    assert sorted((job, event) for job, event, _ in halted.get_statuses()) == [("future:A", "ENQ"), ("past:A", "ENQ")]
    for _, _, second in halted.get_statuses():
        assert abs(second - server_now(halted)) < 3


def test_csv_before_the_first_pass(halted: Redbike, tmp_path: Path) -> None:
    """C1: the file of schedules is loaded before the first pass, which finds the due jobs of the file."""
    path = tmp_path / "schedules.csv"
    path.write_text(f"at:A,AT:{PAST}\nnow:A,NOW\n")
    halted.dispatch(csvfilename=path)
    assert checked_queue(halted) == ["now:A", "at:A"]


def test_future_job_of_a_running_dispatcher(bike: Redbike, fleet: Fleet, running: Running) -> None:
    """C1: a running dispatcher queues a job when it is due: not before, and hardly later."""
    running(lambda stop: fleet(stop_event=stop).dispatch)
    moment: Any = bike.redis.time()
    due_at = moment[0] + moment[1] / 1e6 + 0.3
    bike.set("x:A", f"AT:{due_at:.3f}")
    eventually(lambda: checked_queue(bike) == ["x:A"])
    moment = bike.redis.time()
    assert 0 <= moment[0] + moment[1] / 1e6 - due_at < 0.25


def test_halted_dispatcher_stops(halted: Redbike, fleet: Fleet) -> None:
    """C1: `dispatch` goes on until it is halted, and then returns."""
    halted.clear_control()
    thread = threading.Thread(target=fleet().dispatch, daemon=True)
    thread.start()
    halted.set("x:A", f"AT:{PAST}")
    eventually(lambda: checked_queue(halted) == ["x:A"])
    assert thread.is_alive()
    halt_at_once(halted)
    thread.join(5)
    assert not thread.is_alive()


# C5


@pytest.mark.parametrize("schedule", [f"AT:{PAST}", DAILY])
def test_due_while_queued(halted: Redbike, worker: Recorder, schedule: str) -> None:
    """C5: a job that becomes due while it is queued is not queued twice."""
    halted.set("x:A", "CONTINUE")
    halted.set("x:A", schedule, after=PAST)
    halted.dispatch()
    assert checked_queue(halted) == ["x:A"]
    assert timeline(halted) == {}
    halted.work()
    assert worker.done == ["x:A"]


def test_due_while_running(halted: Redbike, worker: Recorder) -> None:
    """C5: a job that becomes due while it runs is not started a second time: it stays on the timeline, and is due again
    a second later.
    """
    halted.set("x:A", DAILY)
    halted.enqueue("x:A")
    assert next(halted.consumer)[0] == "x:A"
    halted.redis.zadd(halted.timeline_key, {"x:A": PAST})
    halted.dispatch()
    assert checked_queue(halted) == []
    assert timeline(halted) == {"x:A": pytest.approx(server_now(halted) + 1, abs=1)}
    assert halted.is_working("x:A")
    halted.redis.delete(f"{halted.queue_for('x:A')}-x:A")
    dispatch_at(halted, server_now(halted) + 2)
    halted.work()
    assert worker.done == ["x:A"]


def test_many_due_while_running(halted: Redbike) -> None:
    """C5: any number of running jobs does not stop a pass from queueing the other due jobs."""
    running_jobs = [f"r{number}:A" for number in range(300)]
    for job in running_jobs:
        halted.redis.set(f"{halted.queue_for(job)}-{job}", "their tag", ex=10)
    halted.redis.zadd(halted.timeline_key, dict.fromkeys(running_jobs, PAST) | {"last:A": PAST + 1})
    halted.dispatch()
    assert checked_queue(halted) == ["last:A"]
    assert len(timeline(halted)) == 300


# C6


def test_racing_dispatchers(bike: Redbike, fleet: Fleet, running: Running) -> None:
    """C6: eight dispatchers race over two thousand due jobs, and each of them is queued and run once."""
    jobs = [f"{number}:A" for number in range(2_000)]
    bike.redis.hset(bike.schedules_key, mapping=dict.fromkeys(jobs, "STOP"))
    worker = Recorder()
    running(lambda stop: fleet(worker, stop_event=stop).work)
    ready = threading.Barrier(9)

    def racing(stop: threading.Event) -> Callable[[], None]:
        dispatcher = fleet(stop_event=stop)

        def race() -> None:
            ready.wait(10)
            dispatcher.dispatch()

        return race

    for _ in range(8):
        running(racing)
    bike.redis.zadd(bike.timeline_key, dict.fromkeys(jobs, PAST))
    ready.wait(10)
    eventually(lambda: len(worker.done) >= len(jobs))
    eventually(lambda: all(event == "STP" for _, event, _ in bike.get_statuses()))
    assert Counter(worker.done) == Counter(jobs)
    assert timeline(bike) == {}
    assert checked_queue(bike) == []


def test_two_dispatchers_share_a_time_file(fleet: Fleet, halted: Redbike) -> None:
    """C6: dispatchers that share a time file do not disturb each other."""
    path = fleet.folder / "shared"
    threads = [threading.Thread(target=fleet(timefile=path).dispatch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert abs(int(path.read_text()) - server_now(halted)) < 3
