"""CeleryWorker hands runs to Celery's broker: once per try, with one id per run, also if the broker goes away."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from celeries import Project, run_due, server_time
from celery.schedules import BaseSchedule
from conftest import Server
from helpers import lines
from nodes import Node, eventually
from proxy import Loss, Proxy

from redbike import Redbike
from redbike.bridges.celery import CeleryWorker, RedbikeEntry
from redbike.bridges.celery.conf import make_bike
from redbike.bridges.identity import run_id
from redbike.bridges.running import Running
from redbike.errors import ConfigError
from redbike.worker import BadJob, Later, Run

if TYPE_CHECKING:
    import celery

pytestmark = pytest.mark.not_on_a_cluster("a broker of Celery is no Cluster")

ADD = '{"task": "proj.add", "args": [1, 2]}'


class Tries(CeleryWorker):
    """A worker that notes when each try to send begins (monotonic), and its run."""

    def __init__(self, app: "celery.Celery", lease: float = 60) -> None:
        super().__init__(app, lease)
        self.tries: list[tuple[float, Run]] = []

    def send(self, prepared: Any, run: Run) -> object:
        self.tries.append((time.monotonic(), run))
        return super().send(prepared, run)


@pytest.fixture
def broker() -> Iterator[Node]:
    """A broker of its own, on a loopback port, which keeps its data when it is killed."""
    node = Node("appendonly yes\nappendfsync always").ready()
    yield node
    node.remove()


@pytest.fixture
def apart(broker: Node, server: Server, prefix: str, tmp_path: Path) -> Iterator[Project]:
    """A project whose broker is not the server of Redbike. Each reply of the broker may take half a second."""
    with Project(tmp_path, broker.client(), f"redis://127.0.0.1:{broker.port}/0", prefix) as project:
        yield project
    with server.client() as client:
        client.delete(*[*client.scan_iter(match=f"{prefix}*"), "nothing"])


def impatient_app(project: Project, server: Server) -> "celery.Celery":
    """Return an app for a broker apart, whose time limit for replies is half a second."""
    return project.app(
        redbike_url=f"unix://{server.socket}", redbike_lease=2, broker_transport_options={"socket_timeout": 0.5}
    )


@pytest.fixture
def running() -> Iterator[Any]:
    """Runs the loops of a worker in threads, and ends them after the test."""
    started: list[tuple[Running, Redbike]] = []

    def run(app: "celery.Celery", worker: CeleryWorker) -> Redbike:
        def prepare() -> None:
            bike.clear_control()

        loops = Running(prepare)
        bike = make_bike(app, worker, loops.stop_event)
        loops.start(bike)
        started.append((loops, bike))
        return bike

    yield run
    for loops, bike in started:
        assert loops.stop(10)
        assert loops.failure is None
        bike.close()


def a_run(payload: str = ADD, *, stopping: threading.Event | None = None) -> Run:
    """Return a run that is due now, without Redis."""
    now = time.time()
    is_stopping = stopping.is_set if stopping else bool
    return Run("one", payload, now, now, 1, "celery", "EVERY:1h", 60.0, "tag", lambda _: True, is_stopping)


def error_of(bike: Redbike, jobid: str) -> str:
    """Return the error of the last run of a job."""
    last_run: Any = bike.details(jobid)["last_run"]
    return str(last_run["error"])


def test_the_id_of_a_task_comes_from_the_job_and_its_due_time(project: Project) -> None:
    bike = project.bike(project.app())
    due = float(int(server_time(project.redis)) - 60)
    for name in ("one", "two"):
        bike.set(name, "EVERY:1h", payload=ADD, first=due)
    run_due(bike)
    run_due(bike, 3600)
    found = {message.id for message in project.messages()}
    assert {run_id("one", due), run_id("two", due)} < found
    assert len(found) == 4
    # Ids must stay the same in later versions.
    assert run_id("one", 1_700_000_000.25) == "b6d62583-07dc-5d38-8c7c-a7b513eb0373"


BAD: dict[str, tuple[str, str]] = {
    "nothing": ("", "the job has no payload"),
    "no JSON": ("{task: proj.add}", "the payload is not JSON"),
    "no object": ('["proj.add", [1, 2]]', "the payload is not a JSON object"),
    "no task": ('{"args": [1]}', "the payload names no task"),
    "a number as task": ('{"task": 5}', "task is not a text"),
    "args no array": ('{"task": "proj.add", "args": "12"}', "args is not an array of JSON"),
    "kwargs no object": ('{"task": "proj.add", "kwargs": [1]}', "kwargs is not an object of JSON"),
    "an unknown member": ('{"task": "proj.add", "queue": "sums"}', "unknown member 'queue'"),
    "an id": ('{"task": "proj.add", "options": {"task_id": "x"}}', "options: task_id is set by Redbike itself"),
    "a value unread": (
        '{"task": "proj.add", "args": [{"__type__": "datetime", "__value__": "soon"}]}',
        "the payload has a value that cannot be read",
    ),
    "a strange serializer": ('{"task": "proj.add", "args": [1], "options": {"serializer": "wax"}}', "cannot be sent"),
    "arguments missing": ('{"task": "proj.add"}', "task proj.add cannot be sent: TypeError"),
    "a number as headers": (
        '{"task": "proj.add", "args": [1], "options": {"headers": 5}}',
        "cannot be sent: TypeError",
    ),
    "a number as eta": ('{"task": "proj.add", "args": [1], "options": {"eta": 5}}', "cannot be sent"),
    "a word as queue to declare": ('{"task": "proj.add", "args": [1], "options": {"declare": 5}}', "cannot be sent"),
    "a value in place of kwargs": (
        '{"task": "proj.add", "kwargs": {"__type__": "datetime", "__value__": "2026-01-01T00:00:00"}}',
        "the payload has a value that cannot be read",
    ),
    "a strange schedule": ('{"task": "proj.add", "args": [1], "schedule": {"every": "x"}}', "schedule"),
    "a word as countdown": ('{"task": "proj.add", "args": [1], "options": {"countdown": "soon"}}', "cannot be sent"),
}


def test_a_bad_payload_is_bad_with_its_reason_and_no_other_job_is_late(project: Project) -> None:
    bike = project.bike(project.app())
    began = time.monotonic()
    for number, (name, (payload, _)) in enumerate(BAD.items()):
        bike.set(name, "NOW", payload=payload)
        bike.set(f"good {number}", "NOW", payload=ADD)
    run_due(bike)
    assert len(project.messages()) == len(BAD)
    assert time.monotonic() - began < 5
    for name, (_, reason) in BAD.items():
        assert str(bike.tell(name)["status"]).startswith("BAD:"), name
        assert reason in error_of(bike, name)


def test_what_an_option_says_arrives_in_the_message(project: Project) -> None:
    bike = project.bike(project.app())
    queue = f"{project.prefix}-sums"
    options = {"queue": queue, "expires": 90, "priority": 6, "countdown": 30, "headers": {"from": "here"}}
    bike.set("one", "NOW", payload=json.dumps({"task": "proj.add", "args": [1], "options": options}))
    run_due(bike)
    (message,) = project.messages(f"{queue}\x06\x166")
    now = server_time(project.redis)
    assert message.properties["priority"] == 6
    assert message.headers["from"] == "here"
    assert message.headers["celery_beat_task"] is True
    assert 80 < datetime.fromisoformat(message.headers["expires"]).timestamp() - now <= 91
    assert 20 < datetime.fromisoformat(message.headers["eta"]).timestamp() - now <= 31


def test_the_app_decides_about_queues_and_serializers(project: Project) -> None:
    queue = f"{project.prefix}-routed"
    app = project.app(task_routes={"proj.*": {"queue": queue}})
    bike = project.bike(app)
    pickled = {"task": "proj.add", "args": [1], "options": {"serializer": "pickle"}}
    for name, payload in (("known", ADD), ("remote", '{"task": "proj.far"}'), ("pickled", json.dumps(pickled))):
        bike.set(name, "NOW", payload=payload)
        run_due(bike)
    known, remote, other = project.messages(queue)
    assert (known.task, known.args) == ("proj.add", [1, 2])
    assert remote.task == "proj.far"
    assert other.args == ["application/x-python-serialize"]


def test_a_time_as_argument_arrives_as_a_time(project: Project) -> None:
    from kombu.utils import json as celery_json

    app = project.app()
    bike = project.bike(app)
    moment = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    RedbikeEntry("one", "proj.add", 60, args=[moment], app=app).save()
    run_due(bike, 61)
    (message,) = project.messages()
    assert celery_json.loads(json.dumps(message.args)) == [moment]


@pytest.mark.parametrize(("deadline_s", "sent"), [(None, 1), (60, 0), (3 * 3600, 1)])
def test_a_crontab_that_is_too_late_waits_for_its_next_time(
    project: Project, deadline_s: int | None, sent: int
) -> None:
    bike = project.bike(project.app(beat_cron_starting_deadline=deadline_s))
    now = server_time(project.redis)
    two_hours_ago = datetime.fromtimestamp(now - 7200, UTC)
    bike.set("one", f"CRON:{two_hours_ago:%M %H} * * *", now - 3 * 3600, payload=ADD)
    bike.set("interval", "EVERY:1d", payload=ADD, first=now - 7200)
    run_due(bike)
    assert len(project.messages()) == sent + 1
    due = bike.tell("one")["next_run"]
    assert due is not None
    assert 21 * 3600 < due - now < 23 * 3600


def test_a_broker_that_was_away_gets_every_run_once(
    apart: Project, broker: Node, server: Server, running: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    app = impatient_app(apart, server)
    worker = Tries(app, 2)
    bike = running(app, worker)
    bike.set("before", "NOW", payload=ADD)
    eventually(apart.messages)
    broker.kill()
    began = time.monotonic()
    due = bike.now()
    for number in range(50):
        bike.set(f"job {number}", "EVERY:1h", payload=ADD, first=due)
    # Each run waits for half its lease, and then makes room for the next run.
    eventually(lambda: len({run.jobid for _, run in worker.tries}) > 3)
    assert 2 < time.monotonic() - began < 5
    broker.revive()
    back = time.monotonic()
    eventually(lambda: len(apart.messages()) >= 51)
    assert time.monotonic() - back < 5
    ids = [message.id for message in apart.messages()][1:]
    assert sorted(ids) == sorted(run_id(f"job {number}", due) for number in range(50))
    assert len(lines(caplog, "is out of reach")) == 1
    assert len(lines(caplog, "is back after")) == 1


def test_a_frozen_broker_gets_a_run_again_only_with_its_id(
    apart: Project, broker: Node, server: Server, running: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = impatient_app(apart, server)
    bike = running(app, Tries(app, 2))
    bike.set("before", "NOW", payload=ADD)
    eventually(apart.messages)
    broker.freeze()
    due = bike.now()
    for number in range(20):
        bike.set(f"job {number}", "EVERY:1h", payload=ADD, first=due)
    eventually(lambda: lines(caplog, "is out of reach"))
    broker.revive()
    wanted = {run_id(f"job {number}", due) for number in range(20)}
    eventually(lambda: wanted <= {message.id for message in apart.messages()})
    ids = [message.id for message in apart.messages()][1:]
    assert set(ids) == wanted
    assert len(ids) <= 20 + 2
    assert len(lines(caplog, "is back after")) == 1


def test_no_try_begins_in_the_second_half_of_the_lease(apart: Project, broker: Node, server: Server) -> None:
    worker = Tries(impatient_app(apart, server), 2)
    broker.kill()
    began = time.monotonic()
    with pytest.raises(Later) as later:
        worker.perform(a_run())
    assert later.value.seconds == 1
    assert len(worker.tries) >= 3
    assert all(at - began < 1 for at, _ in worker.tries)
    assert time.monotonic() - began < 2


def test_a_run_whose_preparation_takes_half_the_lease_is_not_sent(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    class Slow(Tries):
        def prepare(self, run: Run) -> Any:
            prepared = super().prepare(run)
            time.sleep(0.06)
            return prepared

    worker = Slow(project.app(), 0.1)
    with pytest.raises(Later):
        worker.perform(a_run())
    assert worker.tries == []
    assert len(lines(caplog, "job 'one': its run was not sent")) == 1


def test_a_stop_ends_the_wait_for_the_broker_at_once(apart: Project, broker: Node, server: Server) -> None:
    worker = Tries(impatient_app(apart, server), 60)
    broker.kill()
    stopping = threading.Event()
    timer = threading.Timer(0.3, stopping.set)
    timer.start()
    began = time.monotonic()
    with pytest.raises(Later) as later:
        worker.perform(a_run(stopping=stopping))
    assert later.value.seconds == 0
    assert 0.25 < time.monotonic() - began < 1
    timer.join()


def test_a_queue_of_a_wrong_type_delays_only_its_own_job(project: Project) -> None:
    queue = f"{project.prefix}-wrong"
    project.redis.set(queue, "no list")
    bike = project.bike(project.app())
    payload = json.dumps({"task": "proj.add", "args": [1], "options": {"queue": queue}})
    due = server_time(project.redis)
    bike.set("wrong", "EVERY:1h", payload=payload, first=due)
    bike.set("good", "EVERY:1h", payload=ADD, first=due)
    began = time.monotonic()
    run_due(bike)
    assert time.monotonic() - began < 2
    assert len(project.messages()) == 1
    next_run = bike.tell("wrong")["next_run"]
    assert next_run is not None
    assert 5 < next_run - due < 15
    project.redis.delete(queue)
    run_due(bike, 20)
    assert [message.id for message in project.messages(queue)] == [run_id("wrong", due)]


def test_each_try_pushes_once_when_a_reply_is_lost(project: Project, server: Server) -> None:
    with Proxy(server.socket) as proxy:
        app = project.app(broker_url=f"redis+socket://{proxy.socket}", redbike_url=f"unix://{server.socket}")
        worker = Tries(app)
        bike = project.bike(app, worker)
        bike.set("warm", "NOW", payload=ADD)
        run_due(bike)
        proxy.cut(lambda _: None)
        bike.set("warm", "NOW", payload=ADD)
        run_due(bike)
        number = proxy.commands.index("LPUSH")
        proxy.cut_once(number, Loss.REPLY)
        worker.tries.clear()
        bike.set("one", "NOW", payload=ADD)
        run_due(bike)
        assert len(worker.tries) == 2
        assert proxy.commands.count("LPUSH") == 2
        worker.disconnect()
    first, second = project.messages()[-2:]
    assert first.id == second.id


def test_a_lazy_argument_that_raises_costs_one_run(project: Project) -> None:
    from celery.beat import BeatLazyFunc

    answers = iter([ValueError("no answer"), None])

    def answer() -> int:
        error = next(answers)
        if error is not None:
            raise error
        return 42

    app = project.app(beat_schedule={"lazy": {"task": "proj.add", "schedule": 60, "args": [BeatLazyFunc(answer)]}})
    bike = project.bike(app)
    bike.set("lazy", "EVERY:1m", payload='{"task": "proj.add", "static": true}', first=server_time(project.redis))
    run_due(bike)
    assert "no answer" in error_of(bike, "lazy")
    run_due(bike, 61)
    assert [message.args for message in project.messages()] == [[42]]


class Moody(BaseSchedule):
    """A schedule class of a project, which fails at times."""

    works = True

    def __init__(self, seconds: int) -> None:
        super().__init__()
        self.seconds = seconds

    def __reduce__(self) -> Any:
        return Moody, (self.seconds,)

    def is_due(self, _: datetime) -> Any:
        if not Moody.works:
            raise RuntimeError("no mood")
        return True, self.seconds


def test_a_schedule_class_that_fails_sends_nothing_until_it_works_again(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = project.app()
    bike = project.bike(app)
    RedbikeEntry("moody", "proj.add", Moody(1000), args=[1], app=app).save()
    with monkeypatch.context() as patched:
        patched.setattr(Moody, "works", False)
        run_due(bike, 2000)
        assert project.messages() == []
        assert len(lines(caplog, "job 'moody': its schedule does not say the next run: RuntimeError: no mood")) == 1
    run_due(bike, 2000)
    assert len(project.messages()) == 1
    next_run = bike.tell("moody")["next_run"]
    assert next_run is not None
    assert next_run - bike.now() > 900


def test_nobody_listens_for_the_results_of_tasks(project: Project) -> None:
    app = project.app(result_backend=project.url)
    bike = project.bike(app)
    for number in range(3):
        bike.set(f"job {number}", "NOW", payload=ADD)
    run_due(bike)
    assert len(project.messages()) == 3
    assert project.redis.pubsub_channels("celery-task-meta*") == []


def test_a_static_entry_that_this_app_does_not_know_waits(project: Project) -> None:
    bike = project.bike(project.app())
    due = server_time(project.redis)
    bike.set("newer", "EVERY:1m", payload='{"task": "proj.add", "static": true}', first=due)
    run_due(bike)
    assert project.messages() == []
    next_run = bike.tell("newer")["next_run"]
    assert next_run is not None
    assert 0 < next_run - due < 10


def test_columns_say_what_a_payload_calls_and_never_raise() -> None:
    columns = CeleryWorker.columns
    named = '{"task": "proj.add", "options": {"queue": "sums"}}'
    assert columns(named) == {"TASK": "proj.add", "QUEUE": "sums"}
    assert columns(ADD) == {"TASK": "proj.add", "QUEUE": ""}
    for text in ("", "[", "5", '{"task": 1}', "[" * 100_000, "\ud800", '{"task": "a", "options": {"queue": 3}}'):
        assert columns(text)["QUEUE"] == ""


@pytest.mark.parametrize(
    ("conf", "lease_s", "told"),
    [
        ({"task_always_eager": True}, 60, "task_always_eager"),
        ({}, 19, "make the lease at least 20 s"),
        ({}, 0, "lease"),
    ],
)
def test_settings_with_which_nothing_is_sent_safely_are_refused(
    project: Project, conf: dict[str, object], lease_s: float, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        CeleryWorker(project.app(**conf), lease_s).timeout("celery")


def test_a_password_is_in_no_message(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    worker = CeleryWorker(project.app(broker_url="redis://me:s3cret@127.0.0.1:1/0"))
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(Later):
        worker.perform(a_run(stopping=stopping))
    assert "127.0.0.1:1/0 is out of reach" in caplog.text
    assert "s3cret" not in caplog.text


def test_an_app_that_is_not_found_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from redbike.errors import WorkerError

    monkeypatch.chdir(tmp_path)
    with pytest.raises(WorkerError, match="'nowhere'"):
        CeleryWorker("nowhere").check()


SENTRY = """
import sentry_sdk
from sentry_sdk.integrations.celery import CeleryIntegration


