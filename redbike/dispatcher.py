"""The dispatcher: moves jobs that are due from the timeline into their queues, and sleeps until the next one is.

Any number may run on one prefix: `promote` checks each job again, so they race without harm.
"""

import logging
from collections.abc import Callable

from redbike.errors import TimeFileError
from redbike.patience import Patience, Stopped
from redbike.scripts import Look, Scripts, decode
from redbike.timefile import TimeFile
from redbike.trouble import Troubles
from redbike.waiting import Nap, WakeCalls

_BATCH = 200  # jobs a call: a millisecond or so of the server's time


class Dispatcher:
    """One dispatcher. `sweep` is one pass over the timeline, `run` repeats it until halted."""

    def __init__(
        self,
        scripts: Scripts,
        queue_key_for: Callable[[str], str],
        wake_calls: WakeCalls,
        timefile: TimeFile,
        patience: Patience,
        nap: Nap,
        stop: Callable[[], bool],
        longest_wait_s: float,
        log: logging.Logger,
    ) -> None:
        self._scripts = scripts
        self._queue_key_for = queue_key_for
        self._wake_calls = wake_calls
        self._timefile = timefile
        self._patience = patience
        self._nap = nap
        self._stop = stop
        self._longest_wait_s = longest_wait_s
        self._log = log
        self._troubles = Troubles(log)

    def run(self, first_now: float | None) -> None:
        """Pass over the timeline until the prefix is halted or this process is told to stop.

        `first_now` is the time that the first pass goes by, Unix seconds; later ones, and None, go by the server's.
        """
        try:
            look = self.sweep(first_now)
            while not (look.halted or self._stop()):
                look = self._sleep(look)
        except Stopped:
            pass
        finally:
            self._wake_calls.close()

    def sweep(self, now: float | None = None, expected: bytes | None = None) -> Look:
        """Queue all that is due, and return the last look at the timeline.

        A pass that is halted from its start is still made in full; one that is halted under way ends early.
        `expected` is a job that should be due by now: naming it saves a round trip.
        """
        stopped_before = self._stop()
        look = self._promote([] if expected is None else [expected], now)
        halted_before = look.halted
        while look.due and (self._stop(), look.halted) == (stopped_before, halted_before):
            look = self._promote(look.due, now)
        return look

    def _promote(self, jobids: list[bytes], now: float | None) -> Look:
        due = [(jobid, self._queue_of(jobid)) for jobid in jobids]
        look = self._patience.outlast(lambda _: self._scripts.promote(due, _BATCH, now), self._stop)
        for queue_key, error in look.troubles:
            self._troubles.report(queue_key, error)
        self._write_time()
        return look

    def _queue_of(self, jobid: bytes) -> str | None:
        try:
            return self._queue_key_for(jobid.decode())
        except UnicodeDecodeError:
            self._log.error("job id %r is not UTF-8: the job is BAD and off the timeline", jobid)
        except Exception:
            self._log.exception(
                "the worker names no queue for job %r: the job is BAD and off the timeline", decode(jobid)
            )
        return None

    def _sleep(self, look: Look) -> Look:
        """Wait for a wake-up call, for the first job to come due, or for a second; then look again."""
        wait_s = self._longest_wait_s
        if look.first is not None:
            wait_s = min(wait_s, look.first[1] - self._now())
        if wait_s > 0:
            called_for = self._patience.outlast(lambda _: self._wait(wait_s), self._stop)
            if self._stop():
                return look
            if called_for is not None:
                return self.sweep(expected=called_for)
        if not self._is_due(look):
            look = self._patience.outlast(lambda _: self._scripts.peek(), self._stop)
            self._write_time()
        if look.first is not None and self._is_due(look):
            return self.sweep(expected=look.first[0])
        return look

    def _is_due(self, look: Look) -> bool:
        return look.first is not None and look.first[1] <= self._now()

    def _wait(self, wait_s: float) -> bytes | None:
        self._wake_calls.subscribe()
        with self._nap:
            return None if self._stop() else self._wake_calls.wait(wait_s)
        return None  # a signal ended the nap

    def _now(self) -> float:
        return self._patience.outlast(lambda _: self._scripts.now(), self._stop)

    def _write_time(self) -> None:
        try:
            self._timefile.write(int(self._now()))
        except TimeFileError as error:
            # It was writable at the start. What it is good for comes at the next start; dispatching goes on.
            self._troubles.report("time file", str(error))
