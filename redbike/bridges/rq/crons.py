"""Cron expressions of RQ as schedule texts. RQ reads them with croniter, in the zone of its machine. Pure.

croniter differs from cron in four points: ranges may go round (`fri-mon`), a step over weekdays ends with Saturday, a
day field that begins with `*` but has a step counts as restricted, and the last Friday is `L5`.
"""

import re
from typing import NamedTuple

from redbike.schedule import cron
from redbike.schedule.cron import MONTHS, NAMES, WEEKDAYS

_SHOWN_CHARS = 60
_TERM = re.compile(r"(\*|\w+)(?:-(\w+))?(?:/([0-9]+))?", re.ASCII)
_NTH = re.compile(r"(\w+)(?:-(\w+))?#([1-5])", re.ASCII)
_LAST = re.compile(r"L([0-7])", re.ASCII)
_HASHED = re.compile(r"[HR](\(|/|$)", re.ASCII)


class _Field(NamedTuple):
    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()
    first_name: int = 0

    def number(self, word: str) -> int:
        """Return the number of a word; 0 for 7, which is Sunday, too. Raise ValueError."""
        if word in self.names:
            return self.names.index(word) + self.first_name
        if self.names is WEEKDAYS and word == "7":
            return 0
        if not word.isdecimal() or not self.first <= int(word) <= self.last:
            raise ValueError(f"{self.name}: {word[:_SHOWN_CHARS]!r} is not a number from {self.first} to {self.last}")
        return int(word)

    @property
    def all(self) -> set[int]:
        """Every number of the field."""
        return set(range(self.first, self.last + 1))


_DAY, _WEEKDAY = _Field("day of month", 1, 31), _Field("day of week", 0, 6, WEEKDAYS)
_FIELDS = (_Field("minute", 0, 59), _Field("hour", 0, 23), _DAY, _Field("month", 1, 12, MONTHS, 1), _WEEKDAY)


def cron_text(expression: str, zone: str) -> str:
    """Return the schedule text of a cron expression that RQ runs on a machine in this zone: `CRON:… ZONE`.

    Fields are kept as written where cron reads the same. Raise ValueError, with the expression, the field and the way
    out, for an expression that Redbike cannot express.
    """
    try:
        text = f"{_fields(expression)} {zone}"
        cron.parse(text)
    except ValueError as error:
        raise ValueError(f"cron expression {expression[:_SHOWN_CHARS]!r}: {error}") from None
    return f"CRON:{text}"


def _fields(expression: str) -> str:
    words = expression.split()
    if len(words) == 1 and words[0].lower() in NAMES:
        return words[0]
    if len(words) == 6 and words[5] == "0":
        del words[5]  # the seconds
    if len(words) != 5:
        more = ": Redbike has no field for seconds or years; write an interval of seconds" if words[5:] else ""
        raise ValueError(f"it has {len(words)} fields, not five{more}")
    for field, word in zip(_FIELDS, words, strict=True):
        if _HASHED.match(word.upper()):
            raise ValueError(f"{field.name}: {word!r} is a time that RQ chooses; write a fixed time")
    days, weekdays = ("*" if "*" in word.split(",") or word == "?" else word for word in (words[2], words[4]))
    # As croniter does: a field with all days restricts nothing beside a field with a star.
    if "*" in weekdays and _is_all(_DAY, days):
        days = "*"
    elif "*" in days and _is_all(_WEEKDAY, weekdays):
        weekdays = "*"
    restrict = days != "*" and weekdays != "*"
    if restrict and re.search("#|[Ll][0-7]", weekdays):
        raise ValueError(
            "its day of month and its day of week both restrict, and one is an nth or last weekday: write two jobs"
        )
    words[2], words[4] = days, weekdays
    return " ".join(
        word if word == "*" else ",".join(_part(field, part, restrict) for part in word.split(","))
        for field, word in zip(_FIELDS, words, strict=True)
    )


def _is_all(field: _Field, word: str) -> bool:
    try:
        return {number for part in word.split(",") for number in _read(field, part)} == field.all
    except ValueError:
        return False


def _part(field: _Field, part: str, restrict: bool) -> str:
    """Return a part between commas for cron: as it is written, or as numbers. `restrict`: both day fields do."""
    meant = part.upper()
    if field is _DAY and meant == "L":
        return part
    if field is _WEEKDAY and (last := _LAST.fullmatch(meant)):
        return f"{last[1]}L"
    if field is _WEEKDAY and (nth := _NTH.fullmatch(meant)):
        numbers = _range(field, nth[1], nth[2], 1) if nth[2] else [field.number(nth[1])]
        return ",".join(f"{number}#{nth[3]}" for number in numbers)
    numbers = _read(field, meant)
    match = _TERM.fullmatch(meant)
    assert match
    is_plain = True
    if field is _DAY or field is _WEEKDAY:
        is_step_of_all = match[1] == "*" and not restrict
        is_plain = "7" not in match.group(1, 2) and match[2] != "L" and (match[3] is None or is_step_of_all)
    if is_plain and numbers == sorted(numbers):
        return part
    return ",".join(map(str, sorted(numbers)))


def _read(field: _Field, part: str) -> list[int]:
    """Return the numbers of a part between commas, in the order of croniter. Raise ValueError."""
    match = _TERM.fullmatch(part.upper())
    if match is None:
        raise ValueError(
            f"{field.name}: {part[:_SHOWN_CHARS]!r} cannot be read: write numbers, ranges as 1-5 or steps as */5"
        )
    first, last, step = match[1], match[2], int(match[3] or 1)
    if step == 0:
        raise ValueError(f"{field.name}: {part!r} has the step 0; write a step of at least 1")
    if first == "*":
        return list(range(field.first, field.last + 1, step))
    if last is None:
        return [field.number(first)] if match[3] is None else list(range(field.number(first), field.last + 1, step))
    return _range(field, first, "31" if field is _DAY and last == "L" else last, step)


def _range(field: _Field, first: str, last: str, step: int) -> list[int]:
    low, high = field.number(first), field.number(last)
    if field is _WEEKDAY and (first, last, step) == ("0", "7", 1):
        return list(field.all)
    if low == high:
        # Releases of croniter differ: the newest read all numbers from it.
        raise ValueError(f"{field.name}: {first}-{last} begins where it ends; write {first} or *")
    if low < high:
        return list(range(low, high + 1, step))
    if step > 1:
        raise ValueError(f"{field.name}: {first}-{last}/{step} goes round with a step; write the numbers")
    return [*range(low, field.last + 1), *range(field.first, high + 1)]
