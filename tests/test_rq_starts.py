"""RedbikeCronScheduler when a program is started again: after a halt, and with jobs that it has registered before."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from nodes import eventually
from rq_users import sent

from redbike.bridges.rq import RedbikeCronScheduler


@pytest.fixture
def scheduler(rq_client: redis.Redis) -> Iterator[RedbikeCronScheduler]:
    scheduler = RedbikeCronScheduler(rq_client)
    yield scheduler
    scheduler.close()


def started(scheduler: RedbikeCronScheduler) -> threading.Thread:
    thread = threading.Thread(target=scheduler.start, daemon=True)
    thread.start()
    return thread


def test_a_start_after_a_halt(
    scheduler: RedbikeCronScheduler, rq_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """A halt ends `start`, and the log names it. The next start clears it, as `redbike dispatch` does."""
    scheduler.bike.control("HALT")
    scheduler.register("a.b", "q", id="job", interval=600)
    thread = started(scheduler)
    try:
        eventually(lambda: len(sent(rq_client)) == 1)
        assert "is halted" not in caplog.text
        scheduler.bike.control("HALT")
        thread.join(10)
        assert not thread.is_alive()
    finally:
        scheduler.stop()
        thread.join(10)
    assert "the prefix redbike:rq is halted: start() ends" in caplog.text


def test_a_stop_is_no_halt(
    scheduler: RedbikeCronScheduler, rq_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """After `stop`, the log names no halt."""
    scheduler.register("a.b", "q", id="job", interval=600)
    thread = started(scheduler)
    eventually(lambda: len(sent(rq_client)) == 1)
    scheduler.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert "halted" not in caplog.text


def test_an_interval_as_text_keeps_its_rhythm(scheduler: RedbikeCronScheduler) -> None:
    """`EVERY:1h`, registered at each start, counts from the first registration."""
    first = scheduler.register("a.b", "q", id="job", schedule="EVERY:1h")
    held = scheduler.bike.get_schedule("job")
    assert first.next_enqueue_time is not None
    moved_to = first.next_enqueue_time - timedelta(minutes=10)
    first.next_enqueue_time = moved_to
    first.save()
    again = scheduler.register("a.c", "q", id="job", schedule="EVERY:1h")
    assert (again.next_enqueue_time, again.func_name) == (moved_to, "a.c")
    assert scheduler.bike.get_schedule("job").partition("\n")[2] == held.partition("\n")[2]
    other = scheduler.register("a.b", "q", id="job", schedule="EVERY:2h")
    assert other.next_enqueue_time not in (None, moved_to)


def test_a_time_runs_once_however_often_it_is_registered(
    scheduler: RedbikeCronScheduler, rq_client: redis.Redis
) -> None:
    """A time in the past runs at once, and not again at the next start, but another time does."""
    bike = scheduler.bike
    bike.control("HALT")
    for number, schedule in enumerate(("AT:1000000000", "AT:1000000000", "AT:1000000001", "AT:1000000001")):
        scheduler.register("a.b", "q", id="job", args=(number,), schedule=schedule)
        bike.dispatch()
        bike.work()
        assert bike.details("job")["payload"].count(f"[{number}]"), "the rest of the job changes"
    assert [job.args for job in sent(rq_client)] == [(0,), (2,)]
    assert scheduler.fetch("job").total_run_count == 2, "no other run was planned"
    scheduler.fetch("job").delete()
    assert not rq_client.exists("redbike:rq:loaded")
    scheduler.register("a.b", "q", id="job", schedule="AT:4000000000", enabled=False)
    assert scheduler.register("a.b", "q", id="job", schedule="AT:4000000000").enabled is False


def test_a_job_of_a_file_keeps_its_owner(scheduler: RedbikeCronScheduler, tmp_path: Path) -> None:
    """A job that came from a config file is still deleted when it leaves the file, although `register` changed it."""
    config = tmp_path / "config.py"
    config.write_text("from rq import cron\nimport posixpath\ncron.register(posixpath.join, 'q', interval=600)\n")
    scheduler.load_config_from_file(str(config))
    scheduler.register("posixpath.join", "q", id="posixpath.join", interval=700)
    config.write_text("")
    scheduler.load_config_from_file(str(config))
    assert scheduler.get_all_jobs() == []


@pytest.mark.parametrize("step", ["find", "_has_had", "_note", "get_schedule"])
@pytest.mark.parametrize("was_unset", [False, True], ids=["new", "unset"])
def test_two_schedulers_register_a_new_interval(
    scheduler: RedbikeCronScheduler,
    rq_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    was_unset: bool,
) -> None:
    """Both find no job, but only one of them places it: another one comes after a step of the first, and runs it."""
    other = RedbikeCronScheduler(rq_client)
    other.bike.control("HALT")
    if was_unset:
        other.register("a.b", "q", id="job", interval=600)
        other.bike.unset("job")
        assert rq_client.hexists("redbike:rq:loaded", "job"), "the note is older than the job"
    owner = scheduler.bike if step == "get_schedule" else scheduler._home
    taken = getattr(owner, step)

    def take(*args: Any) -> Any:
        found = taken(*args)
        if other.bike.get_schedule("job") is None:
            other.register("a.b", "q", id="job", interval=600)
            other.bike.dispatch()
            other.bike.work()
        return found

    monkeypatch.setattr(owner, step, take)
    job = scheduler.register("a.b", "q", id="job", args=("late",), interval=600)
    assert len(sent(rq_client)) == 1
    held = other.fetch("job")
    assert (held.total_run_count, held.args) == (1, ("late",))
    assert job.next_enqueue_time == held.next_enqueue_time
    assert held.latest_enqueue_time is not None
    assert held.next_enqueue_time is not None
    assert held.next_enqueue_time - held.latest_enqueue_time > timedelta(seconds=590)
    other.close()
