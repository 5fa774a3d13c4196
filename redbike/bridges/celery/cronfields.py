"""The fields of Celery's crontab: their sets of numbers as Celery reads them, and their texts for cron.

Celery accepts ranges that wrap (`fri-mon`), names in any field (only three letters count), and lists of numbers.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from redbike.schedule.cron import MONTHS, WEEKDAYS

_NAMES = {name: number for number, name in enumerate(WEEKDAYS)} | {name: n for n, name in enumerate(MONTHS, 1)}
_RANGE = re.compile(r"(\w+)-(\w+)(?:(/)(\w*))?")
_STEPS = re.compile(r"\*/(\w*)")
_LONGEST_KEPT = 200  # characters of one field: the whole expression stays below the limit of cron.py
_SHOWN_CHARS = 60


class Field(NamedTuple):
    """One field: its name in Celery, and its lowest and highest number."""

    name: str
    first: int
    last: int
    names: Sequence[str] = ()
    """The names that cron knows in this field."""
    part: str = ""
    """The part of a recurrence that says the same."""

    def __str__(self) -> str:
        """Return the range of the numbers, for messages."""
        return f"from {self.first} to {self.last}{' (Sunday is 0)' if self.name == 'day_of_week' else ''}"

    @property
    def all(self) -> set[int]:
        """All numbers of the field."""
        return set(range(self.first, self.last + 1))


MINUTE = Field("minute", 0, 59, (), "BYMINUTE")
HOUR = Field("hour", 0, 23, (), "BYHOUR")
WEEKDAY = Field("day_of_week", 0, 6, WEEKDAYS, "BYDAY")
MONTHDAY = Field("day_of_month", 1, 31, (), "BYMONTHDAY")
MONTH = Field("month_of_year", 1, 12, MONTHS, "BYMONTH")
FIELDS = (MINUTE, HOUR, WEEKDAY, MONTHDAY, MONTH)
"""The fields in the order of Celery's arguments."""


class FieldText(NamedTuple):
    """A field: its set of numbers, and its text for cron."""

    numbers: set[int]
    text: str

    @property
    def begins_with_a_star(self) -> bool:
        """True if cron takes the field as a wildcard."""
        return self.text.startswith("*")


def written_field(field: Field, value: object) -> FieldText:
    """Return the numbers of a field, and the text that makes cron read them."""
    numbers = _numbers(field, value)
    if isinstance(value, str) and _is_plain(field, value):
        return FieldText(numbers, "*" if numbers == field.all and not re.fullmatch(r"\*/\d+", value) else value)
    return FieldText(numbers, listed(field, numbers))


def _numbers(field: Field, value: object) -> set[int]:
    if isinstance(value, str):
        try:
            found = {number for part in value.split(",") for number in _part(part, field)}
        except ValueError as error:
            raise ValueError(f"crontab: {field.name}={shown(value)}: {error}") from None
    elif isinstance(value, int):
        found = {int(value)}
    elif isinstance(value, Iterable):
        found = set()
        for number in value:
            if not isinstance(number, int | float) or not float(number).is_integer():
                raise ValueError(
                    f"crontab: {field.name}={shown(value)}: {shown(number)} is not a whole number: give numbers"
                    f" {field}, or a text such as '1,3-5'"
                )
            found.add(int(number))
    else:
        raise ValueError(f"crontab: {field.name}={shown(value)}: give a text, a number, or several numbers")
    if not found:
        raise ValueError(f"crontab: {field.name}={shown(value)} is empty: give '*' for each {field.name}")
    if wrong := sorted(found - field.all):
        raise ValueError(f"crontab: {field.name}={shown(value)}: {wrong[0]} is out of range: give numbers {field}")
    return found


def _part(part: str, field: Field) -> Sequence[int]:
    """Return the numbers of a part between commas, as Celery reads it: it ignores the text behind a range."""
    if not part:
        raise ValueError("there is nothing between two commas, or at the end: leave out the comma")
    every = range(field.first, field.last + 1)
    if match := _RANGE.match(part):
        first, last = _number(match[1], field), _number(match[2], field)
        numbers = (
            range(first, last + 1) if first <= last else (*every[first - field.first :], *range(field.first, last + 1))
        )
        return numbers[:: _step(match[4])] if match[3] else numbers
    if match := _STEPS.match(part):
        return every[:: _step(match[1])]
    return every if part == "*" else (_number(part, field),)


def _step(text: str) -> int:
    try:
        if step := int(text):
            return step
    except ValueError:
        pass
    raise ValueError(f"the step {shown(text)} is not a number above 0: write a step such as */5")


def _number(text: str, field: Field) -> int:
    """Return the number that Celery reads: of a name, the first three letters count, in any field."""
    try:
        number = -1 if text.startswith("-") else int(text)
    except ValueError:
        number = _NAMES.get(text[:3].upper(), -1)
        if number < 0:
            raise ValueError(f"{shown(text)} is neither a number, nor the name of a month or weekday") from None
    if not field.first <= number <= field.last:
        raise ValueError(f"{shown(text)} is out of range: write numbers {field}")
    return number


def _is_plain(field: Field, value: str) -> bool:
    """Return True if cron reads the same numbers from the text."""
    number = rf"(?:\d+|{'|'.join(field.names)})" if field.names else r"\d+"
    part = rf"\*(?:/\d+)?|({number})(?:-({number})(?:/\d+)?)?"
    if len(value) > _LONGEST_KEPT:
        return False
    matches = [re.fullmatch(part, text, re.ASCII | re.IGNORECASE) for text in value.split(",")]
    return all(
        match is not None and (match[2] is None or _number(match[1], field) < _number(match[2], field))
        for match in matches
    )


def means(field: Field, text: str, numbers: set[int]) -> bool:
    """Return True if Celery reads these numbers from the text."""
    try:
        return _numbers(field, text) == numbers
    except ValueError:
        return False


def listed(field: Field, numbers: set[int]) -> str:
    """Return the numbers as text: `*` for all of them, and three or more in a row as a range."""
    if numbers == field.all:
        return "*"
    rows: list[list[int]] = []
    for number in sorted(numbers):
        if rows and rows[-1][-1] == number - 1:
            rows[-1].append(number)
        else:
            rows.append([number])
    return ",".join(f"{row[0]}-{row[-1]}" if len(row) > 2 else ",".join(map(str, row)) for row in rows)


def shown(value: object) -> str:
    """Return a value as a message may show it: on one line, and shortened."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
