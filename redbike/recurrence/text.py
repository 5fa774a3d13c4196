"""The text of a recurrence, line by line, into checked rules and moments, or BadRecurrence with the reason.

Reads what python-dateutil's ``rrulestr`` reads: any case, lines separated by any white space.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timezone, tzinfo

from dateutil.parser import parse as parse_loosely

from redbike.recurrence.errors import BadRecurrence
from redbike.recurrence.parts import Parts, read_parts, shown
from redbike.zones import zone_named

LONGEST_TEXT_CHARS = 65_536
MOST_RULES = 50
# The loose reader takes a hundred times as long as the form of RFC 5545.
_MOST_LOOSE_DATES = 50
_LONGEST_DATE_CHARS = 40

_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})(?:T([0-9]{2})([0-9]{2})([0-9]{2})(Z?))?", re.ASCII)


@dataclass
class Lines:
    """What the lines of a recurrence say; dates carry a zone where one was written."""

    start: datetime | None = None
    rules: list[Parts] = field(default_factory=list)
    excluded_rules: list[Parts] = field(default_factory=list)
    dates: list[datetime] = field(default_factory=list)
    excluded_dates: list[datetime] = field(default_factory=list)
    loose_dates: int = 0

    def read_moment(self, text: str, name: str, zone: tzinfo | None = None) -> datetime:
        """One date-time, or a date as its midnight; `zone` is that of the line's TZID."""
        match = _DATE.fullmatch(text)
        try:
            if match is None:
                self.loose_dates += 1
                moment = _read_loosely(text, self.loose_dates)
            else:
                year, month, day, hour, minute, second, utc = match.groups(default="0")
                moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second))
                if utc == "Z":
                    moment = moment.replace(tzinfo=UTC)
        except (ValueError, OverflowError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
            reason = str(error) if isinstance(error, BadRecurrence) else "write it as YYYYMMDDTHHMMSS"
            raise BadRecurrence(f"{name}: {shown(text)} is not a date and time; {reason}") from None
        if zone is None:
            return moment
        if moment.tzinfo is not None:
            raise BadRecurrence(f"{name}: {shown(text)} has a zone of its own beside TZID; leave out one")
        return moment.replace(tzinfo=zone)


def _read_loosely(text: str, how_many: int) -> datetime:
    """Other spellings that python-dateutil reads, unless they leave a part of the date to today's date."""
    if how_many > _MOST_LOOSE_DATES:
        raise BadRecurrence(f"beyond {_MOST_LOOSE_DATES} dates, write them as YYYYMMDDTHHMMSS")
    if not text or len(text) > _LONGEST_DATE_CHARS or not text.isascii():
        raise ValueError(text)
    readings = {
        parse_loosely(text, default=default, tzinfos=_refuse_zone_names).replace(microsecond=0)
        for default in (datetime(1972, 2, 29), datetime(1973, 3, 28))
    }
    if len(readings) > 1:
        raise BadRecurrence("year, month and day must all be given")
    moment = readings.pop()
    offset = moment.utcoffset()
    return moment if offset is None else moment.replace(tzinfo=timezone(offset))


def _refuse_zone_names(name: str | None, offset: int | None) -> int | None:
    """Abbreviations mean different zones to different people; python-dateutil would take this machine's."""
    if name and offset is None:
        raise BadRecurrence(f"the zone {shown(name)} is not known here; write the zone as TZID=Area/City")
    return offset


def read_lines(text: str) -> Lines:
    """Read a whole recurrence."""
    if len(text) > LONGEST_TEXT_CHARS:
        raise BadRecurrence(f"the text is {len(text)} characters long; allowed are {LONGEST_TEXT_CHARS}")
    if not text.strip():
        raise BadRecurrence("the text is empty; give a rule such as FREQ=DAILY")
    lines = Lines()
    for line in text.split():
        _read_line(lines, line)
    if not lines.rules and not lines.dates:
        raise BadRecurrence("the text has no RRULE and no RDATE, so nothing recurs")
    if len(lines.rules) + len(lines.excluded_rules) > MOST_RULES:
        raise BadRecurrence(f"more than {MOST_RULES} rules in one text; split it")
    return lines


def _read_line(lines: Lines, line: str) -> None:
    head, colon, value = line.partition(":")
    if not colon:
        head, value = "RRULE", line
    name, *parameters = head.split(";")
    name = name.upper()
    if name == "RRULE":
        _refuse_parameters(name, [text for text in parameters if not text.upper().startswith("X-")])
        lines.rules.append(_rule(lines, value))
    elif name == "EXRULE":
        _refuse_parameters(name, parameters)
        lines.excluded_rules.append(_rule(lines, value))
    elif name == "RDATE":
        lines.dates.extend(_moments(lines, name, parameters, value))
    elif name == "EXDATE":
        lines.excluded_dates.extend(_moments(lines, name, parameters, value))
    elif name == "DTSTART":
        moments = _moments(lines, name, parameters, value)
        if len(moments) != 1:
            raise BadRecurrence(f"DTSTART:{shown(value)} gives several starts; give one")
        lines.start = moments[0]
    else:
        raise BadRecurrence(
            f"{shown(name)} is no property of a recurrence; known are DTSTART, RRULE, RDATE, EXRULE, EXDATE"
        )


def _rule(lines: Lines, value: str) -> Parts:
    return read_parts(value.upper().removeprefix("RRULE:"), lambda text: lines.read_moment(text, "UNTIL"))


def _refuse_parameters(name: str, parameters: list[str]) -> None:
    if parameters:
        raise BadRecurrence(f"{name} does not take the parameter {shown(parameters[0])}; leave it out")


def _moments(lines: Lines, name: str, parameters: list[str], value: str) -> list[datetime]:
    zone: tzinfo | None = None
    for parameter in parameters:
        key, _, text = parameter.partition("=")
        if key.upper() == "TZID":
            zone = _zone(text.strip('"'))
        elif key.upper() != "VALUE" or text.upper() not in ("DATE-TIME", "DATE"):
            raise BadRecurrence(
                f"{name} does not take the parameter {shown(parameter)}; known are TZID and VALUE=DATE-TIME"
            )
    return [lines.read_moment(text.upper(), name, zone) for text in value.split(",")]


def _zone(name: str) -> tzinfo:
    try:
        return zone_named(name)
    except ValueError as error:
        raise BadRecurrence(f"TZID={error}") from None
