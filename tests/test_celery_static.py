"""Static entries: what a beat makes of `beat_schedule` when it starts.

The numbers are those of the table in test_celery_entry.py. A beat starts here as it does in its process, without its
loops; test_celery_beat.py has the processes.
"""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celeries import Project, run_due
from celery.beat import BeatLazyFunc
from celery.schedules import BaseSchedule, crontab, maybe_schedule, schedstate, schedule
from dateutil.rrule import MO
from helpers import lines
from state import state

from redbike import Redbike
from redbike.bridges.celery import RedbikeEntry, RedbikeSchedule, RedbikeScheduler, broker, rrule
from redbike.bridges.celery.conf import bike_of
from redbike.errors import ScheduleError

pytestmark = pytest.mark.not_on_a_cluster("a broker of Celery is no Cluster")

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
LATER_S = 5400.0


class Fails(BaseSchedule):
    """A schedule class of a project, with a fault."""

    def __reduce__(self) -> Any:
        raise RuntimeError("no answer")


class Silent(BaseSchedule):
    """A schedule class of a project that fails when it is asked."""

    def is_due(self, _last_run_at: datetime) -> Any:
        raise RuntimeError("no next run")


class Over(BaseSchedule):
    """A schedule class of a project without a further run."""

    def is_due(self, _last_run_at: datetime) -> Any:
        return schedstate(is_due=False, next=None)


def entries() -> dict[str, dict[str, Any]]:
    """Return one static entry of each kind, made again as another process makes it."""
    return {
        "interval": {"task": "proj.add", "schedule": 60, "args": [1, 2]},
        "timedelta": {"task": "proj.add", "schedule": timedelta(hours=6), "kwargs": {"x": 1}},
        "fraction": {"task": "proj.add", "schedule": 2700.5, "args": (1,)},
        "relative": {"task": "proj.add", "schedule": timedelta(hours=3), "relative": True, "args": [1]},
        "relative minute": {"task": "proj.add", "schedule": schedule(60, relative=True), "args": [1]},
        "crontab": {"task": "proj.add", "schedule": crontab(minute="*/7", hour="9-17"), "args": [1]},
        "both day fields": {"task": "proj.add", "schedule": crontab(0, 0, day_of_month="13", day_of_week="fri")},
        "rrule": {"task": "proj.add", "schedule": rrule("MONTHLY", dtstart=START, byweekday=MO(2)), "args": [1]},
        "text": {"task": "proj.add", "schedule": RedbikeSchedule("CRON:0 17 * * 5L Europe/Berlin"), "args": [1]},
        "lazy": {"task": "proj.add", "schedule": 60, "args": [BeatLazyFunc(int)]},
        "no JSON": {"task": "proj.add", "schedule": 60, "args": [{1, 2}, object()]},
        "disabled": {"task": "proj.add", "schedule": 60, "args": [1], "enabled": False},
        "with options": {"task": "proj.add", "schedule": 60, "args": [1], "options": {"expires": timedelta(seconds=9)}},
    }


@pytest.fixture
def beat(project: Project) -> Callable[..., Any]:
    """Starts a beat with these static entries as a new process does, and ends it. Returns its app."""

    def start(schedule: dict[str, Any] | None = None, **conf: object) -> Any:
        app = project.app(**{"beat_schedule": schedule or {}, "result_expires": None, **conf})
        scheduler = RedbikeScheduler(app)
        scheduler._prepare()
        scheduler.close()
        scheduler.close()
        return app

    return start


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Turns the clock of this process's Redbike forward, by an hour and a half each time."""
    real, ahead = Redbike.now, [0.0]
    monkeypatch.setattr(Redbike, "now", lambda bike: real(bike) + ahead[0])

    def turn() -> None:
        ahead[0] += LATER_S

    return turn


def held(project: Project) -> dict[str, Any]:
    """Return all that Redis has of the prefix."""
    return state(project.redis, project.prefix)


