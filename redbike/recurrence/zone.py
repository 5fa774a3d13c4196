"""Between instants (Unix seconds) and a zone's wall clock: offsets, their changes, and what fires at them.

A change that sets the clock forward leaves a *gap* of wall times that do not exist; one that sets it back
makes some exist *twice*. docs/recurrence.md has the rules and tables. Nothing here knows how rules work.
"""

from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo

from redbike.recurrence.errors import Effort
from redbike.recurrence.wall import DAY_S, FIRST_WALL, LAST_WALL

_EPOCH = datetime(1970, 1, 1)
# Zones are asked only about moments that stay within years 1 to 9999 on every clock.
_EARLIEST, _LATEST = FIRST_WALL + 2 * DAY_S, LAST_WALL - 2 * DAY_S
# No gap in the database is longer (Samoa left out 30 December 2011).
_LONGEST_GAP_S = DAY_S
_CALM_S = 36 * 3600
# Questions that come as close together as those of a search, or of a job that runs daily.
_CLOSE_S = 26 * 3600
# What reading an occurrence on the clock costs, and finding a change of its offset, in steps of Effort.
_SHOWING_STEPS = 6
_CHANGE_STEPS = 40


def wall_of(moment: datetime) -> int:
    """The wall seconds that a datetime shows, whatever its zone."""
    since = moment.replace(tzinfo=None) - _EPOCH
    return since.days * DAY_S + since.seconds


class Clock:
    """A zone's offsets, in seconds east of UTC."""

    __slots__ = ("_asked", "_calm", "_tz")

    def __init__(self, tz: tzinfo) -> None:
        self._tz = tz
        # The last question, and the last stretch without a change within a day: first, last and offset.
        self._asked = FIRST_WALL
        self._calm = (0, -1, 0)

    def calm(self, instant: int) -> tuple[int, int]:
        """The end of a stretch that contains the instant and has no change within a day, and its offset.

        The end is before the instant where that is not known, or not worth finding out.
        """
        asked, self._asked = self._asked, instant
        first, last, offset = self._calm
        if first <= instant <= last:
            return last, offset
        if 0 <= instant - asked < _CLOSE_S:
            offset, last = self.at(instant), instant + _CALM_S
            # No zone of the database has changed, and changed back, within these three and a half days.
            if self.at(instant - DAY_S) == offset == self.at(last + DAY_S):
                self._calm = (instant, last, offset)
                return last, offset
        return instant - 1, 0

    def at(self, instant: int) -> int:
        """The offset in force at an instant."""
        local = datetime.fromtimestamp(min(max(instant, _EARLIEST), _LATEST), self._tz)
        return _seconds(local.utcoffset())

    def reading(self, wall: int) -> tuple[int, int]:
        """The offsets before and after a change that a wall time may be read with; as a rule equal.

        Descending for a time that exists twice, ascending in a gap. RFC 5545 3.3.10 asks for the first.
        """
        local = (_EPOCH + timedelta(seconds=min(max(wall, _EARLIEST), _LATEST))).replace(tzinfo=self._tz)
        return _seconds(local.utcoffset()), _seconds(local.replace(fold=1).utcoffset())

    def instant(self, wall: int) -> int:
        """A wall time as an instant: the first of two, or with the offset before the gap it is in."""
        return wall - self.reading(wall)[0]

    def change_between(self, low: int, high: int) -> int:
        """The first instant after `low` with another offset than at `low`; `high` has another one."""
        offset = self.at(low)
        while high - low > 1:
            middle = (low + high) // 2
            if self.at(middle) == offset:
                low = middle
            else:
                high = middle
        return high


def _seconds(offset: timedelta | None) -> int:
    assert offset is not None
    return offset.days * DAY_S + offset.seconds


After = Callable[[int, Effort], int | None]
"""The first of a series strictly after a moment: of instants after an instant, or of wall times after a wall time."""


def once_per_wall_time(walls: After, clock: Clock) -> After:
    """For DAILY and slower rules: every occurrence once, read as `Clock.instant` does."""

    def after(instant: int, effort: Effort) -> int | None:
        effort.spend(_SHOWING_STEPS)
        offset = clock.at(instant)
        found = _first_reading_after(instant, walls(instant + offset, effort), effort)
        before = clock.at(instant - _LONGEST_GAP_S)
        if before < offset:
            # Occurrences in a gap just passed may still be ahead: they are read with the offset before it.
            change = clock.change_between(instant - _LONGEST_GAP_S, instant)
            skipped = walls(instant + before, effort)
            if skipped is not None and skipped < change + offset:
                return skipped - before if found is None else min(found, skipped - before)
        return found

    def _first_reading_after(instant: int, wall: int | None, effort: Effort) -> int | None:
        while wall is not None:
            first, second = clock.reading(wall)
            if first != second:
                effort.spend(_CHANGE_STEPS, wall)
            if wall - first <= instant:
                # The clock shows this time again, but its first showing counted: on to the repetition's end.
                change = clock.change_between(wall - first, wall - second)
                wall = walls(change + first - 1, effort)
                continue
            if first < second:
                # An occurrence after the gap may come before one within it.
                change = clock.change_between(wall - second, wall - first)
                beyond = walls(change + second - 1, effort)
                if beyond is not None:
                    return min(wall - first, clock.instant(beyond))
            return wall - first
        return None

    return after


def at_every_showing(walls: After, clock: Clock) -> After:
    """For HOURLY to SECONDLY rules: whenever the clock shows an occurrence, so twice, once or never."""

    def after(instant: int, effort: Effort) -> int | None:
        last, offset = clock.calm(instant)
        if last >= instant:
            wall = walls(instant + offset, effort)
            if wall is None or wall - offset <= last:
                return None if wall is None else wall - offset
        effort.spend(_SHOWING_STEPS)
        offset = clock.at(instant)
        first, second = clock.reading(instant + offset)
        if first > second and offset == first:
            # The clock shows for the first time what it will show again: this stretch, then its repetition.
            change = clock.change_between(instant, instant + first - second)
            wall = walls(instant + offset, effort)
            if wall is not None and wall < change + first:
                return wall - first
            instant = change - 1
            wall = walls(change + second - 1, effort)
        else:
            wall = walls(instant + offset, effort)
        while wall is not None:
            first, second = clock.reading(wall)
            if first >= second:
                return wall - first if wall - first > instant else wall - second
            effort.spend(_CHANGE_STEPS, wall)
            change = clock.change_between(wall - second, wall - first)
            wall = walls(change + second - 1, effort)
        return None

    return after
