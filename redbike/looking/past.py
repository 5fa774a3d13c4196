"""What became of the occurrence of a job's schedule at a given time: it ran, will run, or why it did not.

The present schedule says what was due. Earlier schedules are not kept, so the sentences say only what is known.
"""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from redbike.looking import sentences
from redbike.looking.facts import Facts, Past
from redbike.looking.overview import Overview, look
from redbike.looking.rows import State
from redbike.looking.sentences import Reason, sentence
from redbike.looking.why import obstacles, reasons, unknown
from redbike.looking.words import ahead, duration, exact, length, moment
from redbike.schedule.forms import read
from redbike.schedule.plan import Action, Schedule
from redbike.store.history import Record

if TYPE_CHECKING:
    from redbike.bike import Redbike

_NEAR_S = 60.0
_STEPS_S = (1.0, 60.0, 3600.0, 86_400.0, 7 * 86_400.0, 31 * 86_400.0, 366 * 86_400.0, 10 * 366 * 86_400.0)
_FAILED = ("failed", "lost", "bad", "stopped")
_NO_RUNS = frozenset({"later", "late"})  # records that do not count as runs of the job


def explained(bike: "Redbike", jobid: str, at: float | None) -> tuple[Overview, list[Reason]]:
    """Return a look at the fleet, and the sentences on a job: what it does now, or its occurrence at a Unix time."""
    overview = look(bike, [bike._parts.keys.queue_name(bike._parts.queue_for_any(jobid))])
    return overview, reasons(bike, jobid, overview) if at is None else occurrence(bike, jobid, at, overview)


def occurrence(bike: "Redbike", jobid: str, time: float, overview: Overview | None = None) -> list[Reason]:
    """Return what became of the occurrence of the job's schedule at this Unix time, or what will become of it."""

    facts = Facts.read(bike, jobid, overview)
    past = Past.read(bike, jobid)
    if facts.row is None and not past.records:
        return unknown(bike, jobid)
    found = explain(facts, past, time)
    return [Reason(sentence(text), is_wrong) for text, is_wrong in found]


def explain(facts: Facts, past: Past, time: float) -> list[Reason]:
    """Return the sentences, without capitals and full stops. Pure."""
    now = facts.overview.now
    meant = read(facts.schedule) if facts.schedule is not None else None
    if meant is None or meant.first(now).action is not Action.AT or not meant.needs_reference:
        return list(_without_times(facts, past, time))
    if meant.restarts:
        said = Reason("its schedule has no DTSTART: its times count from the end of each run, so they are not known")
        return [said, *_without_times(facts, past, time)]
    before, after = _last_up_to(meant, time), meant.first(time).due_at
    near = [due for due in (before, after) if due is not None]
    if not near:
        return [Reason(f"its schedule has no occurrence before or after {_at(time, now)}")]
    due = min(near, key=lambda one: (abs(one - time), one))
    if abs(due - time) <= _NEAR_S:
        found = [Reason(f"an occurrence of its schedule {'is' if due > now else 'was'} due at {_at(due, now)}")]
    else:
        named = " and ".join(_at(one, now) for one in near)
        found = [Reason(f"no occurrence of its schedule was due at {_at(time, now)}: the nearest {_is(near)} {named}")]
        if before is None:
            found.append(Reason(f"its schedule begins at {_at(due, now)}, after the time that you asked about"))
            return found
        found.append(Reason(f"this is what became of the occurrence at {_at(due, now)}"))
    return [*found, *(_will_run(facts, due) if due > now else _has_run(facts, past, due))]


def _is(times: Sequence[float]) -> str:
    return "is" if len(times) == 1 else "are"


def _last_up_to(meant: Schedule, time: float) -> float | None:
    """Return the last occurrence at or before this time."""
    step = next((step for step in _STEPS_S if _is_up_to(meant, time - step, time)), None)
    if step is None:
        return None
    low, high = time - step, time
    while high - low > 0.5:
        middle = (low + high) / 2
        low, high = (middle, high) if _is_up_to(meant, middle, time) else (low, middle)
    return meant.first(low).due_at


def _is_up_to(meant: Schedule, reference: float, time: float) -> bool:
    due = meant.first(reference).due_at
    return due is not None and due <= time


