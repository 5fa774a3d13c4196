"""RedbikeCronScheduler and RedbikeCronJob: what users of rq-rediscron and of RQ's cron rely on."""

import json
import os
import posixpath
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from conftest import Server
from nodes import eventually
from processes import environment
from rq.exceptions import NoSuchJobError
from rq_users import run_rq_worker, sent, texts

from redbike.bridges.rq import RedbikeCronJob, RedbikeCronScheduler
from redbike.errors import ConfigError, JobIdError, ScheduleError

SOON = timedelta(seconds=2)


@pytest.fixture
def scheduler(rq_client: redis.Redis) -> Iterator[RedbikeCronScheduler]:
    scheduler = RedbikeCronScheduler(rq_client)
    yield scheduler
    scheduler.close()


@pytest.fixture
def run(scheduler: RedbikeCronScheduler) -> Iterator[Callable[..., None]]:
    """Starts schedulers in threads, and stops them at the end of the test."""
    started: list[tuple[RedbikeCronScheduler, threading.Thread]] = []

    def start(*more: RedbikeCronScheduler) -> None:
        for one in more or (scheduler,):
            thread = threading.Thread(target=one.start, daemon=True)
            thread.start()
            started.append((one, thread))

    yield start
    for one, _ in started:
        one.stop()
    for _, thread in started:
        thread.join(10)
        assert not thread.is_alive()


def ago(job: RedbikeCronJob) -> float:
    """Return for how many seconds the job has been due."""
    assert job.next_enqueue_time is not None
    return (datetime.now(UTC) - job.next_enqueue_time).total_seconds()


def test_an_interval_runs_at_once_and_then_in_its_rhythm(
    scheduler: RedbikeCronScheduler, run: Callable[..., None], rq_client: redis.Redis
) -> None:
    """The first run is due at registration, the next one an interval after its due time, not after its end."""
    job = scheduler.register("tasks.note", "q", id="often", args=("x",), interval=300, result_ttl=0)
    assert 0 <= ago(job) < 2
    assert job.next_enqueue_time is not None
    first = job.next_enqueue_time
    run()
    eventually(lambda: texts(rq_client) == ["x"])
    eventually(lambda: scheduler.fetch("often").total_run_count == 1)
    job.refresh()
    assert job.next_enqueue_time == first + timedelta(seconds=300)
    assert job.latest_enqueue_time is not None
    assert timedelta() <= job.latest_enqueue_time - first < 2 * SOON


def test_functions_travel_by_name(scheduler: RedbikeCronScheduler, rq_client: redis.Redis) -> None:
    """A function, or its dotted name; nothing is imported to register, fetch or list a job."""
    by_function = scheduler.register(posixpath.commonpath, "q", id="function", interval=60)
    scheduler.register("no_such_module.nothing", "q", id="name", interval=60)
    assert by_function.func_name == "posixpath.commonpath"
    assert [job.func_name for job in scheduler.get_all_jobs()] == ["posixpath.commonpath", "no_such_module.nothing"]
    assert RedbikeCronJob.fetch("name", rq_client).func_name == "no_such_module.nothing"
    assert "no_such_module" not in sys.modules


def of_the_program() -> None:
    """Stand for a function of the program itself."""


of_the_program.__module__ = "__main__"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"func": lambda: None, "interval": 5}, "has no name in a module"),
        ({"func": [].append, "interval": 5}, "has no name in a module"),
        ({"func": of_the_program, "interval": 5}, "in the program itself"),
        ({"func": "mail", "interval": 5}, "not the dotted name of a function"),
        ({"func": "a.b"}, "give exactly one of interval"),
        ({"func": "a.b", "interval": 5, "cron": "* * * * *"}, "give exactly one of interval"),
        ({"func": "a.b", "interval": 1.5}, "interval: 1.5 is not a whole number of seconds"),
        ({"func": "a.b", "interval": -5}, "interval: -5 is not"),
        ({"func": "a.b", "cron": "61 * * * *"}, "61"),
        ({"func": "a.b", "cron": "0 5 * * *", "zone": "Berlin"}, "write Europe/Berlin"),
        ({"func": "a.b", "interval": 5, "zone": "Europe/Berlin"}, "an interval has no zone"),
        ({"func": "a.b", "schedule": "EVERY:x"}, "is not an interval"),
        ({"func": "a.b", "interval": 5, "args": [object()]}, "args: cannot be written as JSON"),
        ({"func": "a.b", "interval": 5, "queue_name": ""}, "queue: '' is not a text"),
        ({"func": "a.b", "interval": 5, "job_timeout": 0}, "timeout: 0 is not"),
        ({"func": "a.b", "interval": 5, "id_generator": lambda _: ""}, "id_generator: it returned an empty id"),
    ],
)
def test_what_cannot_be_registered(
    scheduler: RedbikeCronScheduler, rq_client: redis.Redis, arguments: dict[str, Any], says: str
) -> None:
    """A mistake is a ValueError with the value and the way out, and nothing is registered."""
    with pytest.raises(ValueError) as caught:
        scheduler.register(**{"queue_name": "q", "id": None if "id_generator" in arguments else "job", **arguments})
    assert says in str(caught.value)
    assert rq_client.keys("redbike*") == []


