"""Entries of Celery in Redis: RedbikeEntry, and the behaviours that RedBeat's own test suite asks of its entries.

The number in the name of a test is the number of the behaviour. Behaviours 22 and later are in test_celery_static.py,
except 29 and 30, which are in test_celery_settings.py.

| | RedBeat | here |
|---|---|---|
| 1 | save writes definition and place | the same: schedule text, payload, next run |
| 2 | save of an existing entry keeps what its runs left | the same, and its next run if the schedule is the same |
| 3 | the definition is loaded again | the same, for each kind of schedule |
| 4 | an entry without meta has not run | the same |
| 5 | an unknown key is a KeyError | the same |
| 6 | from_key finds what save wrote | the same, also by RedBeat's key of the entry |
| 7 | next moves an entry on | a run does: Redis counts it and plans the next run |
| 8 | never run: due now | due after one interval, as in `celery beat` |
| 9 | due_at after a run | the same |
| 10 | overdue: due now | the same |
| 11 | due_at with a schedule that has moved | the same: counts from the last run |
| 12 | no further run: no due_at, score -1 | the same |
| 13 | the score is the Unix time of due_at | the same |
| 14 | reschedule counts from now | the same |
| 15 | reschedule counts from a given time | the same |
| 16 | delete leaves nothing | the same |
| 17 | rank | the same |
| 18 | a disabled entry is kept, and never due | the same: `PAUSED:` |
| 19 | an entry that is enabled again is due again | the same |
| 20 | is_due | the same |
| 21 | total_run_count, last_run_at | the same, kept by the server |
| 22 | static entries are added | the same |
| 23 | static entries that changed are updated | the same |
| 24 | static entries that left are removed | the same |
| 25 | static entries keep their last run | the same, and their next run |
| 26 | an empty beat_schedule starts a beat | the same |
| 27 | a bad static entry stops no other | the same |
| 28 | lazy arguments are called for each run | the same |
| 29 | URL, TLS, Sentinel and Cluster in the settings | the same, in Redbike's words |
| 30 | the prefix of the keys, settings by namespace | the same |
| 31 | interval, crontab, rrule and times as JSON | the same, without the loss of zone and nth weekday |
| 32 | tasks that the beat does not know; a send that fails | the same |
"""

import json
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celeries import Project, run_due
from celery.schedules import crontab, schedule
from dateutil.rrule import MO
from state import state

from redbike import Redbike
from redbike.bridges.celery import RedbikeEntry, RedbikeSchedule, rrule
from redbike.bridges.celery.conf import bike_of
from redbike.errors import JobIdError, ScheduleError

pytestmark = pytest.mark.not_on_a_cluster("a broker of Celery is no Cluster")

START = datetime(2026, 1, 5, 9, tzinfo=UTC)

SCHEDULES: dict[str, Callable[[], Any]] = {
    "interval": lambda: 60,
    "timedelta": lambda: timedelta(days=1),
    "fraction": lambda: 0.5,
    "relative": lambda: schedule(timedelta(hours=2), relative=True),
    "crontab": lambda: crontab(minute="*/15", hour="8-17", day_of_week="mon-fri"),
    "both day fields": lambda: crontab(minute=0, hour=12, day_of_month=13, day_of_week="fri"),
    "rrule": lambda: rrule("MONTHLY", dtstart=START, byweekday=MO(2)),
    "text": lambda: RedbikeSchedule("CRON:0 9 * * mon#1 Europe/Berlin"),
}
each_schedule = pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES.keys())


@pytest.fixture
def app(project: Project) -> Any:
    return project.app()


@pytest.fixture
def bike(project: Project, app: Any) -> Redbike:
    """A halted Redbike that sends for the app."""
    return project.bike(app)


@pytest.fixture
def minutely(app: Any) -> RedbikeEntry:
    """A saved entry that runs each minute."""
    return RedbikeEntry("minutely", "proj.add", 60, args=[1], app=app).save()


