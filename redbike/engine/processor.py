"""The worker's loop: take jobs from the queues in the worker's order, call the worker, report how each run ended.

One call of the script `turn` ends a run and begins the next run. The loop never holds two runs at a time.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial

from redbike.engine.heartbeat import Heartbeat
from redbike.engine.monitor import IdleWorkers
from redbike.engine.order import Order
from redbike.engine.outcome import EndedRun, Outcome, RunEnds, TakenRun
from redbike.engine.policy import is_number
from redbike.engine.present import PresentRun
from redbike.engine.retry import Stopped, never
from redbike.engine.runlog import RunLog
from redbike.engine.runtime import Runtime
from redbike.engine.signals import Handlers
from redbike.engine.waiting import Bells
from redbike.engine.watchdog import Watchdog
from redbike.errors import ServerError, WorkerError
from redbike.settings import LONGEST_S
from redbike.store.keys import Keys
from redbike.store.looks import Looks
from redbike.store.messages import NO_PLACES, EndReply, Places, RunEnd, Turn
from redbike.store.requests import CLIENT_ID_LENGTH, RequestIds
from redbike.store.store import Store
from redbike.store.text import decode
from redbike.worker import Worker

_AFTER_STOP_S = 10.0
"""How long a stopped worker keeps trying to report the end of its last run to Redis."""
_POLLING_DELAY_S = 0.02
"""Delay before a polling worker takes a job, so that the worker that was woken gets it first."""


class Consumer:
    """One consumer of a worker's queues: an iterator over single turns, and the loop that works."""

    def __init__(
        self,
        store: Store,
        looks: Looks,
        keys: Keys,
        worker: Worker,
        default_timeout_s: Callable[[], float],
        run_ends: RunEnds,
        bells: Bells,
        idle: IdleWorkers,
        runtime: Runtime,
        present: PresentRun,
        heartbeat: Heartbeat,
    ) -> None:
        self._store = store
        self._looks = looks
        self._keys = keys
        self._worker = worker
        self._default_timeout_s = default_timeout_s
        self._run_ends = run_ends
        self._bells = bells
        self._idle = idle
        self._runtime = runtime
        self._run_log = RunLog(runtime.log)
        self.present = present
        self.leaves: Callable[[], bool] = never
        """Asked after each run: whether the loop ends, as soon as it has reported the end of this run."""
        self.on_idle: Callable[[], None] | None = None
        """Called when a turn has found no job in any queue."""
        self._heartbeat = heartbeat
        self._order: Order | None = None
        self._request_ids = RequestIds()
        self._unanswered: tuple[str, Order] | None = None
        self._reported: TakenRun | None = None  # the latest run that was reported as overdue
        self._may_arrive_late = False
        """Whether this loop gave up a call that may still arrive. Then the memo stays, so the call has no effect."""

    @property
    def running(self) -> str | None:
        """The job that the loop is running, for a signal handler."""
        return self.present.running

    def __iter__(self) -> Iterator[tuple[str | None, str]]:
        return self

    def __next__(self) -> tuple[str | None, str]:
        """Look at the next place of the order. Return the taken job and its run tag, or None and an unused tag.

        Return None if there is no job. After a lost reply, also return None if another worker took the job again.
        """
        # Repeat a call without an answer, for the same queues, because it may have handed out a job.
        repeats = self._unanswered is not None
        request_id, order = self._unanswered or (self._request_ids.new(), self._current_order())
        self._unanswered = request_id, order
        places = order.one()

        def attempt(again: bool) -> Turn:
            return self._store.turn(request_id, places, heed_halt=False, repeated=again or repeats)

        turn = self._runtime.retry(attempt)
        self._unanswered = None
        if turn.ended is EndReply.OUTDATED:
            self._request_ids.renew()
            return next(self)
        run = self._taken(turn, request_id, order, places)
        return (None if run is None else run.jobid), request_id

    def work(self) -> None:
        """Work until the prefix is halted or this process is asked to stop.

        The first turn looks at one place and ignores the control key; later turns look at all places. Raises
        ServerError if Redis did not receive the end of the last run before the process had to stop.
        """
        order, stopping = self._current_order(), self._runtime.stopping
        self._heartbeat.client_id = self._request_ids.new()[:CLIENT_ID_LENGTH]
        watchdog = Watchdog(order.shortest_timeout_s, self._report_overdue)
        self.present.watch = watchdog.watch
        present = closing(self.present)
        with suppress(Stopped), present, Handlers(self._runtime.log) as handlers, watchdog, self._heartbeat:
            run, halted = self._turn(order, order.one(), heed_halt=False)
            if run is None and not stopping():
                # Before the first wait: a halt, or jobs in the other places, may be there already.
                run, halted = self._turn(order, order.next_block())
            while run is not None or not (halted or stopping()):
                if run is not None:
                    ended = self._do(run, order, handlers)
                    leaves = stopping() or self.leaves()
                    run, halted = self._turn(order, NO_PLACES if leaves else order.next_block(), ended)
                    halted = halted or leaves
                else:
                    self._wait(order)
                    if not stopping():
                        run, halted = self._turn(order, order.next_block())
            if not self._may_arrive_late:
                self._store.forget_memo(self._request_ids.new())

    def _current_order(self) -> Order:
        """Return the order that the worker names now. Keep the position in it."""
        worker = self._worker
        queue_keys = [self._queue_key(name) for name in worker.queue_names()]
        if not queue_keys:
            raise WorkerError(
                f"worker {type(worker).__name__}: queue_names() lists no queue, so there is nothing to do"
            )
        timeouts_s = [self._timeout_s(queue_key) for queue_key in queue_keys]
        if self._order is None or not self._order.is_of(queue_keys, timeouts_s):
            order = Order(queue_keys, timeouts_s, self._keys)
            if self._order is not None:
                order.continue_from(self._order)
            self._order = order
        return self._order

    def _queue_key(self, name: object) -> str:
        fault = self._keys.queue_fault(name)
        if fault is not None:
            raise WorkerError(f"worker {type(self._worker).__name__}: queue_names(): {fault}")
        return self._keys.queue(str(name))

    def _timeout_s(self, queue_key: str) -> float:
        given = self._worker.timeout(queue_key)
        timeout_s = self._default_timeout_s() if given is None else given
        if not is_number(timeout_s) or not 0 < timeout_s <= LONGEST_S:
            raise WorkerError(
                f"worker {type(self._worker).__name__}: timeout({queue_key!r}) returned {given!r}:"
                f" a number of seconds above 0 and up to {LONGEST_S:.0f} is needed, or None for the default"
            )
        return float(timeout_s)

    def _turn(
        self, order: Order, places: Places, ended: EndedRun | None = None, *, heed_halt: bool = True
    ) -> tuple[TakenRun | None, bool]:
        """End a run and take the next job from these places. Return the job, and whether the prefix is halted.

        If the order is long, further turns look at the rest of it.
        """
        run, halted = self._one_turn(order, places, ended, heed_halt)
        while run is None and places.left and not (halted or self._runtime.stopping()):
            places = order.next_block(places.left)
            run, halted = self._one_turn(order, places, None, heed_halt)
        return run, halted

    def _one_turn(
        self, order: Order, places: Places, ended: EndedRun | None, heed_halt: bool
    ) -> tuple[TakenRun | None, bool]:
        request_id = self._request_ids.new()
        run_end = None if ended is None else self._run_ends.of(ended, ended.run.text)
        is_unanswered = False
        while True:
            turn, is_unanswered = self._call(request_id, places, run_end, heed_halt, is_unanswered)
            if turn.ended is EndReply.OUTDATED:
                request_id, is_unanswered = self._request_ids.renew(), False
                self._heartbeat.client_id = request_id[:CLIENT_ID_LENGTH]
            elif ended is not None and turn.ended is EndReply.CHANGED:
                run_end = self._run_ends.of(ended, turn.changed_text)
            else:
                break
        if ended is not None:
            if turn.ended is EndReply.LATE:
                self._report_late(ended)
            else:
                self._run_log.note(ended, turn.now)
        return self._taken(turn, request_id, order, places), turn.halted

    def _call(
        self, request_id: str, places: Places, run_end: RunEnd | None, heed_halt: bool, was_unanswered: bool
    ) -> tuple[Turn, bool]:
        """Return the reply to a turn, and whether a try got no answer. `was_unanswered`: an earlier try got none."""
        stopped_at: float | None = None
        is_unanswered = was_unanswered
        turn = partial(self._store.turn, request_id, places, run_end, heed_halt=heed_halt)

        def attempt(repeated: bool) -> Turn:
            nonlocal is_unanswered
            try:
                return turn(repeated=repeated or was_unanswered)
            except Exception:  # a connection that another thread closes raises anything
                # This try may have handed out a job. The answer to a later try does not change that.
                is_unanswered = is_unanswered or self._store.is_unanswered
                self._may_arrive_late = self._may_arrive_late or is_unanswered
                raise

        def give_up() -> bool:
            nonlocal stopped_at
            if not self._runtime.stopping():
                return False
            stopped_at = stopped_at or time.monotonic()
            # Leaving now would strand a job that was handed to us.
            may_leave = run_end is None and not is_unanswered
            return may_leave or time.monotonic() - stopped_at > _AFTER_STOP_S

        try:
            return self._runtime.retry_forever(attempt, give_up), is_unanswered
        except Stopped:
            if run_end is None:
                raise
            raise ServerError(
                f"job {run_end.jobid!r} has run, but Redis did not receive the end of the run before this worker had to"
                " stop: the run counts as lost"
            ) from None

    def _taken(self, turn: Turn, request_id: str, order: Order, places: Places) -> TakenRun | None:
        for queue_key, error in turn.troubles:
            self._runtime.report(f"queue {queue_key}", error)
        if turn.jobid is None or turn.place is None:
            if places is not NO_PLACES and not turn.halted:
                order.looked(places.places)
            return None
        queue_key = order.looked(turn.place + 1)
        timeout_s = order.timeout_s(queue_key)
        return TakenRun(
            decode(turn.jobid), request_id, queue_key, turn.text, turn.now, time.monotonic(), timeout_s,
            turn.payload, turn.planned,
        )  # fmt: skip

    def _wait(self, order: Order) -> None:
        """Wait until a bell rings, until our own look at the queues finds something, or until a request to stop."""
        if self.on_idle is not None:
            self.on_idle()
        runtime, monitored = self._runtime, False

        def wait() -> bool:
            nonlocal monitored
            wait_s = random.uniform(0.5, 1.0) * runtime.longest_sleep_s if monitored else runtime.longest_wait_s
            monitored = False  # the look below may set it, or fail
            if runtime.stopping() or self._bells.wait(order.bell_keys, wait_s):
                return True
            found, monitored = self._looks.anything(order.whole)
            if found:
                # A bell has probably woken another worker, which is about to take the job.
                time.sleep(_POLLING_DELAY_S)
                found, monitored = self._looks.anything(order.whole)
            if not found:
                self._idle.note(self._request_ids.new()[:CLIENT_ID_LENGTH])
            return found

        while runtime.call(runtime.wait, wait) is False:
            pass

    def _report_overdue(self, run: TakenRun) -> None:
        self._reported = run
        self._runtime.log.warning("%s", self._run_ends.overdue_line(run, "has taken"))

    def _report_late(self, ended: EndedRun) -> None:
        if self._reported is ended.run:
            took_s = ended.run.elapsed_s()
            self._runtime.log.info("job %r ended after %.4g s; its end changes nothing", ended.run.jobid, took_s)
        else:
            self._runtime.log.warning("%s", self._run_ends.late_line(ended))

    def _do(self, run: TakenRun, order: Order, handlers: Handlers) -> EndedRun:
        try:
            return self.present.do(run, handlers)
        except KeyboardInterrupt:  # a signal has caused it
            self._turn(order, NO_PLACES, EndedRun.of(run, Outcome.DIED, None, "KeyboardInterrupt"))
            raise