def _will_run(facts: Facts, due: float) -> Iterator[Reason]:
    now, row = facts.overview.now, facts.row
    if row is None:
        return
    if row.state is State.PAUSED:
        pause = facts.pause or {}
        until = pause.get("until")
        if isinstance(until, int | float) and until < due:
            yield Reason(f"it will run then: the job is paused, but resumes earlier, at {_at(until, now)}")
        else:
            yield Reason(f"it will not run unless the job is resumed: it is paused{sentences.by(pause, now)}")
    elif row.state in (State.FAILED, State.TIMED_OUT, State.LOST, State.BAD, State.STOPPED, State.NEW):
        yield Reason(
            f"it will not run: the state of the job is {row.state.value!r}; redbike why without a time says more", True
        )
    elif row.next_run == due:
        yield Reason(f"it will run then, {ahead(due - now)}: it is on the timeline")
    else:
        yield Reason(f"it will run then, {ahead(due - now)}, if the previous run has ended by then")


def _has_run(facts: Facts, past: Past, due: float) -> Iterator[Reason]:
    """Yield what became of an occurrence in the past."""
    runs = [record for record in past.records if abs(record.due - due) < 1]
    if runs:
        for record in reversed(runs):
            yield _told(record, facts.overview.now)
        return
    row = facts.row
    planned = None if facts.planned is None else facts.planned.due
    state = None if row is None else row.state
    if state in (State.QUEUED, State.RUNNING) and planned is not None and abs(planned - due) < 1:
        yield Reason(
            f"this run has been {'in progress' if state is State.RUNNING else 'waiting in its queue'}{_since(facts)}"
        )
    elif row is not None and state is State.DUE and row.next_run == due:
        yield Reason("it is still due: no dispatcher has queued it", True)
    elif reason := next(iter(_why_not(facts, past, due)), None):
        yield reason
    if (state is State.QUEUED and planned is not None and planned <= due) or (
        state is State.DUE and row is not None and row.next_run is not None and row.next_run <= due
    ):
        yield from obstacles(facts)


def _why_not(facts: Facts, past: Past, due: float) -> Iterator[Reason]:
    """Yield why an occurrence has no separate run. The first reason is the best."""
    now, row = facts.overview.now, facts.row
    for record in past.records:
        if record.due < due <= record.began:
            yield Reason(
                f"it was coalesced with the run that was due at {_at(record.due, now)}{_late(record)}: one run"
                f" for several occurrences. {_told(record, now).text}"
            )
        elif record.began < due < record.ended:
            yield Reason(f"it was skipped, because the previous run was in progress: {_told(record, now).text}")
    if row is not None and row.state is State.RUNNING and row.since is not None and row.since <= due:
        yield Reason(f"it was skipped, because the present run has been in progress{_since(facts)}")
    planned = None if facts.planned is None else facts.planned.due
    if row is not None and row.state in (State.QUEUED, State.RUNNING) and planned is not None and planned < due:
        yield Reason(
            f"it is coalesced with the run that was due at {_at(planned, now)}, which is {row.state.value} now"
        )
    if row is not None and row.state is State.DUE and row.next_run is not None and row.next_run < due:
        yield Reason(
            f"it is coalesced with the run that has been due since {_at(row.next_run, now)}: no"
            " dispatcher has queued this run",
            True,
        )
    paused_at = None
    if row is not None and row.state is State.PAUSED:
        noted = (facts.pause or {}).get("since")
        paused_at = float(noted) if isinstance(noted, int | float) else row.since
        if paused_at is not None and paused_at <= due:
            yield Reason(f"it did not run, because the job is paused{sentences.by(facts.pause or {}, now)}")
    if facts.policy.history == 0 and past.reaches_to is None:
        yield Reason("whether it ran is not known: the history is off (history: 0)")
        return
    yield from _after_a_failure(facts, past, due)
    if not _is_all(facts, past) and (past.reaches_to is None or past.reaches_to > due):
        reach = "is empty" if past.reaches_to is None else f"reaches back only to {_at(past.reaches_to, now)}"
        if (set_at := _first_known(facts, past)) is not None and set_at > due:
            reach += f", and the earliest trace of the job is from {_at(set_at, now)}"
        yield Reason(f"whether it ran is not known: the history {reach}")
        return
    set_at = _first_known(facts, past)
    if set_at is not None and set_at > due:
        yield Reason(
            f"it did not run: nothing is known of the job before {_at(set_at, now)}, so it may have been set then"
        )
    meant = read(facts.schedule or "STOP")
    if _last_up_to(meant, due - 1) is None:
        yield Reason(
            "its schedule begins at this time: a job that is set then runs first at the next time of its schedule"
        )
    yield Reason(
        "it did not run, and nothing in Redis says why: the job may have had another schedule at that time", True
    )