def next_run(bike: Redbike, name: str) -> float:
    """Return the planned time of a job."""
    due = bike.tell(name)["next_run"]
    assert due is not None, bike.tell(name)
    return due


def test_1_save_writes_schedule_payload_and_next_run(app: Any, bike: Redbike) -> None:
    """`save` writes the schedule, the payload and the next run."""
    entry = RedbikeEntry("one", "proj.add", 60, args=[1], kwargs={"y": 2}, options={"queue": "sums"}, app=app)
    before = bike.now()
    assert entry.save() is entry
    assert before + 58 < next_run(bike, "one") < before + 62
    payload = json.loads(str(bike.details("one")["payload"]))
    assert payload == {"task": "proj.add", "args": [1], "kwargs": {"y": 2}, "options": {"queue": "sums"}}


@each_schedule
def test_2_save_of_an_existing_entry_keeps_its_runs_and_its_next_run(
    app: Any, bike: Redbike, make: Callable[[], Any]
) -> None:
    """`save` of an existing entry keeps its count and its next run."""
    RedbikeEntry("one", "proj.add", make(), args=[1], app=app).save()
    bike.enqueue("one")
    run_due(bike)
    planned = next_run(bike, "one")
    RedbikeEntry("one", "proj.add", make(), args=[2], app=app).save()
    assert next_run(bike, "one") == planned
    again = RedbikeEntry.from_id("one", app)
    assert (again.args, again.total_run_count) == ([2], 1)
    again.args = [3]
    again.save()
    assert next_run(bike, "one") == planned


@each_schedule
def test_3_the_definition_is_read_again_without_loss(app: Any, make: Callable[[], Any]) -> None:
    """An entry that is read from Redis equals the entry that was saved."""
    moment = datetime(2026, 3, 4, 5, 6, 7, 8, tzinfo=UTC)
    entry = RedbikeEntry("one", "proj.add", make(), args=[moment], kwargs={"y": None}, options={"expires": 9}, app=app)
    entry.save()
    found = RedbikeEntry.from_id("one", app)
    assert found == entry
    assert type(found.schedule) is type(entry.schedule)
    assert (found.name, found.task, found.args, found.kwargs) == ("one", "proj.add", [moment], {"y": None})
    assert (found.options, found.enabled) == ({"expires": 9}, True)


@pytest.mark.usefixtures("minutely")
def test_4_an_entry_that_has_not_run_says_so(app: Any) -> None:
    """An entry without a run has no last run and the count 0."""
    found = RedbikeEntry.from_id("minutely", app)
    assert found.last_run_at is None
    assert found.total_run_count == 0


@pytest.mark.parametrize("find", [RedbikeEntry.from_id, RedbikeEntry.from_key])
def test_5_an_unknown_entry_is_a_key_error(app: Any, find: Callable[..., Any]) -> None:
    """`from_id` and `from_key` raise KeyError for an unknown name."""
    for name in ("nothing", "redbeat:nothing"):
        with pytest.raises(KeyError, match=name):
            find(name, app)


def test_6_an_entry_is_found_by_its_key(app: Any, minutely: RedbikeEntry) -> None:
    """`from_key` finds an entry by its key, also by a key of RedBeat."""
    assert RedbikeEntry.from_key(minutely.key, app) == minutely
    assert RedbikeEntry.from_key("redbeat:minutely", app).name == "minutely"
    RedbikeEntry("redbeat:minutely", "proj.add", 90, app=app).save()
    assert RedbikeEntry.from_key("redbeat:minutely", app).name == "redbeat:minutely"


