"""From the text of a recurrence to checked rules and moments, line by line, or BadRecurrence with the reason.

Accepts the texts that ``rrulestr`` of python-dateutil accepts (any case, lines separated by any white space), and what
calendars and people write beside them. Dates are read only in the forms of RFC 5545 and ISO 8601.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo

from redbike.schedule.rrule.errors import BadRecurrence, shown
from redbike.schedule.rrule.text import Parts, read_parts
from redbike.schedule.zones import zone_named

LONGEST_TEXT_CHARS = 65_536
MOST_RULES = 50

_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})(?:T([0-9]{2})([0-9]{2})([0-9]{2})(Z?))?", re.ASCII)
_ISO_DATE = re.compile(r"[0-9]{4}(?:-[0-9]{2}-[0-9]{2}|[0-9]{4})(T[0-9:.,]+(?:Z|[+-][0-9:.]+)?)?", re.ASCII)
_LONGEST_DATE_CHARS = 40
_DATE_FORMS = "write it as YYYYMMDDTHHMMSS, or in ISO 8601"

_PROPERTY = r"(?:DTSTART|RRULE|EXRULE|RDATE|EXDATE)[:;]"
# A folded line goes on behind a line break and a blank. A line that is only indented begins with a property or FREQ.
_FOLDS = re.compile(
    rf"(?<=[:;,=])[ \t]*+\n[ \t]++(?!{_PROPERTY})|\n[ \t](?![ \t]*(?:{_PROPERTY}|FREQ[ \t]*=))", re.IGNORECASE
)
_BLANKS = re.compile(rf"(?<=[:;,=])[ \t]++(?!{_PROPERTY})|(?<![ \t])[ \t]++(?=[;,=])", re.IGNORECASE)
_EMPTY_PARTS = re.compile(r"(?<=[:;]);++|;++(?=:|\s|$)")
_ZONE = re.compile(r";TZID=(\"[^\"\n]{0,80}\"|[^:\n]{0,80}):", re.IGNORECASE)


@dataclass
class Lines:
    """The content of the lines of a recurrence. A date has a zone if the text gives it a zone."""

    start: datetime | None = None
    rules: list[Parts] = field(default_factory=list)
    excluded_rules: list[Parts] = field(default_factory=list)
    dates: list[datetime] = field(default_factory=list)
    excluded_dates: list[datetime] = field(default_factory=list)
    excluded_days: list[date] = field(default_factory=list)

    def read_moment(self, text: str, name: str, zone: tzinfo | None = None) -> datetime:
        """Read a date and time, or a date as its midnight. `zone` is the TZID of the line."""
        match = _DATE.fullmatch(text)
        try:
            if match is None:
                moment = _read_iso(text)
            else:
                year, month, day, hour, minute, second, utc = match.groups(default="0")
                moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second))
                if utc == "Z":
                    moment = moment.replace(tzinfo=UTC)
        except ValueError as error:
            reason = str(error) if isinstance(error, BadRecurrence) else _DATE_FORMS
            raise BadRecurrence(f"{name}: {shown(text)} is not a date and time; {reason}") from None
        if zone is None:
            return moment
        if moment.tzinfo is not None:
            raise BadRecurrence(f"{name}: {shown(text)} gives a zone beside TZID; leave out one of them")
        return moment.replace(tzinfo=zone)


def _read_iso(text: str) -> datetime:
    """Read a complete date of ISO 8601. Raise ValueError for all else: python-dateutil would guess."""
    if len(text) <= _LONGEST_DATE_CHARS and _ISO_DATE.fullmatch(text):
        return datetime.fromisoformat(text).replace(microsecond=0)
    if re.fullmatch(r"[0-9]{4}(-?[0-9]{2})?", text, re.ASCII):
        raise BadRecurrence("year, month and day must all be given")
    zone = re.fullmatch(r"[0-9T:.-]{8,}([A-Y][A-Z]{1,4})", text, re.ASCII)
    if zone is not None:
        raise BadRecurrence(f"the zone name {shown(zone[1])} is not accepted; write the zone as TZID=Area/City")
    raise ValueError(text)


def read_lines(text: str) -> Lines:
    """Read a whole recurrence. Raise BadRecurrence if it is not valid."""
    if len(text) > LONGEST_TEXT_CHARS:
        raise BadRecurrence(f"the text is {len(text)} characters long; allowed are {LONGEST_TEXT_CHARS}")
    if not text.strip():
        raise BadRecurrence("the text is empty; give a rule such as FREQ=DAILY")
    try:
        lines = _read_words(text)
    except BadRecurrence:
        tidy = _tidy(text)
        if tidy == text:
            raise
        lines = _read_words(tidy)
    if not lines.rules and not lines.dates:
        raise BadRecurrence("the text has no RRULE and no RDATE, so nothing recurs")
    if len(lines.rules) + len(lines.excluded_rules) > MOST_RULES:
        raise BadRecurrence(f"more than {MOST_RULES} rules in one text; split it")
    return lines


def _tidy(text: str) -> str:
    """Return a text with its folded lines joined, and without empty parts and needless blanks.

    Only a text that cannot be read as it is comes here. Raise BadRecurrence for a zone whose name contains a blank.
    """
    for zone in _ZONE.findall(text):
        if " " in zone.strip('" '):
            _zone(zone.strip('" '))
    return _EMPTY_PARTS.sub("", _BLANKS.sub("", _FOLDS.sub("", text.replace("\r\n", "\n"))))


def _read_words(text: str) -> Lines:
    lines = Lines()
    for line in text.split():
        _read_line(lines, line)
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
        _exclude(lines, _moments(lines, name, parameters, value), parameters, value)
    elif name == "DTSTART":
        moments = _moments(lines, name, parameters, value)
        if len(moments) != 1:
            raise BadRecurrence(f"DTSTART:{shown(value)} gives several starts; give one")
        lines.start = moments[0]
    else:
        raise BadRecurrence(
            f"{shown(name)} is not a property of a recurrence; known are DTSTART, RRULE, RDATE, EXRULE, EXDATE"
        )


def _rule(lines: Lines, value: str) -> Parts:
    return read_parts(value.upper().removeprefix("RRULE:"), lambda text: lines.read_moment(text, "UNTIL"))


def _refuse_parameters(name: str, parameters: list[str]) -> None:
    if parameters:
        raise BadRecurrence(f"{name} does not take the parameter {shown(parameters[0])}; leave it out")


def _exclude(lines: Lines, moments: list[datetime], parameters: list[str], value: str) -> None:
    """Add an EXDATE. A date without a time leaves out the whole day."""
    are_days = bool(parameters) and any(parameter.upper() == "VALUE=DATE" for parameter in parameters)
    if not are_days and value.count("T") > value.count(","):
        lines.excluded_dates.extend(moments)  # each has a time
        return
    for moment, text in zip(moments, value.split(","), strict=False):
        if are_days or "T" not in text.upper():
            lines.excluded_days.append(moment.date())
        else:
            lines.excluded_dates.append(moment)


def _moments(lines: Lines, name: str, parameters: list[str], value: str) -> list[datetime]:
    zone: tzinfo | None = None
    for parameter in parameters:
        values = ("DATE-TIME", "DATE", "PERIOD") if name == "RDATE" else ("DATE-TIME", "DATE")
        key, _, text = parameter.partition("=")
        if key.upper() == "TZID":
            zone = _zone(text.strip('"'))
        elif key.upper() != "VALUE" or text.upper() not in values:
            raise BadRecurrence(
                f"{name} does not take the parameter {shown(parameter)}; known are TZID and VALUE, with"
                f" {', '.join(values)}"
            )
    if not value and name != "DTSTART":
        return []  # calendars write an empty EXDATE
    texts = value.upper().split(",")
    if name == "RDATE" and "/" in value:
        texts = [text.partition("/")[0] for text in texts]  # a period counts by its start
    return [lines.read_moment(text, name, zone) for text in texts]


def _zone(name: str) -> tzinfo:
    try:
        return zone_named(name)
    except ValueError as error:
        raise BadRecurrence(f"TZID={error}") from None