def _after_a_failure(facts: Facts, past: Past, due: float) -> Iterator[Reason]:
    """Yield the run after which the job did not continue."""
    now, row = facts.overview.now, facts.row
    before = next((record for record in past.records if record.ended <= due and record.outcome not in _NO_RUNS), None)
    if before is None or before.outcome not in _FAILED:
        return
    later = [record for record in past.records if record.due > due]
    told = _told(before, now).text
    if later:
        yield Reason(
            f"it did not run. After the previous run, the job did not continue for a while: {told}. Its next run was "
            f"due at {_at(later[-1].due, now)}",
            True,
        )
    elif row is not None and row.next_run is not None:
        yield Reason(f"it did not run. After the previous run, the job did not continue for a while: {told}", True)
    else:
        yield Reason(f"it did not run, because the job did not continue after the previous run: {told}", True)


def _is_all(facts: Facts, past: Past) -> bool:
    """Return whether the history has all runs of the job since it was set first."""
    if facts.row is None:
        return False
    if facts.row.last is None:
        return facts.policy.history > 0
    runs = sum(record.outcome not in _NO_RUNS for record in past.records)
    return runs >= int(str(facts.row.last["count"]))


def _first_known(facts: Facts, past: Past) -> float | None:
    """Return the earliest time at which the job surely existed: by its runs, or else by its last event."""
    if past.records:
        return min(past.records[-1].due, past.records[-1].began)
    return None if facts.row is None or facts.row.since is None else float(facts.row.since)


def _without_times(facts: Facts, past: Past, time: float) -> Iterator[Reason]:
    """Yield the runs near a time, for a job whose schedule does not say what was due."""
    now, row = facts.overview.now, facts.row
    due = None if row is None else row.next_run
    if time > now:
        if due is not None and abs(due - time) <= _NEAR_S:
            yield Reason(f"it will run at {_at(due, now)}, {ahead(due - now)}: it is on the timeline")
        elif due is not None:
            yield Reason(
                f"no run is planned at {_at(time, now)}: the next is due at {_at(due, now)}, {ahead(due - now)}"
            )
        else:
            yield Reason(f"no run is planned at {_at(time, now)}")
        return
    near = [record for record in past.records if _distance(record, time) <= _NEAR_S]
    if near:
        for record in reversed(near):
            yield _told(record, now)
        return
    if facts.policy.history == 0 and past.reaches_to is None:
        yield Reason("whether it ran then is not known: the history is off (history: 0)")
        return
    if row is not None and row.state is State.RUNNING and row.since is not None and row.since <= time:
        yield Reason(f"it was running then: the present run has been in progress{_since(facts)}")
        return
    is_known = (past.reaches_to is not None and past.reaches_to <= time) or _is_all(facts, past)
    if is_known:
        yield Reason(f"no run of the job was due or in progress at {_at(time, now)}")
    else:
        reach = "is empty" if past.reaches_to is None else f"reaches back only to {_at(past.reaches_to, now)}"
        yield Reason(f"whether it ran at {_at(time, now)} is not known: the history {reach}")
    if past.records:
        nearest = min(past.records, key=lambda record: _distance(record, time))
        yield Reason(f"the nearest run: {_told(nearest, now).text}")


def _distance(record: Record, time: float) -> float:
    """Return the seconds between a time and a run, from its due time to its end."""
    return max(0.0, min(record.due, record.began) - time, time - record.ended)


def _told(record: Record, now: float) -> Reason:
    """Return what became of a run."""
    took = duration(record.ended - record.began)
    words = f"the run that was due at {_at(record.due, now)} began at {_at(record.began, now)}{_late(record)}"
    words += f", and ended after {took}: {record.outcome}"
    if record.attempt > 1:
        words += f" (attempt {record.attempt})"
    noticed = record.outcome == "lost"
    if record.worker:
        words += f", {'noticed by' if noticed else 'on'} {record.worker}"
    if record.error:
        words += f" ({record.error})"
    return Reason(words, record.outcome in ("failed", "lost", "bad", "late"))


def _late(record: Record) -> str:
    late_s = record.began - record.due
    return f", {length(late_s)} late" if late_s >= 1 else ""


def _since(facts: Facts) -> str:
    row = facts.row
    return "" if row is None or row.since is None else f" {sentences.since(row.since, facts.overview.now)}"


def _at(stamp: float, now: float) -> str:
    """Return a time on the clock of this machine, to the second."""
    short = moment(stamp, now)
    return short if len(short) == 8 and math.isfinite(stamp) else exact(stamp)[:19]