def test_7_a_run_is_counted_and_moves_the_entry_on(app: Any, bike: Redbike, minutely: RedbikeEntry) -> None:
    """A run increases the count and plans the next run."""
    minutely.reschedule(datetime.now(UTC) - timedelta(seconds=61))
    planned = next_run(bike, "minutely")
    run_due(bike)
    assert next_run(bike, "minutely") == planned + 60
    assert RedbikeEntry.from_id("minutely", app).total_run_count == 1
    # Celery's `next` only makes another object, and changes nothing in Redis.
    following = next(minutely)
    assert (following.total_run_count, following.name, following.enabled) == (1, "minutely", True)
    assert next_run(bike, "minutely") == planned + 60


def test_8_an_entry_that_has_not_run_is_due_after_one_interval(app: Any, bike: Redbike) -> None:
    """A new interval is due one interval after it is saved."""
    entry = RedbikeEntry("one", "proj.add", 60, app=app)
    unsaved = entry.due_at
    assert unsaved is not None
    assert 59 < unsaved.timestamp() - bike.now() <= 60
    saved = entry.save().due_at
    assert saved is not None
    assert abs(saved - unsaved) < timedelta(seconds=2)


def test_9_due_at_after_a_run_is_one_interval_later(bike: Redbike, minutely: RedbikeEntry) -> None:
    """After a run, `due_at` is one interval later."""
    minutely.reschedule(datetime.now(UTC) - timedelta(seconds=61))
    first = next_run(bike, "minutely")
    run_due(bike)
    assert minutely.due_at == datetime.fromtimestamp(first + 60, UTC)


def test_10_an_entry_that_is_overdue_is_due_now(bike: Redbike, minutely: RedbikeEntry) -> None:
    """An entry whose time has passed is due now."""
    minutely.reschedule(datetime.now(UTC) - timedelta(hours=1))
    due_at = minutely.due_at
    assert due_at is not None
    assert due_at.timestamp() <= bike.now()
    bike.dispatch()
    queued = minutely.due_at
    assert queued is not None
    assert abs(queued.timestamp() - bike.now()) < 1


@pytest.mark.usefixtures("minutely")
def test_11_an_interval_that_changed_counts_from_the_last_run(app: Any, bike: Redbike) -> None:
    """A changed interval counts from the last run."""
    bike.enqueue("minutely")
    run_due(bike)
    entry = RedbikeEntry.from_id("minutely", app)
    assert entry.last_run_at is not None
    entry.schedule = schedule(300)
    entry.save()
    assert entry.due_at is not None
    assert abs(entry.due_at - entry.last_run_at - timedelta(seconds=300)) < timedelta(seconds=1.1)
    last = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=100)
    entry = RedbikeEntry("minutely", "proj.add", 240, last_run_at=last, app=app).save()
    assert entry.due_at == last + timedelta(seconds=240)


@pytest.mark.parametrize(
    ("first", "second"), [(0.5, 3600.5), (0.5, 7200), (7200, 3600.5), (7200, crontab(month_of_year=7, day_of_month=3))]
)
def test_11_another_schedule_is_planned_again(app: Any, bike: Redbike, first: Any, second: Any) -> None:
    """An entry with another schedule is planned again."""
    RedbikeEntry("one", "proj.add", first, app=app).save()
    planned = next_run(bike, "one")
    RedbikeEntry("one", "proj.add", second, app=app).save()
    assert abs(next_run(bike, "one") - planned) > 1000


@each_schedule
def test_save_mends_an_entry_that_is_bad(app: Any, bike: Redbike, project: Project, make: Callable[[], Any]) -> None:
    """Saving an entry that is BAD plans it again, although its schedule is the same."""
    RedbikeEntry("one", "proj.add", make(), args=[1, 2], options={"serializer": "wax"}, app=app).save()
    bike.enqueue("one")
    run_due(bike)
    assert str(bike.tell("one")["status"]).startswith("BAD")
    entry = RedbikeEntry.from_id("one", app)
    entry.options = {}
    entry.save()
    assert next_run(bike, "one") > bike.now() - 1
    run_due(bike, 1000 * 86400)
    assert [message.args for message in project.messages()] == [[1, 2]]


