"""Celery's intervals as schedule texts, and back. Pure: knows neither Celery, Redis nor a clock."""

import re
from datetime import UTC, datetime, timedelta
from math import floor, isfinite
from typing import NamedTuple

from redbike.bridges.celery.crontabs import START
from redbike.bridges.celery.zonenames import checked_zone
from redbike.schedule.zones import zone_named

_UNITS = (("d", 86_400, "DAILY"), ("h", 3_600, "HOURLY"), ("m", 60, "MINUTELY"), ("s", 1, "SECONDLY"))
_SECONDS = {name: seconds for _, seconds, name in _UNITS}
_LARGEST = 999_999_999  # of the number in EVERY
_EVERY = re.compile(r"EVERY:\s*(\d{1,9})([smhd]?)", re.ASCII)
_RULE = r"\s+RRULE:FREQ=(SECONDLY|MINUTELY|HOURLY|DAILY);INTERVAL=(\d{1,9})"
_REGISTERED = re.compile(rf"DTSTART:\d{{8}}T\d{{6}}{_RULE}", re.ASCII)
_RELATIVE = re.compile(rf"DTSTART;TZID=([^:\s]+):\d{{8}}T(\d\d)(\d\d)(\d\d){_RULE}", re.ASCII)


class Relative(NamedTuple):
    """A relative interval: its seconds, and the zone whose clock rounds its times."""

    seconds: int
    zone: str


def interval_text(seconds: float, start: float | None = None) -> str | None:
    """Return the schedule text of an interval, such as `EVERY:10s`, in the largest unit that says it.

    With `start`, the Unix time of the next run: the recurrence as which Redbike registers EVERY, with this time as its
    first run, in whole seconds. Return None for an interval that no text can express: it has a fraction of a second,
    or it is not from 1 second to 999,999,999 days. Raise ValueError for a start outside the years 1 to 9999.
    """
    unit = _unit(seconds)
    if unit is None:
        return None
    letter, frequency, number = unit
    if start is None:
        return f"EVERY:{number}{letter}"
    return f"DTSTART:{_utc(start):%Y%m%dT%H%M%S}\nRRULE:FREQ={frequency};INTERVAL={number}"


def interval_seconds(text: str) -> int | None:
    """Return the seconds of an interval: of an EVERY, or of the recurrence as which it is registered; else None."""
    text = text.replace("\\n", "\n").strip()
    if match := _EVERY.fullmatch(text):
        seconds = int(match[1]) * next(seconds for letter, seconds, _ in _UNITS if letter == (match[2] or "s"))
    elif match := _REGISTERED.fullmatch(text):
        seconds = int(match[2]) * _SECONDS[match[1]]
    else:
        return None
    return seconds or None


def relative_text(seconds: float, now: float, zone: str | None = None) -> str | None:
    """Return the schedule text of a relative interval that is set at `now` (Unix seconds).

    A time of a relative interval is rounded down, on the clock of the zone, to the day if the interval is a day or
    longer, else to the hour, the minute or the second. The text is a recurrence with a TZID, which the text of another
    interval never has. An interval of one unit always has the same text.
    Return None for an interval that no text can express: `interval_text` returns None for it, or it is not a whole
    number of its units, such as 90 minutes. Raise ValueError for a zone that Redbike does not know, and for a time
    outside the years 1 to 9999.
    """
    zone = checked_zone(zone)
    if _unit(seconds) is None:
        return None
    _, unit_s, frequency = next(unit for unit in _UNITS if seconds >= unit[1])
    number, rest = divmod(int(seconds), unit_s)
    if rest or number > _LARGEST:
        return None
    start = START if number == 1 else f"{_rounded(number * unit_s, unit_s, now, zone):%Y%m%dT%H%M%S}"
    return f"DTSTART;TZID={zone}:{start}\nRRULE:FREQ={frequency};INTERVAL={number}"


def relative_interval(text: str) -> Relative | None:
    """Return the relative interval of a text from `relative_text`; else None."""
    match = _RELATIVE.fullmatch(text.replace("\\n", "\n").strip())
    if match is None or not int(match[6]):
        return None
    zone, hour, minute, second, frequency, number = match.groups()
    finer = {"DAILY": (hour, minute, second), "HOURLY": (minute, second), "MINUTELY": (second,)}.get(frequency, ())
    seconds = int(number) * _SECONDS[frequency]
    if any(map(int, finer)) or frequency != next(name for _, unit_s, name in _UNITS if seconds >= unit_s):
        return None
    try:
        return Relative(seconds, checked_zone(zone))
    except ValueError:
        return None


def _unit(seconds: float) -> tuple[str, str, int] | None:
    """Return the largest unit of an interval: its letter, frequency and number; None if EVERY cannot express it."""
    if not isfinite(seconds) or seconds <= 0 or seconds != int(seconds):
        return None
    for letter, unit_s, frequency in _UNITS:
        number, rest = divmod(int(seconds), unit_s)
        if not rest and number <= _LARGEST:
            return letter, frequency, number
    return None


def _rounded(seconds: int, unit_s: int, now: float, zone: str) -> datetime:
    """Return the first time of a relative interval, as the clock of the zone shows it."""
    clock = zone_named(zone)
    shown = _utc(now).astimezone(clock).replace(tzinfo=None)
    try:
        if unit_s == _SECONDS["DAILY"]:
            shown += timedelta(seconds=seconds)
        else:
            shown = (_utc(now) + timedelta(seconds=seconds)).astimezone(clock).replace(tzinfo=None)
    except OverflowError:
        raise ValueError(
            f"an interval of {seconds} s: its first run is after the year 9999: give a shorter interval"
        ) from None
    if unit_s == _SECONDS["DAILY"]:
        return shown.replace(hour=0, minute=0, second=0)
    return shown.replace(second=0 if unit_s > 1 else shown.second, minute=0 if unit_s > 60 else shown.minute)


def _utc(stamp: float) -> datetime:
    try:
        return datetime.fromtimestamp(floor(stamp), UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{stamp!r} is not a Unix time of the years 1 to 9999") from None