class Collects(sentry_sdk.transport.Transport):
    def capture_envelope(self, envelope):
        with open("envelopes", "ab") as file:
            file.write(envelope.serialize())


sentry_sdk.init(
    dsn="http://key@127.0.0.1:1/1", transport=Collects, integrations=[CeleryIntegration(monitor_beat_tasks=True)]
)
"""


def test_sentry_watches_the_entries(project: Project) -> None:
    entry = {"task": "proj.note", "schedule": 3600.0, "options": {"headers": {"own": "header"}}}
    project.configure(SENTRY, beat_schedule={"watched": entry})
    bike = project.bike(project.app())
    bike.clear_control()
    beat = project.beat()
    project.until(lambda: bike.get_schedule("watched"), beat)
    bike.enqueue("watched")
    project.until(project.messages, beat)
    assert project.stop(beat).code == 0
    (message,) = project.messages()
    assert message.headers["sentry-monitor-slug"] == "watched"
    assert message.headers["sentry-monitor-config"]["schedule"] == {"type": "interval", "value": 1, "unit": "hour"}
    assert message.headers["own"] == "header"
    assert message.headers["celery_beat_task"] is True
    sent = (project.folder / "envelopes").read_bytes()
    assert b'"in_progress"' in sent
    assert message.headers["sentry-monitor-check-in-id"].encode() in sent


def test_a_bad_job_is_bad_before_the_broker_is_asked(apart: Project, broker: Node, server: Server) -> None:
    worker = Tries(impatient_app(apart, server), 2)
    broker.kill()
    with pytest.raises(BadJob):
        worker.perform(a_run("{}"))
    assert worker.tries == []
