"""Decide a job's next action after a run that finished, failed or was lost: from the outcome and the schedule.

`RunEnds.of` decides it for a run that has ended, `RunEnds.of_lost` for a lost run. This module calls neither the worker
nor Redis.
"""

import contextlib
import logging
import math
import time
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from redbike.engine.policy import Policy, is_number
from redbike.errors import JobIdError
from redbike.logs import printable
from redbike.schedule.forms import read
from redbike.schedule.plan import Action
from redbike.settings import OnFailure
from redbike.store.messages import Overdue, RunEnd
from redbike.store.text import decode

_SHORTEST_DELAY_S = 1.0


class TakenRun(NamedTuple):
    """A job that this worker has taken and not yet ended."""

    jobid: str
    tag: str
    queue_key: str
    text: bytes | None  # its schedule when it was taken; None: it has none
    began_at: float  # server's time, Unix seconds
    began_clock_s: float  # this machine's monotonic clock at that moment
    timeout_s: float
    payload: bytes = b""
    planned: bytes = b""  # due time (Unix seconds) and attempt; empty if the due time is not known

    @property
    def due_at(self) -> float | None:
        """The time for which the run was planned, Unix seconds; None if it is not known."""
        return float(self.planned.split()[0]) if self.planned else None

    @property
    def attempt(self) -> int:
        """1 for the first attempt."""
        return int(self.planned.split()[1]) if self.planned else 1

    def elapsed_s(self) -> float:
        """Return the seconds since the worker took the job."""
        return time.monotonic() - self.began_clock_s

    def now(self) -> float:
        """Return the server's present time, Unix seconds. This machine's wall clock may be wrong."""
        return self.began_at + (time.monotonic() - self.began_clock_s)


class Outcome(StrEnum):
    """How a run ended. The history uses the same words."""

    DONE = "done"  # it returned: the schedule decides
    QUIT = "stopped"  # StopWork
    UNSET = "unset"  # UnsetJob
    DIED = "failed"  # any other exception
    LATER = "later"  # Later: it has not happened
    BAD = "bad"  # BadJob, or the worker could not be called
    # Not from the worker:
    LOST = "lost"  # it had no end within its timeout, or its worker died
    LATE = "late"  # it ended after its lease: the end changes nothing


_ACTIONS = {Outcome.QUIT: Action.QUIT, Outcome.UNSET: Action.UNSET, Outcome.DIED: Action.DIE, Outcome.BAD: Action.BAD}
_LONGEST_ERROR = 200


class EndedRun(NamedTuple):
    """A run that is over. Redis does not know it yet."""

    run: TakenRun
    outcome: Outcome
    is_in_time: bool  # by the worker's own clock
    result: object = None  # what the worker returned; with LATER, the delay in seconds
    error: str = ""  # one line

    @classmethod
    def of(cls, run: TakenRun, outcome: Outcome, result: object = None, error: str = "") -> "EndedRun":
        """Return a run that has just ended."""
        return cls(run, outcome, run.elapsed_s() < run.timeout_s, result, error)


def one_line(error: BaseException) -> str:
    """Return type and message of an exception in one line of at most 200 characters, for the history."""
    try:
        text = f"{type(error).__name__}: {error}".removesuffix(": ")
    except Exception:  # its own __str__ fails
        text = type(error).__name__
    line = printable(" ".join(text[: 4 * _LONGEST_ERROR].split()))
    return line if len(line) <= _LONGEST_ERROR else f"{line[: _LONGEST_ERROR - 1]}…"


class RunEnds:
    """Decide the next action of jobs whose runs are over."""

    def __init__(self, queue_key_for: Callable[[str], str], policy: Policy, log: logging.Logger) -> None:
        self._queue_key_for = queue_key_for
        self._policy = policy
        self._log = log

    def of(self, ended: EndedRun, text: bytes | None) -> RunEnd:
        """Return the end of this run, if this text is the schedule of the job."""
        run = ended.run
        jobid, tag, taken_from, began_at = run.jobid, run.tag, run.queue_key, run.began_at
        goes_to, tries, outcome = self._goes_to(jobid, taken_from), self._policy.forget_tries, ended.outcome
        began, later_s, error = began_at if ended.is_in_time else None, None, ended.error
        due_at: float | None = None
        if goes_to is None:
            goes_to, action, outcome = taken_from, Action.BAD, Outcome.BAD
        elif outcome is Outcome.DONE or outcome is Outcome.LATER or (outcome is Outcome.BAD and text != run.text):
            now = run.now()
            action, due_at = self._by_schedule(jobid, text, now)
            if outcome is Outcome.LATER:
                later_s = float(ended.result)  # type: ignore[arg-type]
            elif action is Action.QUEUE and ended.result is not None:
                next_at = self._next_at(run, ended.result, now)
                if next_at is not None:
                    action, due_at = Action.AT, next_at
        else:
            action = _ACTIONS[outcome]
        # By position, because keywords cost a microsecond here.
        run_end = RunEnd(
            jobid, tag, taken_from, goes_to, text, action, due_at, tries, False, began,
            later_s, outcome.value, began_at, error, run.planned,
        )  # fmt: skip
        return self._after_failure(run_end, self._policy.on_error, run.now()) if action is Action.DIE else run_end

    def of_lost(self, run: Overdue, now: float, why: str) -> RunEnd:
        """Return the end of a run that exceeded its timeout, or whose worker died. `why`: one line for the history."""
        jobid, tag, taken_from, text = run
        goes_to = self._goes_to(jobid, taken_from)
        action = Action.BAD if goes_to is None else Action.LOST
        run_end = RunEnd(
            *(jobid, tag, taken_from, goes_to or taken_from, text, action),
            overdue=True,
            outcome=Outcome.LOST,
            error=why,
        )
        return run_end if goes_to is None else self._after_failure(run_end, self._policy.on_timeout, now)

    def overdue_line(self, run: TakenRun, took: str) -> str:
        """Return a line on a run that exceeded its timeout. `took`: "took" or "has taken"."""
        return (
            f"job {run.jobid!r} {took} {run.elapsed_s():.4g} s, its timeout is {run.timeout_s:g} s: the run counts as"
            f" lost, and {self._then('on-timeout', self._policy.on_timeout)}. Raise default-timeout, or the worker's"
            " timeout()"
        )

    def lost_line(self, run: Overdue, why: str) -> str:
        """Return a line on a run that a dispatcher has found lost."""
        return f"job {run.jobid!r}: its run is lost ({why}); {self._then('on-timeout', self._policy.on_timeout)}"

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

    def _next_at(self, run: TakenRun, result: object, now: float) -> float | None:
        """Return the time of the next run that a job on CONTINUE has asked for, Unix seconds; None for at once."""
        if is_number(result):
            with contextlib.suppress(OverflowError, ValueError):
                pause_s = float(result)
                if math.isfinite(pause_s):
                    return now + pause_s if pause_s > 0 else None
        if isinstance(result, datetime) and result.tzinfo is not None:
            return result.timestamp()
        self._log.warning(
            "job %r: work() returned %.100r, which is ignored: return a number of seconds, a datetime with a zone, or"
            " None",
            run.jobid,
            result,
        )
        return None
