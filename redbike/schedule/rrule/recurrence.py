"""A whole recurrence: the instants of its rules and dates, without those that are excluded.

Everything is computed from the text and the reference time. Nothing here reads a clock.
"""

from bisect import bisect_right
from dataclasses import replace
from datetime import UTC, date, datetime, time, tzinfo
from math import floor
from typing import ClassVar
from zoneinfo import ZoneInfo

from redbike.schedule.rrule.clock import (
    DAY_S,
    EPOCH_ORDINAL,
    FIRST_WALL,
    LAST_WALL,
    After,
    Clock,
    at_every_showing,
    instant_of,
    once_per_wall_time,
    wall_of,
)
from redbike.schedule.rrule.compile import compile_rule
from redbike.schedule.rrule.days import DAILY
from redbike.schedule.rrule.errors import BadRecurrence, Budget, Unfound, shown
from redbike.schedule.rrule.lines import Lines, read_lines
from redbike.schedule.rrule.rules import count_within_budget, refuse_long_count
from redbike.schedule.rrule.text import Parts

# Costs in steps of Budget: to ask one rule, and to choose among this many rules. So the budget allows to exclude a
# weekend of minutes, but not a weekend of seconds.
_ASK_STEPS = 2
_RULES_A_STEP = 4
_CHARS_A_STEP = 4


