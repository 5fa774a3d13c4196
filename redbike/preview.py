"""Looking before you set: the next runs of a schedule, and what a person would want to be warned of.

Goes by the schedule text alone and asks no Redis; only a missing reference time is taken from this machine's clock.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

from redbike.schedule import EARLIEST, LATEST, Plan, Schedule, Step, read

MOST_RUNS = 1000
"""How many runs are told at the most, and followed to see whether the schedule ends."""

_FAR_S = 366 * 86_400
_PATIENCE_S = 1.0  # for following what is not told
_CLOCK_CHANGES_S = 366 * 86_400  # how far ahead to look for changes of the clock


@dataclass(frozen=True)
class Preview:
    """What a schedule would do."""

    runs: list[datetime]
    """The next runs, in UTC."""
    zone: ZoneInfo | None
    """The zone that the schedule names."""
    warnings: list[str]
    """What one might not have meant, a sentence each."""
    reason: str | None
    """Why the schedule cannot be used; None for one that can."""

    def lines(self) -> list[str]:
        """A line a run: in UTC and, where the schedule names a zone, by the clock there."""
        zone = self.zone
        stamps = [run.timestamp() for run in self.runs]
        return [_stamp(stamp) if zone is None else f"{_stamp(stamp)}  {_wall(stamp, zone)}" for stamp in stamps]


def next_runs(schedule: str, after: float | None = None, count: int = 5) -> Preview:
    """What `Redbike.set(jobid, schedule, after)` would bring: the next `count` runs after `after` (Unix seconds; now).

    Runs are assumed to be over before the next is due. Nothing is set, and no Redis is needed. Raises ValueError for a
    count that is not from 1 to 1,000, and for a time outside of the years 1 to 9999.
    """
    if not 1 <= count <= MOST_RUNS:
        raise ValueError(f"count: {count!r} is not a number of runs from 1 to {MOST_RUNS}")
    reference = time.time() if after is None else after
    if not EARLIEST <= reference <= LATEST:
        raise ValueError(f"after: {after!r} is not a time in Unix seconds within the years 1 to 9999")
    meant = read(schedule)
    plan = meant.first(reference)
    if plan.step is Step.BAD:
        return Preview([], None, [], plan.reason)
    zone = None if meant.zone is None else ZoneInfo(meant.zone)
    runs, last = _follow(meant, plan, reference, count)
    warnings = list(_warnings(plan, runs, last, count, reference))
    if zone is not None:
        warnings += _clock_changes(meant, zone, reference)
    return Preview([datetime.fromtimestamp(run, UTC) for run in runs[:count]], zone, warnings, None)


def _follow(schedule: Schedule, plan: Plan, reference: float, count: int) -> tuple[list[float], Plan]:
    """The times of the runs, as if each took no time, and the plan where they end or are followed no further."""
    runs = [reference] if plan.step is Step.QUEUE else []
    again = schedule if plan.registered == "STOP" else read(plan.registered)
    give_up_at = time.monotonic() + _PATIENCE_S
    while plan.step is Step.AT and plan.due_at is not None and len(runs) <= MOST_RUNS:
        runs.append(plan.due_at)
        if len(runs) > count and time.monotonic() > give_up_at:
            break
        plan = again.again(plan.due_at)
    return runs, plan


def _warnings(plan: Plan, runs: list[float], last: Plan, count: int, reference: float) -> Iterator[str]:
    if plan.registered == "CONTINUE":
        yield "runs again as soon as it is over, over and over: return seconds from work() for a pause"
        return
    if not runs:
        yield f"never runs: {plan.reason or 'STOP means just that'}"
        return
    if runs[0] < reference:
        yield f"{_stamp(runs[0])} has passed: runs at once"
    if plan.registered != "STOP" and last.step is not Step.AT:
        how_many = f"{len(runs)} more {'run' if len(runs) == 1 else 'runs'}, the last at {_stamp(runs[-1])}"
        yield f"ends after {how_many}" + (f", for then it is BAD: {last.reason}" if last.step is Step.BAD else "")
    if runs[0] - reference > _FAR_S:
        yield f"the first run is more than a year away, at {_stamp(runs[0])}"
    if any(later - earlier <= 1 for earlier, later in pairwise(runs[: count + 1])):
        yield "runs every second: a run that takes longer leaves out those that come due meanwhile"
    if read(plan.registered).begins_anew:
        yield "without DTSTART, each run begins the recurrence anew: times drift, and COUNT is never used up"


def _clock_changes(schedule: Schedule, zone: ZoneInfo, reference: float) -> Iterator[str]:
    """What becomes of the first run that each of the next two changes of the zone's clock touches."""
    steady = schedule.on_a_steady_clock()
    for at, before, after in islice(_changes(zone, int(reference)), 2):
        wall = steady.first(at + min(before, after) - 1).due_at
        if wall is None or wall >= at + max(before, after):
            continue
        shown = f"{datetime.fromtimestamp(wall, UTC):%Y-%m-%d %H:%M}"
        if after > before:
            # What is left out may come later, but not where a run of its own right stands.
            places = [run for run in (wall - before, at) if _is_run(schedule, run) and not _is_run(steady, run + after)]
            then = f"runs at {_wall(places[0], zone)} instead" if places else "no run of its own for it"
            yield f"the clock of {zone.key} skips {shown}: {then}"
        else:
            showings = [run for run in (wall - before, wall - after) if _is_run(schedule, run)]
            yield f"the clock of {zone.key} shows {shown} twice: {_at_which(showings, zone)}"


def _at_which(showings: list[float], zone: ZoneInfo) -> str:
    if len(showings) == 2:
        return "runs at both"
    return f"runs once, at {_wall(showings[0], zone)}" if showings else "no run"


def _changes(zone: ZoneInfo, reference: int) -> Iterator[tuple[int, int, int]]:
    """Changes of the zone's clock within a year: the instant, and the offsets before and after it, in seconds."""
    step = 7 * 86_400
    for start in range(reference, min(reference + _CLOCK_CHANGES_S, LATEST - 2 * step), step):
        before, after = _offset(zone, start), _offset(zone, start + step)
        if before != after:
            low, high = start, start + step
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
            yield high, before, after


def _offset(zone: ZoneInfo, instant: int) -> int:
    offset = datetime.fromtimestamp(instant, zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def _is_run(schedule: Schedule, instant: float) -> bool:
    return schedule.first(instant - 1).due_at == instant


def _stamp(instant: float) -> str:
    return f"{datetime.fromtimestamp(instant, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _wall(instant: float, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(instant, zone).isoformat(sep=" ", timespec="seconds")
