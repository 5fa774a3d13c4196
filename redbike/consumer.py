"""The consumer: takes jobs from the queues in the worker's order, calls the worker, and says how each run ended.

`turn` of the scripts ends one run and begins the next in one round trip; the loop here never has two runs in hand.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from redbike.calling import outcome_of
from redbike.ending import Endings, Outcome, Run, Verdict, is_number
from redbike.errors import ServerError, WorkerError
from redbike.keys import Keys
from redbike.loop import Loop
from redbike.nonces import CALLER_LENGTH, Nonces
from redbike.order import Order
from redbike.patience import Stopped
from redbike.scripts import Scripts
from redbike.signals import Handlers
from redbike.steps import NO_PLACES, Ended, Ending, Places, Turn, decode
from redbike.waiting import Bells
from redbike.watch import IdleWorkers
from redbike.worker import Worker

LONGEST_TIMEOUT_S = 1e9
_AFTER_STOP_S = 10.0
"""How long a stopped worker goes on trying to tell Redis how its last run ended."""
_HEAD_START_S = 0.02
"""What a worker that looks by itself gives those that were woken: else all that look just then would go for one job."""


class Consumer:
    """One consumer of a worker's queues: an iterator over single turns, and the loop that works."""

    def __init__(
        self,
        scripts: Scripts,
        keys: Keys,
        worker: Worker,
        default_timeout_s: Callable[[], float],
        endings: Endings,
        bells: Bells,
        idle: IdleWorkers,
        loop: Loop,
    ) -> None:
        self._scripts = scripts
        self._keys = keys
        self._worker = worker
        self._default_timeout_s = default_timeout_s
        self._endings = endings
        self._bells = bells
        self._idle = idle
        self._loop = loop
        self._order: Order | None = None
        self._nonces = Nonces()
        self._unanswered: tuple[str, Order] | None = None
        self._may_arrive_late = False
        """Whether a call was given up that may still arrive: then the memo has to stay, which makes it do nothing."""

    def __iter__(self) -> Iterator[tuple[str | None, str]]:
        return self

    def __next__(self) -> tuple[str | None, str]:
        """Look at the next place of the order: the job taken from it and its run tag, or None and a tag not used.

        None means that there is nothing to take; after a lost reply also that what was taken is somebody else's by now.
        """
        # One that was not answered is asked for again, of the same queues: it may have handed a job out.
        repeats = self._unanswered is not None
        nonce, order = self._unanswered or (self._nonces.new(), self._current_order())
        self._unanswered = nonce, order
        turn = self._loop.patience.try_briefly(
            lambda again: self._scripts.turn(nonce, order.one(), heed_halt=False, repeated=again or repeats)
        )
        self._unanswered = None
        if turn.ended is Ended.OUTDATED:
            self._nonces.renew()
            return next(self)
        run = self._taken(turn, nonce, order, order.one())
        return (None if run is None else run.jobid), nonce

    def work(self) -> None:
        """Work until the prefix is halted or this process is told to stop.

        The first turn looks at one place and does not look at the control key; later ones look at all places.
        Raises ServerError where the end of a run could not be told to Redis before the process had to stop.
        """
        order = self._current_order()
        with suppress(Stopped), Handlers(self._loop.log) as handlers:
            run, halted = self._turn(order, order.one(), heed_halt=False)
            if run is None and not self._loop.stop():
                # Before the first wait: a halt, or jobs in the other places, are there already.
                run, halted = self._turn(order, order.next_block())
            while run is not None or not (halted or self._loop.stop()):
                if run is not None:
                    outcome = self._do(run, order, handlers)
                    run, halted = self._turn(order, NO_PLACES if self._loop.stop() else order.next_block(), outcome)
                else:
                    self._wait(order)
                    if not self._loop.stop():
                        run, halted = self._turn(order, order.next_block())
            if not self._may_arrive_late:
                self._scripts.forget_memo(self._nonces.new())

    def _current_order(self) -> Order:
        """The worker's order as it says it now; the place in it is kept."""
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
        if not is_number(timeout_s) or not 0 < timeout_s <= LONGEST_TIMEOUT_S:
            raise WorkerError(
                f"worker {type(self._worker).__name__}: timeout({queue_key!r}) gave {given!r}:"
                f" a number of seconds above 0 and up to {LONGEST_TIMEOUT_S:.0f} is needed, or None for the default"
            )
        return float(timeout_s)

    def _turn(
        self, order: Order, places: Places, outcome: Outcome | None = None, *, heed_halt: bool = True
    ) -> tuple[Run | None, bool]:
        """End the run of this outcome and take the next job from places: the job, and whether the prefix is halted.

        Where the order is long, further turns look at what these places leave.
        """
        run, halted = self._one_turn(order, places, outcome, heed_halt)
        while run is None and places.left and not (halted or self._loop.stop()):
            places = order.next_block(places.left)
            run, halted = self._one_turn(order, places, None, heed_halt)
        return run, halted

    def _one_turn(
        self, order: Order, places: Places, outcome: Outcome | None, heed_halt: bool
    ) -> tuple[Run | None, bool]:
        nonce = self._nonces.new()
        ending = None if outcome is None else self._endings.of(outcome, outcome.run.text)
        is_unanswered = False
        while True:
            turn, is_unanswered = self._call(nonce, places, ending, heed_halt, is_unanswered)
            if turn.ended is Ended.OUTDATED:
                nonce, is_unanswered = self._nonces.renew(), False
            elif outcome is not None and turn.ended is Ended.CHANGED:
                ending = self._endings.of(outcome, turn.changed_text)
            else:
                break
        if outcome is not None and turn.ended is Ended.LATE:
            self._loop.log.warning(
                "job %r: this run had outlived its timeout, or the job was run again since; its end changes nothing",
                outcome.run.jobid,
            )
        return self._taken(turn, nonce, order, places), turn.halted

    def _call(
        self, nonce: str, places: Places, ending: Ending | None, heed_halt: bool, was_unanswered: bool
    ) -> tuple[Turn, bool]:
        """The reply to a turn, and whether a try of it went unanswered; `was_unanswered`: one before did."""
        stopped_at: float | None = None
        is_unanswered = was_unanswered

        def attempt(repeated: bool) -> Turn:
            nonlocal is_unanswered
            try:
                return self._scripts.turn(
                    nonce, places, ending, heed_halt=heed_halt, repeated=repeated or was_unanswered
                )
            except Exception:  # a connection that another thread closes raises anything
                # Whatever a later try is answered: an earlier one may have handed out a job.
                is_unanswered = is_unanswered or self._scripts.is_unanswered
                self._may_arrive_late = self._may_arrive_late or is_unanswered
                raise

        def give_up() -> bool:
            nonlocal stopped_at
            if not self._loop.stop():
                return False
            stopped_at = stopped_at or time.monotonic()
            # Whoever goes now takes the job along that it was handed out.
            may_leave = ending is None and not is_unanswered
            return may_leave or time.monotonic() - stopped_at > _AFTER_STOP_S

        try:
            return self._loop.patience.outlast(attempt, give_up), is_unanswered
        except Stopped:
            if ending is None:
                raise
            raise ServerError(
                f"job {ending.jobid!r} has run, but Redis could not be told before this worker had to stop:"
                " it counts as timed out"
            ) from None

    def _taken(self, turn: Turn, nonce: str, order: Order, places: Places) -> Run | None:
        for queue_key, error in turn.troubles:
            self._loop.troubles.report(f"queue {queue_key}", error)
        if turn.jobid is None or turn.place is None:
            if places is not NO_PLACES and not turn.halted:
                order.looked(places.places)
            return None
        queue_key = order.looked(turn.place + 1)
        timeout_s = order.timeout_s(queue_key)
        return Run(decode(turn.jobid), nonce, queue_key, turn.text, turn.now, time.monotonic(), timeout_s)

    def _wait(self, order: Order) -> None:
        """Until a bell rings, or a look by ourselves finds something, or we are told to stop."""
        places, watched = order.whole, False

        def wait() -> bool:
            nonlocal watched
            loop = self._loop
            wait_s = random.uniform(0.5, 1.0) * loop.longest_sleep_s if watched else loop.longest_wait_s
            watched = False  # until we know better: this may fail
            if loop.stop() or self._bells.wait(order.bell_keys, wait_s):
                return True
            found, watched = self._scripts.anything(places)
            if found:
                # Somebody was woken for it, most likely, and is about to take it.
                time.sleep(_HEAD_START_S)
                found, watched = self._scripts.anything(places)
            if not found:
                self._idle.note(self._nonces.new()[:CALLER_LENGTH])
            return found

        def nap(_: bool) -> bool:
            return self._loop.nap.take(wait) is not False

        while not self._loop.patience.outlast(nap, self._loop.stop):
            pass

    def _do(self, run: Run, order: Order, handlers: Handlers) -> Outcome:
        """Call the worker. Whatever it raises is an outcome; only an interruption that a signal sent goes further."""
        try:
            run.jobid.encode()
        except UnicodeEncodeError:
            self._loop.log.error("job id %r is not UTF-8: the job is BAD and is not run", run.jobid)
            return Outcome.of(run, Verdict.BAD)
        try:
            return outcome_of(self._worker, run, handlers, self._loop.log)
        except KeyboardInterrupt:
            self._turn(order, NO_PLACES, Outcome.of(run, Verdict.DIED))
            raise