def test_22_static_entries_are_added(project: Project, beat: Callable[..., Any]) -> None:
    """A beat adds the entries of `beat_schedule`."""
    app = beat(entries())
    bike = bike_of(app)
    assert {name for name, _ in bike.get_schedules()} == set(entries())
    assert str(bike.get_schedule("disabled")).startswith("PAUSED:")
    planned = set(held(project)["-timeline"])
    assert planned == set(entries()) - {"disabled"}
    assert bike.get_schedule("text") == "CRON:0 17 * * 5L Europe/Berlin"
    found = RedbikeEntry.from_id("timedelta", app)
    assert (found.schedule, found.kwargs) == (schedule(timedelta(hours=6)), {"x": 1})


def test_23_a_static_entry_that_changed_is_updated(project: Project, beat: Callable[..., Any]) -> None:
    """A beat sets a static entry again if it has changed."""
    beat(entries())
    before = held(project)
    changed = entries()
    changed["interval"]["schedule"] = 7200
    changed["crontab"]["args"] = [5]
    changed["fraction"]["schedule"] = 9000.5
    app = beat(changed)
    after = held(project)
    moved = {name for name, due in after["-timeline"].items() if due != before["-timeline"][name]}
    assert moved == {"interval", "fraction"}
    assert {name for name in after[":payloads"] if after[":payloads"][name] != before[":payloads"][name]} == {
        "crontab",
        "fraction",
    }
    assert RedbikeEntry.from_id("interval", app).schedule == schedule(7200)
    assert RedbikeEntry.from_id("fraction", app).schedule == schedule(9000.5)
    assert RedbikeEntry.from_id("crontab", app).args == [5]


def test_24_a_static_entry_that_left_is_removed(project: Project, beat: Callable[..., Any]) -> None:
    """A beat removes an entry that is no longer in `beat_schedule`."""
    beat({"stays": {"task": "proj.add", "schedule": 60}})
    RedbikeEntry("dynamic", "proj.add", 60, app=project.app()).save()
    before = held(project)
    beat({"stays": {"task": "proj.add", "schedule": 60}, "leaves": {"task": "proj.add", "schedule": 60}})
    assert held(project) != before
    beat({"stays": {"task": "proj.add", "schedule": 60}})
    assert held(project) == before


def test_25_a_static_entry_keeps_its_last_run_and_its_next_run(project: Project, beat: Callable[..., Any]) -> None:
    """A static entry that did not change keeps its last run and its next run."""
    app = beat(entries())
    bike = project.bike(app)
    for name in ("interval", "fraction", "crontab", "lazy"):
        bike.enqueue(name)
    run_due(bike)
    assert len(project.messages()) == 4
    before = held(project)
    del before["-control"]
    again = beat(entries())
    assert held(project) == before
    assert RedbikeEntry.from_id("fraction", again).total_run_count == 1


def test_a_second_beat_of_a_rolling_deploy_changes_nothing(
    project: Project, beat: Callable[..., Any], later: Callable[[], None]
) -> None:
    """A second beat with the same entries changes nothing in Redis."""
    beat(entries())
    before = held(project)
    for _ in range(4):
        later()
        beat(entries())
        assert held(project) == before


def test_an_entry_that_somebody_paused_stays_paused(
    project: Project, beat: Callable[..., Any], later: Callable[[], None]
) -> None:
    """A static entry that was paused stays paused when a beat starts."""
    bike = bike_of(beat(entries()))
    for name in entries():
        bike.pause(name, note="by a person")
    before = held(project)
    later()
    beat(entries())
    assert held(project) == before
    changed = {name: {**entry, "options": {"expires": 5}} for name, entry in entries().items()}
    beat(changed)
    assert all(text.startswith("PAUSED:") for text in held(project)["-schedules"].values())


def test_an_entry_that_is_enabled_in_the_code_again_runs_again(project: Project, beat: Callable[..., Any]) -> None:
    """A static entry that is enabled in the code again runs again."""
    for enabled in (False, True):
        every = {name: {**entry, "enabled": enabled} for name, entry in entries().items()}
        beat(every)
        assert len(held(project).get("-timeline", {})) == (len(every) if enabled else 0)


