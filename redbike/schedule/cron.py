"""Cron expressions: five fields as in Debian's crontab(5), and optionally an IANA zone.

cronsim reads the fields and finds matches on a clock that never changes. This file adds the changes of the zone's clock
(cron(8), NOTES); here the rules hold for changes of half an hour, too. Nothing here reads a clock.
"""

import re
from copy import copy
from datetime import datetime, timedelta
from math import floor
from typing import ClassVar, Self
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from redbike.schedule.rrule.clock import LAST_WALL, After, Clock, at_every_showing, wall_of
from redbike.schedule.rrule.errors import Budget
from redbike.schedule.zones import zone_named

NAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""What stands for five fields."""
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")

_ZONE_BEFORE = re.compile(r"\s*(?:CRON_)?TZ=(?:\"([^\"]*)\"|'([^']*)'|(\S*))", re.IGNORECASE)
_STEP_OF_MORE = re.compile(r"[-LWlw]\w*/", re.ASCII)
# A range from a number to itself, or between a name and a number; a step from the last day.
_STEP_TO_CHECK = re.compile(r"\b0*(\w+)-0*\1/|[a-z]-\d+/|\d-[a-z]+/|[LW]/", re.ASCII | re.IGNORECASE)
_STEP_OF_RANGE = re.compile(r"(?<![^\s,])(\w+)-(\w+)/([0-9]+)(?![^\s,])", re.ASCII)
_NUMBERS = {name: str(number).lstrip("0") for number, name in enumerate(WEEKDAYS)}
_NUMBERS |= {name: str(number) for number, name in enumerate(MONTHS, 1)}
_LONGEST = 1_000  # characters; all 60 minutes of an hour, written as numbers, take 169
_EPOCH = datetime(1970, 1, 1)
_LAST = LAST_WALL - 60 * 366 * 86_400  # cronsim looks 50 years ahead, and dates end with the year 9999


class Cron:
    """A cron expression in a zone. It never changes, and threads can share it."""

    restarts: ClassVar[bool] = False
    may_end: ClassVar[bool] = False

    __slots__ = ("_after", "_expression", "_fields", "zone")

    zone: str | None
    """The IANA name; None if the expression names no zone: then it is read in UTC."""

    def __init__(self, expression: str, zone: ZoneInfo | None, fields: CronSim) -> None:
        self._expression, self._fields = expression, fields
        self.zone = None if zone is None else zone.key
        self._after = _without_changes(fields)
        if zone is not None:
            follows_the_clock = expression[0] == "*" or expression[expression.index(" ") + 1] == "*"
            self._after = (at_every_showing if follows_the_clock else _once_per_wall_time)(self._after, Clock(zone))

    @property
    def expression(self) -> str:
        """The five fields, without the zone. A name such as `@daily` is written as its five fields."""
        return self._expression

    def after(self, reference: float) -> int | None:
        """Return the first run strictly after `reference`, from 1970 on; None if there is none within fifty years.

        Both are in Unix seconds.
        """
        return self._after(floor(min(max(reference, -1), LAST_WALL)), Budget())

    def read_as_utc(self) -> Self:
        """Return the same expression, read in UTC."""
        return type(self)(self._expression, None, self._fields)

    def warnings(self, reference: float) -> tuple[str, ...]:  # noqa: ARG002 - as a recurrence
        """Return nothing: each field means what it says."""
        return ()


def parse(text: str) -> Cron:
    """Read five fields or a name such as `@daily`, with a zone behind, or before as `CRON_TZ=ZONE`.

    Raise ValueError, which names the field or the zone, and the way out.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"a cron expression of {len(text)} characters: at most {_LONGEST} are allowed")
    words, zone = text.split(), None
    if len(words) < 5 or "=" in text or "@" in text:
        words, zone = _crontab_words(text)
    if len(words) == 6 and zone is None:
        try:
            zone = zone_named(words[5])
        except ValueError:
            raise ValueError(_wrong_words(words, False)) from None
        del words[5]
    elif len(words) != 5:
        raise ValueError(_wrong_words(words, zone is not None))
    expression = " ".join(words)
    try:
        if "/" in expression and _STEP_OF_MORE.search(expression) and _STEP_TO_CHECK.search(expression):
            if any(term.startswith(("L/", "LW/")) for term in words[2].upper().split(",")):
                raise CronSimError("a step from the last day")
            expression = _STEP_OF_RANGE.sub(_step_within_range, expression)
        fields = CronSim(expression, _EPOCH)
    except CronSimError as error:
        from redbike.schedule.cron_reasons import wrong_field

        raise ValueError(wrong_field(words)) from error
    return Cron(expression, zone, fields)


def _crontab_words(text: str) -> tuple[list[str], ZoneInfo | None]:
    """Return the fields and the zone behind them, with names replaced by fields; and the zone before the fields."""
    zone = None
    if before := _ZONE_BEFORE.match(text):
        zone = zone_named(before[before.lastindex or 0])
        text = text[before.end() :]
    words = text.split()
    if words and words[0].startswith("@"):
        words[:1] = NAMES.get(words[0].lower(), words[0]).split()
    return words, zone


def _wrong_words(words: list[str], has_zone: bool) -> str:
    from redbike.schedule.cron_reasons import wrong_words

    return wrong_words(words, has_zone)


def _step_within_range(match: re.Match[str]) -> str:
    """Return a range of one number without its step. cronsim would read `13-13/3` as `13/3`, beyond the range."""
    first, last = (_NUMBERS.get(text.upper(), text.lstrip("0")) for text in match.group(1, 2))
    return match[1] if first == last and int(match[3]) else match[0]


def _without_changes(fields: CronSim) -> After:
    def after(wall: int, budget: Budget) -> int | None:  # noqa: ARG001 - cronsim limits its search itself
        if wall > _LAST:
            return None
        search = copy(fields)
        search.dt = _EPOCH + timedelta(seconds=wall)
        try:
            return wall_of(next(search))
        except StopIteration:
            return None

    return after


def _once_per_wall_time(walls: After, clock: Clock) -> After:
    """Return the instants of fixed hours and minutes: a skipped time runs at the change, a repeated time runs once."""

    def after(instant: int, budget: Budget) -> int | None:
        wall = walls(instant + clock.at(instant), budget)
        while wall is not None:
            first, second = clock.reading(wall)
            if first < second:
                return clock.change_between(wall - second, wall - first)
            if wall - first > instant:
                return wall - first
            change = clock.change_between(wall - first, wall - second)
            wall = walls(change + first - 1, budget)
        return None

    return after
