"""Call the user's worker once. Every result and exception of the job is an outcome, and this process stays a worker.

A job may fork, cancel, replace signal handlers, or return a coroutine that nobody has run.
"""

import inspect
import logging
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from redbike.engine.outcome import EndedRun, Outcome, TakenRun, one_line
from redbike.engine.policy import is_number
from redbike.engine.signals import Handlers
from redbike.errors import WorkerError
from redbike.settings import LONGEST_S
from redbike.store.text import decode
from redbike.worker import BadJob, Later, RoundRobin, Run, StopWork, UnsetJob, Worker

if TYPE_CHECKING:
    from redbike.engine.coroutines import EventLoop

_PLAIN = "queue_for", "queue_names", "timeout"
_RUNS_JOBS = "perform", "work"


def check_plain(worker: Worker) -> None:
    """Raise WorkerError if a call does not run a method, because the method is async or a generator.

    `perform` and `work` may be coroutine functions: these run on an event loop.
    """
    for name in (*_PLAIN, *_RUNS_JOBS):
        method = getattr(worker, name, None)
        if name in _PLAIN and (inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)):
            raise WorkerError(
                f"worker {type(worker).__name__}: {name}() is async, and nobody would await it: make it a plain method;"
                " only perform() and work() may be async"
            )
        if name in _RUNS_JOBS and (inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method)):
            raise WorkerError(
                f"worker {type(worker).__name__}: {name}() has a yield, so a call would not run it: make it a plain"
                " method that returns"
            )


def warn_of_no_name(worker: Worker, log: logging.Logger) -> None:
    """Log a warning if the initstring contains an empty name, because such a worker serves almost no jobs."""
    if isinstance(worker, RoundRobin) and "work-" in worker.queue_names():
        log.warning(
            "worker %s: its initstring has an empty name; only jobs whose id ends in a colon enter that queue, 'work-':"
            " name the queues to serve, as in %s('A:B')",
            *[type(worker).__name__] * 2,
        )


class Calls:
    """How to call a worker for one run: `perform(run)` if it has this method, else `work(jobid)`."""

    def __init__(self, worker: Worker) -> None:
        self._perform: Callable[[Run], Any] | None = getattr(worker, "perform", None)
        self._work: Callable[[str], Any] | None = getattr(worker, "work", None)
        self.wants_runs = self._perform is not None
        """Whether the worker wants a `Run`, with payload and due time."""
        self.loop: EventLoop | None = None
        if inspect.iscoroutinefunction(self._perform or self._work):
            from redbike.engine import coroutines

            self.loop = coroutines.EventLoop()

    def work(self, jobid: str) -> object:
        """Return what `work` returns for this job."""
        assert self._work is not None
        return self._work(jobid) if self.loop is None else self.loop.run(self._work(jobid))

    def perform(
        self, run: TakenRun, prefix: str, queue: str, extend: Callable[[float], bool], stopping: Callable[[], bool]
    ) -> object:
        """Return what `perform` returns for this run. `queue`: the name of its queue."""
        assert self._perform is not None
        result = self._perform(
            Run(
                jobid=run.jobid,
                payload=decode(run.payload),
                due_at=run.began_at if run.due_at is None else run.due_at,
                began_at=run.began_at,
                attempt=run.attempt,
                queue=queue,
                prefix=prefix,
                schedule=None if run.text is None else decode(run.text),
                timeout_s=run.timeout_s,
                id=run.tag,
                _extend=extend,
                _stopping=stopping,
            )
        )
        return result if self.loop is None else self.loop.run(result)

    def close(self) -> None:
        """Close the event loop, if there is one."""
        if self.loop is not None:
            self.loop.close()


def call_worker(
    act: Callable[[TakenRun], object],
    run: TakenRun,
    handlers: Handlers,
    log: logging.Logger,
    after_failure: Callable[[], str],
) -> EndedRun:
    """Call the worker for one job by `act`. Raises KeyboardInterrupt if a signal sent it, and nothing else.

    `after_failure`: returns, for the log, what comes after a run that failed.

    In a child process that the job forked, this ends the child, because it would become a second worker.
    """
    pid, noticed = os.getpid(), handlers.noticed
    try:
        result = act(run)
        if os.getpid() != pid:
            _leave(run, None, log)
    except BaseException as error:
        if os.getpid() != pid:
            _leave(run, error, log)
        if isinstance(error, StopWork):
            return EndedRun.of(run, Outcome.QUIT)
        if isinstance(error, UnsetJob):
            return EndedRun.of(run, Outcome.UNSET)
        if isinstance(error, Later) and is_number(error.seconds) and 0 <= error.seconds <= LONGEST_S:
            return EndedRun.of(run, Outcome.LATER, error.seconds)
        if isinstance(error, BadJob):
            reason = one_line(error)
            log.error("job %r is BAD: %s; it does not run until it is set again", run.jobid, reason)
            return EndedRun.of(run, Outcome.BAD, None, reason)
        log.exception("job %r died: %s", run.jobid, after_failure())
        if isinstance(error, KeyboardInterrupt) and handlers.noticed != noticed:
            raise
        return EndedRun.of(run, Outcome.DIED, None, one_line(error))
    finally:
        handlers.restore(run.jobid)
    if result is not None and isinstance(result, Awaitable | Generator | AsyncGenerator):
        log.error(
            "job %r died: work() returned a %s, which nobody runs: run it in work(), and return None or a number; %s",
            run.jobid,
            type(result).__name__,
            after_failure(),
        )
        if isinstance(result, Coroutine | Generator):
            with suppress(Exception):
                result.close()
        return EndedRun.of(run, Outcome.DIED, None, f"work() returned a {type(result).__name__}, which nobody runs")
    return EndedRun.of(run, Outcome.DONE, result)


def _leave(run: TakenRun, error: BaseException | None, log: logging.Logger) -> NoReturn:
    """End a child that a job has forked, with the exit code of a normal end. The parent cleans up, not the child."""
    code = 1
    try:
        if isinstance(error, SystemExit):
            if isinstance(error.code, int) or error.code is None:
                code = error.code or 0
            else:
                log.error("a process that job %r has forked ends: %s", run.jobid, error.code)
        elif error is None:
            code = 0
        else:
            log.error("a process that job %r has forked died", run.jobid, exc_info=error)
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
    finally:
        os._exit(code & 0xFF)
