"""How a run ends: from what the worker made of the job, and its schedule as it stands, to what Redis is told.

Owns the choices for runs that fail (`on-error`) or are lost (`on-timeout`); calls neither the worker nor Redis.
"""

import contextlib
import decimal
import logging
import math
import numbers
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeGuard

from redbike.errors import ConfigError, JobIdError
from redbike.schedule import Step, read
from redbike.steps import Ending, Overdue, decode

MOST_RETRIES = 100
_SHORTEST_DELAY_S = 1.0
_OVER = "over"  # the schedule was for one run, and that was it


class OnFailure(StrEnum):
    """What becomes of a job whose run failed or was lost."""

    DROP = "drop"  # it falls out of circulation: `redbike lost` finds it
    RESCHEDULE = "reschedule"  # its schedule decides, as after a run that went well
    RETRY = "retry"  # it is tried again a few times, later and later; then its schedule decides


@dataclass(frozen=True)
class Policy:
    """The choices of one installation."""

    on_timeout: OnFailure = OnFailure.DROP
    on_error: OnFailure = OnFailure.DROP
    retries: int = 3
    """How often a run is tried again, with `RETRY`."""

    @classmethod
    def of(cls, on_timeout: str, on_error: str, retries: int) -> "Policy":
        """The policy that these words and this number say; ConfigError for what they do not."""
        if isinstance(retries, bool) or not isinstance(retries, int) or not 1 <= retries <= MOST_RETRIES:
            raise ConfigError(f"retries: {retries!r} is not a whole number from 1 to {MOST_RETRIES}")
        return cls(_choice("on_timeout", on_timeout), _choice("on_error", on_error), retries)

    @property
    def forget_tries(self) -> int | None:
        """The number of tries left to a run that is not tried again; None where none are ever counted."""
        return 0 if OnFailure.RETRY in (self.on_timeout, self.on_error) else None


class Run(NamedTuple):
    """A job in hand."""

    jobid: str
    tag: str
    queue_key: str
    text: bytes | None  # its schedule when it was taken; None: it has none
    began_at: float  # server's time, Unix seconds
    began_clock_s: float  # this machine's monotonic clock at that moment
    timeout_s: float

    def elapsed_s(self) -> float:
        """For how long it has been in hand."""
        return time.monotonic() - self.began_clock_s

    def now(self) -> float:
        """The server's time as it must be by now, Unix seconds: our own wall clock may be wrong."""
        return self.began_at + (time.monotonic() - self.began_clock_s)


class Verdict(StrEnum):
    """How a call of the worker ended."""

    DONE = "done"  # it returned: the schedule decides
    QUIT = "quit"  # StopWork
    UNSET = "unset"  # UnsetJob
    DIED = "die"  # any other exception
    BAD = "bad"  # it could not be called


class Outcome(NamedTuple):
    """A run that is over, but not yet in Redis."""

    run: Run
    verdict: Verdict
    is_in_time: bool  # by the worker's own clock
    result: object = None  # what the worker returned

    @classmethod
    def of(cls, run: Run, verdict: Verdict, result: object = None) -> "Outcome":
        """The outcome of a run that is just over."""
        return cls(run, verdict, run.elapsed_s() < run.timeout_s, result)


class Endings:
    """Makes the endings of runs."""

    def __init__(self, queue_key_for: Callable[[str], str], policy: Policy, log: logging.Logger) -> None:
        self._queue_key_for = queue_key_for
        self._policy = policy
        self._log = log

    def of(self, outcome: Outcome, text: bytes | None) -> Ending:
        """How a run ends that came to this outcome, with this text as the job's schedule."""
        run, verdict = outcome.run, outcome.verdict
        jobid, tag, taken_from, _, began_at, _, _ = run
        goes_to, tries = self._goes_to(jobid, taken_from), self._policy.forget_tries
        began = began_at if outcome.is_in_time else None
        if goes_to is None:
            return Ending(jobid, tag, taken_from, taken_from, text, Step.BAD, None, tries, False, began)
        if verdict is not Verdict.DONE:
            ending = Ending(jobid, tag, taken_from, goes_to, text, verdict, None, tries, False, began)
            return self._after_failure(ending, self._policy.on_error, run.now()) if verdict is Verdict.DIED else ending
        now = run.now()
        step, due_at = self._by_schedule(jobid, text, now)
        if step is Step.QUEUE and outcome.result is not None:
            pause_s = self._pause_s(run, outcome.result)
            if pause_s > 0:
                step, due_at = Step.AT, now + pause_s
        return Ending(jobid, tag, taken_from, goes_to, text, step, due_at, tries, False, began)

    def of_lost(self, run: Overdue, now: float) -> Ending:
        """How a run ends that outlived its timeout."""
        goes_to = self._goes_to(run.jobid, run.queue_key)
        ending = Ending(run.jobid, run.tag, run.queue_key, goes_to or run.queue_key, run.text, Step.STOP, overdue=True)
        if goes_to is None:
            return ending._replace(step=Step.BAD)
        return self._after_failure(ending, self._policy.on_timeout, now)

    def _after_failure(self, ending: Ending, choice: OnFailure, now: float) -> Ending:
        if choice is OnFailure.DROP:
            return ending
        step, due_at = self._by_schedule(ending.jobid, ending.known_text, now)
        if step == Step.QUEUE:
            # A job on CONTINUE that keeps failing must not spin.
            step, due_at = Step.AT, now + _SHORTEST_DELAY_S
        elif step == Step.STOP and not ending.overdue:
            step = Verdict.DIED
        tries = self._policy.retries if choice is OnFailure.RETRY else self._policy.forget_tries
        return ending._replace(step=step, due_at=due_at, tries=tries)

    def _goes_to(self, jobid: str, taken_from: str) -> str | None:
        """The queue that the job belongs into; None where its id would break a queue."""
        try:
            return self._queue_key_for(jobid)
        except JobIdError as error:
            self._log.error("%s; the job is BAD", error)
            return None
        except Exception:
            self._log.exception("the worker names no queue for job %r: it stays in the queue it came from", jobid)
            return taken_from

    def _by_schedule(self, jobid: str, text: bytes | None, now: float) -> tuple[str, float | None]:
        if text is None:
            return Step.STOP, None
        plan = read(decode(text)).again(now)
        if plan.step is Step.BAD:
            self._log.warning("job %r is BAD: %s", jobid, plan.reason)
        if plan.step is Step.STOP and plan.registered == "STOP" and text != b"STOP":
            # The text of a one-off that another program registered as written is over with its run.
            return _OVER, None
        return plan.step, plan.due_at

    def _pause_s(self, run: Run, result: object) -> float:
        """The backoff that a job on CONTINUE asked for, seconds."""
        if is_number(result):
            with contextlib.suppress(OverflowError, ValueError):
                pause_s = float(result)
                if math.isfinite(pause_s):
                    return pause_s
        self._log.warning(
            "job %r returned %.100r: only a number of seconds, or None, means something; it is ignored",
            run.jobid,
            result,
        )
        return 0.0


def is_number(value: object) -> TypeGuard[float]:
    """Whether this is a real number; True and False are not meant as one."""
    return isinstance(value, numbers.Real | decimal.Decimal) and not isinstance(value, bool)


def _choice(name: str, word: str) -> OnFailure:
    try:
        return OnFailure(word)
    except ValueError:
        raise ConfigError(f"{name}: {word!r} is none of {', '.join(OnFailure)}") from None
