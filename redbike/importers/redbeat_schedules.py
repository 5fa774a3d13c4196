"""Turn the schedules of RedBeat's JSON into texts of Redbike."""

import math
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from redbike.bridges.celery.crontabs import crontab_text
from redbike.bridges.celery.intervals import interval_text, relative_text
from redbike.bridges.celery.rrules import rrule_text
from redbike.importers.redbeat_values import TYPE
from redbike.importers.stores import Unreadable, shown_value

_CRONTAB = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")


class Written(NamedTuple):
    """A schedule as Redbike keeps it."""

    text: str
    needs: dict[str, Any] | None = None
    """How Celery makes the schedule again, if no text can say it. The text is then CONTINUE."""


def read_schedule(value: object, start: float, zone: str) -> Written:
    """Return the text of a schedule. Raise Unreadable, with the reason and the way out.

    `start`: the next run in Unix seconds; an interval keeps its rhythm from there. `zone`: the zone of a crontab.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _interval({"every": value}, start, zone)
    if not isinstance(value, dict):
        raise Unreadable(f"its schedule is {shown_value(value)}, not an object with {TYPE!r}")
    kind = value.get(TYPE)
    if not isinstance(kind, str) or kind not in _READERS:
        known = " and ".join((", ".join(sorted(_READERS)[:-1]), sorted(_READERS)[-1]))
        raise Unreadable(
            f"its schedule is of the type {shown_value(kind)}: {known} are known; save the entry again as"
            " redbike.bridges.celery.RedbikeEntry"
        )
    fields = {name: field for name, field in value.items() if name != TYPE}
    try:
        return _READERS[kind](fields, start, zone)
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise Unreadable(f"its schedule: {error}") from None


def _interval(fields: Mapping[str, Any], start: float, zone: str) -> Written:
    if unknown := sorted(fields.keys() - {"every", "relative"}):
        raise ValueError(f"an interval has no field {unknown[0]!r}")
    every = fields.get("every")
    if isinstance(every, bool) or not isinstance(every, int | float) or not math.isfinite(every):
        raise ValueError(f"every is {shown_value(every)}, not a number of seconds")
    if every <= 0:
        raise ValueError(f"every is {every:g} seconds, so it has no next run: write at least one second")
    is_relative = bool(fields.get("relative"))
    text = relative_text(every, start, zone) if is_relative else interval_text(every, start)
    if text is not None:
        return Written(text)
    return Written("CONTINUE", {"every": every, **({"relative": True, "zone": zone} if is_relative else {})})


def _crontab(fields: Mapping[str, Any], start: float, zone: str) -> Written:  # noqa: ARG001 - as every reader
    if unknown := sorted(fields.keys() - set(_CRONTAB)):
        raise ValueError(f"a crontab has no field {unknown[0]!r}")
    minute, hour, day_of_week, day_of_month, month_of_year = values = [fields.get(name, "*") for name in _CRONTAB]
    for name, value in zip(_CRONTAB, values, strict=True):
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, str | int) and not isinstance(part, bool) for part in parts):
            raise ValueError(f"{name} is {shown_value(value)}, not a text, a number or a list of them")
    return Written(crontab_text(minute, hour, day_of_week, day_of_month, month_of_year, zone))


def _rrule(fields: Mapping[str, Any], start: float, zone: str) -> Written:  # noqa: ARG001 - as every reader
    found = {name: value for name, value in fields.items() if value is not None}
    for name in ("dtstart", "until"):
        offset_minutes = found.pop(f"{name}_tz", 0)
        if name in found:
            found[name] = _moment(name, found[name], offset_minutes)
    # RedBeat keeps no more of a zone than its offset: the zone of the app is meant if it has this offset then.
    return Written(rrule_text({name: _plain(value) for name, value in found.items()}, zone, stored=True))


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


_READERS = {"crontab": _crontab, "interval": _interval, "rrule": _rrule}
