"""Plan many jobs with one reference time. What a schedule text leads to is kept, because many rows share a text."""

from collections.abc import Callable
from typing import NamedTuple

from redbike.csvfile import Row
from redbike.engine.planning import Planner, check_payload, check_time
from redbike.schedule.plan import Action, Plan
from redbike.store.messages import Placement

_MOST_TEXTS = 10_000  # that are kept
_LONGEST_TEXT = 1_000  # characters
_MOST_WARNINGS = 1_000  # that are logged


class _Meaning(NamedTuple):
    """What a schedule text leads to."""

    text: str  # as it is registered
    action: Action
    due_at: float | None
    once: bool


class ManyPlanner:
    """Plan the rows of a file, or of `Redbike.set_many`."""

    def __init__(self, planner: Planner, reference: Callable[[], float]) -> None:
        """`reference` returns the reference time, Unix seconds. It is called only if a plan depends on it."""
        self._planner = planner
        self._reference = reference
        self._queue_key_of = planner.checks().queue_key_of
        self._meanings: dict[str, _Meaning] = {}
        self._logged: set[str] = set()

    def check(self, row: Row) -> None:
        """Raise JobIdError, PayloadError or ValueError for a row of a file that cannot be set."""
        self._queue_key_of(row.jobid)
        if row.payload:
            check_payload(row.jobid, row.payload)
        if row.first is not None:
            check_time("first", row.first)

    def placement(self, jobid: str, schedule: str, payload: str | None = None, first: float | None = None) -> Placement:
        """Return how a job is placed. Log why a schedule is bad or has no run, and each warning once.

        Raise JobIdError or PayloadError for a row that cannot be set, and TypeError for one of a wrong type.
        """
        meaning = self._meanings.get(schedule) if first is None and isinstance(schedule, str) else None
        if meaning is None:
            return self._planned(jobid, schedule, payload, first)
        if payload is not None:
            check_payload(jobid, payload)
        return Placement(jobid, self._queue_key_of(jobid), *meaning, payload)

    def _planned(self, jobid: str, schedule: str, payload: str | None, first: float | None) -> Placement:
        plan, placement = self._planner.plan(jobid, schedule, self._reference, None, payload, first)
        self._warn(jobid, plan)
        # The reason why a job does not run is logged for each job.
        has_reason = plan.reason is not None and plan.action in (Action.BAD, Action.STOP)
        if first is None and not has_reason and len(schedule) <= _LONGEST_TEXT:
            if len(self._meanings) >= _MOST_TEXTS:
                self._meanings.clear()
            self._meanings[schedule] = _Meaning(plan.registered, plan.action, plan.due_at, placement.once)
        return placement

    def _warn(self, jobid: str, plan: Plan) -> None:
        """Log each warning once, with the first of the jobs that it concerns."""
        new = [warning for warning in plan.warnings if warning not in self._logged]
        if new and len(self._logged) < _MOST_WARNINGS:
            self._logged.update(new)
            self._planner.warn(jobid, new)
