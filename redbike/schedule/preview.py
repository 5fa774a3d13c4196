"""A preview of a schedule: its next runs, and warnings about surprises.

Uses only the schedule text, and no Redis. Without a reference time, it reads the clock of this machine.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

from redbike.schedule.forms import EARLIEST, LATEST, read
from redbike.schedule.plan import Action, Plan, Schedule
from redbike.schedule.rrule.clock import Clock
from redbike.schedule.rrule.errors import BadRecurrence

MOST_RUNS = 1000
"""The most runs in a preview. This many runs are also computed to find out whether the schedule ends."""

_FAR_S = 366 * 86_400
_FOLLOW_S = 0.03  # how much time of the processor the runs may take beyond those that are shown
_CLOCK_CHANGES_S = 366 * 86_400  # how far ahead to look for changes of the clock


@dataclass(frozen=True)
class Preview:
    """The next runs of a schedule, and what is surprising about it."""

    runs: list[datetime]
    """The next runs, in UTC."""
    zone: ZoneInfo | None
    """The zone that the schedule names."""
    warnings: list[str]
    """Effects that the user may not expect, one sentence each."""
    reason: str | None
    """Why the schedule is BAD; None if it is not."""

    def lines(self) -> list[str]:
        """Return one line per run: in UTC and, if the schedule names a zone, also in that zone."""
        zone = self.zone
        stamps = [run.timestamp() for run in self.runs]
        return [
            _stamp(stamp) if zone is None else f"{_stamp(stamp)}  {_wall(stamp, zone)}".rstrip() for stamp in stamps
        ]


def next_runs(schedule: str, after: float | None = None, count: int = 5) -> Preview:
    """Return the next `count` runs that `Redbike.set(jobid, schedule, after)` would plan.

    `after` is in Unix seconds; the default is now. The preview assumes that each run ends before the next is due.
    Nothing is set, and no Redis is needed. Raise ValueError if `count` is not a whole number from 1 to 1,000, or if
    `after` is not a number, or is outside the years 1 to 9999.
    """
    if not isinstance(count, int) or not 1 <= count <= MOST_RUNS:
        raise ValueError(f"count: {count!r} is not a number of runs from 1 to {MOST_RUNS}")
    reference = time.time() if after is None else after
    if not isinstance(reference, (int, float)) or not EARLIEST <= reference <= LATEST:
        raise ValueError(f"after: {after!r} is not a time in Unix seconds within the years 1 to 9999")
    meant = read(schedule)
    plan = meant.first(reference)
    if plan.action is Action.BAD:
        return Preview([], None, [], plan.reason)
    zone = None if meant.zone is None else ZoneInfo(meant.zone)
    runs, last = _follow(meant, plan, reference, count)
    warnings = [*_warnings(plan, runs, last, count, reference), *meant.warnings(reference)]
    if zone is not None:
        warnings += _clock_changes(meant, zone, reference)
    return Preview([datetime.fromtimestamp(run, UTC) for run in runs[:count]], zone, warnings, None)


def _follow(schedule: Schedule, plan: Plan, reference: float, count: int) -> tuple[list[float], Plan]:
    """Return the times of the runs, as if a run took no time, and the plan after the last of them."""
    runs = [reference] if plan.action is Action.QUEUE else []
    again = schedule if plan.registered == "STOP" else read(plan.registered)
    most = MOST_RUNS if schedule.may_end else count
    give_up_at = None
    while plan.action is Action.AT and plan.due_at is not None and len(runs) <= most:
        runs.append(plan.due_at)
        if len(runs) > count:
            give_up_at = give_up_at or time.thread_time() + _FOLLOW_S
            if time.thread_time() > give_up_at:
                break
        plan = again.again(plan.due_at)
    return runs, plan


def _warnings(plan: Plan, runs: list[float], last: Plan, count: int, reference: float) -> Iterator[str]:
    if plan.registered == "CONTINUE":
        yield "runs again as soon as a run ends: return seconds from work() for a pause"
        return
    if not runs:
        yield f"never runs: {plan.reason or 'the schedule is STOP'}"
        return
    if runs[0] < reference:
        yield f"{_stamp(runs[0])} has passed: runs at once"
    if plan.registered != "STOP" and last.action is not Action.AT:
        how_many = f"{len(runs)} more {'run' if len(runs) == 1 else 'runs'}, the last at {_stamp(runs[-1])}"
        yield f"ends after {how_many}" + (
            f", because then it is BAD: {last.reason}" if last.action is Action.BAD else ""
        )
    if runs[0] - reference > _FAR_S:
        yield f"the first run is more than a year away, at {_stamp(runs[0])}"
    if any(later - earlier <= 1 for earlier, later in pairwise(runs[: count + 1])):
        yield "runs every second: a run that takes longer skips the runs that become due meanwhile"


def _clock_changes(schedule: Schedule, zone: ZoneInfo, reference: float) -> Iterator[str]:
    """Yield what happens to the first run that each of the next two changes of the zone's clock affects."""
    try:
        steady = schedule.read_as_utc()
    except BadRecurrence:
        return  # without the changes of the clock, COUNT is too costly
    for at, before, after in islice(_changes(zone, int(reference)), 2):
        wall = steady.first(at + min(before, after) - 1).due_at
        if wall is None or wall >= at + max(before, after):
            continue
        shown = _stamp(wall)[:16]
        if after > before:
            # A skipped run may come later, but not at a time that has a run anyway.
            places = [run for run in (wall - before, at) if _is_run(schedule, run) and not _is_run(steady, run + after)]
            then = f"runs at {_wall(places[0], zone)} instead" if places else "this run is left out"
            yield f"the clock of {zone.key} skips {shown}: {then}"
        else:
            showings = [run for run in (wall - before, wall - after) if _is_run(schedule, run)]
            yield f"the clock of {zone.key} shows {shown} twice: {_at_which(showings, zone)}"


def _at_which(showings: list[float], zone: ZoneInfo) -> str:
    if len(showings) == 2:
        return "runs at both"
    return f"runs once, at {_wall(showings[0], zone)}" if showings else "no run"


def _changes(zone: ZoneInfo, reference: int) -> Iterator[tuple[int, int, int]]:
    """Yield the changes of a zone's clock within a year: the instant, and the offsets before and after, in seconds."""
    clock, step = Clock(zone), 7 * 86_400
    for start in range(reference, min(reference + _CLOCK_CHANGES_S, LATEST - 2 * step), step):
        before, after = clock.at(start), clock.at(start + step)
        if before != after:
            yield clock.change_between(start, start + step), before, after


def _is_run(schedule: Schedule, instant: float) -> bool:
    return schedule.first(instant - 1).due_at == instant


def _stamp(instant: float) -> str:
    return f"{datetime.fromtimestamp(instant, UTC).replace(tzinfo=None).isoformat(sep=' ', timespec='seconds')} UTC"


def _wall(instant: float, zone: ZoneInfo) -> str:
    try:
        return datetime.fromtimestamp(instant, zone).isoformat(sep=" ", timespec="seconds")
    except (OverflowError, ValueError):
        return ""  # there, it is a day before the year 1, or after the year 9999
