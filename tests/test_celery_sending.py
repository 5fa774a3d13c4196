"""CeleryWorker hands runs to Celery's broker: ids, options, bad payloads, schedules without a text, Sentry."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from celeries import ADD, Project, run_due, server_time
from celery.beat import BeatLazyFunc
from celery.schedules import BaseSchedule
from helpers import lines

from redbike import Redbike
from redbike.bridges.celery import CeleryWorker, RedbikeEntry, broker, static
from redbike.bridges.celery.schedules import written
from redbike.bridges.identity import run_id
from redbike.errors import ConfigError, ScheduleError

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.not_on_a_cluster("a broker of Celery is no Cluster")


def error_of(bike: Redbike, jobid: str) -> str:
    """Return the error of the last run of a job."""
    last_run: Any = bike.details(jobid)["last_run"]
    return str(last_run["error"])


def test_the_id_of_a_task_comes_from_the_job_and_its_due_time(project: Project) -> None:
    """The same job and due time always have the same task id."""
    bike = project.bike(project.app())
    due = float(int(server_time(project.redis)) - 60)
    for name in ("one", "two"):
        bike.set(name, "EVERY:1h", payload=ADD, first=due)
    run_due(bike)
    run_due(bike, 3600)
    found = {message.id for message in project.messages()}
    assert {run_id(project.prefix, name, due) for name in ("one", "two")} < found
    assert len(found) == 4
    # Ids must stay the same in later versions.
    assert run_id("redbike:celery", "one", 1_700_000_000.25) == "3ee034b2-90d7-5414-b940-6e282c8b9720"


BAD: dict[str, tuple[str, str]] = {
    "nothing": ("", "the job has no payload"),
    "no JSON": ("{task: proj.add}", "the payload is not JSON"),
    "no object": ('["proj.add", [1, 2]]', "the payload is not a JSON object"),
    "no task": ('{"args": [1]}', "the payload names no task"),
    "a number as task": ('{"task": 5}', "task: 5 is not a text: write"),
    "args no array": ('{"task": "proj.add", "args": "12"}', "args: '12' is not an array of JSON"),
    "kwargs no object": ('{"task": "proj.add", "kwargs": [1]}', "kwargs: [1] is not an object of JSON"),
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


def test_a_bad_payload_is_bad_with_its_reason_and_no_other_job_is_late(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad payload makes its job BAD with a reason. Other jobs run on time."""
    monkeypatch.setattr(broker, "_VERSIONS_DIFFER_S", -1)
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


def two(x: int, y: int) -> int:
    return x + y


def three(x: int, y: int, z: int) -> int:
    return x + y + z


