"""Celery's crontab as a schedule text, and back. Pure: knows neither Celery, Redis nor a clock.

Celery reads its fields in its own way. A day must match both day fields, while one match is enough for cron. So each
field becomes a set of numbers here. The text of a field is kept if cron reads the same set from it.
"""

import re
from datetime import datetime

from cronsim import CronSim

from redbike.bridges.celery.cronfields import (
    FIELDS,
    HOUR,
    MINUTE,
    MONTH,
    MONTHDAY,
    WEEKDAY,
    Field,
    FieldText,
    listed,
    means,
    shown,
    written_field,
)
from redbike.bridges.celery.zonenames import checked_zone
from redbike.schedule import cron

START = "20000101T000000"
"""The DTSTART of a crontab that becomes a recurrence. It is constant: the same crontab always has the same text."""

_DAYS_OF_MONTHS = dict(zip(range(1, 13), (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), strict=True))
_TWO_LETTERS = ("SU", "MO", "TU", "WE", "TH", "FR", "SA")


def crontab_text(
    minute: object,
    hour: object,
    day_of_week: object,
    day_of_month: object,
    month_of_year: object,
    zone: str | None = None,
) -> str:
    """Return the schedule text of a crontab with these fields, each as Celery accepts it: text, number or numbers.

    The text is `CRON:… ZONE`, without the zone for UTC. If both day fields restrict, a day must match both in Celery,
    and either in cron: the text is then a recurrence. Raise ValueError, with the field, its value and the way out, for
    a field that Celery refuses, and for a zone that Redbike does not know.
    """
    zone = checked_zone(zone)
    minutes, hours = written_field(MINUTE, minute), written_field(HOUR, hour)
    weekdays, days = written_field(WEEKDAY, day_of_week), written_field(MONTHDAY, day_of_month)
    months = written_field(MONTH, month_of_year)
    if min(days.numbers) > max(_DAYS_OF_MONTHS[month] for month in months.numbers):
        raise ValueError(
            f"crontab: day_of_month={shown(day_of_month)} never occurs in month_of_year={shown(month_of_year)}: give"
            " another day or month"
        )
    if days.begins_with_a_star or weekdays.begins_with_a_star:
        words = (minutes.text, hours.text, days.text, months.text, weekdays.text)
        return f"CRON:{' '.join(words)} {'' if zone == 'UTC' else zone}".rstrip()
    return _recurrence(minutes, hours, weekdays, days, months, zone)


def crontab_fields(text: str) -> dict[str, str] | None:
    """Return the five fields of Celery's crontab for a schedule text, and its "zone"; None if no crontab says the same.

    No crontab says the same as a text that is neither from `crontab_text` nor a cron expression, as an expression with
    `L`, `LW` or `#`, or as an expression with two day fields of which one match is enough.
    """
    text = text.replace("\\n", "\n").strip()
    if match := _RECURRENCE.fullmatch(text):
        return _fields_of_recurrence(match)
    if not text.startswith("CRON:"):
        return None
    try:
        read = cron.parse(text.removeprefix("CRON:").strip())
    except ValueError:
        return None
    minute, hour, day, month, weekday = read.expression.split()
    asked = CronSim(read.expression, datetime(2000, 1, 1))
    weekdays = {0 if number == 7 else number for number in asked.weekdays if isinstance(number, int)}
    days = asked.days
    if not all(isinstance(number, int) for number in asked.weekdays):
        return None  # an nth weekday
    if not asked.day_and:
        if weekdays != WEEKDAY.all and days != MONTHDAY.all:
            return None
        weekdays, weekday, days, day = WEEKDAY.all, "*", MONTHDAY.all, "*"
    fields = {}
    for field, word, numbers in zip(
        FIELDS,
        (minute, hour, weekday, day, month),
        (asked.minutes, asked.hours, weekdays, days, asked.months),
        strict=True,
    ):
        if not numbers <= field.all:
            return None
        fields[field.name] = word if means(field, word, numbers) else listed(field, numbers)
    return {**fields, "zone": read.zone or "UTC"}


def _recurrence(
    minutes: FieldText, hours: FieldText, weekdays: FieldText, days: FieldText, months: FieldText, zone: str
) -> str:
    """Return the recurrence of a crontab whose day fields both restrict.

    With a star at the beginning of minute or hour, it follows the clock through its changes, as a cron expression does.
    """
    follows = minutes.begins_with_a_star or hours.begins_with_a_star
    parts = ["FREQ=MINUTELY" if minutes.numbers == MINUTE.all else "FREQ=HOURLY" if follows else "FREQ=DAILY"]
    for field, numbers in ((MONTH, months.numbers), (MONTHDAY, days.numbers)):
        if numbers != field.all:
            parts.append(f"{field.part}={_commas(numbers)}")
    parts.append("BYDAY=" + ",".join(_TWO_LETTERS[number] for number in sorted(weekdays.numbers)))
    for field, numbers in ((HOUR, hours.numbers), (MINUTE, minutes.numbers)):
        if numbers != field.all:
            parts.append(f"{field.part}={_commas(numbers)}")
    return f"DTSTART;TZID={zone}:{START}\nRRULE:{';'.join(parts)};BYSECOND=0"


def _commas(numbers: set[int]) -> str:
    return ",".join(map(str, sorted(numbers)))


_RECURRENCE = re.compile(
    rf"DTSTART;TZID=(?P<zone>[^:\s]+):{START}\s+RRULE:FREQ=(?P<freq>DAILY|HOURLY|MINUTELY)(?:;BYMONTH=(?P<month>[\d,]+))?"
    r";BYMONTHDAY=(?P<day>[\d,]+);BYDAY=(?P<weekday>[A-Z,]+)(?:;BYHOUR=(?P<hour>[\d,]+))?"
    r"(?:;BYMINUTE=(?P<minute>[\d,]+))?;BYSECOND=0",
    re.ASCII,
)


def _fields_of_recurrence(match: re.Match[str]) -> dict[str, str] | None:
    """Return the fields of a text from `_recurrence`."""
    try:
        zone = checked_zone(match["zone"])
        weekdays = {_TWO_LETTERS.index(name) for name in match["weekday"].split(",")}
        minutes, hours, days, months = (
            field.all if text is None else {int(number) for number in text.split(",")}
            for field, text in zip(
                (MINUTE, HOUR, MONTHDAY, MONTH),
                (match["minute"], match["hour"], match["day"], match["month"]),
                strict=True,
            )
        )
    except ValueError:
        return None
    sets = (minutes, hours, weekdays, days, months)
    if not all(numbers <= field.all for field, numbers in zip(FIELDS, sets, strict=True)):
        return None
    fields = {field.name: listed(field, numbers) for field, numbers in zip(FIELDS, sets, strict=True)}
    if match["freq"] == "HOURLY" and hours != HOUR.all:
        field, numbers = (MINUTE, minutes) if 0 in minutes else (HOUR, hours)
        if 0 not in numbers:
            return None
        fields[field.name] = _from_a_star(field, numbers)
    return {**fields, "zone": zone}


def _from_a_star(field: Field, numbers: set[int]) -> str:
    """Return numbers, of which 0 is one, as a text that begins with a star."""
    step = next(step for step in range(1, 61) if set(range(0, field.last + 1, step)) <= numbers)
    rest = numbers - set(range(0, field.last + 1, step))
    return ",".join(filter(None, (f"*/{step}", listed(field, rest) if rest else "")))
