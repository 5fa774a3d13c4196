"""B10: a job that is set or queued while it runs: no second run starts, and no run is lost."""

from collections.abc import Callable

import pytest
from conftest import Fleet, Recorder
from expected import JOB, queued_job, resting, seen, set_alone, timed
from helpers import DAILY, DAY_S, FUTURE, PAST, dispatch_at, server_now
from state import state

from redbike import Redbike, StopWork

# B10: setting a job that is running


def start_by(bike: Redbike, old: str) -> None:
    """Register the old schedule, and queue the job."""
    bike.set(JOB, old)
    bike.enqueue(JOB)


@pytest.mark.parametrize("looked", [False, True], ids=["", "with a dispatcher's look"])
@pytest.mark.parametrize("new", ["NOW", f"AT:{PAST}", f"AT:{FUTURE}", "CONTINUE", "STOP", DAILY, "garbage", None])
@pytest.mark.parametrize("old", ["STOP", "CONTINUE", DAILY])
def test_setting_a_running_job(
    halted: Redbike, fleet: Fleet, worker: Recorder, old: str, new: str | None, looked: bool
) -> None:
    """B10: setting a running job does not start it a second time. When the run ends, the current schedule decides: a
    NOW or a due AT runs after that run.
    """
    second = Recorder()
    other = fleet(second)

    def set_meanwhile() -> None:
        if len(worker.done) > 1:
            return
        other.set(JOB, new)
        if looked:
            other.dispatch()
        other.work()
        assert other.is_working(JOB)
        assert "-work-A" not in state(halted.redis, halted.prefix)

    worker.acts[JOB] = set_meanwhile
    start_by(halted, old)
    halted.work()
    assert not halted.is_working(JOB)
    assert (worker.done, second.done) == ([JOB], [])
    after_run = seen(halted)
    if new in ("NOW", f"AT:{PAST}"):
        if looked and "-timeline" in after_run:  # delayed to the next full second, which is still in the future
            assert after_run["-timeline"][JOB] <= server_now(halted) + 1
            assert after_run == timed("STOP", after_run["-timeline"][JOB])
        else:
            assert after_run == queued_job("STOP")
        dispatch_at(other, server_now(halted) + 2)
        halted.work()
        assert worker.done == [JOB] * 2
        assert seen(halted) == resting("STOP", "STP")
        dispatch_at(other, server_now(halted) + 2)
        halted.work()
        assert worker.done == [JOB] * 2
    elif new == DAILY:
        assert after_run == timed(DAILY, after_run["-timeline"][JOB])
        assert after_run["-timeline"][JOB] == pytest.approx(server_now(halted) + DAY_S, abs=3)
    else:
        assert after_run == set_alone(new)


@pytest.mark.parametrize("new", ["NOW", f"AT:{PAST}"])
def test_set_during_a_run_that_dies(halted: Redbike, worker: Recorder, new: str) -> None:
    """B10: a NOW or a due AT that is set during a run is not lost if that run raises."""

    def die_once() -> None:
        if len(worker.done) == 1:
            halted.set(JOB, new)
            raise RuntimeError("on purpose")

    worker.acts[JOB] = die_once
    halted.set(JOB, "CONTINUE")
    halted.work()
    dispatch_at(halted, server_now(halted) + 2)
    halted.work()
    assert worker.done == [JOB] * 2
    assert seen(halted) == resting("STOP", "STP")


def test_set_during_a_run_that_stops_itself(halted: Redbike, worker: Recorder) -> None:
    """B10: a NOW that is set during a run is not lost if that run raises StopWork, because the NOW came later."""

    def stop_once() -> None:
        if len(worker.done) == 1:
            halted.set(JOB, "NOW")
            raise StopWork

    worker.acts[JOB] = stop_once
    halted.set(JOB, "CONTINUE")
    halted.work()
    halted.work()
    assert worker.done == [JOB] * 2
    assert seen(halted) == resting("STOP", "STP")


def test_set_twice_during_a_run(halted: Redbike, worker: Recorder) -> None:
    """B10: the last schedule set during a run is the one that counts."""

    def set_twice() -> None:
        halted.set(JOB, "NOW")
        halted.set(JOB, DAILY)
        halted.set(JOB, f"AT:{FUTURE}")

    worker.acts[JOB] = set_twice
    halted.set(JOB, "CONTINUE")
    halted.work()
    assert seen(halted) == timed("STOP", FUTURE)


def test_enqueue_during_a_run(halted: Redbike, worker: Recorder) -> None:
    """B10: a job that is enqueued while it runs is not started a second time, and runs again after that run."""
    acts: list[Callable[[], None]] = [lambda: halted.enqueue(JOB)]
    worker.acts[JOB] = lambda: acts.pop()() if acts else None
    halted.set(JOB, "NOW")
    halted.work()
    dispatch_at(halted, server_now(halted) + 2)
    halted.work()
    halted.work()
    assert worker.done == [JOB] * 2