class Recurrence:
    """The times of a text such as ``DTSTART:20260101T090000 RRULE:FREQ=DAILY``.

    It never changes, and threads can share it. The cost of an answer does not grow with the time since the start.
    Without DTSTART, the reference time of each question is the start.
    """

    __slots__ = ("_anchored", "_lines", "_warnings", "restarts", "start", "text", "zone")

    may_end: ClassVar[bool] = True
    text: str
    zone: str | None
    start: datetime | None
    restarts: bool
    """True if the recurrence starts again at each reference time, because it has no DTSTART."""

    def __init__(self, text: str, lines: Lines | None = None) -> None:
        """Read the text, unless its `lines` are given. Raise BadRecurrence if it is not valid."""
        self.text = text
        self._lines = _asked_from_start(read_lines(text)) if lines is None else lines
        self._warnings: list[str] | None = None
        self.start = self._lines.start
        tz = None if self.start is None or self.start.tzinfo is UTC else self.start.tzinfo
        self.zone = tz.key if isinstance(tz, ZoneInfo) else None
        rules = self._lines.rules + self._lines.excluded_rules
        self.restarts = self.start is None and any(parts.depend_on_start() for parts in rules)
        start = FIRST_WALL if self.start is None else wall_of(self.start)
        budget = Budget()
        budget.spend(len(text) // _CHARS_A_STEP)
        self._anchored = None if self.restarts else Occurrences(self._lines, start, tz, budget)

    def __repr__(self) -> str:
        return f"Recurrence({shown(self.text)})"

    def after(self, reference: float) -> int | None:
        """Return the first occurrence strictly after `reference`; None if there is none. Both are in Unix seconds.

        Raise BadRecurrence if the answer is not found within Budget.LIMIT steps.
        """
        instant = _whole_seconds(reference)
        if instant >= LAST_WALL:
            return None
        budget = Budget()
        anchored = self._anchored or Occurrences(self._lines, instant, None, budget)
        found = anchored.after(instant, budget)
        # West of Greenwich, the last hours on the wall are beyond the last instant.
        return None if found is None or found > LAST_WALL else found

    def warnings(self, reference: float) -> list[str]:
        """Return what the user of this recurrence may not expect, one sentence each."""
        from redbike.schedule.rrule import departures

        if self._warnings is None:
            self._warnings = departures.of_text(self._lines, self._anchored)
        return [*self._warnings, *departures.of_start(self._lines, self._anchored, reference)]

    def read_as_utc(self) -> "Recurrence":
        """Return the same recurrence with its wall times read as UTC: on a clock that never changes.

        RDATEs that name a zone themselves are left out: the changes of the clock do not move them.
        """
        if self.start is None or self.zone is None or self.start.tzinfo is None:
            return self
        from redbike.schedule.rrule.steady import on_a_steady_clock

        return Recurrence(self.text, on_a_steady_clock(self._lines, self.start.tzinfo))


class Occurrences:
    """The instants of all rules and dates from one start (wall seconds in a zone), without those that are excluded."""

    __slots__ = (
        "_clock",
        "_dates",
        "_earliest",
        "_excluded",
        "_excluded_dates",
        "_excluded_days",
        "_included",
        "_mixed",
        "zone",
    )

    def __init__(self, lines: Lines, start: int, zone: tzinfo | None, budget: Budget) -> None:
        self.zone = zone
        self._clock = clock = None if zone is None else Clock(zone)
        self._included = [_member(parts, start, zone, clock, budget) for parts in lines.rules]
        self._excluded = [_member(parts, start, zone, clock, budget) for parts in lines.excluded_rules]
        self._dates = sorted(instant_of(moment, zone) for moment in lines.dates)
        self._excluded_dates = {instant_of(moment, zone) for moment in lines.excluded_dates}
        self._excluded_days = {day.toordinal() - EPOCH_ORDINAL for day in lines.excluded_days}
        without_runs = self._excluded or self._excluded_dates or self._excluded_days
        self._mixed = len(self._included) != 1 or bool(without_runs or self._dates)
        # No rule fires before its start. A search from here on keeps zones away from the ends of the calendar.
        self._earliest = start - 2 * DAY_S

    def after(self, instant: int, budget: Budget) -> int | None:
        """Return the first instant after this instant that a rule or date includes and nothing excludes, or None."""
        begin = max(instant, self._earliest)
        if not self._mixed:
            return self._included[0](begin, budget)
        included = [_Upcoming(member, begin, budget) for member in self._included]
        excluded = [_Upcoming(member, begin, budget) for member in self._excluded]
        while True:
            budget.spend(2 + (len(included) + len(excluded)) // _RULES_A_STEP)
            candidates = [found for member in included if (found := member.after(instant)) is not None]
            index = bisect_right(self._dates, instant)
            found = min(candidates + self._dates[index : index + 1], default=None)
            for member in included:
                member.check(found)
            if found is None:
                return None
            if self._excluded_days and (end := self._end_of_excluded_day(found)) is not None:
                instant = end
                continue
            if found not in self._excluded_dates and all(rule.after(found - 1) != found for rule in excluded):
                for member in excluded:
                    member.check(found)
                return found
            instant = found

    def _end_of_excluded_day(self, instant: int) -> int | None:
        """Return the last second of the day of this instant, or the last before its clock changes; None for others."""
        offset = 0 if self._clock is None else self._clock.at(instant)
        day = (instant + offset) // DAY_S
        if day not in self._excluded_days:
            return None
        end = (day + 1) * DAY_S - 1 - offset
        if self._clock is not None and self._clock.at(end) != offset:
            end = self._clock.change_between(instant, end) - 1
        return end

    def has_run(self, first: int, last: int, budget: Budget) -> bool:
        """Return True if a rule or date includes an instant from first to last, whatever excludes it."""
        index = bisect_right(self._dates, first - 1)
        dates = self._dates[index : index + 1]
        asked = (member(max(first - 1, self._earliest), budget) for member in self._included)
        return any(found is not None and found <= last for found in (*dates, *asked))

    def span_of(self, day: date) -> tuple[int, int]:
        """Return the first and the last instant of a day in the zone."""
        return tuple(instant_of(datetime.combine(day, at), self.zone) for at in (time(), time(23, 59, 59)))  # type: ignore[return-value]


class _Upcoming:
    """The next instant of one rule during a search. The rule is asked again only after the search has passed it.

    If a rule matches too rarely to be found, the earlier runs of the other rules are still found.
    """

    __slots__ = ("_budget", "_member", "_next", "_unfound")

    def __init__(self, member: After, begin: int, budget: Budget) -> None:
        self._member, self._budget = member, budget
        self._unfound: Unfound | None = None
        self._next = self._ask(begin)

    def after(self, instant: int) -> int | None:
        if self._next is not None and self._next <= instant:
            self._next = self._ask(instant)
        return self._next

    def check(self, found: int | None) -> None:
        """Raise Unfound if this rule may have a run before the instant `found` of the other rules."""
        if self._unfound is not None:
            searched_to = self._unfound.searched_to
            # In a zone, an instant is less than a day from its wall time.
            if searched_to is None or found is None or found >= searched_to - 2 * DAY_S:
                raise self._unfound

    def _ask(self, instant: int) -> int | None:
        self._budget.reserve = self._budget.left // 8
        try:
            self._budget.spend(_ASK_STEPS)
            return self._member(instant, self._budget)
        except Unfound as error:
            self._unfound = error
            return None
        finally:
            self._budget.reserve = 0


def _asked_from_start(lines: Lines) -> Lines:
    """Limit COUNT to 2 if there is no DTSTART and no exclusion: the next run is then the first or the second."""
    if lines.start is None and not (lines.excluded_rules or lines.excluded_dates or lines.excluded_days):
        lines.rules = [replace(parts, count=parts.count and min(parts.count, 2)) for parts in lines.rules]
    return lines


def _member(parts: Parts, start: int, zone: tzinfo | None, clock: Clock | None, budget: Budget) -> After:
    """Return one rule as a function from an instant to the next instant of the rule."""
    after: After
    if clock is None:
        after = compile_rule(parts, start, budget).after
    elif parts.freq <= DAILY:
        after = once_per_wall_time(compile_rule(parts, start, budget).after, clock)
    else:
        after = at_every_showing(compile_rule(replace(parts, count=None), start, budget).after, clock)
        if parts.count is not None:
            after = _ending(after, _nth_showing(after, parts, start, budget))
    return after if parts.until is None else _ending(after, instant_of(parts.until, zone))


def _nth_showing(after: After, parts: Parts, start: int, budget: Budget) -> int:
    """Return the instant of the last run that COUNT allows. A wall time that the clock shows twice counts twice."""
    refuse_long_count(parts, "through the clock changes of a zone")

    def counted(number: int, budget: Budget) -> int | None:
        found: int | None = start - 2 * DAY_S
        for _ in range(number):
            budget.spend(_ASK_STEPS)
            found = None if found is None else after(found, budget)
        return found

    found = count_within_budget(counted, parts, budget)
    return LAST_WALL if found is None else found


def _ending(after: After, last: int) -> After:
    def bounded(instant: int, budget: Budget) -> int | None:
        if instant >= last:
            return None
        found = after(instant, budget)
        return None if found is None or found > last else found

    return bounded


def _whole_seconds(reference: float) -> int:
    if reference != reference:
        raise BadRecurrence("the reference time is not a number")
    return floor(min(max(reference, FIRST_WALL), LAST_WALL))
