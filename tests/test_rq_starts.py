"""RedbikeCronScheduler when a program is started again: after a halt, and with jobs that it has registered before."""

import threading
from collections.abc import Iterator

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
