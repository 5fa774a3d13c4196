"""The dispatcher: moves jobs that are due from the timeline into their queues, and sleeps until the next one is.

Any number may run on one prefix: `promote` checks each job again, so they race without harm.
"""

import math
import time
from collections.abc import Callable, Container, Iterable

from redbike.errors import JobIdError, TimeFileError
from redbike.loop import Loop
from redbike.patience import Stopped
from redbike.recovery import Recovery
from redbike.scripts import Scripts
from redbike.steps import Look, decode
from redbike.timefile import TimeFile
from redbike.waiting import WakeCalls, pause
from redbike.watch import Watch

_LAST_STRETCH_S = 0.001
_BATCH = 150  # jobs a call: half a millisecond or so of the server's time
_LONGEST_DELAY_S = 60.0
_LOOK_FOR_EXTRA_EVERY_S = 1.2  # a little more than an idle dispatcher sleeps: it looks on its way, at no cost


class Refusals:
    """The queues that take no jobs just now, and how long theirs are put off: 1, 2, 4 … 60 seconds.

    Jobs that came due again every second would hold up those of other queues, for as long as nobody mends the queue.
    """

    def __init__(self) -> None:
        self.delays_s: dict[str, float] = {}
        self._refused_at: dict[str, float] = {}  # monotonic

    def note(self, asked: Iterable[str], refused: Container[str]) -> None:
        """Take note of which of the queues that were asked refused."""
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
        scripts: Scripts,
        queue_key_for: Callable[[str], str],
        wake_calls: WakeCalls,
        timefile: TimeFile,
        recovery: Recovery | None,
        watch: Watch,
        loop: Loop,
    ) -> None:
        self._scripts = scripts
        self._queue_key_for = queue_key_for
        self._wake_calls = wake_calls
        self._timefile = timefile
        self._recovery = recovery
        self._watch = watch
        self._loop = loop
        self._refusals = Refusals()
        self._looked_for_extra_at = -math.inf

    def run(self, first_now: float | None) -> None:
        """Pass over the timeline until the prefix is halted or this process is told to stop.

        `first_now` is the time that the first pass goes by, Unix seconds; later ones, and None, go by the server's.
        """
        outlast, stop = self._loop.patience.outlast, self._loop.stop
        try:
            look = self.sweep(first_now)
            self._queue_extra_runs()
            while not (look.halted or stop()):
                self._recover()
                look = self._sleep(look)
            outlast(lambda _: self._watch.end(look.halted), stop)
        except Stopped:
            pass
        finally:
            self._wake_calls.close()

    def sweep(self, now: float | None = None, expected: bytes | None = None) -> Look:
        """Queue all that is due, and return the last look at the timeline.

        A pass that is halted from its start is still made in full; one that is halted under way ends early.
        `expected` is a job that should be due by now: naming it saves a round trip.
        """
        stopped_before = self._loop.stop()
        look = self._promote([] if expected is None else [expected], now)
        halted_before = look.halted
        while look.due and (self._loop.stop(), look.halted) == (stopped_before, halted_before):
            look = self._promote(look.due, now)
        return look

    def _queue_extra_runs(self) -> None:
        """Queue what is due beside the timeline: jobs that were wished for while they ran. At most a batch a second."""
        now = time.monotonic()
        if now - self._looked_for_extra_at > _LOOK_FOR_EXTRA_EVERY_S:
            due = self._loop.patience.outlast(lambda _: self._scripts.extra_due(_BATCH), self._loop.stop)
            if due:
                self._promote(due, None, extra=True)
            self._looked_for_extra_at = now

    def _promote(self, jobids: list[bytes], now: float | None, *, extra: bool = False) -> Look:
        by_queue, bad = self._by_queue(jobids)
        delays_s = self._refusals.delays_s
        look = self._loop.patience.outlast(
            lambda _: self._scripts.promote(by_queue, _BATCH, now, bad, delays_s=delays_s, extra=extra),
            self._loop.stop,
        )
        for queue_key, error in look.troubles:
            self._loop.troubles.report(f"queue {queue_key}", error)
        if look.troubles or delays_s:
            self._refusals.note(by_queue, {queue_key for queue_key, _ in look.troubles})
        self._write_time()
        if not look.halted:
            self._loop.patience.outlast(lambda _: self._watch.look(), self._loop.stop)
        return look

    def _by_queue(self, jobids: list[bytes]) -> tuple[dict[str, list[bytes]], list[bytes]]:
        by_queue: dict[str, list[bytes]] = {}
        bad = []
        for jobid in jobids:
            try:
                by_queue.setdefault(self._queue_key_for(jobid.decode()), []).append(jobid)
            except UnicodeDecodeError:
                self._loop.log.error("job id %r is not UTF-8: the job is BAD and off the timeline", jobid)
                bad.append(jobid)
            except JobIdError as error:
                self._loop.log.error("%s; the job is BAD and removed from the timeline", error)
                bad.append(jobid)
            except Exception:
                self._loop.log.exception(
                    "no queue can be told for job %r: it is BAD and off the timeline", decode(jobid)
                )
                bad.append(jobid)
        return by_queue, bad

    def _sleep(self, look: Look) -> Look:
        """Wait for a wake-up call, for the first job to come due, or for a second; then look again."""
        wait_s = self._loop.longest_wait_s
        if look.first is not None:
            wait_s = min(wait_s, look.first[1] - self._now() - _LAST_STRETCH_S)
        if self._recovery is not None:
            wait_s = min(wait_s, self._recovery.wait_s())
        if wait_s > 0:
            called = self._loop.patience.outlast(lambda _: self._wait(wait_s), self._loop.stop)
            if self._loop.stop():
                return look
            if called:
                return self.sweep()
        if look.first is not None:
            last_s = look.first[1] - self._now()
            if 0 < last_s <= 2 * _LAST_STRETCH_S:
                # Waiting for a call counts in whole milliseconds; sleeping does not.
                pause(self._loop.nap, last_s)
        if not self._is_due(look):
            look = self._loop.patience.outlast(lambda _: self._peek(), self._loop.stop)
            self._write_time()
        if look.first is not None and self._is_due(look):
            return self.sweep(expected=look.first[0])
        return look

    def _peek(self) -> Look:
        look, stirring, has_extra = self._scripts.peek(self._watch.queue_keys)
        # Where there is none, none is looked for; else at once.
        self._looked_for_extra_at = -math.inf if has_extra else time.monotonic()
        return look._replace(halted=self._watch.look(stirring))

    def _recover(self) -> None:
        self._queue_extra_runs()
        recovery = self._recovery
        if recovery is not None:
            self._loop.patience.outlast(lambda _: recovery.look(), self._loop.stop)

    def _is_due(self, look: Look) -> bool:
        return look.first is not None and look.first[1] <= self._now()

    def _wait(self, wait_s: float) -> bool:
        """Whether there was a wake-up call."""
        if not self._wake_calls.is_listening:
            self._scripts.peek([])  # a Cluster that is down would let us subscribe all the same
            self._wake_calls.subscribe()
            return False  # a call may have come between the last look and now
        called = self._loop.nap.take(lambda: not self._loop.stop() and self._wake_calls.wait(wait_s))
        return called is True

    def _now(self) -> float:
        return self._loop.patience.outlast(lambda _: self._scripts.now(), self._loop.stop)

    def _write_time(self) -> None:
        try:
            self._timefile.write(int(self._now()))
        except TimeFileError as error:
            # It was writable at the start. What it is good for comes at the next start; dispatching goes on.
            self._loop.troubles.report("time file", str(error))
