"""`redbike import rediscron`: a store that the real rq-rediscron wrote is moved, and never changed."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Fleet, Server
from helpers import Answer, Command, state_of
from rediscron import RedisCronJob, RedisCronScheduler

from redbike import Redbike
from redbike.bridges.rq import RedbikeCronJob, RedbikeCronScheduler, payload

pytestmark = pytest.mark.not_on_a_cluster("the keys of rq-rediscron have no tag")

WORKER = "worker: redbike.bridges.rq:RQWorker()\n"
LAST = datetime(2026, 11, 29, 8, 0, 5, 250_000, tzinfo=UTC)
Move = Callable[..., Answer]


def send_mail() -> None:
    """A function that RQ runs by its name."""


@pytest.fixture
def old() -> Iterator[Server]:
    """A server with the store of rq-rediscron, whose keys have no configurable prefix."""
    server = Server()
    yield server
    server.remove()


@pytest.fixture
def scheduler(old: Server) -> Iterator[RedisCronScheduler]:
    with old.client() as client:
        yield RedisCronScheduler(client, name="old")


@pytest.fixture
def move(command: Command, conf: Path, old: Server) -> Move:
    """Calls `redbike import rediscron` with a conf that names the worker for RQ."""
    conf.write_text(conf.read_text().replace("[redbike]\n", f"[redbike]\n{WORKER}"))
    return lambda *options: command("import", "rediscron", f"--url=unix://{old.socket}", "--zone=UTC", *options)


def register(scheduler: RedisCronScheduler, jobid: str, last: datetime | None = None, **given: Any) -> RedisCronJob:
    """Register a job. `last`: rq-rediscron enqueued it then."""
    queue = given.pop("queue_name", "default")
    job = scheduler.register(send_mail, queue, id=jobid, **({"interval": 60} if "cron" not in given else {}) | given)
    if last is not None:
        job.set_enqueue_time(last)
    return job


def score(scheduler: RedisCronScheduler, jobid: str) -> float:
    found = scheduler.connection.zscore("rq:cron_jobs", jobid)
    assert isinstance(found, float)
    return found


def registered(bike: Redbike) -> dict[str, str]:
    return dict(bike.get_schedules())


def called(bike: Redbike, jobid: str) -> payload.Call:
    text = bike.details(jobid)["payload"]
    assert isinstance(text, str)
    return payload.read(text)


def summary(imported: int, unchanged: int = 0, left_out: int = 0) -> str:
    jobs = "1 job" if imported == 1 else f"{imported} jobs"
    return f"rediscron: {jobs} imported, {unchanged} unchanged, {left_out} left out"


def test_the_jobs_of_a_store(scheduler: RedisCronScheduler, move: Move, bike: Redbike) -> None:
    """Schedules, calls, next runs and last runs go along."""
    register(scheduler, "often", LAST, interval=90)
    register(scheduler, "daily", LAST, cron="30 2 * * mon-fri")
    register(
        scheduler,
        "full",
        queue_name="mails",
        args=("a", 1),
        kwargs={"to": "ä"},
        job_timeout=30,
        result_ttl=60,
        ttl=120,
        failure_ttl=240,
        meta={"by": "me"},
    )
    answer = move()
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(summary(3))
    due = int(LAST.timestamp()) + 90
    start = datetime.fromtimestamp(due, UTC)
    assert registered(bike)["often"] == f"DTSTART:{start:%Y%m%dT%H%M%S}\nRRULE:FREQ=SECONDLY;INTERVAL=90"
    assert registered(bike)["daily"] == "CRON:30 2 * * mon-fri UTC"
    assert bike.tell("often")["next_run"] == due == int(score(scheduler, "often"))
    assert bike.tell("daily")["next_run"] == score(scheduler, "daily")
    assert bike.tell("full")["next_run"] == 0, "it never ran, so it runs at once"
    last = bike.details("often")["last_run"]
    assert isinstance(last, dict)
    assert last["began"] == int(LAST.timestamp())
    assert bike.details("full")["last_run"] is None
    assert called(bike, "full") == payload.Call(
        func="test_import_rediscron.send_mail",
        queue="mails",
        args=["a", 1],
        kwargs={"to": "ä"},
        timeout=30,
        result_ttl=60,
        ttl=120,
        failure_ttl=240,
        meta={"by": "me"},
    )
    assert called(bike, "often") == payload.Call(func="test_import_rediscron.send_mail", result_ttl=500)


def test_a_disabled_job_is_paused(scheduler: RedisCronScheduler, move: Move, bike: Redbike) -> None:
    """A disabled job has `PAUSED:` before its schedule, and its rhythm when it resumes."""
    register(scheduler, "off", LAST, interval=3600).disable()
    register(scheduler, "never", enabled=False)
    assert move().code == 0
    assert {text.partition(":")[0] for text in registered(bike).values()} == {"PAUSED"}
    assert bike.tell("off")["next_run"] is None
    plan = bike.resume("off")
    assert plan is not None
    assert plan.due_at is not None
    assert (plan.due_at - int(LAST.timestamp())) % 3600 == 0


def test_the_scheduler_of_redbike_knows_the_jobs(
    scheduler: RedisCronScheduler, move: Move, bike: Redbike, server: Server
) -> None:
    """A program that used rq-rediscron finds its jobs by the classes of Redbike, and registers them again."""
    register(scheduler, "daily", LAST, cron="30 2 * * mon-fri", args=("a",))
    register(scheduler, "off", enabled=False)
    assert move().code == 0
    with server.client() as client:
        job = RedbikeCronJob.fetch("daily", client, prefix=bike.prefix)
        assert (job.cron, job.zone, job.queue_name, list(job.args)) == ("30 2 * * mon-fri", "UTC", "default", ["a"])
        assert job.enabled
        assert job.latest_enqueue_time == LAST.replace(microsecond=0)
        assert not RedbikeCronJob.fetch("off", client, prefix=bike.prefix).enabled
        bike.redis.zadd(bike.timeline_key, {"daily": 4_000_000_000})
        with closing(RedbikeCronScheduler(client, prefix=bike.prefix)) as new:
            new.register(send_mail, "default", id="daily", args=("a",), cron="30 2 * * mon-fri", zone="UTC")
    assert bike.tell("daily")["next_run"] == 4_000_000_000


FIELDS = {
    "func_name": "shop.send",
    "queue_name": "default",
    "args": "[]",
    "kwargs": "{}",
    "interval": "60",
    "cron": "",
    "enabled": "1",
    "meta": "{}",
}
BAD: dict[str, tuple[dict[str, str], str]] = {
    "args json": ({"args": "[1"}, "its args is not JSON"),
    "args kind": ({"args": "{}"}, "its args is {}, not a list"),
    "kwargs": ({"kwargs": "[1]"}, "its kwargs is [1], not an object"),
    "meta": ({"meta": "5"}, "its meta is 5, not an object"),
    "func": ({"func_name": "send"}, "its call: "),
    "no func": ({"func_name": ""}, "its call: "),
    "no queue": ({"queue_name": ""}, "its call: queue"),
    "timeout": ({"job_timeout": "soon"}, "its call: timeout"),
    "interval": ({"interval": "1.5"}, "its interval is '1.5', not a whole number of seconds"),
    "negative": ({"interval": "-5"}, "its interval is -5, not a number of seconds, at least 1"),
    "neither": ({"interval": ""}, "has neither an interval nor a cron expression"),
    "both": ({"cron": "* * * * *"}, "has both an interval and a cron expression"),
    "cron": ({"interval": "", "cron": "61 * * * *"}, "its schedule: cron expression '61 * * * *': minute"),
    "seconds": ({"interval": "", "cron": "* * * * * 5"}, "has 6 fields, not five: Redbike has no field for seconds"),
    "enabled": ({"enabled": "yes"}, "its field enabled is 'yes', not 0 or 1"),
    "other id": ({"id": "elsewhere"}, "its field id is 'elsewhere'"),
    "last": ({"latest_enqueue_time": "yesterday"}, "its latest_enqueue_time is 'yesterday', not a time"),
    "long": ({"args": json.dumps(["x" * 1_100_000])}, "its payload has 11000"),
    "line\nbreak": ({}, "has a line break or another control character"),
}


def test_bad_jobs_beside_a_good_one(scheduler: RedisCronScheduler, move: Move, bike: Redbike) -> None:
    """Each job that cannot be moved is named with its reason, and the others are moved. RQ's own keys are none."""
    client = scheduler.connection
    for jobid, (fields, _) in BAD.items():
        client.hset(f"rq:cron_job:{jobid}", mapping={**FIELDS, "id": jobid, **fields})
        client.zadd("rq:cron_jobs", {jobid: 4_000_000_000})
    client.zadd("rq:cron_jobs", {"gone": 1, "infinite": float("inf")})
    client.set("rq:cron_job:text", "x")
    client.hset("rq:cron_job:infinite", mapping={**FIELDS, "id": "infinite"})
    client.hset("rq:cron_job:unplanned", mapping={**FIELDS, "id": "unplanned"})
    client.zadd("rq:cron_job:shop.send:jobs", {"history of RQ itself": 1})
    register(scheduler, "good")
    answer = move()
    assert answer.code == 1
    expected = {
        **{jobid: reason for jobid, (_, reason) in BAD.items()},
        "gone": "is in the schedule, but has no hash",
        "infinite": "its next run is at inf",
        "text": "its key holds a string, not a hash",
        "unplanned": "is enabled, but is not in the schedule, so rq-rediscron never runs it",
    }
    lines = answer.err.splitlines()
    for jobid, reason in expected.items():
        shown = jobid.replace("\n", "\\n")
        found = [line for line in lines if line.startswith(f"redbike: {shown}: ")]
        assert len(found) == 1, (jobid, found)
        assert reason in found[0]
    assert lines[len(expected) :] == [f"redbike: rediscron: {len(expected)} left out, as said above"]
    assert answer.out.startswith(summary(1, left_out=len(expected)))
    assert registered(bike).keys() == {"good"}