def test_an_entry_whose_first_run_is_long_over_waits_for_its_next_run(
    project: Project, beat: Callable[..., Any], later: Callable[[], None]
) -> None:
    """An entry on CONTINUE that a beat sets or plans again keeps its next run, and does not run at once."""

    def hours(enabled: bool) -> dict[str, Any]:
        return {"e": {"task": "proj.add", "schedule": 7200.5, "args": [1], "enabled": enabled}}

    bike = project.bike(beat(hours(enabled=True)))
    for _ in range(2):
        later()
    planned = bike.now() + 7200.5
    for enabled in (False, True):
        beat(hours(enabled=enabled))
    assert held(project)["-timeline"]["e"] == pytest.approx(planned, abs=5)
    # Its next run is noted as its first run, and then the entry becomes BAD.
    bike.redis.hset(bike.statuses_key, "e", "BAD:1")
    bike.redis.zrem(bike.timeline_key, "e")
    beat(hours(enabled=True))
    assert held(project)["-timeline"]["e"] == pytest.approx(planned, abs=5)
    assert bike.redis.llen(f"{project.prefix}-celery") == 0
    noted = held(project)
    beat(hours(enabled=True))
    assert held(project) == noted


def test_an_entry_without_a_further_run_does_not_run(
    project: Project, beat: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """An entry whose schedule has no further run is never sent, and Redis holds STOP."""
    over = {"over": {"task": "proj.add", "schedule": Over(), "args": [1]}}
    for _ in range(2):
        app = beat(over)
        run_due(project.bike(app), 60)
    RedbikeEntry("dynamic", "proj.add", Over(), args=[1], app=app).save().save()
    run_due(project.bike(app), 60)
    assert project.messages() == []
    assert held(project)["-schedules"] == {"over": "STOP", "dynamic": "STOP"}
    assert len(lines(caplog, "entry 'over' will not run: its schedule has no further run")) == 2
    assert RedbikeEntry.from_id("dynamic", app).due_at is None
    beat({"over": {"task": "proj.add", "schedule": 90.5, "args": [1]}})
    assert set(held(project)["-timeline"]) == {"over"}


def test_26_an_empty_schedule_starts_a_beat(project: Project, beat: Callable[..., Any]) -> None:
    """A beat starts without any static entry."""
    beat({})
    assert held(project) == {}
    beat({}, result_expires=3600)
    assert set(held(project)["-schedules"]) == {"celery.backend_cleanup"}


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no task": ({"schedule": 60}, "names no task"),
    "no schedule": ({"task": "proj.add"}, "schedule"),
    "a word": ({"task": "proj.add", "schedule": "soon"}, "is not a schedule of Celery"),
    "rrule that starts now": ({"task": "proj.add", "schedule": rrule("DAILY")}, "give it a dtstart"),
    "an unknown member": ({"task": "proj.add", "schedule": 60, "queue": "sums"}, "'queue' is not known"),
    "no entry": (["proj.add", 60], "is not a dict: write"),  # type: ignore[dict-item]
    "args that are no list": ({"task": "proj.add", "schedule": 60, "args": 5}, "args is 5: write a list or a tuple"),
    "kwargs that are no dict": ({"task": "proj.add", "schedule": 60, "kwargs": [5]}, "kwargs is [5]: write a dict"),
    "a\nname": ({"task": "proj.add", "schedule": 60}, "name"),
    "args that are a text": ({"task": "proj.add", "schedule": 60, "args": "12"}, "args"),
    "a class that fails": ({"task": "proj.add", "schedule": Fails()}, "no answer"),
    "a numbered task": ({"task": 7, "schedule": 60}, "names no task"),
    "a payload that is too long": ({"task": "proj.add", "schedule": 60, "args": ["x" * 1_100_000]}, "at most 1048576"),
    "a class that is silent": ({"task": "proj.add", "schedule": Silent()}, "no next run"),
}


