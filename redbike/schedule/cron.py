"""Cron expressions: five fields as in Debian's crontab(5), and optionally an IANA zone.

cronsim reads the fields and finds matches on a clock that never changes. This file adds the changes of the zone's clock
(cron(8), NOTES); here the rules hold for changes of half an hour, too. Nothing here reads a clock.
"""

from datetime import datetime, timedelta
from math import floor
from typing import ClassVar, Self
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from redbike.schedule.rrule.clock import LAST_WALL, After, Clock, at_every_showing, wall_of
from redbike.schedule.rrule.errors import Budget
from redbike.schedule.zones import zone_named

_FIELDS = ("minute", "hour", "day-of-month", "month", "day-of-week")
_LONGEST = 1_000  # characters; all 60 minutes of an hour, written as numbers, take 169
_EPOCH = datetime(1970, 1, 1)
_LAST = LAST_WALL - 60 * 366 * 86_400  # cronsim looks 50 years ahead, and dates end with the year 9999


class Cron:
    """A cron expression in a zone. It never changes, and threads can share it."""

    restarts: ClassVar[bool] = False

    __slots__ = ("_after", "_expression", "zone")

    zone: str | None
    """The IANA name; None if the expression names no zone: then it is read in UTC."""

    def __init__(self, expression: str, zone: ZoneInfo | None) -> None:
        self._expression = expression
        self.zone = None if zone is None else zone.key
        self._after = _without_changes(expression)
        if zone is not None:
            follows_the_clock = any(field.startswith("*") for field in expression.split()[:2])
            self._after = (at_every_showing if follows_the_clock else _once_per_wall_time)(self._after, Clock(zone))

    def after(self, reference: float) -> int | None:
        """Return the first run strictly after `reference`, from 1970 on; None if there is none within fifty years.

        Both are in Unix seconds.
        """
        return self._after(floor(min(max(reference, -1), LAST_WALL)), Budget())

    def read_as_utc(self) -> Self:
        """Return the same expression, read in UTC."""
        return type(self)(self._expression, None)


def parse(text: str) -> Cron:
    """Read `FIELD FIELD FIELD FIELD FIELD [ZONE]`. Raise ValueError, which names the field or the zone."""
    if len(text) > _LONGEST:
        raise ValueError(f"a cron expression of {len(text)} characters: at most {_LONGEST} are allowed")
    words = text.split()
    if len(words) not in (5, 6):
        raise ValueError(
            f"five fields are needed ({', '.join(_FIELDS)}), and optionally a zone, not {len(words)} words"
        )
    expression, zone = " ".join(words[:5]), zone_named(words[5]) if len(words) == 6 else None
    try:
        CronSim(expression, _EPOCH)
    except CronSimError as error:
        raise ValueError(_reason(words, str(error))) from error
    return Cron(expression, zone)


def _reason(words: list[str], error: str) -> str:
    for name, word in zip(_FIELDS, words, strict=False):
        if error == f"Bad {name}":
            return f"the {name} field {word[:40]!r} is not valid, or never matches"
    return error


def _without_changes(expression: str) -> After:
    def after(wall: int, budget: Budget) -> int | None:  # noqa: ARG001 - cronsim limits its search itself
        if wall > _LAST:
            return None
        try:
            return wall_of(next(CronSim(expression, _EPOCH + timedelta(seconds=wall))))
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