def test_arguments_for_another_version_of_a_task_wait_for_its_process(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a rolling deploy, an old process leaves a run to a new process; after a while, the job is BAD."""
    older, newer = project.app(), project.app()
    older.task(name="proj.sum", shared=False)(two)
    newer.task(name="proj.sum", shared=False)(three)
    bike = project.bike(older)
    bike.set("new", "EVERY:1h", payload='{"task": "proj.sum", "args": [1, 2, 3]}', first=bike.now())
    run_due(bike)
    assert project.messages() == []
    assert 3 < float(bike.tell("new")["next_run"] or 0) - bike.now() < 6
    run_due(project.bike(newer), 6)
    assert [message.args for message in project.messages()] == [[1, 2, 3]]
    bike.set("wrong", "EVERY:1h", payload='{"task": "proj.add"}', first=bike.now() - 299)
    run_due(bike, 60)
    assert str(bike.tell("wrong")["status"])[:3] == "TML"
    monkeypatch.setattr(broker, "_VERSIONS_DIFFER_S", 200)
    run_due(bike, 120)
    assert str(bike.tell("wrong")["status"])[:3] == "BAD"


def test_a_fault_of_the_project_costs_one_run_and_is_no_outage(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    """An OSError or a KeyError of a task's own apply_async, before or after the send, is neither an outage nor BAD."""
    app = project.app()

    class Odd(app.Task):  # type: ignore[name-defined,misc]
        def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            if args[0] == "after":
                super().apply_async(args, kwargs, **options)
                raise ConnectionResetError("a service of the project")
            raise KeyError("transient")

    app.task(name="proj.odd", base=Odd, shared=False)(two)
    bike = project.bike(app)
    for name in ("before", "after"):
        bike.set(name, "EVERY:1h", payload=json.dumps({"task": "proj.odd", "args": [name, 1]}), first=bike.now())
    began = time.monotonic()
    run_due(bike)
    assert time.monotonic() - began < 3
    assert [message.args for message in project.messages()] == [["after", 1]]
    assert {str(bike.tell(name)["status"])[:3] for name in ("before", "after")} == {"TML"}
    assert {bike.details(name)["last_run"]["outcome"] for name in ("before", "after")} == {"failed"}  # type: ignore[index]
    assert lines(caplog, "is out of reach") == []


def test_what_an_option_says_arrives_in_the_message(project: Project) -> None:
    """The options of a payload arrive in the message."""
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
    """The routes and the serializer of the app apply to what Redbike sends."""
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
    """A time among the arguments arrives as a time."""
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
    """With `beat_cron_starting_deadline`, a crontab that is too late waits for its next time."""
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


def test_an_interval_with_a_fraction_keeps_its_rhythm_when_a_run_is_late(project: Project) -> None:
    """A late run does not move the next runs of an interval with a fraction of a second."""
    app = project.app()
    bike = project.bike(app)
    entry = RedbikeEntry("one", "proj.add", 2.25, args=[1], app=app).save()
    entry.reschedule(datetime.now(UTC) - timedelta(seconds=20))
    due = float(bike.tell("one")["next_run"] or 0)
    run_due(bike)
    following = float(bike.tell("one")["next_run"] or 0)
    assert len(project.messages()) == 1
    assert bike.now() - 1 < following < bike.now() + 2.25
    assert abs((following - due) / 2.25 - round((following - due) / 2.25)) < 0.001


def test_a_lazy_argument_that_raises_costs_one_run(project: Project) -> None:
    """If a lazy argument raises an exception, this run fails and the next run comes."""
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
    """While a schedule class fails, its run waits, and nothing is sent."""
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


def test_a_failure_of_the_project_leaves_the_next_run_to_the_schedule(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After an exception of a lazy argument or an apply_async, an entry without a schedule text keeps its rhythm."""

    def fails(*_args: Any, **_options: Any) -> None:
        raise RuntimeError("the project's database is away")

    lazy = {"task": "proj.add", "schedule": 7200.5, "args": [BeatLazyFunc(fails)]}
    app = project.app(beat_schedule={"lazy": lazy})
    bike = project.bike(app)
    static.sync(app, bike, app.conf.beat_schedule)
    RedbikeEntry("own", "proj.add", 7200.5, args=[1], app=app).save()
    monkeypatch.setattr(app.tasks["proj.add"], "apply_async", fails)
    due = server_time(project.redis) + 7201
    run_due(bike, 7201)
    for name in ("lazy", "own"):
        next_run = bike.tell(name)["next_run"]
        assert next_run is not None
        assert 7199 < next_run - due < 7201
        (line,) = lines(caplog, f"job {name!r} died: RuntimeError: the project's database is away")
        assert "says its next run: 20" in line
    traces = [record.exc_info for record in caplog.records if record.exc_info]
    assert len(traces) == 2


def test_the_schedule_is_asked_before_lazy_arguments_are_called(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a schedule class fails, no lazy argument was called for a run that is not sent."""
    calls: list[int] = []
    lazy = {"task": "proj.add", "schedule": Moody(1000), "args": [BeatLazyFunc(calls.append, 1)]}
    app = project.app(beat_schedule={"lazy": lazy})
    bike = project.bike(app)
    static.sync(app, bike, app.conf.beat_schedule)
    monkeypatch.setattr(Moody, "works", False)
    run_due(bike, 2000)
    assert calls == []


def test_nobody_listens_for_the_results_of_tasks(project: Project) -> None:
    """A result backend does not listen for the results of the tasks that are sent."""
    app = project.app(result_backend=project.url)
    bike = project.bike(app)
    for number in range(3):
        bike.set(f"job {number}", "NOW", payload=ADD)
    run_due(bike)
    assert len(project.messages()) == 3
    assert app.backend.result_consumer._pubsub is None


def test_a_static_entry_that_this_app_does_not_know_waits(project: Project) -> None:
    """The run of a static entry that this app does not have waits for another process."""
    bike = project.bike(project.app())
    due = server_time(project.redis)
    bike.set("newer", "EVERY:1m", payload='{"task": "proj.add", "static": true}', first=due)
    run_due(bike)
    assert project.messages() == []
    next_run = bike.tell("newer")["next_run"]
    assert next_run is not None
    assert 0 < next_run - due < 10


def test_columns_say_what_a_payload_calls_and_never_raise() -> None:
    """`columns` returns the task and the queue, and empty texts for a bad payload."""
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
    """The worker refuses settings with which a run could be sent wrongly."""
    with pytest.raises(ConfigError, match=told):
        CeleryWorker(project.app(**conf), lease_s).timeout("celery")


def test_an_app_that_is_not_found_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error for an app that cannot be found names the app."""
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
    """Sentry's monitoring sees each run of an entry."""
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


class Never(BaseSchedule):
    """A schedule that wants to be asked again each second, and is never due."""

    def is_due(self, _last_run_at: datetime) -> tuple[bool, float]:
        """Return False after a look at the clock."""
        self.now()
        return False, 1.0

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Never, ()


def test_a_schedule_class_that_says_no_run_is_bad_and_delays_nobody(project: Project) -> None:
    """A class that asks to be asked without end is named, when it is saved and when it is due."""
    app = project.app()
    with pytest.raises(ScheduleError, match="Never: says no run up to"):
        RedbikeEntry("never", "proj.add", Never(), args=[1], app=app).save()
    needs = written(Never(), app, 0).needs
    bike = project.bike(app)
    began = time.monotonic()
    bike.set("never", "NOW", payload=json.dumps({"task": "proj.add", "args": [1], "schedule": needs}))
    run_due(bike)
    assert time.monotonic() - began < 3
    assert str(bike.tell("never")["status"]).startswith("BAD")
    assert "says no run up to" in error_of(bike, "never")
    assert project.messages() == []
