"""One rule with its start: which kind of rule the parts make, and where COUNT ends it."""

from collections.abc import Sequence
from datetime import date

from redbike.recurrence.day_rule import DayRule
from redbike.recurrence.days import DAILY, HOURLY, MONTHLY, WEEKLY, YEARLY, DayFilters
from redbike.recurrence.errors import Effort
from redbike.recurrence.even_rule import EvenRule
from redbike.recurrence.firing_days import FiringDays
from redbike.recurrence.parts import Parts
from redbike.recurrence.position_rule import PositionRule
from redbike.recurrence.step_rule import StepRule
from redbike.recurrence.times import ListedTimes, picked, times_of_day
from redbike.recurrence.wall import DAY_S, EPOCH_ORDINAL, LAST_WALL, Rule, never_reached, refuse_long_count

_COMPILE_STEPS = 50


def compile_rule(parts: Parts, start: int, effort: Effort) -> Rule:
    """The rule as it runs from `start` (wall seconds); raises BadRecurrence where it can never match."""
    effort.spend(_COMPILE_STEPS)
    rule = _without_count(parts, start, effort)
    return rule if parts.count is None else _Counted(rule, rule.nth(parts.count, effort))


def _without_count(parts: Parts, start: int, effort: Effort) -> Rule:
    if parts.freq >= WEEKLY and not (parts.by_month or parts.choose_days() or parts.choose_times()):
        return EvenRule(parts, start)
    day, second = divmod(start, DAY_S)
    ordinal = day + EPOCH_ORDINAL
    filters = _day_filters(parts, ordinal)
    if parts.freq > DAILY:
        return _within_days(parts, filters, start, effort)
    times = times_of_day(
        parts.by_hour or (second // 3600,),
        parts.by_minute or (second // 60 % 60,),
        parts.by_second or (second % 60,),
    )
    if parts.by_set_pos and parts.freq != DAILY:
        refuse_long_count(parts, "with BYSETPOS")
        return PositionRule(parts, filters, times, start)
    if parts.by_set_pos:
        times = ListedTimes([times.nth(index) for _, index in picked(times.count, 1, parts.by_set_pos)])
    return DayRule(FiringDays(filters, parts.freq, parts.interval, ordinal), times, start)


def _day_filters(parts: Parts, start_ordinal: int) -> DayFilters:
    """The parts that choose days; where none does, a YEARLY to WEEKLY rule keeps to the day of its start."""
    months, month_days = parts.by_month or (), parts.by_month_day or ()
    weekdays = tuple(sorted({day for day, nth in parts.by_day or () if not nth or parts.freq > MONTHLY}))
    nth_weekdays = tuple(pair for pair in parts.by_day or () if pair[1] and parts.freq <= MONTHLY)
    if not parts.choose_days():
        start = date.fromordinal(start_ordinal)
        if parts.freq == WEEKLY:
            weekdays = (start.weekday(),)
        elif parts.freq <= MONTHLY:
            month_days = (start.day,)
            if parts.freq == YEARLY:
                months = months or (start.month,)
    return DayFilters(
        parts.freq,
        parts.wkst,
        months,
        month_days,
        parts.by_year_day or (),
        parts.by_week_no or (),
        weekdays,
        nth_weekdays,
        parts.by_easter or (),
    )


def _within_days(parts: Parts, filters: DayFilters, start: int, effort: Effort) -> Rule:
    """An HOURLY to SECONDLY rule: as times of the day where its INTERVAL allows, else step by step."""
    day, second = divmod(start, DAY_S)
    clock = (second // 3600, second // 60 % 60, second % 60)
    limits = (parts.by_hour, parts.by_minute, parts.by_second)
    finest = parts.freq - HOURLY
    choices: list[Sequence[int]] = [
        limit or (range(size) if level <= finest else (at,))
        for level, (limit, size, at) in enumerate(zip(limits, (24, 60, 60), clock, strict=True))
    ]
    regular = None if parts.by_set_pos else _regular_times(choices, clock, finest, parts.interval)
    if regular is None:
        return StepRule(parts, filters, choices, start, effort)
    chosen, every_days = regular
    if not all(chosen):
        raise never_reached(parts)
    days = FiringDays(filters, DAILY, every_days, day + EPOCH_ORDINAL)
    return DayRule(days, times_of_day(*chosen), start)


def _regular_times(
    choices: list[Sequence[int]], clock: tuple[int, int, int], finest: int, interval: int
) -> tuple[list[list[int]], int] | None:
    """The hours, minutes and seconds that steps of `interval` from `clock` reach, and the days between them.

    None where the steps do not divide the clock's circle: then every day differs from the one before.
    """
    chosen = [list(choice) for choice in choices]
    for level in range(finest, -1, -1):
        size = (24, 60, 60)[level]
        if size % interval and interval % size:
            return None
        step = min(interval, size)
        chosen[level] = [value for value in chosen[level] if (value - clock[level]) % step == 0]
        interval = max(interval // size, 1)
    return chosen, interval


class _Counted:
    """A rule that ends with a known occurrence: COUNT, worked out once."""

    __slots__ = ("_last", "_rule")

    def __init__(self, rule: Rule, last: int | None) -> None:
        self._rule = rule
        self._last = LAST_WALL if last is None else last

    def after(self, wall: int, effort: Effort) -> int | None:
        if wall >= self._last:
            return None
        found = self._rule.after(wall, effort)
        return None if found is None or found > self._last else found

    def nth(self, number: int, effort: Effort) -> int | None:
        return self._rule.nth(number, effort)
