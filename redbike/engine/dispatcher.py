"""The dispatcher's loop: move due jobs from the timeline into their queues, and sleep until the next job is due.

Any number of dispatchers may run on one prefix. The script `promote` checks each job again, so races do no harm.
"""

import math
import time
from collections.abc import Callable, Container, Iterable
from functools import partial

from redbike.engine.heartbeat import Heartbeat
from redbike.engine.monitor import QueueMonitor
from redbike.engine.recovery import Recovery
from redbike.engine.retry import Stopped
from redbike.engine.runtime import Runtime
from redbike.engine.waiting import WakeChannel
from redbike.errors import JobIdError, TimeFileError
from redbike.store.looks import Looks
from redbike.store.messages import Look
from redbike.store.store import Store
from redbike.store.text import decode
from redbike.timefile import TimeFile

_EXACT_SLEEP_S = 0.001  # the wait for messages ends this long before a due time, and a sleep follows
_BATCH = 150  # jobs per call: about half a millisecond of the server's time
_LONGEST_DELAY_S = 60.0
_LOOK_FOR_EXTRA_EVERY_S = 0.9


class Refusals:
    """The queues that refuse jobs now, and the delays of their jobs: 1, 2, 4 … 60 seconds.

    A queue refuses jobs until somebody repairs it. If its jobs were due again every second, they would delay the jobs
    of other queues.
    """

    def __init__(self) -> None:
        self.delays_s: dict[str, float] = {}
        self._refused_at: dict[str, float] = {}  # monotonic

    def note(self, asked: Iterable[str], refused: Container[str]) -> None:
        """Record the queues that were asked, and those of them that refused jobs."""
        now = time.monotonic()
        for queue_key in asked:
            if queue_key not in refused:
                self.delays_s.pop(queue_key, None)
                continue
            delay_s = self.delays_s.get(queue_key)
            if delay_s is None or now - self._refused_at[queue_key] >= delay_s:
                self.delays_s[queue_key] = min(_LONGEST_DELAY_S, 2 * (delay_s or 1.0))
                self._refused_at[queue_key] = now


