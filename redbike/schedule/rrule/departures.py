"""What a recurrence does otherwise than its author may expect, one sentence each.

Redbike keeps the answers of python-dateutil where these depart from RFC 5545 (docs/recurrence.md), and warns.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from redbike.schedule.rrule.clock import instant_of
from redbike.schedule.rrule.days import FREQUENCY_NAMES, HOURLY, MONTHLY, WEEKDAYS, WEEKLY, YEARLY
from redbike.schedule.rrule.errors import Budget, Unfound
from redbike.schedule.rrule.lines import Lines
from redbike.schedule.rrule.text import Parts

if TYPE_CHECKING:
    from redbike.schedule.rrule.recurrence import Occurrences

# EXDATEs that are compared with the runs of each rule, and EXDATEs that a warning names.
_MOST_COMPARED = 100
_MOST_NAMED = 3


def of_text(lines: Lines, occurrences: "Occurrences | None") -> list[str]:
    """Return what does not depend on the time. `occurrences` is None for a recurrence that starts again each time."""
    found = [warning for parts in lines.rules + lines.excluded_rules for warning in _of_rule(parts)]
    if occurrences is not None:
        found += _of_exclusions(lines, occurrences)
    return list(dict.fromkeys(found))


def of_start(lines: Lines, occurrences: "Occurrences | None", reference: float) -> Iterator[str]:
    """Yield what happens at DTSTART, unless that is over and no COUNT counts from there."""
    start = lines.start
    if start is None or occurrences is None:
        return
    instant = instant_of(start, occurrences.zone)
    counts = any(parts.count for parts in lines.rules)
    if (counts or instant > reference) and not _has_run(occurrences, instant, instant, Budget()):
        yield f"DTSTART {_shown(start)} is not a run, because no rule matches it; in RFC 5545 it is the first run"
    for parts in lines.rules:
        in_first_week = counts or instant + 7 * 86_400 > reference
        if parts.freq == WEEKLY and parts.by_set_pos and start.weekday() != parts.wkst and in_first_week:
            yield (
                "BYSETPOS counts in the first week from DTSTART, and in RFC 5545 from the beginning of that week:"
                f" let DTSTART be a day {WEEKDAYS[parts.wkst]}"
            )


def _of_rule(parts: Parts) -> Iterator[str]:
    name = FREQUENCY_NAMES[parts.freq]
    other_days = parts.by_day or parts.by_year_day or parts.by_easter
    if parts.freq == YEARLY and not other_days:
        if parts.by_month_day and not (parts.by_week_no or parts.by_month):
            yield "YEARLY with BYMONTHDAY runs in each month: add BYMONTH for one month a year"
        if parts.by_week_no and not parts.by_month_day:
            yield "YEARLY with BYWEEKNO runs on all seven days of the week: add BYDAY for one day"
    ordinals = {bool(nth) for _, nth in parts.by_day or ()}
    if parts.freq <= MONTHLY and len(ordinals) == 2:
        yield "BYDAY with a plain weekday and a numbered one runs only on days that match both: write two rules"
    if parts.freq > MONTHLY and True in ordinals:
        yield f"the numbers in BYDAY have no effect in a {name} rule: leave them out, or write FREQ=MONTHLY"
    for part, is_given, allowed in (
        ("BYWEEKNO", parts.by_week_no, parts.freq == YEARLY),
        ("BYYEARDAY", parts.by_year_day, parts.freq == YEARLY or parts.freq >= HOURLY),
        ("BYMONTHDAY", parts.by_month_day, parts.freq != WEEKLY),
    ):
        if is_given and not allowed:
            yield f"{part} in a {name} rule only narrows its days; RFC 5545 does not allow it"
    if {52, 53, -52, -53} & {*(parts.by_week_no or ())}:
        yield "BYWEEKNO=52, 53, -52 and -53 count some days about New Year otherwise than ISO 8601"
    if parts.count and parts.until:
        yield "a rule has COUNT and UNTIL: the end that comes first counts; RFC 5545 does not allow both"
    if parts.repeated:
        yield "a rule has a part twice: the last value counts"


def _of_exclusions(lines: Lines, occurrences: "Occurrences") -> Iterator[str]:
    budget = Budget()
    unused = []
    compared = _MOST_COMPARED // max(len(lines.rules), 1)
    for moment in lines.excluded_dates[:compared]:
        instant = instant_of(moment, occurrences.zone)
        if not _has_run(occurrences, instant, instant, budget):
            unused.append(_shown(moment))
    for day in lines.excluded_days[:compared]:
        if not _has_run(occurrences, *occurrences.span_of(day), budget):
            unused.append(day.isoformat())
    unused = list(dict.fromkeys(unused))
    if unused:
        more = f" and {len(unused) - _MOST_NAMED} more" if len(unused) > _MOST_NAMED else ""
        yield f"EXDATE {', '.join(unused[:_MOST_NAMED])}{more}: no run is left out, because there is none then"


def _has_run(occurrences: "Occurrences", first: int, last: int, budget: Budget) -> bool:
    try:
        return occurrences.has_run(first, last, budget)
    except Unfound:
        return True  # nobody knows: no warning


def _shown(moment: datetime) -> str:
    is_utc = moment.tzinfo is not None and moment.utcoffset() == timedelta(0)
    return moment.replace(tzinfo=None).isoformat(" ") + (" UTC" if is_utc else "")