def test_an_id_that_breaks_a_key_is_refused(scheduler: RedbikeCronScheduler) -> None:
    """As `redbike set` refuses it."""
    for id in ("members", "a\nb", ""):
        with pytest.raises(JobIdError):
            scheduler.register("a.b", "q", id=id, interval=5)


def test_ids(scheduler: RedbikeCronScheduler) -> None:
    """Without an id: a random id, or what the generator makes of the job."""
    assert scheduler.register("a.b", "q", interval=60).id.startswith("cron:")
    scheduler.id_generator = lambda job: f"{job.queue_name}:{job.func_name}:{job.args[0]}:{job.interval}"
    assert scheduler.register("a.b", "q", args=("x",), interval=60).id == "q:a.b:x:60"
    own = scheduler.register("a.b", "q", args=("x",), interval=60, id_generator=lambda _: "own")
    assert own.id == "own"
    assert len(scheduler.get_all_jobs()) == 3


def test_registering_again_edits_and_keeps_the_next_run(scheduler: RedbikeCronScheduler) -> None:
    """The same id edits the job. The next run moves only if the schedule has changed."""
    job = scheduler.register("a.b", "q", id="job", cron="0 5 * * *", zone="Europe/Berlin")
    job.next_enqueue_time = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=100)
    job.save()
    moved_to = scheduler.fetch("job").next_enqueue_time
    assert moved_to == job.next_enqueue_time
    again = scheduler.register("a.c", "other", id="job", args=(1,), cron="0 5 * * *", zone="Europe/Berlin")
    assert (again.func_name, again.next_enqueue_time) == ("a.c", moved_to)
    assert scheduler.fetch("job").to_dict() == again.to_dict()
    changed = scheduler.register("a.c", "other", id="job", args=(1,), cron="0 6 * * *", zone="Europe/Berlin")
    assert changed.next_enqueue_time not in (None, moved_to)
    assert len(scheduler.get_all_jobs()) == 1


def test_a_new_interval_counts_from_the_last_run(
    scheduler: RedbikeCronScheduler, run: Callable[..., None], rq_client: redis.Redis
) -> None:
    """A longer interval after a run is not due at once."""
    scheduler.register("a.b", "q", id="job", interval=60)
    run()
    eventually(lambda: scheduler.fetch("job").total_run_count == 1)
    job = scheduler.register("a.b", "q", id="job", interval=600)
    assert job.next_enqueue_time is not None
    assert job.latest_enqueue_time is not None
    gap = job.next_enqueue_time - job.latest_enqueue_time
    assert timedelta(seconds=599) <= gap <= timedelta(seconds=601)
    assert len(sent(rq_client)) == 1


def test_enabled(scheduler: RedbikeCronScheduler) -> None:
    """`enabled=None` leaves a job as it is; a disabled job has no next run, and get_jobs leaves it out."""
    scheduler.register("a.b", "q", id="on", interval=60)
    off = scheduler.register("a.b", "q", id="off", interval=60, enabled=False)
    assert (off.enabled, off.next_enqueue_time) == (False, None)
    assert [job.id for job in scheduler.get_jobs()] == ["on"]
    assert [job.id for job in scheduler.get_all_jobs()] == ["off", "on"]
    assert scheduler.register("a.c", "q", id="off", interval=60).enabled is False
    assert scheduler.register("a.c", "q", id="off", interval=90).enabled is False
    assert scheduler.fetch("off").interval == 90
    on = scheduler.register("a.c", "q", id="off", interval=90, enabled=True)
    assert on.enabled is scheduler.fetch("off").enabled is True
    assert 0 <= ago(on) < 2, "it has never run, so it runs at once"


