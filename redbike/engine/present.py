"""The present run of a worker's loop: call the worker for it, and let the job extend its lease."""

import logging
import threading
from collections.abc import Callable
from functools import partial

from redbike.engine.calling import Calls, call_worker
from redbike.engine.outcome import EndedRun, Outcome, TakenRun
from redbike.engine.retry import RetryPolicy
from redbike.engine.signals import Handlers
from redbike.store.keys import Keys
from redbike.store.store import Store


class PresentRun:
    """Runs one job at a time."""

    def __init__(
        self,
        calls: Calls,
        store: Store,
        keys: Keys,
        retry: RetryPolicy,
        failed_line: Callable[[], str],
        stopping: Callable[[], bool],
        log: logging.Logger,
    ) -> None:
        """`failed_line` returns, for the log, what comes after a run that failed.

        `stopping` returns True if the process was asked to stop.
        """
        self.running: str | None = None
        """The id of the running job, for a signal handler."""
        self.run: TakenRun | None = None
        """The latest run, with the end of its lease as the job has extended it."""
        self.watch: Callable[[TakenRun | None], None] | None = None
        """Called with the present run, and again when its lease is extended; with None when the run is over."""
        self.on_run: Callable[[TakenRun | None], None] | None = None
        """Called in the same way, for a parent process."""
        self.runs = self.failures = 0
        """The numbers of runs and of failed runs so far."""
        self._calls = calls
        self._store = store
        self._keys = keys
        self._retry = retry
        self._failed_line = failed_line
        self._stopping = stopping
        self._log = log
        self._lock = threading.Lock()

    def do(self, run: TakenRun, handlers: Handlers) -> EndedRun:
        """Call the worker. Any exception is an outcome, except a KeyboardInterrupt that a signal has caused."""
        try:
            run.jobid.encode()
        except UnicodeEncodeError:
            self._log.error("job id %r is not UTF-8: the job is BAD and is not run", run.jobid)
            return EndedRun.of(run, Outcome.BAD, None, "the job id is not UTF-8")
        with self._lock:
            self.running, self.run = run.jobid, run
        self._tell(run)
        try:
            ended = call_worker(self._call, run, handlers, self._log, self._failed_line)
        finally:
            with self._lock:
                self.running = None
            self._tell(None)
        self.runs += 1
        self.failures += ended.outcome is Outcome.DIED
        if self.run is not run:  # the job has extended its lease
            ended = EndedRun.of(self.run, ended.outcome, ended.result, ended.error)
        return ended

    def close(self) -> None:
        """Close the event loop of the worker, if it has one."""
        self._calls.close()

    def _call(self, run: TakenRun) -> object:
        if not self._calls.wants_runs:
            return self._calls.work(run.jobid)
        queue = self._keys.queue_name(run.queue_key)
        return self._calls.perform(run, self._keys.prefix, queue, partial(self._extend, run), self._stopping)

    def _extend(self, run: TakenRun, seconds: float) -> bool:
        """Let the lease of the present run end in so many seconds. Return False if the lease is lost."""
        if self.running is None or self.run is None or self.run.tag != run.tag:
            return False  # the run is over: a thread that it has started still asks
        ends_s = run.elapsed_s() + seconds

        def attempt(_repeated: bool) -> bool:
            return self._store.extend(run.jobid, run.tag, run.queue_key, seconds)

        if not self._retry.retry(attempt):
            return False
        with self._lock:
            # The job may have ended meanwhile, and the next job has begun: a thread of the job has called this.
            if self.running is None or self.run.tag != run.tag:
                return False
            self.run = run._replace(timeout_s=ends_s)
        self._tell(self.run)
        return True

    def _tell(self, run: TakenRun | None) -> None:
        if self.watch is not None:
            self.watch(run)
        if self.on_run is not None:
            self.on_run(run)
