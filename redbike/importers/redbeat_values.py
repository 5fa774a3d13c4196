"""Read the values of RedBeat's JSON: an object with `__type__` stands for an object of Python."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

from redbike.importers.stores import Unreadable, shown_value
from redbike.schedule.zones import zone_named

TYPE = "__type__"
_FIELDS = ("year", "month", "day", "hour", "minute", "second", "microsecond")


def plain(what: str, value: Any) -> Any:
    """Return arguments of a task as JSON of Celery: a time as kombu writes it. Raise Unreadable for another object.

    kombu's JSON gives a task a datetime for {"__type__": "datetime", "__value__": TEXT}.
    """
    if isinstance(value, list):
        return [plain(what, one) for one in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(TYPE)
    if kind == "datetime" and "__value__" not in value:
        return {TYPE: "datetime", "__value__": moment_of(what, value).isoformat()}
    if kind in ("crontab", "interval", "rrule", "weekday"):
        raise Unreadable(
            f"{what} hold an object of the type {kind!r}, which a task cannot receive; save the entry again without it"
        )
    return {name: plain(what, one) for name, one in value.items()}


def moment_of(what: str, value: object) -> datetime:
    """Return a time with its zone. Raise Unreadable for another value."""
    try:
        if not isinstance(value, dict) or value.get(TYPE) != "datetime":
            raise ValueError(value)
        zone = value.get("timezone", "UTC")
        moment = datetime(*(value[field] for field in _FIELDS[:3]), *(value.get(field, 0) for field in _FIELDS[3:]))
        return moment.replace(tzinfo=_zone(zone))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise Unreadable(f"{what} is {shown_value(value)}, not a time of RedBeat") from None


def _zone(zone: object) -> tzinfo:
    if isinstance(zone, str):
        return UTC if zone == "UTC" else zone_named(zone)
    if isinstance(zone, bool) or not isinstance(zone, int | float):
        raise ValueError(zone)
    # RedBeat writes the offset in seconds.
    return timezone(timedelta(seconds=zone))
