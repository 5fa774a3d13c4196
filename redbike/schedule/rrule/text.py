"""From the text of a rule to its checked parts, or BadRecurrence with the reason."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from redbike.schedule.rrule.days import DAILY, FREQUENCIES, WEEKDAYS, WEEKLY
from redbike.schedule.rrule.errors import BadRecurrence, shown

_WEEKDAYS = {name: number for number, name in enumerate(WEEKDAYS)}
_NUMBER = re.compile(r"[+-]?[0-9]{1,10}", re.ASCII)
_WEEKDAY = re.compile(
    r"(?P<before>[+-]?[0-9]{1,2})?(?P<day>MO|TU|WE|TH|FR|SA|SU)(\((?P<after>[+-]?[0-9]{1,2})\))?", re.ASCII
)
_LARGEST = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one rule. None means that the part was not given, so the start may supply it."""

    freq: int
    interval: int = 1
    wkst: int = 0
    count: int | None = None
    until: datetime | None = None
    by_set_pos: tuple[int, ...] = ()
    by_month: tuple[int, ...] | None = None
    by_month_day: tuple[int, ...] | None = None
    by_year_day: tuple[int, ...] | None = None
    by_easter: tuple[int, ...] | None = None
    by_week_no: tuple[int, ...] | None = None
    by_day: tuple[tuple[int, int], ...] | None = None
    by_hour: tuple[int, ...] | None = None
    by_minute: tuple[int, ...] | None = None
    by_second: tuple[int, ...] | None = None
    repeated: bool = False
    """True if a part was given twice: its last value counts."""

    def choose_days(self) -> bool:
        """Return True if some part chooses days. BYMONTH does not: it only narrows the choice of others."""
        chosen = (self.by_month_day, self.by_year_day, self.by_easter, self.by_week_no, self.by_day)
        return any(part is not None for part in chosen)

    def choose_times(self) -> bool:
        """Return True if some part chooses hours, minutes or seconds."""
        return any(part is not None for part in (self.by_hour, self.by_minute, self.by_second))

    def depend_on_start(self) -> bool:
        """Return True if the start supplies a part or a count begins there: another start then means other runs."""
        chosen = (self.by_hour, self.by_minute, self.by_second)
        # The start supplies all three to a daily rule, and only the second to a minutely rule.
        left_to_start = chosen[max(self.freq - DAILY, 0) :]
        in_first_week = self.freq == WEEKLY and any((self.by_set_pos, self.by_week_no, self.by_easter))
        return (
            self.interval > 1
            or self.count is not None
            or None in left_to_start
            or (self.freq < DAILY and not self.choose_days())
            or in_first_week
        )


def read_parts(value: str, read_until: Callable[[str], datetime]) -> Parts:
    """Read a rule such as ``FREQ=DAILY;COUNT=3``, in capitals. Raise BadRecurrence if it is not valid."""
    fields: dict[str, object] = {}
    texts = value.split(";")
    for part in texts:
        name, equals, text = part.partition("=")
        if not equals:
            raise BadRecurrence(f"{shown(part)} is not a part of the form NAME=VALUE")
        if name == "UNTIL":
            fields["until"] = read_until(text)
            continue
        if name not in _READERS:
            raise BadRecurrence(f"{shown(name)} is not a part of a rule; known are UNTIL, {', '.join(_READERS)}")
        field, read = _READERS[name]
        fields[field] = read(name, text)
    if "freq" not in fields:
        raise BadRecurrence(f"the rule {shown(value)} has no FREQ; give one of {', '.join(FREQUENCIES)}")
    if len(fields) != len(texts):
        fields["repeated"] = True
    parts = Parts(**fields)  # type: ignore[arg-type]  # the table pairs each field with a reader of its type
    if parts.by_set_pos and not (parts.by_month or parts.choose_days() or parts.choose_times()):
        raise BadRecurrence("BYSETPOS selects from the results of other BY parts; add another BY part")
    return parts


def _read_freq(name: str, text: str) -> int:
    if text not in FREQUENCIES:
        raise BadRecurrence(f"{name}={shown(text)} is not known; give one of {', '.join(FREQUENCIES)}")
    return FREQUENCIES[text]


def _read_week_start(name: str, text: str) -> int:
    if text not in _WEEKDAYS:
        raise BadRecurrence(f"{name}={shown(text)} is not a weekday; give one of {', '.join(_WEEKDAYS)}")
    return _WEEKDAYS[text]


def _read_weekdays(name: str, text: str) -> tuple[tuple[int, int], ...]:
    """Return pairs of weekday and ordinal; 0 means every such weekday. Both ``-1MO`` and ``MO(-1)`` are valid."""
    found = set()
    for item in set(text.split(",")):
        match = _WEEKDAY.fullmatch(item)
        ordinal = (match["before"] or match["after"] or "every") if match else "0"
        if match is None or (match["before"] and match["after"]) or ordinal.strip("+-0") == "":
            raise BadRecurrence(f"{name}={shown(item)} is not a weekday such as MO, 1MO or -1MO")
        nth = 0 if ordinal == "every" else int(ordinal)
        if abs(nth) > 53:
            raise BadRecurrence(f"{name}={shown(item)} is out of range; ordinals go to 53 and -53")
        found.add((_WEEKDAYS[match["day"]], nth))
    return tuple(sorted(found))


def _one_number(low: int, high: int) -> Callable[[str, str], int]:
    def read(name: str, text: str) -> int:
        number = int(text) if _NUMBER.fullmatch(text) else None
        if number is None or not low <= number <= high:
            raise BadRecurrence(f"{name}={shown(text)} is out of range; allowed is {low} to {high}")
        return number

    return read


def _numbers(low: int, high: int, *, zero: bool = True) -> Callable[[str, str], tuple[int, ...]]:
    """Return a reader of a comma-separated list: sorted, without repetitions. `zero` says if 0 is allowed."""
    allowed = f"numbers from {low} to {high}" + ("" if zero else ", 0 excepted")

    def read(name: str, text: str) -> tuple[int, ...]:
        numbers = set()
        for item in set(text.split(",")):
            number = int(item) if _NUMBER.fullmatch(item) else None
            if number is None or not low <= number <= high or (number == 0 and not zero):
                raise BadRecurrence(f"{name}={shown(item)} is out of range; allowed are {allowed}")
            numbers.add(number)
        return tuple(sorted(numbers))

    return read


# BYEASTER comes from python-dateutil. Its limits are those of the table of a year there.
_READERS: dict[str, tuple[str, Callable[[str, str], object]]] = {
    "FREQ": ("freq", _read_freq),
    "INTERVAL": ("interval", _one_number(1, _LARGEST)),
    "COUNT": ("count", _one_number(1, _LARGEST)),
    "WKST": ("wkst", _read_week_start),
    "BYSETPOS": ("by_set_pos", _numbers(-366, 366, zero=False)),
    "BYMONTH": ("by_month", _numbers(1, 12)),
    "BYMONTHDAY": ("by_month_day", _numbers(-31, 31, zero=False)),
    "BYYEARDAY": ("by_year_day", _numbers(-366, 366, zero=False)),
    "BYWEEKNO": ("by_week_no", _numbers(-53, 53, zero=False)),
    "BYDAY": ("by_day", _read_weekdays),
    "BYWEEKDAY": ("by_day", _read_weekdays),
    "BYHOUR": ("by_hour", _numbers(0, 23)),
    "BYMINUTE": ("by_minute", _numbers(0, 59)),
    "BYSECOND": ("by_second", _numbers(0, 59)),
    "BYEASTER": ("by_easter", _numbers(-366, 257)),
}
