"""Call the user's worker once. Every result and exception of the job is an outcome, and this process stays a worker.

A job may fork, cancel, replace signal handlers, or return a coroutine that nobody has run.
"""

import inspect
import logging
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from typing import NoReturn

from redbike.engine.outcome import EndedRun, Outcome, Run
from redbike.engine.signals import Handlers
from redbike.errors import WorkerError
from redbike.worker import RoundRobin, StopWork, UnsetJob, Worker

_PLAIN = "queue_for", "queue_names", "work", "timeout"


def check_plain(worker: Worker) -> None:
    """Raise WorkerError if a plain call does not run a method, because the method is async or a generator."""
    for name in _PLAIN:
        method = getattr(worker, name)
        if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
            raise WorkerError(
                f"worker {type(worker).__name__}: {name}() is async, and nobody would await it: make it a plain method,"
                " and call asyncio.run() in it for async code"
            )
        if name == "work" and inspect.isgeneratorfunction(method):
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


def call_worker(
    worker: Worker, run: Run, handlers: Handlers, log: logging.Logger, after_failure: Callable[[], str]
) -> EndedRun:
    """Call the worker for one job. Raises KeyboardInterrupt if a signal sent it, and nothing else.

    `after_failure`: returns, for the log, what comes after a run that failed.

    In a child process that the job forked, this ends the child, because it would become a second worker.
    """
    pid, noticed = os.getpid(), handlers.noticed
    try:
        result = worker.work(run.jobid)
        if os.getpid() != pid:
            _leave(run, None, log)
    except BaseException as error:
        if os.getpid() != pid:
            _leave(run, error, log)
        if isinstance(error, StopWork):
            return EndedRun.of(run, Outcome.QUIT)
        if isinstance(error, UnsetJob):
            return EndedRun.of(run, Outcome.UNSET)
        log.exception("job %r died: %s", run.jobid, after_failure())
        if isinstance(error, KeyboardInterrupt) and handlers.noticed != noticed:
            raise
        return EndedRun.of(run, Outcome.DIED)
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
        return EndedRun.of(run, Outcome.DIED)
    return EndedRun.of(run, Outcome.DONE, result)


def _leave(run: Run, error: BaseException | None, log: logging.Logger) -> NoReturn:
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
