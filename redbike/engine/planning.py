"""Check and plan a `set`: the job id, its schedule, and its next action. This module calls neither Redis nor a clock.

outcome.py decides the next action after a run.
"""

import logging
from collections.abc import Callable

from redbike.errors import JobIdError
from redbike.schedule.forms import read
from redbike.schedule.plan import Action, Plan
from redbike.store.jobid import Collisions, jobid_fault
from redbike.store.messages import Placement
from redbike.worker import Worker


class Planner:
    """Plan the jobs of one prefix."""

    def __init__(
        self, collisions: Collisions, worker: Worker, queue_key_for: Callable[[str], str], log: logging.Logger
    ) -> None:
        self._collisions = collisions
        self._worker = worker
        self._queue_key_for = queue_key_for
        self._log = log

    def plan(self, jobid: str, schedule: str, reference: Callable[[], float]) -> tuple[Plan, Placement]:
        """Return the plan and the placement of a job with this schedule.

        Call `reference` only if the plan depends on it. Plan a schedule that cannot be read as `BAD`. Raise JobIdError
        for an id that cannot be registered.
        """
        queue_key = self.check(jobid)
        if not isinstance(schedule, str):
            raise TypeError(f"job {jobid!r}: a schedule is text or None, not {type(schedule).__name__}")
        meant = read(schedule)
        plan = meant.first(reference() if meant.needs_reference else 0)
        if plan.action is Action.BAD:
            self._log.warning("job %r is BAD: %s", jobid, plan.reason, extra={"bad_schedule": True})
        elif plan.action is Action.STOP and plan.reason is not None:
            self._log.warning("job %r will not run: %s", jobid, plan.reason)
        once = plan.registered == "STOP" and plan.action is not Action.STOP
        return plan, Placement(jobid, queue_key, plan.registered, plan.action, plan.due_at, once)

    def run_now(self, jobid: str) -> Placement:
        """Return the placement of a job that runs once now, whatever its schedule is. Raise JobIdError."""
        return Placement(jobid, self.check(jobid), None, Action.QUEUE, once=True)

    def again(self, jobid: str, schedule: str, now: float) -> Placement | None:
        """Return the placement of a job as if its run had just ended. Return None if it has no further run."""
        plan = read(schedule).again(now)
        if not plan.leads_on:
            return None
        return Placement(jobid, self._queue_key_for(jobid), schedule, plan.action, plan.due_at)

    def check(self, jobid: str) -> str:
        """Return the key of the job's queue. Raise JobIdError for an id that cannot be registered."""
        fault = jobid_fault(jobid)
        if fault is not None:
            raise JobIdError(fault)
        queue_key = self._queue_key_for(jobid)
        collision = self._collisions.of(jobid, queue_key, self._worker.queue_for, self._worker.queue_names())
        if collision is not None:
            raise JobIdError(
                f"job id {jobid!r} would share the key {collision!r} with another use: choose another job id"
            )
        return queue_key
