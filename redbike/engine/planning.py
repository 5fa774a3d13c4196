"""Check and plan a `set`: the job id, its schedule, and its next action. This module calls neither Redis nor a clock.

outcome.py decides the next action after a run.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from redbike.errors import JobIdError, PayloadError, ScheduleError
from redbike.schedule.forms import EARLIEST, LATEST, read, shown
from redbike.schedule.plan import Action, Plan
from redbike.store.jobid import Collisions, jobid_fault
from redbike.store.messages import Placement
from redbike.worker import Worker

MAX_PAYLOAD_BYTES = 1_048_576
_MOST_REMEMBERED = 10_000  # queues


def check_payload(jobid: str, payload: str | None) -> None:
    """Raise PayloadError or TypeError for a payload that cannot be kept."""
    if payload is None:
        return
    if not isinstance(payload, str):
        raise TypeError(f"job {jobid!r}: a payload is text, not {type(payload).__name__}: use json.dumps()")
    try:
        size = len(payload.encode())
    except UnicodeEncodeError:
        raise PayloadError(f"job {jobid!r}: its payload is not valid UTF-8") from None
    if size > MAX_PAYLOAD_BYTES:
        raise PayloadError(
            f"job {jobid!r}: its payload has {size} bytes: at most {MAX_PAYLOAD_BYTES} are allowed; keep the data"
            " elsewhere, and its name in the payload"
        )


def check_time(name: str, value: float) -> float:
    """Return the value if it is a time in Unix seconds of the years 1 to 9999. Raise ValueError."""
    if not EARLIEST <= value <= LATEST:
        raise ValueError(f"{name}: {value!r} is not a time in Unix seconds")
    return float(value)


class Planner:
    """Plan the jobs of one prefix."""

    def __init__(
        self, collisions: Collisions, worker: Worker, queue_key_for: Callable[[str], str], log: logging.Logger
    ) -> None:
        self._collisions = collisions
        self._worker = worker
        self._queue_key_for = queue_key_for
        self._log = log

    def plan(
        self,
        jobid: str,
        schedule: str,
        reference: Callable[[], float],
        registered: Callable[[], str | None] | None = None,
        payload: str | None = None,
        first: float | None = None,
    ) -> tuple[Plan, Placement]:
        """Return the plan and the placement of a job with this schedule.

        `payload`: None leaves the payload of the job as it is. `first`: the time of the first run, Unix seconds.
        `reference` is called only if the plan depends on it. A schedule that cannot be read is planned as `BAD`. But
        if `registered` is given and returns a schedule that can be read, raises ScheduleError instead. Raises
        JobIdError for an id that cannot be registered.
        """
        queue_key = self.check(jobid)
        check_payload(jobid, payload)
        if not isinstance(schedule, str):
            raise TypeError(f"job {jobid!r}: a schedule is text or None, not {type(schedule).__name__}")
        meant = read(schedule)
        after = reference() if meant.needs_reference else 0
        plan = meant.first(after)
        if plan.action is not Action.BAD and (warnings := meant.warnings(after)):
            plan = replace(plan, warnings=tuple(warnings))
        if plan.action is Action.BAD:
            kept = registered() if registered else None
            if kept is not None and read(kept).first(reference()).action is not Action.BAD:
                raise ScheduleError(f"job {jobid!r} keeps its schedule {shown(kept)}: {plan.reason}")
            self._log.warning("job %r is BAD: %s", jobid, plan.reason, extra={"bad_schedule": True})
        elif plan.action is Action.STOP and plan.reason is not None:
            self._log.warning("job %r will not run: %s", jobid, plan.reason)
        if first is not None and plan.leads_on:
            plan = replace(plan, action=Action.AT, due_at=check_time("first", first))
        once = plan.registered == "STOP" and plan.action is not Action.STOP
        return plan, Placement(jobid, queue_key, plan.registered, plan.action, plan.due_at, once, payload)

    def warn(self, jobid: str, warnings: Iterable[str]) -> None:
        """Log what the user may not expect of a job's schedule."""
        for warning in warnings:
            self._log.warning("job %r: %s", jobid, warning)

    def run_now(self, jobid: str, payload: str | None = None) -> Placement:
        """Return the placement of a job that runs once now, whatever its schedule is. Raise JobIdError."""
        queue_key = self.check(jobid)
        check_payload(jobid, payload)
        return Placement(jobid, queue_key, None, Action.QUEUE, once=True, payload=payload)

    def carry(self, jobid: str, payload: str) -> Placement:
        """Return the placement that changes only the payload of a job."""
        check_payload(jobid, payload)
        return Placement(jobid, "", None, Action.STOP, payload=payload)

    def again(self, jobid: str, schedule: str, now: float) -> Placement | None:
        """Return how a job is placed as if a run of it had just ended; None if it has no further run, or no queue."""
        plan = read(schedule).again(now)
        if not plan.leads_on:
            return None
        try:
            queue_key = self._queue_key_for(jobid)
        except Exception as error:
            self._log.error("job %r: queue_for() failed: %s", jobid, error)
            return None
        return Placement(jobid, queue_key, schedule, plan.action, plan.due_at)

    def check(self, jobid: str) -> str:
        """Return the key of the job's queue. Raise JobIdError for an id that cannot be registered."""
        fault = jobid_fault(jobid)
        if fault is not None:
            raise JobIdError(fault)
        queue_key = self._queue_key_for(jobid)
        collision = self._collisions.of(jobid, queue_key, self._worker.queue_for, self._worker.queue_names())
        if collision is not None:
            raise shares_a_key(jobid, collision)
        return queue_key

    def checks(self) -> "Checks":
        """Return an object that checks many job ids as `check` does, faster."""
        return Checks(self._collisions, self._worker, self._queue_key_for)


class Checks:
    """Check many job ids. What is the same for all jobs of a queue is asked once, and so are the worker's queues."""

    def __init__(self, collisions: Collisions, worker: Worker, queue_key_for: Callable[[str], str]) -> None:
        self._collisions = collisions
        self._queue_for = worker.queue_for
        self._names = tuple(worker.queue_names())
        self._queue_key_for = queue_key_for
        self._keys: dict[object, tuple[str, str | None]] = {}
        """Name of a queue -> its key, and the key that it would share."""

    def queue_key_of(self, jobid: str) -> str:
        """Return the key of the job's queue. Raise JobIdError for an id that cannot be registered."""
        fault = jobid_fault(jobid)
        if fault is not None:
            raise JobIdError(fault)
        name = self._queue_for(jobid)
        known = self._keys.get(name) if isinstance(name, str) else None
        if known is None:
            queue_key = self._queue_key_for(jobid)  # raises WorkerError for a name that cannot be
            known = queue_key, self._collisions.of_list(queue_key, self._queue_for, self._names)
            if len(self._keys) >= _MOST_REMEMBERED:
                self._keys.clear()
            self._keys[name] = known
        queue_key, shared = known
        collision = self._collisions.of_tag(jobid, queue_key, self._queue_for, self._names) or shared
        if collision is not None:
            raise shares_a_key(jobid, collision)
        return queue_key


def shares_a_key(jobid: str, key: str) -> JobIdError:
    """Return the error for a job id that would share a key with another use."""
    return JobIdError(f"job id {jobid!r} would share the key {key!r} with another use: choose another job id")
