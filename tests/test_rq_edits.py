"""RedbikeCronJob: what becomes of a job that another program has set, or that cannot run, when it is edited."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from conftest import Server
from helpers import event
from nodes import eventually
from rq_users import payload, sent

from redbike.bridges.rq import RedbikeCronJob, RedbikeCronScheduler

OF_OTHERS = (
    "CRON:0 17 * * 5L Europe/Berlin",
    "CRON:0 0 */2 * 1 UTC",
    "CRON:0 9 * * 5-7 UTC",
    "CRON:0 9 * * 1-5",
    "CRON:@daily",
    "RRULE:FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9",
    "not a schedule",
)


@pytest.fixture
def scheduler(rq_client: redis.Redis) -> Iterator[RedbikeCronScheduler]:
    scheduler = RedbikeCronScheduler(rq_client)
    yield scheduler
    scheduler.close()


@pytest.mark.parametrize("text", OF_OTHERS)
def test_a_text_that_was_set_elsewhere_stays(
    scheduler: RedbikeCronScheduler, rq_client: redis.Redis, text: str
) -> None:
    """RQ may have other words for it, or none. To save, disable and enable the job changes none of it."""
    scheduler.bike.set("job", text, payload=payload())
    held = scheduler.bike.get_schedule("job")
    job = RedbikeCronJob.fetch("job", rq_client)
    job.disable()
    assert scheduler.bike.get_schedule("job") == f"PAUSED:{held}"
    assert RedbikeCronJob.fetch("job", rq_client).enabled is False
    job.enable()
    assert scheduler.bike.get_schedule("job") == held
    if event(scheduler.bike, "job") != "BAD":
        job.args = ("other",)
        job.save()
        assert scheduler.bike.get_schedule("job") == held
        assert scheduler.fetch("job").args == ("other",)


def test_a_text_that_was_set_elsewhere_stays_when_the_next_run_moves(scheduler: RedbikeCronScheduler) -> None:
    """The job is placed again, with the text that Redis holds."""
    scheduler.bike.set("job", "CRON:0 17 * * 5L UTC", payload=payload())
    job = scheduler.fetch("job")
    job.next_enqueue_time = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=100)
    job.save()
    assert scheduler.bike.get_schedule("job") == "CRON:0 17 * * 5L UTC"
    assert scheduler.fetch("job").next_enqueue_time == job.next_enqueue_time


def test_a_changed_expression_is_that_of_rq(scheduler: RedbikeCronScheduler) -> None:
    """An expression that the user of the job writes is read as RQ reads it."""
    scheduler.bike.set("job", "CRON:0 17 * * 5L Europe/Berlin", payload=payload())
    job = scheduler.fetch("job")
    job.cron = "0 17 * * L5"
    job.save()
    assert scheduler.bike.get_schedule("job") == "CRON:0 17 * * 5L Europe/Berlin"
    job.cron = "0 17 * * fri-mon"
    job.save()
    assert scheduler.bike.get_schedule("job") == "CRON:0 17 * * 0,1,5,6 Europe/Berlin"


def test_a_schedule_that_was_set_meanwhile_stays(scheduler: RedbikeCronScheduler) -> None:
    """A process that changes only the arguments, or pauses the job, does not undo another schedule."""
    scheduler.register("a.b", "q", id="job", cron="0 5 * * *", zone="UTC")
    job = scheduler.fetch("job")
    scheduler.register("a.b", "q", id="job", cron="0 6 * * *", zone="UTC")
    job.args = (1,)
    job.disable()
    assert scheduler.bike.get_schedule("job") == "PAUSED:CRON:0 6 * * * UTC"
    assert scheduler.fetch("job").args == (1,)


def make_bad(scheduler: RedbikeCronScheduler, schedule: str) -> None:
    """Let a job become BAD because of its payload."""
    scheduler.bike.set("job", schedule, payload='{"func": "nodots"}')
    scheduler.bike.enqueue("job")
    scheduler.bike.work()
    assert event(scheduler.bike, "job") == "BAD"


@pytest.mark.parametrize("text", ["EVERY:1h", "CRON:0 5 * * * UTC"])
@pytest.mark.parametrize("is_registered", [True, False], ids=["register", "save"])
def test_a_bad_job_runs_again_after_it_is_mended(
    scheduler: RedbikeCronScheduler, rq_client: redis.Redis, text: str, is_registered: bool
) -> None:
    """The schedule is the same, and only the payload is mended: the job has a next run again."""
    scheduler.bike.control("HALT")
    make_bad(scheduler, text)
    if is_registered:
        scheduler.register("a.b", "q", id="job", args=(1,), schedule=text)
    else:
        job = scheduler.fetch("job")
        job.func_name, job.queue_name, job.args = "a.b", "q", (1,)
        job.save()
    assert scheduler.fetch("job").next_enqueue_time is not None
    assert event(scheduler.bike, "job") == "TML"
    scheduler.bike.enqueue("job")
    scheduler.bike.work()
    assert [job.args for job in sent(rq_client)] == [(1,)]
    assert scheduler.fetch("job").next_enqueue_time is not None


def test_a_bad_job_stays_disabled(scheduler: RedbikeCronScheduler) -> None:
    """A job that was mended and disabled in one step is paused, and runs when it is enabled."""
    scheduler.bike.control("HALT")
    make_bad(scheduler, "CRON:0 5 * * * UTC")
    job = scheduler.register("a.b", "q", id="job", cron="0 5 * * *", zone="UTC", enabled=False)
    assert scheduler.bike.get_schedule("job") == "PAUSED:CRON:0 5 * * * UTC"
    job.enable()
    assert scheduler.fetch("job").next_enqueue_time is not None
    assert event(scheduler.bike, "job") == "TML"


@pytest.mark.parametrize("when", [{"schedule": "AT:1000000000"}, {"interval": 600}], ids=["time", "interval"])
def test_a_job_that_was_deleted_and_registered_again_runs(
    scheduler: RedbikeCronScheduler, rq_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, when: dict[str, Any]
) -> None:
    """RQ has had the run of this second, but it was the run of another job. The new job runs a second later."""
    bike = scheduler.bike
    bike.control("HALT")
    now = bike.now()
    monkeypatch.setattr(type(bike), "now", lambda _: now)
    for number in range(2):
        job = scheduler.register("a.b", "q", id="job", args=(number,), **when)
        assert job.next_enqueue_time is not None
        eventually(lambda due_at=job.next_enqueue_time: datetime.now(UTC) > due_at)
        bike.dispatch()
        bike.work()
        assert scheduler.fetch("job").total_run_count == 1
        job.delete()
    assert [job.args for job in sent(rq_client)] == [(0,), (1,)]


def names_of_clients(client: redis.Redis) -> list[str]:
    return [found["name"] for found in client.client_list()]


def test_a_client_for_each_request(scheduler: RedbikeCronScheduler, rq_server: Server, rq_client: redis.Redis) -> None:
    """A web application that makes a client for each request does not pay for new connections each time."""
    scheduler.register("a.b", "q", id="job", interval=600)
    for _ in range(40):
        with rq_server.client(client_name="web", retry_on_error=[ValueError]) as client:
            assert RedbikeCronJob.fetch("job", client).interval == 600
    assert 1 <= names_of_clients(rq_client).count("web") <= 2


def test_connections_of_many_kinds(scheduler: RedbikeCronScheduler, rq_server: Server, rq_client: redis.Redis) -> None:
    """The oldest of many homes are closed. A job on such a home can still be used."""
    job = scheduler.register("a.b", "q", id="job", interval=600)
    jobs = []
    for number in range(40):
        with rq_server.client(client_name=f"web-{number}") as client:
            jobs.append(RedbikeCronJob.fetch("job", client))
    eventually(lambda: len([name for name in names_of_clients(rq_client) if name.startswith("web-")]) <= 32)
    assert "web-39" in names_of_clients(rq_client)
    assert "web-0" not in names_of_clients(rq_client)
    jobs[0].refresh()
    assert jobs[0].next_enqueue_time == job.next_enqueue_time