def test_27_a_bad_static_entry_stops_no_other(
    project: Project, beat: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Each bad static entry is one error in the log. The good entry is set."""
    beat({"no task": entries()["interval"]})
    good = {"good": {"task": "proj.add", "schedule": 60, "args": [1]}}
    beat({**{name: entry for name, (entry, _) in BAD.items()}, **good})
    assert set(held(project)["-schedules"]) == {"good", "no task"}
    told = [record.message for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(told) == len(BAD)
    for line, (name, (_, reason)) in zip(told, BAD.items(), strict=True):
        assert reason in line
        assert repr(name) in line
        assert "the entry is left out, and a former job" in line


def test_28_lazy_arguments_are_called_for_each_run(project: Project, beat: Callable[..., Any]) -> None:
    """A lazy argument is called for each run."""
    calls = iter(range(100))
    lazy = {"args": [BeatLazyFunc(next, calls)], "kwargs": {"y": BeatLazyFunc(dict, a=1)}}
    bike = project.bike(beat({"lazy": {"task": "proj.add", "schedule": 60, **lazy}}))
    for _ in range(2):
        bike.enqueue("lazy")
        run_due(bike)
    assert [(message.args, message.kwargs) for message in project.messages()] == [
        ([0], {"y": {"a": 1}}),
        ([1], {"y": {"a": 1}}),
    ]


def test_a_bad_static_entry_is_tried_again_by_the_next_beat(
    project: Project, beat: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A static entry that is BAD is planned again when a beat starts."""
    monkeypatch.setattr(broker, "_VERSIONS_DIFFER_S", -1)
    every = {name: {"task": "proj.add", "schedule": s, "args": [1, 2, 3]} for name, s in (("one", 60), ("two", 0.5))}
    beat({**every, "off": {**every["one"], "enabled": False}})
    # This version of the app knows `add` with two arguments only.
    bike = project.bike(project.app())
    run_due(bike, 61)
    assert [str(bike.tell(name)["status"])[:3] for name in every] == ["BAD", "BAD"]
    bike.clear_control()
    before = held(project)["-schedules"]
    beat({**every, "off": {**every["one"], "enabled": False}})
    assert held(project)["-schedules"] == before
    assert [str(bike.tell(name)["status"])[:3] for name in ("one", "two", "off")] == ["TML", "TML", "STP"]


@pytest.mark.parametrize("option", ["task_id", "retry", "producer"])
def test_an_option_that_redbike_sets_itself_is_refused(
    project: Project, beat: Callable[..., Any], option: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An entry may not have an option that Redbike sets itself."""
    entry = {"task": "proj.add", "schedule": 60, "options": {option: "x"}}
    app = beat({"one": entry})
    assert lines(caplog, f"entry 'one': options: {option} is set by Redbike itself: remove it")
    with pytest.raises(ScheduleError, match=f"options: {option} is set by Redbike itself"):
        RedbikeEntry("two", app=app, **entry).save()
    assert held(project) == {}


def test_31_schedules_and_arguments_are_json_in_redis(project: Project, beat: Callable[..., Any]) -> None:
    """Redis holds schedule texts and JSON, and no pickles."""
    moment = datetime(2026, 3, 4, 5, 6, 7, 8, tzinfo=UTC)
    app = beat({**entries(), "times": {"task": "proj.add", "schedule": 60, "args": [moment, {"a": (1,)}]}})
    now = held(project)
    payloads = {name: json.loads(text) for name, text in now[":payloads"].items()}
    assert payloads["rrule"] == {"task": "proj.add", "args": [1]}
    assert "BYDAY=+2MO" in now["-schedules"]["rrule"]
    assert now["-schedules"]["fraction"] == "CONTINUE"
    assert "schedule" in payloads["fraction"]
    assert [payloads[name].get("static") for name in ("lazy", "no JSON", "interval")] == [True, True, None]
    every = RedbikeScheduler(app).schedule
    assert set(every) == set(entries()) | {"times"}
    assert every["times"].args == [moment, {"a": [1]}]
    for name, entry in entries().items():
        assert every[name].schedule == maybe_schedule(entry["schedule"], entry.get("relative", False), app)
        assert every[name].enabled == entry.get("enabled", True)


def test_32_tasks_that_the_beat_does_not_know_are_sent_by_name(project: Project, beat: Callable[..., Any]) -> None:
    """A task that the app does not have is sent by its name."""
    every = {name: {"task": name, "schedule": 60, "args": [1, 2]} for name in ("proj.add", "elsewhere.sum")}
    bike = project.bike(beat(every))
    for name in every:
        bike.enqueue(name)
    run_due(bike)
    assert {message.task for message in project.messages()} == set(every)


def test_32_a_send_that_fails_leaves_the_other_entries_alone(
    project: Project, beat: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the sending of one entry fails, the other entries are sent."""
    app = beat({f"entry {n}": {"task": "proj.add", "schedule": 60, "args": [n]} for n in range(6)})
    bike = project.bike(app)
    send = app.tasks["proj.add"].apply_async

    def fails_at_times(args: Any, *more: Any, **options: Any) -> Any:
        if args[0] % 2:
            raise RuntimeError("the project's database is away")
        return send(args, *more, **options)

    with monkeypatch.context() as patched:
        patched.setattr(app.tasks["proj.add"], "apply_async", fails_at_times)
        for n in range(6):
            bike.enqueue(f"entry {n}")
        run_due(bike)
    assert sorted(message.args[0] for message in project.messages()) == [0, 2, 4]
    assert "the project's database is away" in str(bike.details("entry 1")["last_run"])
    run_due(bike, 61)
    assert sorted(message.args[0] for message in project.messages()) == [0, 0, 1, 2, 2, 3, 4, 4, 5]


def test_the_scheduler_connects_to_nothing_before_its_first_tick(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    """Making a scheduler does not connect. The first tick does."""
    app = project.app(redbike_url="redis://:s3cret@127.0.0.1:1/0", broker_url="redis://:s3cret@127.0.0.1:1/0")
    shown = RedbikeScheduler(app, lazy=True)
    assert "127.0.0.1:1" in shown.info
    assert project.prefix in shown.info
    assert "s3cret" not in shown.info
    shown.close()
    scheduler = RedbikeScheduler(app)
    scheduler.close()
    scheduler.close()
    assert caplog.messages == []


def test_an_exception_in_a_loop_ends_the_beat_with_one_line(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception in a loop ends the beat, with one line in the log."""
    from nodes import eventually

    def fails(_: Redbike) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(Redbike, "dispatch", fails)
    scheduler = RedbikeScheduler(project.app())
    assert scheduler.tick() == 1
    running = scheduler._running
    assert running is not None
    eventually(lambda: running.failure)
    with pytest.raises(RuntimeError, match="a fault"):
        scheduler.tick()
    scheduler.close()
    assert lines(caplog, "a fault") == ["dispatcher: RuntimeError: a fault"]


def test_an_entry_that_cannot_be_sent_is_bad_also_through_celerys_hooks(
    project: Project, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that cannot be sent is BAD, even if the run goes through Celery's `apply_entry`."""
    monkeypatch.setattr(broker, "_VERSIONS_DIFFER_S", -1)
    scheduler = RedbikeScheduler(project.app())
    bike = project.bike(scheduler.app, scheduler._worker)
    RedbikeEntry("good", "proj.add", 60, args=[1], app=scheduler.app).save()
    RedbikeEntry("bad", "proj.add", 60, args=[1, 2, 3], app=scheduler.app).save()
    run_due(bike, 61)
    assert [message.args for message in project.messages()] == [[1]]
    assert str(bike.tell("bad")["status"]).startswith("BAD")
    assert lines(caplog, "Message Error") == []
    scheduler.close()


def test_the_scheduler_adds_entries_as_celerys_schedulers_do(project: Project) -> None:
    """`add` of the scheduler saves an entry."""
    app = project.app()
    scheduler = RedbikeScheduler(app)
    entry = scheduler.add(name="one", task="proj.add", schedule=60)
    assert scheduler.schedule == {"one": entry}
    assert scheduler.should_sync() is False
    scheduler.close()
