"""The lines of a recurrence on a clock that never changes, to compare its runs with those on the clock of a zone."""

from dataclasses import replace
from datetime import datetime, timedelta, tzinfo

from redbike.schedule.rrule.clock import DAY_S, FIRST_WALL, LAST_WALL, Clock, instant_of
from redbike.schedule.rrule.lines import Lines
from redbike.schedule.rrule.text import Parts

_EPOCH = datetime(1970, 1, 1)


def on_a_steady_clock(lines: Lines, zone: tzinfo) -> Lines:
    """Return the lines with each moment as the zone's clock shows it.

    RDATEs that name a zone themselves are left out: the changes of the clock do not move them.
    """
    return replace(
        lines,
        start=None if lines.start is None else lines.start.replace(tzinfo=None),
        rules=[_with_wall_until(parts, zone) for parts in lines.rules],
        excluded_rules=[_with_wall_until(parts, zone) for parts in lines.excluded_rules],
        dates=[moment.replace(tzinfo=None) for moment in lines.dates if moment.tzinfo in (None, zone)],
        excluded_dates=[wall for moment in lines.excluded_dates for wall in _walls(moment, zone)],
    )


def _walls(moment: datetime, zone: tzinfo) -> list[datetime]:
    """Return the wall times whose occurrences are at this moment: two, if a skipped time is moved to it."""
    if moment.tzinfo is None:
        return [moment]
    clock, instant = Clock(zone), instant_of(moment, zone)
    walls = [instant + clock.at(instant)]
    skipped = instant + clock.at(instant - DAY_S)
    if skipped < walls[0] and clock.instant(skipped) == instant:
        walls.insert(0, skipped)
    return [_EPOCH + timedelta(seconds=min(max(wall, FIRST_WALL), LAST_WALL)) for wall in walls]


def _with_wall_until(parts: Parts, zone: tzinfo) -> Parts:
    return parts if parts.until is None else replace(parts, until=_walls(parts.until, zone)[0])
