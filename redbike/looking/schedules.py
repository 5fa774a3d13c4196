"""A schedule in words: `every 5 min`, `daily at 08:00 Berlin`. Another schedule is shown as it is written.

Pure. The words never say less than the schedule: if a part of a rule has no word here, the text itself is shown.
"""

import re
from datetime import datetime
from functools import lru_cache

from redbike.schedule.forms import PAUSED, READERS, read
from redbike.schedule.plan import Action
from redbike.schedule.rrule.days import DAILY, HOURLY, MINUTELY, MONTHLY, SECONDLY, WEEKLY
from redbike.schedule.rrule.errors import BadRecurrence
from redbike.schedule.rrule.lines import read_lines
from redbike.schedule.rrule.text import Parts

_LONGEST = 400  # characters: a longer text is shown as it is
_MOST_TIMES = 4
_UNITS = {SECONDLY: "s", MINUTELY: "min", HOURLY: "h", DAILY: "day", WEEKLY: "week"}
_ONE = {"s": "second", "min": "minute", "h": "hour"}
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_OTHER_PARTS = ("by_set_pos", "by_month", "by_year_day", "by_easter", "by_week_no")


@lru_cache(4096)
def schedule_in_words(text: str | None) -> str:
    """Return a schedule text in words; `-` without a schedule."""
    if text is None:
        return "-"
    meant = text.replace("\\n", "\n").strip()
    if meant.startswith(PAUSED):
        return schedule_in_words(meant.removeprefix(PAUSED).strip())
    if meant == "CONTINUE":
        return "again and again"
    if meant == "STOP":
        return "no more"
    every = re.fullmatch(r"EVERY:([0-9]{1,9})([smhd]?)", meant)
    if every and int(every[1]):
        unit = {"m": "min", "h": "h", "d": "day"}.get(every[2], "s")
        return f"every {_counted(int(every[1]), unit)}"
    if len(meant) > _LONGEST or meant.startswith(tuple(READERS)) or read(meant).first(0).action is Action.BAD:
        return _as_written(meant)
    try:
        return _of_rule(meant) or _as_written(meant)
    except BadRecurrence:
        return _as_written(meant)


def _as_written(text: str) -> str:
    return " ".join(text.split())


def _of_rule(text: str) -> str | None:
    lines = read_lines(text)
    if len(lines.rules) != 1 or lines.excluded_rules or lines.dates or lines.excluded_dates or lines.excluded_days:
        return None
    parts, start = lines.rules[0], lines.start
    if parts.repeated or any(getattr(parts, name) is not None for name in _OTHER_PARTS[1:]) or parts.by_set_pos:
        return None
    if start is None and parts.depend_on_start():
        return None
    words = _frequent(parts) if parts.freq in (SECONDLY, MINUTELY, HOURLY) else _at_times(parts, start)
    if words is None:
        return None
    if parts.count is not None:
        words += f", {parts.count} time{'' if parts.count == 1 else 's'}"
    if parts.until is not None:
        words += f", until {parts.until:%Y-%m-%d %H:%M:%S}".removesuffix(":00")
    return words


def _frequent(parts: Parts) -> str | None:
    """Return the words for a rule by seconds, minutes or hours."""
    if parts.choose_days() or parts.choose_times():
        return None
    return f"every {_counted(parts.interval, _UNITS[parts.freq])}"


def _at_times(parts: Parts, start: datetime | None) -> str | None:
    """Return the words for a rule by days, weeks or months."""
    days = _days(parts, start)
    times = _times(parts, start)
    return None if days is None or times is None else f"{days} at {times}{_zone(start)}"


def _days(parts: Parts, start: datetime | None) -> str | None:
    each = parts.interval
    if parts.freq == DAILY and not parts.choose_days():
        return "daily" if each == 1 else f"every {each} days"
    if parts.freq == WEEKLY and parts.by_month_day is None and (parts.by_day or start):
        weekdays = [day for day, _ in parts.by_day] if parts.by_day else [start.weekday()] if start else []
        if any(ordinal for _, ordinal in parts.by_day or ()) or (each > 1 and parts.wkst):
            return None
        named = "weekdays" if weekdays == [0, 1, 2, 3, 4] else ", ".join(_WEEKDAYS[day] for day in weekdays)
        return named if each == 1 else f"every {each} weeks on {named}"
    if parts.freq == MONTHLY and parts.by_day is None and (parts.by_month_day or start):
        found = parts.by_month_day or ((start.day,) if start else ())
        if len(found) > _MOST_TIMES or any(day < -1 for day in found):
            return None
        named = ", ".join("last day" if day == -1 else f"day {day}" for day in sorted(found, key=lambda day: day % 32))
        return f"monthly on {named}" if each == 1 else f"every {each} months on {named}"
    return None


def _times(parts: Parts, start: datetime | None) -> str | None:
    """Return the times of a day."""
    chosen = parts.by_hour, parts.by_minute, parts.by_second
    if start is not None:
        defaults = (start.hour,), (start.minute,), (start.second,)
        chosen = tuple(given or default for given, default in zip(chosen, defaults, strict=True))  # type: ignore[assignment]
    hours, minutes, seconds = chosen
    if not (hours and minutes and seconds) or len(hours) * len(minutes) * len(seconds) > _MOST_TIMES:
        return None
    return ", ".join(
        f"{hour:02}:{minute:02}{f':{second:02}' if second else ''}"
        for hour in hours
        for minute in minutes
        for second in seconds
    )


def _zone(start: datetime | None) -> str:
    """Return the last part of the name of a zone."""
    key = getattr(start and start.tzinfo, "key", None) or "UTC"
    return f" {str(key).rpartition('/')[2].replace('_', ' ')}"


def _counted(number: int, unit: str) -> str:
    if unit == "s" and number % 60 == 0:
        number, unit = number // 60, "min"
    if unit == "min" and number % 60 == 0:
        number, unit = number // 60, "h"
    if number == 1:
        return _ONE.get(unit, unit)
    return f"{number} {unit}{'s' if unit == 'day' else ''}"
