"""Decide a job's next action after a run that finished, failed or was lost: from the outcome and the schedule.

`RunEnds.of` decides it for a run that has ended, `RunEnds.of_lost` for a lost run. This module calls neither the worker
nor Redis.
"""

import contextlib
import logging
import math
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from redbike.engine.policy import Policy, is_number
from redbike.errors import JobIdError
from redbike.schedule.forms import read
from redbike.schedule.plan import Action
from redbike.settings import OnFailure
from redbike.store.messages import Overdue, RunEnd
from redbike.store.text import decode

_SHORTEST_DELAY_S = 1.0


class Run(NamedTuple):
    """A job that this worker has taken and not yet ended."""

    jobid: str
    tag: str
    queue_key: str
    text: bytes | None  # its schedule when it was taken; None: it has none
    began_at: float  # server's time, Unix seconds
    began_clock_s: float  # this machine's monotonic clock at that moment
    timeout_s: float

    def elapsed_s(self) -> float:
        """Return the seconds since the worker took the job."""
        return time.monotonic() - self.began_clock_s

    def now(self) -> float:
        """Return the server's present time, Unix seconds. This machine's wall clock may be wrong."""
        return self.began_at + (time.monotonic() - self.began_clock_s)


class Outcome(Enum):
    """How a call of the worker ended."""

    DONE = auto()  # it returned: the schedule decides
    QUIT = auto()  # StopWork
    UNSET = auto()  # UnsetJob
    DIED = auto()  # any other exception
    BAD = auto()  # the worker could not be called


_ACTIONS = {Outcome.QUIT: Action.QUIT, Outcome.UNSET: Action.UNSET, Outcome.DIED: Action.DIE, Outcome.BAD: Action.BAD}


class EndedRun(NamedTuple):
    """A run that is over. Redis does not know it yet."""

    run: Run
    outcome: Outcome
    is_in_time: bool  # by the worker's own clock
    result: object = None  # what the worker returned

    @classmethod
    def of(cls, run: Run, outcome: Outcome, result: object = None) -> "EndedRun":
        """Return a run that has just ended."""
        return cls(run, outcome, run.elapsed_s() < run.timeout_s, result)


class RunEnds:
    """Decide the next action of jobs whose runs are over."""

    def __init__(self, queue_key_for: Callable[[str], str], policy: Policy, log: logging.Logger) -> None:
        self._queue_key_for = queue_key_for
        self._policy = policy
        self._log = log

    def of(self, ended: EndedRun, text: bytes | None) -> RunEnd:
        """Return the end of this run, if this text is the schedule of the job."""
        run = ended.run
        jobid, tag, taken_from, _, began_at, _, _ = run
        goes_to, tries = self._goes_to(jobid, taken_from), self._policy.forget_tries
        began = began_at if ended.is_in_time else None
        if goes_to is None:
            return RunEnd(jobid, tag, taken_from, taken_from, text, Action.BAD, None, tries, False, began)
        if ended.outcome is not Outcome.DONE:
            action = _ACTIONS[ended.outcome]
            run_end = RunEnd(jobid, tag, taken_from, goes_to, text, action, None, tries, False, began)
            return self._after_failure(run_end, self._policy.on_error, run.now()) if action is Action.DIE else run_end
        now = run.now()
        action, due_at = self._by_schedule(jobid, text, now)
        if action is Action.QUEUE and ended.result is not None:
            pause_s = self._pause_s(run, ended.result)
            if pause_s > 0:
                action, due_at = Action.AT, now + pause_s
        return RunEnd(jobid, tag, taken_from, goes_to, text, action, due_at, tries, False, began)

    def of_lost(self, run: Overdue, now: float) -> RunEnd:
        """Return the end of a run that exceeded its timeout."""
        jobid, tag, taken_from, text = run
        goes_to = self._goes_to(jobid, taken_from)
        if goes_to is None:
            return RunEnd(jobid, tag, taken_from, taken_from, text, Action.BAD, overdue=True)
        run_end = RunEnd(jobid, tag, taken_from, goes_to, text, Action.STOP, overdue=True)
        return self._after_failure(run_end, self._policy.on_timeout, now)

    def overdue_line(self, run: Run, took: str) -> str:
        """Return a line on a run that exceeded its timeout. `took`: "took" or "has taken"."""
        return (
            f"job {run.jobid!r} {took} {run.elapsed_s():.4g} s, its timeout is {run.timeout_s:g} s: the run counts as"
            f" lost, and {self._then('on-timeout', self._policy.on_timeout)}. Raise default-timeout, or the worker's"
            " timeout()"
        )

    def late_line(self, ended: EndedRun) -> str:
        """Return a line on a run whose end was not accepted: it took too long, or its run tag was lost."""
        if ended.is_in_time:
            jobid = ended.run.jobid
            return f"job {jobid!r}: the run lost its run tag (Redis was away, or restarted); its end changes nothing"
        return self.overdue_line(ended.run, "took")

    def failed_line(self) -> str:
        """Return what comes after a run that raised an exception."""
        return self._then("on-error", self._policy.on_error)

    def _then(self, setting: str, choice: OnFailure) -> str:
        if choice is OnFailure.DROP:
            return f"unless it was set meanwhile, the job does not run again ({setting}: drop); see `redbike lost`"
        return f"{setting}: {choice} decides what comes next"

    def _after_failure(self, run_end: RunEnd, choice: OnFailure, now: float) -> RunEnd:
        if choice is OnFailure.DROP:
            return run_end
        action, due_at = self._by_schedule(run_end.jobid, run_end.known_text, now)
        if action is Action.QUEUE:
            # A job on CONTINUE that fails every time must not run again without a pause.
            action, due_at = Action.AT, now + _SHORTEST_DELAY_S
        elif action is Action.STOP and not run_end.overdue:
            action = Action.DIE
        tries = self._policy.retries if choice is OnFailure.RETRY else self._policy.forget_tries
        return run_end._replace(action=action, due_at=due_at, tries=tries)

    def _goes_to(self, jobid: str, taken_from: str) -> str | None:
        """Return the key of the job's queue, or None if the job's id would break a queue."""
        try:
            return self._queue_key_for(jobid)
        except JobIdError as error:
            self._log.error("%s; the job is BAD", error)
            return None
        except Exception:
            self._log.exception("job %r: queue_for() failed; the job stays in the queue from which it was taken", jobid)
            return taken_from

    def _by_schedule(self, jobid: str, text: bytes | None, now: float) -> tuple[Action, float | None]:
        if text is None:
            return Action.STOP, None
        plan = read(decode(text)).again(now)
        if plan.action is Action.BAD:
            self._log.warning("job %r is BAD: %s", jobid, plan.reason)
        if plan.action is Action.STOP and plan.registered == "STOP" and text != b"STOP":
            # Another program registered a one-off schedule as written, not as STOP. The schedule ends with this run.
            return Action.OVER, None
        return plan.action, plan.due_at

    def _pause_s(self, run: Run, result: object) -> float:
        """Return the pause that a job on CONTINUE has returned, in seconds."""
        if is_number(result):
            with contextlib.suppress(OverflowError, ValueError):
                pause_s = float(result)
                if math.isfinite(pause_s):
                    return pause_s
        self._log.warning(
            "job %r: work() returned %.100r, which is ignored: return a number of seconds, or None",
            run.jobid,
            result,
        )
        return 0.0
