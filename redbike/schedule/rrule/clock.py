"""The clock on the wall: wall seconds, and a zone's offsets, their changes and what fires at them.

*Wall seconds* are what a Unix time would be if the clock on the wall showed UTC; *instants* are Unix seconds.
A change that sets the clock forward leaves a *gap* of wall times that do not exist. A change that sets it back makes
some wall times exist *twice*. docs/recurrence.md has the rules and tables. Nothing here knows how rules work.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, tzinfo

from redbike.schedule.rrule.errors import Budget

DAY_S = 86_400
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
LAST_YEAR = date.max.year
LAST_ORDINAL = date.max.toordinal()
LAST_WALL = (LAST_ORDINAL + 1 - EPOCH_ORDINAL) * DAY_S - 1
FIRST_WALL = (1 - EPOCH_ORDINAL) * DAY_S

_EPOCH = datetime(1970, 1, 1)
# Zones are asked only about moments that stay within years 1 to 9999 on every clock.
_EARLIEST, _LATEST = FIRST_WALL + 2 * DAY_S, LAST_WALL - 2 * DAY_S
# No gap in the database is longer (Samoa left out 30 December 2011).
_LONGEST_GAP_S = DAY_S
_CALM_S = 36 * 3600
# Questions this close together come from one search, or from a job that runs daily.
_CLOSE_S = 26 * 3600
# Costs in steps of Budget: to read an occurrence on the clock, and to find a change of its offset.
_SHOWING_STEPS = 6
_CHANGE_STEPS = 40


def wall_of(moment: datetime) -> int:
    """Return the wall seconds that a datetime shows, whatever its zone."""
    since = moment.replace(tzinfo=None) - _EPOCH
    return since.days * DAY_S + since.seconds


class Clock:
    """A zone's offsets, in seconds east of UTC."""

    __slots__ = ("_asked", "_calm", "_tz")

    def __init__(self, tz: tzinfo) -> None:
        self._tz = tz
        # The last instant asked about; and the last stretch without a change within a day: first, last and offset.
        self._asked = FIRST_WALL
        self._calm = (0, -1, 0)

    def calm(self, instant: int) -> tuple[int, int]:
        """Return the end and the offset of a calm stretch that contains the instant: no change within a day.

        An end before the instant means that no such stretch is known, or that a search for it would not pay.
        """
        asked, self._asked = self._asked, instant
        first, last, offset = self._calm
        if first <= instant <= last:
            return last, offset
        if 0 <= instant - asked < _CLOSE_S:
            offset, last = self.at(instant), instant + _CALM_S
            # No zone of the database has ever changed and changed back within these three and a half days.
            if self.at(instant - DAY_S) == offset == self.at(last + DAY_S):
                self._calm = (instant, last, offset)
                return last, offset
        return instant - 1, 0

    def at(self, instant: int) -> int:
        """Return the offset in force at an instant, in seconds."""
        local = datetime.fromtimestamp(min(max(instant, _EARLIEST), _LATEST), self._tz)
        return _seconds(local.utcoffset())

    def reading(self, wall: int) -> tuple[int, int]:
        """Return the two offsets with which a wall time can be read: before and after a change. Usually they are equal.

        The first is larger for a time that exists twice, and smaller in a gap. RFC 5545 3.3.10 asks for the first.
        """
        local = (_EPOCH + timedelta(seconds=min(max(wall, _EARLIEST), _LATEST))).replace(tzinfo=self._tz)
        return _seconds(local.utcoffset()), _seconds(local.replace(fold=1).utcoffset())

    def instant(self, wall: int) -> int:
        """Return a wall time as an instant: the first of two, or in a gap, read with the offset before the gap."""
        return wall - self.reading(wall)[0]

    def change_between(self, low: int, high: int) -> int:
        """Return the first instant after `low` with another offset than at `low`. The offset at `high` must differ."""
        offset = self.at(low)
        while high - low > 1:
            middle = (low + high) // 2
            if self.at(middle) == offset:
                low = middle
            else:
                high = middle
        return high


def instant_of(moment: datetime, zone: tzinfo | None) -> int:
    """Return a moment as Unix seconds. A moment without a zone is read in the zone of the start, or in UTC."""
    if moment.tzinfo is None:
        if zone is None:
            return wall_of(moment)
        return Clock(zone).instant(wall_of(moment))
    if moment.tzinfo is UTC:
        return wall_of(moment)
    return Clock(moment.tzinfo).instant(wall_of(moment))


def _seconds(offset: timedelta | None) -> int:
    assert offset is not None
    return offset.days * DAY_S + offset.seconds


After = Callable[[int, Budget], int | None]
"""Return the first member of a series strictly after a moment. All are instants, or all are wall times."""


def once_per_wall_time(walls: After, clock: Clock) -> After:
    """Return the instants of a DAILY or slower rule: each occurrence once, read as `Clock.instant` reads it."""

    def after(instant: int, budget: Budget) -> int | None:
        budget.spend(_SHOWING_STEPS)
        offset = clock.at(instant)
        found = _first_reading_after(instant, walls(instant + offset, budget), budget)
        before = clock.at(instant - _LONGEST_GAP_S)
        if before < offset:
            # Occurrences in a gap that has just passed may still come: they are read with the offset before the gap.
            change = clock.change_between(instant - _LONGEST_GAP_S, instant)
            skipped = walls(instant + before, budget)
            if skipped is not None and skipped < change + offset:
                return skipped - before if found is None else min(found, skipped - before)
        return found

    def _first_reading_after(instant: int, wall: int | None, budget: Budget) -> int | None:
        while wall is not None:
            first, second = clock.reading(wall)
            if first != second:
                budget.spend(_CHANGE_STEPS, wall)
            if wall - first <= instant:
                # The clock shows this time for the second time, and the first has counted: skip the repetition.
                change = clock.change_between(wall - first, wall - second)
                wall = walls(change + first - 1, budget)
                continue
            if first < second:
                # An occurrence after the gap may come before an occurrence within it.
                change = clock.change_between(wall - second, wall - first)
                beyond = walls(change + second - 1, budget)
                if beyond is not None:
                    return min(wall - first, clock.instant(beyond))
            return wall - first
        return None

    return after


def at_every_showing(walls: After, clock: Clock) -> After:
    """Return the instants of an HOURLY to SECONDLY rule. The clock shows an occurrence twice, once or never."""

    def after(instant: int, budget: Budget) -> int | None:
        last, offset = clock.calm(instant)
        if last >= instant:
            wall = walls(instant + offset, budget)
            if wall is None or wall - offset <= last:
                return None if wall is None else wall - offset
        budget.spend(_SHOWING_STEPS)
        offset = clock.at(instant)
        first, second = clock.reading(instant + offset)
        if first > second and offset == first:
            # The clock will show this stretch again: search the stretch first, then its repetition.
            change = clock.change_between(instant, instant + first - second)
            wall = walls(instant + offset, budget)
            if wall is not None and wall < change + first:
                return wall - first
            instant = change - 1
            wall = walls(change + second - 1, budget)
        else:
            wall = walls(instant + offset, budget)
        while wall is not None:
            first, second = clock.reading(wall)
            if first >= second:
                return wall - first if wall - first > instant else wall - second
            budget.spend(_CHANGE_STEPS, wall)
            change = clock.change_between(wall - second, wall - first)
            wall = walls(change + second - 1, budget)
        return None

    return after
