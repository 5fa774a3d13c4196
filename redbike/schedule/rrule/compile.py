"""From the parts of a rule and its start to a rule of the right kind, which ends where COUNT says."""

from collections.abc import Sequence
from datetime import date

from redbike.schedule.rrule.clock import DAY_S, EPOCH_ORDINAL, LAST_WALL
from redbike.schedule.rrule.days import DAILY, HOURLY, MONTHLY, WEEKLY, YEARLY, DayFilters
from redbike.schedule.rrule.errors import Budget
from redbike.schedule.rrule.firing import FiringDays, ListedTimes, picked, times_of_day
from redbike.schedule.rrule.rules import (
    DayRule,
    EvenRule,
    PositionRule,
    Rule,
    count_within_budget,
    never_reached,
    refuse_long_count,
)
from redbike.schedule.rrule.step_rule import StepRule
from redbike.schedule.rrule.text import Parts

_COMPILE_STEPS = 50


def compile_rule(parts: Parts, start: int, budget: Budget) -> Rule:
    """Return the rule as it runs from `start` (wall seconds). Raise BadRecurrence if it can never match."""
    budget.spend(_COMPILE_STEPS)
    rule = _without_count(parts, start, budget)
    return rule if parts.count is None else _Counted(rule, count_within_budget(rule.nth, parts, budget))


def _without_count(parts: Parts, start: int, budget: Budget) -> Rule:
    if parts.freq >= WEEKLY and not (parts.by_month or parts.choose_days() or parts.choose_times()):
        return EvenRule(parts, start)
    day, second = divmod(start, DAY_S)
    ordinal = day + EPOCH_ORDINAL
    filters = _day_filters(parts, ordinal)
    if parts.freq > DAILY:
        return _within_days(parts, filters, start, budget)
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
    """Return the parts that choose days. Without such parts, a YEARLY to WEEKLY rule keeps to the day of its start."""
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


def _within_days(parts: Parts, filters: DayFilters, start: int, budget: Budget) -> Rule:
    """Return an HOURLY to SECONDLY rule: with the same times each day if its INTERVAL allows, else a StepRule."""
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
        return StepRule(parts, filters, choices, start, budget)
    chosen, every_days = regular
    if not all(chosen):
        raise never_reached(parts)
    days = FiringDays(filters, DAILY, every_days, day + EPOCH_ORDINAL)
    return DayRule(days, times_of_day(*chosen), start)


def _regular_times(
    choices: list[Sequence[int]], clock: tuple[int, int, int], finest: int, interval: int
) -> tuple[list[list[int]], int] | None:
    """Return the hours, minutes and seconds that steps of `interval` from `clock` reach, and the days between them.

    Return None if the steps do not divide the clock's circle: then every day differs from the day before.
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
    """A rule that ends with a known occurrence: COUNT, computed once."""

    __slots__ = ("_last", "_rule")

    def __init__(self, rule: Rule, last: int | None) -> None:
        self._rule = rule
        self._last = LAST_WALL if last is None else last

    def after(self, wall: int, budget: Budget) -> int | None:
        if wall >= self._last:
            return None
        found = self._rule.after(wall, budget)
        return None if found is None or found > self._last else found

    def nth(self, number: int, budget: Budget) -> int | None:
        return self._rule.nth(number, budget)