def test_enable_and_disable(scheduler: RedbikeCronScheduler, rq_client: redis.Redis) -> None:
    """A paused cron job is planned from now when it is enabled. A disabled job cannot be run now."""
    scheduler.register("a.b", "q", id="job", cron="0 5 * * *", zone="UTC")
    job = RedbikeCronJob.fetch("job", rq_client)
    planned = job.next_enqueue_time
    job.disable()
    assert (job.next_enqueue_time, scheduler.bike.get_schedule("job")) == (None, "PAUSED:CRON:0 5 * * * UTC")
    with pytest.raises(ScheduleError):
        job.enqueue()
    job.enable()
    assert job.next_enqueue_time == planned == scheduler.fetch("job").next_enqueue_time
    assert scheduler.bike.get_schedule("job") == "CRON:0 5 * * * UTC"


def test_save_refresh_and_delete(scheduler: RedbikeCronScheduler, rq_client: redis.Redis) -> None:
    """Two processes edit a job: the other one sees it after `refresh`; a deleted job is gone for both."""
    options = {"job_timeout": 180, "result_ttl": 0, "ttl": 60, "failure_ttl": 70, "meta": {"a": [1]}}
    mine = scheduler.register("a.b", "q", id="job", args=(1, "ä"), kwargs={"k": None}, cron="* * * * *", **options)  # type: ignore[arg-type]
    other = RedbikeCronJob.fetch("job", rq_client)
    assert (other.args, other.kwargs, other.job_options, other.meta) == ((1, "ä"), {"k": None}, options, {"a": [1]})
    other.args, other.queue_name = (2,), "slow"
    other.meta["b"] = 2
    other.save()
    mine.refresh()
    assert (mine.args, mine.queue_name, mine.meta) == ((2,), "slow", {"a": [1], "b": 2})
    other.cron, other.interval, other.zone = None, 45, None
    other.save()
    mine.refresh()
    assert (mine.cron, mine.interval, mine.zone) == (None, 45, None)
    other.delete()
    for gone in (mine.refresh, lambda: RedbikeCronJob.fetch("job", rq_client), lambda: scheduler.fetch("job")):
        with pytest.raises(NoSuchJobError, match="there is no cron job 'job' under the prefix 'redbike:rq'"):
            gone()
    assert scheduler.get_all_jobs() == []


def test_a_job_can_be_made_without_a_scheduler(scheduler: RedbikeCronScheduler, rq_client: redis.Redis) -> None:
    """RedbikeCronJob(…).save() registers, and needs a connection."""
    RedbikeCronJob(id="own", queue_name="q", func=posixpath.join, interval=300, connection=rq_client).save("created")
    assert scheduler.fetch("own").func_name == "posixpath.join"
    with pytest.raises(ValueError, match="has no connection"):
        RedbikeCronJob(func="a.b", interval=5).save()
    with pytest.raises(TypeError, match="'retries' is not an option"):
        RedbikeCronJob(func="a.b", interval=5, retries=3)