def test_12_an_entry_without_further_runs_is_not_due(app: Any) -> None:
    """An entry whose schedule has ended is never due."""
    once = rrule("SECONDLY", dtstart=START, count=1)
    entry = RedbikeEntry("over", "proj.add", once, app=app)
    assert entry.due_at is None
    entry.save()
    assert entry.due_at is None
    assert entry.score == -1
    assert entry.rank is None
    assert entry.is_due() == (False, 60.0)
    assert RedbikeEntry.from_id("over", app).schedule == once


def test_13_the_score_is_the_time_on_the_timeline(bike: Redbike, minutely: RedbikeEntry) -> None:
    """`score` is the score of the entry on the timeline."""
    assert minutely.score == next_run(bike, "minutely")
    assert minutely.due_at == datetime.fromtimestamp(minutely.score, UTC)


@pytest.mark.parametrize("seconds", [60, 0.5])
def test_14_reschedule_counts_from_now(app: Any, bike: Redbike, seconds: float) -> None:
    """`reschedule` without a time counts from now."""
    entry = RedbikeEntry("one", "proj.add", seconds, args=[1], app=app).save()
    entry.reschedule(datetime.now(UTC) + timedelta(hours=5))
    assert next_run(bike, "one") > bike.now() + 4 * 3600
    entry.reschedule()
    assert abs(next_run(bike, "one") - bike.now() - seconds) < 1.1
    assert RedbikeEntry.from_id("one", app).args == [1]


def test_15_reschedule_counts_from_a_given_time(app: Any, minutely: RedbikeEntry) -> None:
    """`reschedule` counts from the given last run."""
    last = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    minutely.reschedule(last)
    assert minutely.due_at == last + timedelta(minutes=1)
    daily = RedbikeEntry("daily", "proj.add", crontab(hour=4, minute=30), app=app).save()
    daily.reschedule(datetime(2036, 1, 1, 12, tzinfo=UTC))
    assert daily.due_at == datetime(2036, 1, 2, 4, 30, tzinfo=UTC)


def test_16_delete_leaves_nothing_in_redis(project: Project, app: Any) -> None:
    """`delete` removes all that Redis holds of an entry."""
    before = state(project.redis, project.prefix)
    entry = RedbikeEntry("one", "proj.add", 60, args=[1], app=app).save()
    entry.delete()
    assert state(project.redis, project.prefix) == before
    entry.delete()
    with pytest.raises(KeyError):
        RedbikeEntry.from_id("one", app)


def test_17_rank_counts_the_entries_that_are_due_before(app: Any) -> None:
    """`rank` is the number of entries that are due before."""
    ranks = {s: RedbikeEntry(f"each {s}", "proj.add", s, app=app).save() for s in (120, 60, 180)}
    assert [ranks[s].rank for s in (60, 120, 180)] == [0, 1, 2]


def test_18_a_disabled_entry_is_kept_and_never_due(app: Any, bike: Redbike, project: Project) -> None:
    """A disabled entry stays in Redis and is never due."""
    entry = RedbikeEntry("off", "proj.add", 1, args=[1], enabled=False, app=app).save()
    assert str(bike.get_schedule("off")).startswith("PAUSED:")
    assert entry.is_due() == (False, 5.0)
    assert entry.due_at is None
    run_due(bike, 3600)
    assert project.messages() == []
    found = RedbikeEntry.from_id("off", app)
    assert (found.enabled, found.args) == (False, [1])
    assert found.schedule == schedule(1)


@each_schedule
def test_19_an_entry_that_is_enabled_again_is_due_again(app: Any, bike: Redbike, make: Callable[[], Any]) -> None:
    """An entry that is enabled again is due again."""
    entry = RedbikeEntry("one", "proj.add", make(), app=app).save()
    text = bike.get_schedule("one")
    for enabled in (False, True):
        entry = RedbikeEntry.from_id("one", app)
        entry.enabled = enabled
        entry.save()
        assert (bike.tell("one")["next_run"] is not None) == enabled
        assert RedbikeEntry.from_id("one", app).enabled == enabled
    assert next_run(bike, "one") > bike.now() - 1
    assert str(text).startswith(str(bike.get_schedule("one"))[:8])


