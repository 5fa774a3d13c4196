"""RedBeat's rrule as a schedule text, and back. Pure: knows neither Celery, Redis nor a clock.

The text always names TZID and WKST, so it never equals the text of an interval. Times of the day and nth weekdays, such
as the second Monday, are kept.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

from redbike.bridges.celery.cronfields import shown
from redbike.bridges.celery.zonenames import checked_zone, in_zone
from redbike.schedule.rrule.days import FREQUENCIES, FREQUENCY_NAMES, WEEKDAYS
from redbike.schedule.rrule.errors import BadRecurrence
from redbike.schedule.rrule.lines import read_lines
from redbike.schedule.rrule.recurrence import Recurrence
from redbike.schedule.zones import zone_named

NUMBERS = {
    "bysetpos": "BYSETPOS",
    "bymonth": "BYMONTH",
    "bymonthday": "BYMONTHDAY",
    "byyearday": "BYYEARDAY",
    "byeaster": "BYEASTER",
    "byweekno": "BYWEEKNO",
    "byhour": "BYHOUR",
    "byminute": "BYMINUTE",
    "bysecond": "BYSECOND",
}
"""The fields that are a number or several numbers, and the parts of a recurrence that say the same."""
FIELDS = ("freq", "dtstart", "interval", "wkst", "count", "until", *NUMBERS, "byweekday")

_DAY = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)(?:\(([+-]?\d{1,2})\))?", re.ASCII)


def rrule_text(fields: Mapping[str, Any], zone: str | None = None, *, stored: bool = False) -> str:
    """Return the schedule text of an rrule with these fields, which have the names and values of RedBeat's rrule.

    `freq`: a name or a number of python-dateutil. `dtstart` and `until`: datetimes. Without a zone they are in UTC, and
    the rule runs on the clock of `zone` (an IANA name; None: UTC), as RedBeat reads them. A fixed offset of whole hours
    becomes a zone such as `Etc/GMT-2`. `byweekday`: numbers from 0 for Monday, weekdays of python-dateutil, texts such
    as "MO" and "MO(+2)", or {"wkday": 0, "n": 2}. Other fields: numbers.
    `stored` says that the fields come from RedBeat's store, which keeps only the offset of a zone: if `zone` has this
    offset at that time, `zone` is meant.
    Raise ValueError, with field, value and way out, for an rrule that Redbike cannot express: it has no `dtstart`,
    an offset that is not a zone, or a value out of range.
    """
    if unknown := set(fields) - set(FIELDS):
        raise ValueError(f"rrule: {shown(min(unknown))} is not a field of an rrule: known are {', '.join(FIELDS)}")
    start = fields.get("dtstart")
    if start is None:
        raise ValueError(
            "rrule: dtstart is missing: give the time of the first run, because times are counted from there"
        )
    clock, name = in_zone(_moment("dtstart", start), zone or "UTC", stored=stored)
    interval = fields.get("interval")
    parts = [f"FREQ={_frequency(fields.get('freq'))}"]
    parts.append(f"INTERVAL={1 if interval is None else _whole('interval', interval)}")
    if (count := fields.get("count")) is not None:
        parts.append(f"COUNT={_whole('count', count)}")
    if (until := fields.get("until")) is not None:
        until = _moment("until", until)
        try:
            until = until.replace(tzinfo=UTC) if until.utcoffset() is None else until.astimezone(UTC)
        except OverflowError:
            raise ValueError(f"rrule: until={shown(until)} is outside of the years 1 to 9999 in UTC") from None
        parts.append(f"UNTIL={_stamp(until)}Z")
    for field, part in NUMBERS.items():
        if (value := fields.get(field)) is not None:
            numbers = {_whole(field, number) for number in _several(field, value)}
            parts.append(f"{part}={','.join(map(str, sorted(numbers)))}")
    if (value := fields.get("byweekday")) is not None:
        days = {_weekday("byweekday", day) for day in _several("byweekday", value)}
        parts.append(f"BYDAY={','.join(sorted(days, key=lambda day: (WEEKDAYS.index(day[-2:]), int(day[:-2] or 0))))}")
    wkst = fields.get("wkst")
    parts.append(f"WKST={'MO' if wkst is None else _weekday('wkst', wkst)[-2:]}")
    text = f"DTSTART;TZID={name}:{_stamp(clock)}\nRRULE:{';'.join(parts)}"
    try:
        Recurrence(text).after(0)
    except BadRecurrence as error:
        raise ValueError(f"rrule: {error}") from None
    return text


def rrule_fields(text: str) -> dict[str, Any] | None:
    """Return the fields of RedBeat's rrule for a schedule text; None if no rrule says the same.

    No rrule says the same as a text without DTSTART, with several rules, with further dates, or with an UNTIL that is
    not in the years 1 to 9999 in the zone of the text. `dtstart` and `until` have the zone of the text. `byweekday` is
    a list of {"wkday": 0} and {"wkday": 0, "n": 2}. A field that the text does not name is left out; so is WKST=MO, the
    default.
    """
    try:
        lines = read_lines(text.replace("\\n", "\n").strip())
    except BadRecurrence:
        return None
    if lines.start is None or len(lines.rules) != 1:
        return None
    if lines.excluded_rules or lines.dates or lines.excluded_dates or lines.excluded_days:
        return None
    [parts] = lines.rules
    zone: tzinfo = lines.start.tzinfo or zone_named("UTC")
    until = parts.until
    if until is not None:
        try:
            until = until.replace(tzinfo=zone) if until.tzinfo is None else until.astimezone(zone)
        except OverflowError:
            return None
    days = [{"wkday": day, "n": nth} if nth else {"wkday": day} for day, nth in parts.by_day or ()]
    numbers = (
        parts.by_set_pos,
        parts.by_month,
        parts.by_month_day,
        parts.by_year_day,
        parts.by_easter,
        parts.by_week_no,
        parts.by_hour,
        parts.by_minute,
        parts.by_second,
    )
    fields = {
        "freq": FREQUENCY_NAMES[parts.freq],
        "dtstart": lines.start.replace(tzinfo=zone),
        "interval": parts.interval,
        "wkst": parts.wkst or None,
        "count": parts.count,
        "until": until,
        **{field: list(found or ()) or None for field, found in zip(NUMBERS, numbers, strict=True)},
        "byweekday": days or None,
    }
    return {field: value for field, value in fields.items() if value is not None}


def zone_of(text: str) -> str | None:
    """Return the TZID of the DTSTART of a text; None without one, and for a zone that Redbike does not know."""
    match = re.match(r"\s*DTSTART;TZID=([^:\s]+):", text)
    try:
        return None if match is None else checked_zone(match[1])
    except ValueError:
        return None


def _frequency(value: object) -> str:
    if isinstance(value, str) and value.upper() in FREQUENCIES:
        return value.upper()
    if isinstance(value, int) and 0 <= value < len(FREQUENCY_NAMES):
        return FREQUENCY_NAMES[value]
    raise ValueError(f"rrule: freq={shown(value)} is not known: give one of {', '.join(FREQUENCIES)}")


def _moment(field: str, value: object) -> datetime:
    if not isinstance(value, datetime):
        raise ValueError(f"rrule: {field}={shown(value)} is not a datetime: give a datetime with a zone")
    return value


def _stamp(moment: datetime) -> str:
    return f"{moment.year:04d}{moment:%m%dT%H%M%S}"


def _several(field: str, value: object) -> list[object]:
    found = [value] if isinstance(value, str | Mapping) or not isinstance(value, Iterable) else list(value)
    if not found:
        raise ValueError(f"rrule: {field}={shown(value)} is empty: leave it out")
    return found


def _whole(field: str, value: object) -> int:
    if not isinstance(value, int):
        raise ValueError(f"rrule: {field}={shown(value)} is not a whole number: give an int")
    return int(value)


def _weekday(field: str, value: object) -> str:
    """Return a weekday as a recurrence writes it, such as `MO` and `+2MO`."""
    if isinstance(value, str) and (match := _DAY.fullmatch(value.upper())) and not (match[1] and match[3]):
        nth = match[1] or match[3]
        return f"{int(nth):+d}{match[2]}" if nth else match[2]
    day, nth = value, None
    if isinstance(value, Mapping):
        day, nth = value.get("wkday"), value.get("n")
    elif not isinstance(value, int):
        day, nth = getattr(value, "weekday", None), getattr(value, "n", None)
    if isinstance(day, int) and 0 <= day <= 6 and (nth is None or isinstance(nth, int)):
        return f"{nth:+d}{WEEKDAYS[day]}" if nth else WEEKDAYS[day]
    raise ValueError(f"rrule: {field}={shown(value)} is not a weekday: give a number from 0 for Monday, or 'MO(+2)'")