def test_a_dry_run_and_a_second_import(scheduler: RedisCronScheduler, move: Move, bike: Redbike) -> None:
    """A dry run changes nothing, and neither does a second import. The old store is only read."""
    register(scheduler, "often", LAST, interval=90)
    register(scheduler, "new")
    register(scheduler, "off", LAST, enabled=False)
    before_there = whole(scheduler)
    answer = move("--dry-run")
    assert {json.loads(line)["job"] for line in answer.out.splitlines()} == {"often", "new", "off"}
    assert state_of(bike) == {}
    assert move().out.startswith(summary(3))
    before = state_of(bike)
    assert move().out.startswith(summary(0, 3))
    assert state_of(bike) == before
    assert whole(scheduler) == before_there


def whole(scheduler: RedisCronScheduler) -> dict[bytes, object]:
    """Return the serialized value of each key."""
    return {key: scheduler.connection.dump(key) for key in scheduler.connection.scan_iter()}


@pytest.mark.usefixtures("move")
def test_a_user_without_write_rights(scheduler: RedisCronScheduler, command: Command, old: Server) -> None:
    """A user who may only read is enough for the old store, and the password is not shown."""
    register(scheduler, "often", LAST)
    scheduler.connection.acl_setuser("reader", enabled=True, passwords=["+s3cret"], keys=["*"], categories=["+@read"])
    answer = command("import", "rediscron", f"--url=unix://reader:s3cret@{old.socket}", "--zone=UTC")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(summary(1))


