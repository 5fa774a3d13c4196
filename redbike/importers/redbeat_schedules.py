"""Turn the schedules of RedBeat's JSON into texts of Redbike."""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from math import floor, isfinite
from typing import Any, NamedTuple

from redbike.bridges.celery.crontabs import crontab_text
from redbike.bridges.celery.intervals import interval_text, relative_text
from redbike.bridges.celery.rrules import rrule_text
from redbike.importers.redbeat_values import TYPE
from redbike.importers.stores import Unreadable, shown_value
from redbike.schedule.forms import read
from redbike.schedule.plan import Action

_crontab_text = lru_cache(maxsize=1_000)(crontab_text)  # many entries have the same crontab
_CRONTAB = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")


class Times(NamedTuple):
    """When an entry ran last and runs next, in Unix seconds."""

    score: float | None
    """The time before which RedBeat does not look at the entry; None: it never does."""
    last: float | None
    """The time from which RedBeat counts the next run; None: the entry is due at once."""
    now: float

    def first(self, due: float | None) -> int | None:
        """Return the next run in whole seconds. `due`: the first time of the schedule after `last`.

        The score alone may be too early: RedBeat computes it again when it starts, and rounds it down. It then looks at
        the entry again and again, until the schedule says that the entry is due.
        """
        if self.score is None or self.last is None:
            return None if self.score is None else floor(self.score)
        return None if due is None else floor(max(self.score, due))


class Written(NamedTuple):
    """A schedule as Redbike keeps it."""

    text: str
    first: int | None
    """The next run, in whole Unix seconds; None: no further run."""
    needs: dict[str, Any] | None = None
    """How Celery makes the schedule again, if no text can express it. The text is then CONTINUE."""


def read_schedule(value: object, times: Times, zone: str) -> Written:
    """Return the text of a schedule, and its next run. Raise Unreadable, with the reason and the way out.

    `zone`: the zone of a crontab. An interval keeps its rhythm from its next run on.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = {TYPE: "interval", "every": value}
    if not isinstance(value, dict):
        raise Unreadable(f"its schedule is {shown_value(value)}, not an object with {TYPE!r}")
    kind = value.get(TYPE)
    fields = {name: field for name, field in value.items() if name != TYPE}
    try:
        match kind:
            case "interval":
                return _interval(fields, times, zone)
            case "crontab":
                return _recurring(_crontab(fields, zone), times)
            case "rrule":
                return _recurring(_rrule(fields, zone), times)
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise Unreadable(f"its schedule: {error}") from None
    raise Unreadable(
        f"its schedule is of the type {shown_value(kind)}: crontab, interval and rrule are known; save the entry again"
        " as redbike.bridges.celery.RedbikeEntry"
    )


def _recurring(text: str, times: Times) -> Written:
    plan = read(text).first(times.now if times.last is None else times.last)
    if plan.action is Action.BAD:
        raise ValueError(plan.reason)
    return Written(text, times.first(plan.due_at))


def _interval(fields: Mapping[str, Any], times: Times, zone: str) -> Written:
    if unknown := sorted(fields.keys() - {"every", "relative"}):
        raise ValueError(f"an interval has no field {unknown[0]!r}")
    every = fields.get("every")
    if isinstance(every, bool) or not isinstance(every, int | float) or not isfinite(every):
        raise ValueError(f"every is {shown_value(every)}, not a number of seconds")
    if every <= 0:
        raise ValueError(f"every is {every:g} seconds, so it has no next run: write at least one second")
    is_relative = bool(fields.get("relative"))
    if is_relative and (text := relative_text(every, times.now if times.last is None else times.last, zone)):
        return _recurring(text, times)
    first = times.first(None if times.last is None else times.last + every)
    if not is_relative and (text := interval_text(every, times.now if first is None else first)):
        return Written(text, first)
    return Written("CONTINUE", first, {"every": every, **({"relative": True, "zone": zone} if is_relative else {})})


def _crontab(fields: Mapping[str, Any], zone: str) -> str:
    if unknown := sorted(fields.keys() - set(_CRONTAB)):
        raise ValueError(f"a crontab has no field {unknown[0]!r}")
    values = [fields.get(name, "*") for name in _CRONTAB]
    for name, value in zip(_CRONTAB, values, strict=True):
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, str | int) and not isinstance(part, bool) for part in parts):
            raise ValueError(f"{name} is {shown_value(value)}, not a text, a number or a list of them")
    return _crontab_text(*(tuple(value) if isinstance(value, list) else value for value in values), zone)


def _rrule(fields: Mapping[str, Any], zone: str) -> str:
    found = {name: value for name, value in fields.items() if value is not None}
    for name in ("dtstart", "until"):
        offset_minutes = found.pop(f"{name}_tz", 0)
        if name in found:
            found[name] = _moment(name, found[name], offset_minutes)
    # RedBeat keeps only the offset of a zone: the zone of the app is meant if it has this offset at that time.
    return rrule_text({name: _plain(value) for name, value in found.items()}, zone, stored=True)


def _moment(name: str, stamp: Any, offset_minutes: Any) -> datetime:
    for value in (stamp, offset_minutes):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} is {shown_value(value)}, not a number")
    return datetime.fromtimestamp(stamp, timezone(timedelta(minutes=offset_minutes)))


def _plain(value: Any) -> Any:
    """Return weekdays without the name of their type."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return {name: one for name, one in value.items() if name != TYPE} if isinstance(value, dict) else value