def test_20_is_due_says_whether_and_when(minutely: RedbikeEntry) -> None:
    """`is_due` returns whether the entry is due, and the seconds until then."""
    due, wait_s = minutely.is_due()
    assert due is False
    assert 55 < wait_s <= 61
    minutely.reschedule(datetime.now(UTC) - timedelta(hours=1))
    assert minutely.is_due() == (True, 0.0)


@pytest.mark.usefixtures("minutely")
def test_21_runs_are_counted_with_the_time_of_the_last(app: Any, bike: Redbike) -> None:
    """An entry has the count of its runs and the time of its last run."""
    for count in (1, 2, 3):
        bike.enqueue("minutely")
        run_due(bike)
        found = RedbikeEntry.from_id("minutely", app)
        assert found.total_run_count == count
        assert found.last_run_at is not None
        assert abs(found.last_run_at.timestamp() - bike.now()) < 1


def test_an_entry_that_cannot_be_kept_is_refused_with_its_name(app: Any) -> None:
    """`save` refuses an entry that Redis cannot hold. The error names the entry."""
    wrong: list[dict[str, Any]] = [
        {"schedule": 60},
        {"task": "proj.add", "schedule": 60, "args": [object()]},
        {"task": "proj.add", "schedule": 60, "kwargs": {"y": {1, 2}.__iter__()}},
        {"task": "proj.add", "schedule": None},
        {"task": "proj.add", "schedule": 60, "options": {"producer": object()}},
    ]
    for fields in wrong:
        with pytest.raises(ScheduleError, match="entry 'wrong'"):
            RedbikeEntry("wrong", app=app, **fields).save()
    for name in ("", "a\nb"):
        with pytest.raises(JobIdError):
            RedbikeEntry(name, "proj.add", 60, app=app).save()
    assert list(RedbikeEntry.all(app)) == []


@pytest.mark.usefixtures("minutely")
def test_all_entries_are_listed_without_those_that_cannot_be_read(app: Any) -> None:
    """`all` yields the entries, and leaves out entries that cannot be read."""
    bike = bike_of(app)
    bike.set("bad", "EVERY:1m", payload="{")
    bike.set("worse", "EVERY:1m", payload='{"task": "a", "args": [{"__type__": "datetime", "__value__": "x"}]}')
    bike.set("worst", "CONTINUE", payload='{"task": "a", "schedule": {"every": "x"}}')
    RedbikeEntry("other", "proj.add", 5, app=app).save()
    assert sorted(entry.name for entry in RedbikeEntry.all(app)) == ["minutely", "other"]


def test_threads_and_forks_of_an_application_may_save_entries(app: Any) -> None:
    """Several threads and forked processes of an application may save entries."""
    failures: list[BaseException] = []

    def save(number: int) -> None:
        try:
            for round_ in range(20):
                RedbikeEntry(f"{number} {round_}", "proj.add", 60 + round_, args=[number], app=app).save()
                assert RedbikeEntry.from_id(f"{number} {round_}", app).args == [number]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    child = os.fork()
    if not child:
        save(99)
        os._exit(1 if failures else 0)
    save(100)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert failures == []
    assert len(list(RedbikeEntry.all(app))) == 8 * 20


def test_without_an_app_an_entry_belongs_to_the_current_app(app: Any) -> None:
    """An entry without `app` belongs to the current app of Celery."""
    app.set_current()
    RedbikeEntry("one", "proj.add", 60).save()
    assert RedbikeEntry.from_id("one").app is app
    assert [entry.name for entry in RedbikeEntry.all()] == ["one"]
