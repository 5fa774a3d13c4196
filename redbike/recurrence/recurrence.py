"""A recurrence as a whole: its rules and dates, less what is excluded, as instants. Owns the public class.

Everything is worked out from the text and the reference time; nothing here asks for the time of day.
"""

import re
from bisect import bisect_right
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from math import floor
from zoneinfo import ZoneInfo

from redbike.recurrence.days import DAILY
from redbike.recurrence.errors import BadRecurrence, Effort, Unfound
from redbike.recurrence.parts import Parts, shown
from redbike.recurrence.rule import compile_rule
from redbike.recurrence.text import Lines, read_lines
from redbike.recurrence.wall import DAY_S, FIRST_WALL, LAST_WALL, refuse_long_count
from redbike.recurrence.zone import After, Clock, at_every_showing, once_per_wall_time, wall_of

_ZONE = re.compile(r";TZID=[^:;\s]+", re.IGNORECASE)
# What these cost, in the unit of Effort: asking one rule, and choosing among so many rules. A weekend of
# minutes can be excluded, not one of seconds.
_ASK_STEPS = 2
_RULES_A_STEP = 4
_CHARS_A_STEP = 4


class Recurrence:
    """When something recurs: what a text such as ``DTSTART:20260101T090000 RRULE:FREQ=DAILY`` says.

    It never changes, can be shared by threads, and answers at a cost that does not grow with the time
    since its start. Without DTSTART, the reference time of each question is the start.
    """

    __slots__ = ("_anchored", "_lines", "begins_anew", "start", "text", "zone")

    text: str
    zone: str | None
    start: datetime | None
    begins_anew: bool
    """Whether the answer depends on where the reference time lies, for want of a DTSTART."""

    def __init__(self, text: str) -> None:
        """Read the text; raises BadRecurrence."""
        self.text = text
        self._lines = _asked_from_start(read_lines(text))
        self.start = self._lines.start
        tz = None if self.start is None or self.start.tzinfo is UTC else self.start.tzinfo
        self.zone = tz.key if isinstance(tz, ZoneInfo) else None
        rules = self._lines.rules + self._lines.excluded_rules
        self.begins_anew = self.start is None and any(parts.depend_on_start() for parts in rules)
        start = FIRST_WALL if self.start is None else wall_of(self.start)
        effort = Effort()
        effort.spend(len(text) // _CHARS_A_STEP)
        self._anchored = None if self.begins_anew else _Occurrences(self._lines, start, tz, effort)

    def __repr__(self) -> str:
        return f"Recurrence({shown(self.text)})"

    def after(self, reference: float) -> int | None:
        """Unix seconds of the first occurrence strictly after `reference`; None: no further run.

        `reference` is in Unix seconds, too. Raises BadRecurrence where the answer cannot be found
        with bounded work (Effort.LIMIT).
        """
        instant = _whole_seconds(reference)
        if instant >= LAST_WALL:
            return None
        if self._anchored is None:
            effort = Effort()
            return _Occurrences(self._lines, instant, None, effort).after(instant, effort)
        return self._anchored.after(instant, Effort())

    def on_a_steady_clock(self) -> "Recurrence":
        """The same on a clock that never changes: the wall times of its zone, taken for UTC."""
        return Recurrence(_ZONE.sub("", self.text))


class _Occurrences:
    """The instants of all rules and dates from one start (wall seconds in a zone), less those excluded."""

    __slots__ = ("_dates", "_earliest", "_excluded", "_excluded_dates", "_included", "_mixed")

    def __init__(self, lines: Lines, start: int, zone: tzinfo | None, effort: Effort) -> None:
        clock = None if zone is None else Clock(zone)
        self._included = [_member(parts, start, zone, clock, effort) for parts in lines.rules]
        self._excluded = [_member(parts, start, zone, clock, effort) for parts in lines.excluded_rules]
        self._dates = sorted(_instant(moment, zone) for moment in lines.dates)
        self._excluded_dates = {_instant(moment, zone) for moment in lines.excluded_dates}
        self._mixed = len(self._included) != 1 or bool(self._excluded or self._dates or self._excluded_dates)
        # No rule fires before its start; asking from here on keeps zones away from the calendar's edge.
        self._earliest = start - 2 * DAY_S

    def after(self, instant: int, effort: Effort) -> int | None:
        """The first instant of any rule or date after this one that nothing excludes."""
        begin = max(instant, self._earliest)
        if not self._mixed:
            return self._included[0](begin, effort)
        included = [_Upcoming(member, begin, effort) for member in self._included]
        excluded = [_Upcoming(member, begin, effort) for member in self._excluded]
        while True:
            effort.spend(2 + (len(included) + len(excluded)) // _RULES_A_STEP)
            candidates = [found for member in included if (found := member.after(instant)) is not None]
            index = bisect_right(self._dates, instant)
            found = min(candidates + self._dates[index : index + 1], default=None)
            for member in included:
                member.check(found)
            if found is None:
                return None
            if found not in self._excluded_dates and all(rule.after(found - 1) != found for rule in excluded):
                for member in excluded:
                    member.check(found)
                return found
            instant = found


class _Upcoming:
    """The next instant of one rule while a search moves on: a rule is asked again only when it has been passed.

    A rule that matches too rarely to be found does not hide what others of its set bring before.
    """

    __slots__ = ("_effort", "_member", "_next", "_unfound")

    def __init__(self, member: After, begin: int, effort: Effort) -> None:
        self._member, self._effort = member, effort
        self._unfound: Unfound | None = None
        self._next = self._ask(begin)

    def after(self, instant: int) -> int | None:
        if self._next is not None and self._next <= instant:
            self._next = self._ask(instant)
        return self._next

    def check(self, found: int | None) -> None:
        """Raise Unfound where this rule may have a run before the one that others have."""
        if self._unfound is not None:
            searched_to = self._unfound.searched_to
            # In a zone, an instant is less than a day from its wall time.
            if searched_to is None or found is None or found >= searched_to - 2 * DAY_S:
                raise self._unfound

    def _ask(self, instant: int) -> int | None:
        self._effort.reserve = self._effort.left // 8
        try:
            self._effort.spend(_ASK_STEPS)
            return self._member(instant, self._effort)
        except Unfound as error:
            self._unfound = error
            return None
        finally:
            self._effort.reserve = 0


def _asked_from_start(lines: Lines) -> Lines:
    """Without DTSTART and exclusions, the next run is the first or second from the start: no need to count on."""
    if lines.start is None and not (lines.excluded_rules or lines.excluded_dates):
        lines.rules = [replace(parts, count=parts.count and min(parts.count, 2)) for parts in lines.rules]
    return lines


def _member(parts: Parts, start: int, zone: tzinfo | None, clock: Clock | None, effort: Effort) -> After:
    """One rule as a function from an instant to its next one."""
    after: After
    if clock is None:
        after = compile_rule(parts, start, effort).after
    elif parts.freq <= DAILY:
        after = once_per_wall_time(compile_rule(parts, start, effort).after, clock)
    else:
        after = at_every_showing(compile_rule(replace(parts, count=None), start, effort).after, clock)
        if parts.count is not None:
            after = _ending(after, _nth_showing(after, parts, start, effort))
    return after if parts.until is None else _ending(after, _instant(parts.until, zone))


def _nth_showing(after: After, parts: Parts, start: int, effort: Effort) -> int:
    """The instant with which COUNT is used up, counting runs: a wall time shown twice counts twice."""
    refuse_long_count(parts, "through the changes of a zone")
    assert parts.count is not None
    found: int | None = start - 2 * DAY_S
    for _ in range(parts.count):
        effort.spend(_ASK_STEPS)
        found = None if found is None else after(found, effort)
    return LAST_WALL if found is None else found


def _ending(after: After, last: int) -> After:
    def bounded(instant: int, effort: Effort) -> int | None:
        if instant >= last:
            return None
        found = after(instant, effort)
        return None if found is None or found > last else found

    return bounded


def _instant(moment: datetime, zone: tzinfo | None) -> int:
    """Unix seconds; a moment without a zone is one of the start's zone, or of UTC."""
    if moment.tzinfo is None:
        if zone is None:
            return wall_of(moment)
        return Clock(zone).instant(wall_of(moment))
    if moment.tzinfo is UTC:
        return wall_of(moment)
    return Clock(moment.tzinfo).instant(wall_of(moment))


def _whole_seconds(reference: float) -> int:
    if reference != reference:
        raise BadRecurrence("the reference time is not a number")
    return floor(min(max(reference, FIRST_WALL), LAST_WALL))
