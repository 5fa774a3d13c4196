"""Cron expressions: five fields as Debian's cron reads them (crontab(5)), and the IANA zone that they are meant in.

cronsim reads the fields and finds what matches on a clock that is never changed. What a change of the zone's clock
does (cron(8), NOTES) is worked out here, where it also holds for half an hour. Nothing here knows what the time is.
"""

from datetime import datetime, timedelta
from math import floor
from typing import ClassVar, Self
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from redbike.recurrence.errors import Effort
from redbike.recurrence.wall import LAST_WALL
from redbike.recurrence.zone import After, Clock, at_every_showing, wall_of
from redbike.zones import zone_named

_FIELDS = ("minute", "hour", "day-of-month", "month", "day-of-week")
_LONGEST = 1_000  # characters; every minute of an hour, each by its number, takes 169
_EPOCH = datetime(1970, 1, 1)
_LAST = LAST_WALL - 60 * 366 * 86_400  # cronsim looks 50 years ahead, and dates end with the year 9999


class Cron:
    """A cron expression in a zone. It never changes, and can be shared by threads."""

    begins_anew: ClassVar[bool] = False

    __slots__ = ("_after", "_expression", "zone")

    zone: str | None
    """The IANA name; None: UTC, and none was given."""

    def __init__(self, expression: str, zone: ZoneInfo | None) -> None:
        self._expression = expression
        self.zone = None if zone is None else zone.key
        self._after = _on_a_steady_clock(expression)
        if zone is not None:
            follows_the_clock = any(field.startswith("*") for field in expression.split()[:2])
            self._after = (at_every_showing if follows_the_clock else _once_per_wall_time)(self._after, Clock(zone))

    def after(self, reference: float) -> int | None:
        """Unix seconds of the first run strictly after `reference`, from 1970 on; None: none within fifty years."""
        return self._after(floor(min(max(reference, -1), LAST_WALL)), Effort())

    def on_a_steady_clock(self) -> Self:
        """The same expression in UTC."""
        return type(self)(self._expression, None)


def parse(text: str) -> Cron:
    """Read `FIELD FIELD FIELD FIELD FIELD [ZONE]`. Raises ValueError, which names the field or the zone."""
    if len(text) > _LONGEST:
        raise ValueError(f"a cron expression of {len(text)} characters: at most {_LONGEST} are allowed")
    words = text.split()
    if len(words) not in (5, 6):
        raise ValueError(f"five fields are needed ({', '.join(_FIELDS)}), and perhaps a zone, not {len(words)} words")
    expression, zone = " ".join(words[:5]), zone_named(words[5]) if len(words) == 6 else None
    try:
        CronSim(expression, _EPOCH)
    except CronSimError as error:
        raise ValueError(_reason(words, str(error))) from error
    return Cron(expression, zone)


def _reason(words: list[str], error: str) -> str:
    for name, word in zip(_FIELDS, words, strict=False):
        if error == f"Bad {name}":
            return f"the {name} field {word[:40]!r} cannot be read, or never comes"
    return error


def _on_a_steady_clock(expression: str) -> After:
    def after(wall: int, effort: Effort) -> int | None:  # noqa: ARG001 - cronsim has a bound of its own
        if wall > _LAST:
            return None
        try:
            return wall_of(next(CronSim(expression, _EPOCH + timedelta(seconds=wall))))
        except StopIteration:
            return None

    return after


def _once_per_wall_time(walls: After, clock: Clock) -> After:
    """For fixed hours and minutes: what is skipped comes as the clock is set, what is shown again does not."""

    def after(instant: int, effort: Effort) -> int | None:
        wall = walls(instant + clock.at(instant), effort)
        while wall is not None:
            first, second = clock.reading(wall)
            if first < second:
                return clock.change_between(wall - second, wall - first)
            if wall - first > instant:
                return wall - first
            change = clock.change_between(wall - first, wall - second)
            wall = walls(change + first - 1, effort)
        return None

    return after
