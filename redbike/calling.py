"""One call of the user's worker: whatever the job does or raises is an outcome, and this process stays a worker.

A job may fork, cancel, replace signal handlers or return what would still have to be run.
"""

import inspect
import logging
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Generator
from contextlib import suppress
from typing import NoReturn

from redbike.ending import Outcome, Run, Verdict
from redbike.errors import WorkerError
from redbike.signals import Handlers
from redbike.worker import RoundRobin, StopWork, UnsetJob, Worker

_PLAIN = "queue_for", "queue_names", "work", "timeout"


def check_plain(worker: Worker) -> None:
    """Raise WorkerError for a method of which a plain call runs nothing."""
    for name in _PLAIN:
        method = getattr(worker, name)
        if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
            raise WorkerError(
                f"worker {type(worker).__name__}: {name}() is async, and nobody would await it: make it a plain method,"
                " and run what is async in it by asyncio.run()"
            )
        if name == "work" and inspect.isgeneratorfunction(method):
            raise WorkerError(
                f"worker {type(worker).__name__}: {name}() has a yield, so that no call would run it: make it a plain"
                " method that returns"
            )


def warn_of_no_name(worker: Worker, log: logging.Logger) -> None:
    """Warn of an initstring with an empty name in it, which serves next to nothing without a word."""
    if isinstance(worker, RoundRobin) and "work-" in worker.queue_names():
        log.warning(
            "worker %s: its initstring names an empty queue, 'work-', where only jobs go whose id ends in a colon:"
            " name the queues to serve, as in %s('A:B')",
            *[type(worker).__name__] * 2,
        )


def outcome_of(worker: Worker, run: Run, handlers: Handlers, log: logging.Logger) -> Outcome:
    """Have the worker do a job. Raises KeyboardInterrupt where a signal sent it, and nothing else.

    In a child process that the job has forked, this ends the child: a second worker on the same job is nobody's wish.
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
            return Outcome.of(run, Verdict.QUIT)
        if isinstance(error, UnsetJob):
            return Outcome.of(run, Verdict.UNSET)
        log.exception("job %r died", run.jobid)
        if isinstance(error, KeyboardInterrupt) and handlers.noticed != noticed:
            raise
        return Outcome.of(run, Verdict.DIED)
    finally:
        handlers.restore(run.jobid)
    if result is not None and isinstance(result, Awaitable | Generator | AsyncGenerator):
        log.error(
            "job %r died: work() returned a %s, which nobody runs: run it in work(), and return None or a number",
            run.jobid,
            type(result).__name__,
        )
        if isinstance(result, Coroutine | Generator):
            with suppress(Exception):
                result.close()
        return Outcome.of(run, Verdict.DIED)
    return Outcome.of(run, Verdict.DONE, result)


def _leave(run: Run, error: BaseException | None, log: logging.Logger) -> NoReturn:
    """End a child that a job has forked as its end by itself would, but for what its parent has to clean up."""
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
