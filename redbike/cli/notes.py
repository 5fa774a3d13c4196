"""Write what commands say to a person: what a command has replaced, what is missing, and when a job runs next."""

import shlex
from datetime import UTC, datetime

from redbike.schedule.plan import Action, Plan

_MOST_NAMED = 5  # queues
_UNITS = ((86_400, "days", 2), (3_600, "h", 2), (60, "min", 2), (1, "s", 0))
"""Seconds, name, and from how many units on a time is given in this unit."""


def replaced(jobid: str, schedule: str, former: str, conf: str | None) -> str:
    """Return the warning that a run has taken the place of a recurring schedule, and how to put that back."""
    option = f" --config {shlex.quote(conf)}" if conf else ""
    back = former.replace("\n", "\\n")
    line = (
        f"job {jobid!r}: {schedule} replaced its schedule; to put that back: redbike{option} set {shlex.quote(jobid)}"
        f" {shlex.quote(back)}"
    )
    if schedule.strip() == "NOW":
        line += f"; the next time, run it and keep the schedule: redbike{option} enqueue {shlex.quote(jobid)}"
    return line


def unserved(jobid: str, queue: str, served: list[str]) -> str:
    """Return the warning that the configured worker does not take a job."""
    names = list(dict.fromkeys(served))
    shown = ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
    return (
        f"job {jobid!r} goes into the queue {queue!r}, which the configured worker does not serve (it serves {shown}):"
        " start a worker that does, or choose another job id"
    )


def outlook(jobid: str, plan: Plan, now: float) -> str:
    """Return what comes next for a job, in one line."""
    if plan.action is Action.QUEUE:
        return f"{jobid}: queued"
    if plan.due_at is None:
        return f"{jobid}: no further run"
    if plan.due_at <= now:
        return f"{jobid}: next run now"
    return f"{jobid}: next run {_utc(plan.due_at)}, in {_length(plan.due_at - now)}"


def _utc(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).replace(tzinfo=None).isoformat(" ", "seconds") + " UTC"


def _length(seconds: float) -> str:
    size, name = next((size, name) for size, name, least in _UNITS if seconds >= least * size)
    return f"{seconds / size:.0f} {name}"