class Dispatcher:
    """One dispatcher. `sweep` is one pass over the timeline, `run` repeats it until halted."""

    def __init__(
        self,
        store: Store,
        looks: Looks,
        queue_key_for: Callable[[str], str],
        wake_channel: WakeChannel,
        timefile: TimeFile,
        recovery: Recovery | None,
        monitor: QueueMonitor,
        runtime: Runtime,
        resume: Callable[[str], object],
        heartbeat: Heartbeat,
    ) -> None:
        """`resume`: plans a paused job from now; returns None if the job is not paused."""
        self._store = store
        self._looks = looks
        self._queue_key_for = queue_key_for
        self._wake_channel = wake_channel
        self._timefile = timefile
        self._recovery = recovery
        self._monitor = monitor
        self._runtime = runtime
        self._resume = resume
        self._heartbeat = heartbeat
        self._refusals = Refusals()
        self._looked_for_extra_at = -math.inf
        self._has_more = True

    def run(self, first_now: float | None) -> None:
        """Pass over the timeline until the prefix is halted or this process is asked to stop.

        The first pass uses the time `first_now` (Unix seconds), or the server's time if it is None. Later passes use
        the server's time.
        """
        stopping = self._runtime.stopping
        try:
            with self._heartbeat:
                look = self.sweep(first_now)
                self._queue_extra_runs()
                while not (look.halted or stopping()):
                    self._recover()
                    look = self._sleep(look)
                self._runtime.call(self._monitor.end, look.halted)
        except Stopped:
            pass
        finally:
            self._wake_channel.close()

    def sweep(self, now: float | None = None, expected: bytes | None = None) -> Look:
        """Queue all due jobs, and return the last look at the timeline.

        If the prefix is halted already, the pass is complete. A halt during the pass ends it early. `expected` is the
        id of a job that should be due by now: with it, the pass needs one round trip less.
        """
        stopped_before = self._runtime.stopping()
        look = self._promote([] if expected is None else [expected], now)
        halted_before = look.halted
        while look.due and (self._runtime.stopping(), look.halted) == (stopped_before, halted_before):
            look = self._promote(look.due, now)
        return look

    def _queue_extra_runs(self) -> None:
        """Queue due extra runs, of jobs that were enqueued while they ran, and resume jobs: one batch per second."""
        now = time.monotonic()
        if now - self._looked_for_extra_at > _LOOK_FOR_EXTRA_EVERY_S:
            due = self._runtime.call(self._looks.extra_due, _BATCH)
            if due:
                self._promote(due, None, extra=True)
            self._resume_jobs()
            self._looked_for_extra_at = now

    def _resume_jobs(self) -> None:
        """Plan the paused jobs whose time to resume has come."""
        for jobid in self._runtime.call(self._looks.resuming, _BATCH):
            try:
                plan = self._resume(jobid)
            except Exception as error:  # also of the user's queue_for()
                self._runtime.report(f"job {jobid!r} cannot be resumed", f"{type(error).__name__}: {error}")
                self._runtime.call(self._looks.resume_later, jobid, _LONGEST_DELAY_S)
                continue
            if plan is None:
                self._runtime.call(self._looks.forget_resume, jobid)
            else:
                self._runtime.log.info("job %r: resumed", jobid)

    def _promote(self, jobids: list[bytes], now: float | None, *, extra: bool = False) -> Look:
        by_queue, bad = self._by_queue(jobids)
        delays_s = self._refusals.delays_s
        look = self._runtime.call(self._store.promote, by_queue, _BATCH, now, bad, delays_s=delays_s, extra=extra)
        for queue_key, error in look.troubles:
            self._runtime.report(f"queue {queue_key}", error)
        if look.troubles or delays_s:
            self._refusals.note(by_queue, {queue_key for queue_key, _ in look.troubles})
        self._write_time()
        if not look.halted:
            self._runtime.call(self._monitor.look)
        return look

    def _by_queue(self, jobids: list[bytes]) -> tuple[dict[str, list[bytes]], list[bytes]]:
        by_queue: dict[str, list[bytes]] = {}
        bad = []
        for jobid in jobids:
            try:
                by_queue.setdefault(self._queue_key_for(jobid.decode()), []).append(jobid)
            except UnicodeDecodeError:
                self._runtime.log.error("job id %r is not UTF-8: the job is BAD and removed from the timeline", jobid)
                bad.append(jobid)
            except JobIdError as error:
                self._runtime.log.error("%s; the job is BAD and removed from the timeline", error)
                bad.append(jobid)
            except Exception:
                self._runtime.log.exception(
                    "job %r: queue_for() failed; marked BAD and removed from the timeline", decode(jobid)
                )
                bad.append(jobid)
        return by_queue, bad

    def _sleep(self, look: Look) -> Look:
        """Wait for a message, until the first job is due, or for a second; then look again."""
        wait_s = self._runtime.longest_wait_s
        if look.first is not None:
            wait_s = min(wait_s, look.first[1] - self._now() - _EXACT_SLEEP_S)
        if self._recovery is not None:
            wait_s = min(wait_s, self._recovery.wait_s())
        if wait_s > 0:
            called = self._runtime.call(self._wait, wait_s)
            if self._runtime.stopping():
                return look
            if called:
                return self.sweep()
        if look.first is not None:
            last_s = look.first[1] - self._now()
            if 0 < last_s <= 2 * _EXACT_SLEEP_S:
                # A wait for a message takes whole milliseconds. A sleep is more exact.
                self._runtime.sleep(last_s)
        if not self._is_due(look):
            look = self._runtime.call(self._peek)
            self._write_time()
        if look.first is not None and self._is_due(look):
            return self.sweep(expected=look.first[0])
        return look

    def _peek(self) -> Look:
        look, has_reason, has_extra = self._looks.peek(self._monitor.queue_keys)
        # Without extra runs, runs in progress and jobs that resume, look for them only after the next peek.
        self._looked_for_extra_at = -math.inf if has_extra else time.monotonic()
        self._has_more = has_extra
        return look._replace(halted=self._monitor.look(has_reason))

    def _recover(self) -> None:
        self._queue_extra_runs()
        recovery = self._recovery
        if recovery is not None:
            self._runtime.call(recovery.look, self._has_more)
        self._has_more = True  # unless the next peek shows otherwise

    def _is_due(self, look: Look) -> bool:
        return look.first is not None and look.first[1] <= self._now()

    def _wait(self, wait_s: float) -> bool:
        """Return True if there was a message."""
        if not self._wake_channel.is_listening:
            self._looks.peek([])  # raises if a Cluster is down; a subscription alone would succeed
            self._wake_channel.subscribe()
            return False  # a message may have come between the last look and now
        return self._runtime.wait(partial(self._wait_for_a_call, wait_s)) is True

    def _wait_for_a_call(self, wait_s: float) -> bool:
        return not self._runtime.stopping() and self._wake_channel.wait(wait_s)

    def _now(self) -> float:
        return self._runtime.call(self._store.now)

    def _write_time(self) -> None:
        try:
            self._timefile.write(int(self._now()))
        except TimeFileError as error:
            # The file was writable at the start. Only the next start needs it, so dispatching continues.
            self._runtime.report("time file", str(error))