@pytest.mark.usefixtures("move")
def test_a_user_who_may_not_read_a_key(scheduler: RedisCronScheduler, command: Command, old: Server) -> None:
    """One line names the server, the key and the missing right, and nothing is set."""
    register(scheduler, "a")
    connection = scheduler.connection
    connection.acl_setuser("half", enabled=True, passwords=["+s3cret"], keys=["rq:cron_jobs"], categories=["+@read"])
    line = command("import", "rediscron", f"--url=unix://half:s3cret@{old.socket}", "--zone=UTC").one_line()
    assert "access denied: key 'rq:cron_job:a': " in line
    assert "(write them into --url)" in line
    assert "s3cret" not in line


def test_a_job_that_waits_in_its_queue(scheduler: RedisCronScheduler, move: Move, fleet: Fleet, conf: Path) -> None:
    """A job that has become due here and waits is not planned again by a second import."""
    from redbike.bridges.rq import RQWorker

    register(scheduler, "new")
    assert move().code == 0
    assert conf.exists()
    bike = fleet(RQWorker())  # type: ignore[arg-type]
    bike.control("HALT")
    bike.dispatch()
    before = state_of(bike)
    assert move().out.startswith(summary(0, 1))
    assert state_of(bike) == before


def test_what_the_command_refuses(move: Move, command: Command, conf: Path, old: Server) -> None:
    """Without a store, or without a worker for RQ, one line says the way out."""
    assert "holds no jobs of rq-rediscron: there is neither a key 'rq:cron_jobs'" in move().one_line()
    conf.write_text(conf.read_text().replace(WORKER, ""))
    line = command("import", "rediscron", f"--url=unix://{old.socket}").one_line()
    assert "prefix: redbike:rq and worker: redbike.bridges.rq:RQWorker('redis://localhost:6379/0')" in line


def test_three_thousand_jobs(scheduler: RedisCronScheduler, move: Move, bike: Redbike) -> None:
    """A large store is read in pages."""
    pipeline = scheduler.connection.pipeline(transaction=False)
    for number in range(3_000):
        pipeline.hset(f"rq:cron_job:n{number}", mapping={**FIELDS, "id": f"n{number}"})
        pipeline.zadd("rq:cron_jobs", {f"n{number}": 4_000_000_000 + number})
    pipeline.execute()
    began = time.monotonic()
    assert move().out.startswith(summary(3_000))
    assert time.monotonic() - began < 5
    assert bike.tell("n2999")["next_run"] == 4_000_002_999


def test_the_rhythm_of_an_interval(scheduler: RedisCronScheduler, move: Move, bike: Redbike) -> None:
    """Redbike goes on from the next run of the old store, in its rhythm."""
    register(scheduler, "often", datetime.now(UTC) - timedelta(seconds=30), interval=3600)
    assert move().code == 0
    first = bike.tell("often")["next_run"]
    assert first == int(score(scheduler, "often"))
    plan = bike.set("often", registered(bike)["often"], after=first)
    assert plan is not None
    assert plan.due_at == first + 3600
