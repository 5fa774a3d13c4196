"""Celery's schedules as schedule texts, and back without loss. Imports Celery.

A schedule that no text can express has the text CONTINUE, and JSON from which it is made again. The worker then asks
the schedule for the next run.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from celery.schedules import BaseSchedule, crontab, solar
from celery.schedules import schedule as interval
from dateutil.rrule import weekday

from redbike.bridges.celery.crontabs import crontab_fields, crontab_text
from redbike.bridges.celery.intervals import interval_seconds, interval_text, relative_interval, relative_text
from redbike.bridges.celery.needs import class_needs, from_needs, interval_needs, solar_needs
from redbike.bridges.celery.recurring import RedbikeSchedule, app_zone, rrule
from redbike.bridges.celery.rrules import FIELDS, rrule_fields, rrule_text
from redbike.schedule.forms import PAUSED

__all__ = ["RedbikeSchedule", "Written", "is_same", "next_after", "restored", "rrule", "starts_now", "written"]

CONTINUE = "CONTINUE"

_MOST_CHECKS = 100_000
_LONGEST_S = 0.5  # of the questions for one run, because other runs wait meanwhile
"""How often `next_after` asks an unknown schedule class at most. A look per minute of two months takes a second."""
_SHORTEST = timedelta(microseconds=1)
_SOLAR_PAUSE = timedelta(minutes=1)
"""Two computed times of an event of the sun that are nearer than this are the same event: they are not exact."""


class Endless(ValueError):
    """A schedule class asks to be asked again and again, and says no run."""


class Written(NamedTuple):
    """A schedule of Celery as Redbike keeps it."""

    text: str
    """The schedule text: CONTINUE if no text can express the schedule."""
    needs: dict[str, Any] | None
    """With CONTINUE: the JSON from which `restored` makes the schedule again; else None."""


def written(schedule: Any, app: Any, now: float) -> Written:
    """Return a schedule of Celery as a schedule text; `now` in Unix seconds.

    `schedule` is a number of seconds, a timedelta, or an object of `schedule`, `crontab`, `rrule` (also RedBeat's),
    `solar`, `RedbikeSchedule`, or of another class. A crontab is in its own timezone, or in that of the app.
    Raise ValueError, with the way out, for a schedule that cannot be written.
    """
    if isinstance(schedule, int | float | timedelta):
        schedule = interval(schedule, app=app)
    kind = type(schedule)
    if not isinstance(schedule, BaseSchedule):
        raise ValueError(
            f"schedule {schedule!r} is not a schedule of Celery: give seconds, a timedelta, a crontab, or"
            " redbike.bridges.celery.RedbikeSchedule('…') with a schedule text of Redbike"
        )
    _belongs(schedule, app)
    if kind is interval:
        return _written_interval(schedule, now)
    if kind is crontab or (isinstance(schedule, crontab) and kind.__module__.startswith("django_celery_beat.")):
        return Written(_text_of_crontab(schedule), None)
    if kind is rrule or kind is RedbikeSchedule:
        return Written(schedule.text, None)
    if _is_redbeats(schedule):
        return Written(rrule_text({name: getattr(schedule, name) for name in FIELDS}), None)
    return Written(CONTINUE, solar_needs(schedule) if kind is solar else class_needs(schedule))


def restored(text: str, needs: Mapping[str, Any] | None, app: Any) -> Any:
    """Return the schedule of Celery that a schedule text says, or its `needs`: the way back of `written`.

    A text that no other class can express becomes a `RedbikeSchedule`. It may be the text of another program. A crontab
    and a relative interval keep their zone, whatever the timezone of the app is. `PAUSED:` before the text is ignored.
    Raise ValueError, with the reason, for a text that is no schedule, and for `needs` that cannot be read.
    """
    if needs is not None:
        return from_needs(needs, app)
    text = text.strip().removeprefix(PAUSED).strip()
    if (seconds := interval_seconds(text)) is not None:
        return interval(timedelta(seconds=seconds), app=app)
    if (relative := relative_interval(text)) is not None:
        return _in_zone(interval(timedelta(seconds=relative.seconds), relative=True, app=app), relative.zone)
    if (fields := crontab_fields(text)) is not None:
        zone = fields.pop("zone")
        with suppress(ValueError):  # an old Celery does not know the names of months
            return _in_zone(crontab(**fields, app=app), zone)
    found = rrule_fields(text)
    if found is not None:
        if "byweekday" in found:
            found["byweekday"] = [weekday(day["wkday"], day.get("n")) for day in found["byweekday"]]
        with suppress(ValueError):  # its start has an offset that is no zone
            return rrule(**found, app=app)
    return RedbikeSchedule(text, app=app)


def is_same(text: str, needs: Mapping[str, Any] | None, schedule: Any, app: Any) -> bool:
    """Return True if the registered text and `needs` say this schedule, whenever they were written.

    The start of an interval does not count: it is the time at which the interval was set. `PAUSED:` does not count, nor
    how the text spells the schedule: `CRON:@daily` is the crontab of midnight. Raise ValueError as `written` does.
    """
    asked = written(schedule, app, 0)
    if needs is not None or asked.needs is not None:
        return asked.needs == needs
    wanted = _without_start(asked.text)
    if _without_start(text) == wanted:
        return True
    try:
        return _without_start(written(restored(text, None, app), app, 0).text) == wanted
    except ValueError:
        return False


def starts_now(schedule: Any) -> bool:
    """Return True for an rrule without a given start: it begins again in each new process.

    RedBeat's rrule does not remember whether it was given a start: "now" has a fraction of a second.
    """
    if isinstance(schedule, rrule):
        return schedule.starts_now
    return _is_redbeats(schedule) and schedule.dtstart.microsecond != 0


def next_after(schedule: Any, moment: datetime, rhythm: datetime | None = None) -> datetime | None:
    """Return the next run strictly after an aware moment, in UTC; None if there is none.

    `rhythm` is the time of a run, such as the time for which the last run was planned. An interval counts from there,
    so that a run which begins late does not move the next run. Without `rhythm`, an interval counts from the moment. An
    interval of 0 or less has its next run at once. A schedule of another class is asked as Celery's beat asks it, with
    its `nowfun` as its clock: first at the moment, then each time at which it wants to be asked again. If it does not
    look at `now()`, its first answer counts. Raise Endless after half a second of questions.
    """
    try:
        if isinstance(schedule, RedbikeSchedule | rrule):
            found: datetime | None = schedule.next_after(moment)
            return found
        if type(schedule) is interval and not schedule.relative:
            return _counted(schedule.run_every, moment.astimezone(UTC), rhythm)
        return _asked(schedule, moment)
    except OverflowError:
        return None


def _written_interval(schedule: Any, now: float) -> Written:
    if schedule.run_every is None:
        raise ValueError(f"schedule {type(schedule).__name__}() has no interval: give seconds or a timedelta")
    seconds = schedule.run_every.total_seconds()
    zone = app_zone(schedule) if schedule.relative else "UTC"
    text = relative_text(seconds, now, zone) if schedule.relative else interval_text(seconds)
    return Written(CONTINUE, interval_needs(seconds, schedule.relative, zone)) if text is None else Written(text, None)


def _text_of_crontab(schedule: Any) -> str:
    """Return the text of a crontab: its fields as they were given, if they are texts, else as their numbers."""
    fields = {}
    for name in ("minute", "hour", "day_of_week", "day_of_month", "month_of_year"):
        given = getattr(schedule, f"_orig_{name}")
        fields[name] = given if isinstance(given, str) else getattr(schedule, name)
    return crontab_text(**fields, zone=app_zone(schedule))


def _is_redbeats(schedule: Any) -> bool:
    """Return True for RedBeat's own rrule. RedBeat is not imported."""
    return (type(schedule).__module__, type(schedule).__name__) == ("redbeat.schedules", "rrule")


def _belongs(schedule: Any, app: Any) -> None:
    """Give a schedule its app, as Celery's beat does."""
    if schedule._app is None:
        schedule.app = app


def _in_zone(schedule: Any, zone: str) -> Any:
    schedule.tz = ZoneInfo(zone)
    return schedule


def _without_start(text: str) -> object:
    text = text.replace("\\n", "\n").strip().removeprefix(PAUSED).strip()
    return interval_seconds(text) or relative_interval(text) or " ".join(text.split())


def _counted(every: timedelta, moment: datetime, rhythm: datetime | None) -> datetime:
    if every <= timedelta():
        return moment + _SHORTEST
    start = moment if rhythm is None else rhythm.astimezone(UTC)
    return start + ((moment - start) // every + 1) * every


def _asked(schedule: Any, moment: datetime) -> datetime | None:
    """Ask a schedule as Celery's beat asks it. The schedule is copied: another thread may use it."""
    at = last = moment.astimezone(schedule.tz) + (_SOLAR_PAUSE if type(schedule) is solar else timedelta())
    looks = 0

    def now() -> datetime:
        nonlocal looks
        looks += 1
        return at

    copied = object.__new__(type(schedule))
    vars(copied).update(vars(schedule))
    copied.nowfun = now
    until_s = time.monotonic() + _LONGEST_S
    for count in range(_MOST_CHECKS):
        if count % 100 == 0 and time.monotonic() > until_s:
            break
        looks = 0
        due, seconds = copied.is_due(last)
        if due and at > last:
            return at.astimezone(UTC)
        if seconds is None:
            return None
        at = (at.astimezone(UTC) + max(timedelta(seconds=seconds), _SHORTEST)).astimezone(schedule.tz)
        if not looks:
            return at.astimezone(UTC)
    raise Endless(
        f"schedule class {type(schedule).__name__}: says no run up to {at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, after"
        f" {_LONGEST_S:g} s of questions: its is_due() has to return the seconds until the next run"
    )