def test_the_zone_is_that_of_this_machine_by_default(
    scheduler: RedbikeCronScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with RQ's own cron; the job says which zone that was."""
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    job = scheduler.register("a.b", "q", id="job", cron="0 5 * * *")
    assert scheduler.bike.get_schedule("job") == "CRON:0 5 * * * Asia/Kathmandu"
    assert scheduler.fetch("job").zone == "Asia/Kathmandu"
    assert job.next_enqueue_time is not None
    assert (job.next_enqueue_time.hour, job.next_enqueue_time.minute) == (23, 15)
    monkeypatch.setenv("TZ", "Nowhere/Atall")
    with pytest.raises(ValueError, match="give zone='Europe/Berlin'"):
        scheduler.register("a.b", "q", id="job", cron="0 5 * * *")


def test_any_schedule_of_redbike(scheduler: RedbikeCronScheduler) -> None:
    """`schedule` takes what RQ has no words for; jobs that other programs set are listed with all that is known."""
    scheduler.register("a.b", "q", id="last friday", schedule="RRULE:FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9")
    scheduler.bike.set("every", "EVERY:5m", payload='{"func": "a.b"}')
    scheduler.bike.set("foreign", "EVERY:5m", payload="hello")
    every, foreign, friday = scheduler.get_all_jobs()
    assert (every.interval, every.cron, every.schedule, every.queue_name) == (300, None, None, "default")
    assert (friday.interval, friday.schedule) == (None, "RRULE:FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9")
    assert (foreign.func_name, foreign.interval) == ("", 300)
    assert "not JSON" in str(foreign.fault)
    with pytest.raises(ValueError, match="func"):
        foreign.save()
    again = scheduler.register("a.b", "q", id="every", interval=300)
    assert again.next_enqueue_time == every.next_enqueue_time


def test_events(scheduler: RedbikeCronScheduler, rq_client: redis.Redis) -> None:
    """Each change is published, in the form of rq-rediscron."""
    with rq_client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(scheduler.channel)
        pubsub.get_message(timeout=5)
        job = scheduler.register("a.b", "q", id="job", interval=60)
        scheduler.register("a.b", "q", id="job", interval=70)
        job.refresh()
        job.disable()
        job.enable()
        job.delete()
        heard: list[dict[str, str]] = []

        def hear() -> bool:
            message = pubsub.get_message(timeout=0.1)
            if message is not None:
                heard.append(json.loads(message["data"]))
            return len(heard) == 5

        eventually(hear)
    assert [message["event"] for message in heard] == ["created", "updated", "disabled", "enabled", "deleted"]
    assert {message["job_id"] for message in heard} == {"job"}
    assert scheduler.channel == "rq:cron_jobs:events"


def test_listing_takes_few_round_trips(scheduler: RedbikeCronScheduler, rq_client: redis.Redis) -> None:
    """2,500 jobs are listed with some dozen commands, the next run first."""
    rows = ((f"job {n}", f"AT:{4_000_000_000 + n}", '{"func": "a.b", "queue": "q"}') for n in range(2500))
    scheduler.bike.set_many(rows)
    before = rq_client.info("stats")["total_commands_processed"]  # type: ignore[index]
    jobs = scheduler.get_jobs()
    used = rq_client.info("stats")["total_commands_processed"] - before  # type: ignore[index]
    assert [job.id for job in jobs] == [f"job {n}" for n in range(2500)]
    assert used < 60


def test_schedulers_share_the_work(
    scheduler: RedbikeCronScheduler, run: Callable[..., None], rq_client: redis.Redis
) -> None:
    """Three schedulers at once, which all register the same jobs: each run is enqueued once."""
    others = [RedbikeCronScheduler(rq_client) for _ in range(2)]
    for one in (scheduler, *others):
        for number in range(20):
            one.register("a.b", "q", id=f"job {number}", args=(number,), interval=1)
    run(scheduler, *others)
    eventually(lambda: len(sent(rq_client)) >= 60)
    for one in (scheduler, *others):
        one.stop()
    eventually(lambda: len({job.id for job in sent(rq_client)}) == len(sent(rq_client)))
    runs = [(job.args[0], job.enqueued_at.replace(microsecond=0)) for job in sent(rq_client) if job.enqueued_at]
    assert len(runs) == len(set(runs))
    for one in others:
        one.close()


def test_connections(rq_server: Server, rq_client: redis.Redis) -> None:
    """A URL, or arguments of redis.Redis, in place of a client; a mistake never shows the password."""
    for connection in (f"unix://{rq_server.socket}", rq_server.config):
        scheduler = RedbikeCronScheduler(connection)
        scheduler.register("a.b", "q", id="job", interval=60)
        scheduler.close()
    assert RedbikeCronJob.fetch("job", f"unix://{rq_server.socket}").interval == 60
    with redis.Redis(unix_socket_path=rq_server.socket, decode_responses=True) as decoding:
        assert RedbikeCronJob.fetch("job", decoding).interval == 60
    for wrong in ("nonsense://:geheim@x", {}, 5):
        with pytest.raises(ConfigError) as caught:
            RedbikeCronScheduler(wrong)  # type: ignore[arg-type]
        assert "geheim" not in str(caught.value)
    assert rq_client.exists("redbike:rq-schedules")


PROGRAM = """
import logging
import redis
from redbike.bridges.rq import RedbikeCronScheduler

logging.basicConfig(level="INFO", format="%(message)s")
connection = redis.Redis(unix_socket_path={socket!r})
scheduler = RedbikeCronScheduler(connection)
scheduler.register("tasks.note", queue_name="q", args=("from the program",), interval=300)
scheduler.start()
print("start() returned")
"""


@pytest.mark.parametrize("signal_name", ["SIGTERM", "SIGINT"])
def test_a_program(rq_server: Server, rq_client: redis.Redis, tmp_path: Path, signal_name: str) -> None:
    """The program of the documentation, as a process: it enqueues, and start() returns after a signal."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(socket=rq_server.socket)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(lambda: sent(rq_client) or process.poll() is not None, 20)
        began = time.monotonic()
        os.kill(process.pid, signal.Signals[signal_name])
        out, err = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out) == (0, "start() returned\n"), err
    assert "Traceback" not in err
    assert time.monotonic() - began < 5
    assert run_rq_worker(rq_server, tmp_path) == ["from the program"]
