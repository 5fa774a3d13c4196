"""The consumer: takes jobs from the queues in the worker's order, calls the worker, and says how each run ended.

`turn` of the scripts ends one run and begins the next in one round trip; the loop here never has two runs in hand.
"""

import decimal
import logging
import math
import numbers
import secrets
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple, TypeGuard

from redbike.errors import ServerError, WorkerError
from redbike.keys import Keys
from redbike.patience import Patience, Stopped
from redbike.schedule import Step, read
from redbike.scripts import NO_PLACES, Ended, Ending, Places, Scripts, Turn, decode
from redbike.trouble import Troubles
from redbike.waiting import Bells, Nap
from redbike.worker import StopWork, UnsetJob, Worker

LONGEST_TIMEOUT_S = 1e9
_AFTER_STOP_S = 10.0
"""How long a stopped worker goes on trying to tell Redis how its last run ended."""


class Run(NamedTuple):
    """A job in hand."""

    jobid: str
    tag: str
    queue_key: str
    text: bytes | None  # its schedule when it was taken; None: it has none
    began_at: float  # server's time, Unix seconds
    began_clock_s: float  # this machine's monotonic clock at that moment

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
    result: object = None  # what the worker returned


class Order:
    """The order in which a worker's queues are looked at, and the place where the next look begins."""

    def __init__(self, queue_keys: list[str], timeouts_s: list[float], keys: Keys) -> None:
        self.queue_keys = queue_keys
        unique = list(dict.fromkeys(queue_keys))
        number_of = {queue_key: number for number, queue_key in enumerate(unique, 1)}
        numbers_ = [number_of[queue_key] for queue_key in queue_keys]
        timeouts_ms = dict(zip(queue_keys, (max(1, round(1000 * seconds)) for seconds in timeouts_s), strict=True))
        triples = [(key, keys.members(key), keys.bell(key)) for key in unique]
        self.bell_keys = [bell for _, _, bell in triples]
        flat = tuple(key for triple in triples for key in triple)
        ms = tuple(timeouts_ms[key] for key in unique)
        self._all = [
            Places(" ".join(map(str, numbers_[at:] + numbers_[:at])), flat, ms, len(queue_keys))
            for at in range(len(queue_keys))
        ]
        self._one = [Places("1", triples[number - 1], (ms[number - 1],), 1) for number in numbers_]
        self._position = 0

    def one(self) -> Places:
        """The next place alone."""
        return self._one[self._position]

    def all(self) -> Places:
        """Every place, from the next one round to the one before it."""
        return self._all[self._position]

    def continue_from(self, former: "Order") -> None:
        """Begin where an earlier order of the same queues stands."""
        if former.queue_keys == self.queue_keys:
            self._position = former._position

    def looked(self, places: int) -> str:
        """Move on by so many places; the queue key of the last one of them."""
        last = (self._position + places - 1) % len(self.queue_keys)
        self._position = (last + 1) % len(self.queue_keys)
        return self.queue_keys[last]


class Consumer:
    """One consumer of a worker's queues: an iterator over single turns, and the loop that works."""

    def __init__(
        self,
        connect: Callable[[], Scripts],
        keys: Keys,
        worker: Worker,
        default_timeout_s: Callable[[], float],
        queue_key_for: Callable[[str], str],
        bells: Bells,
        patience: Patience,
        nap: Nap,
        stop: Callable[[], bool],
        longest_wait_s: float,
        troubles: Troubles,
        log: logging.Logger,
    ) -> None:
        self._connect = connect
        self._keys = keys
        self._worker = worker
        self._default_timeout_s = default_timeout_s
        self._queue_key_for = queue_key_for
        self._bells = bells
        self._patience = patience
        self._nap = nap
        self._stop = stop
        self._longest_wait_s = longest_wait_s
        self._troubles = troubles
        self._log = log
        self._order: Order | None = None

    def __iter__(self) -> Iterator[tuple[str | None, str]]:
        return self

    def __next__(self) -> tuple[str | None, str]:
        """Look at the next place of the order: the job taken from it and its run tag, or None and a tag not used."""
        nonce, order = _nonce(), self._current_order()
        turn = self._patience.try_briefly(
            lambda repeated: self._scripts.turn(nonce, order.one(), heed_halt=False, repeated=repeated)
        )
        run = self._taken(turn, nonce, order, order.one())
        return (None if run is None else run.jobid), nonce

    def work(self) -> None:
        """Work until the prefix is halted or this process is told to stop.

        The first turn looks at one place and does not look at the control key; later ones look at all places.
        Raises ServerError where the end of a run could not be told to Redis before the process had to stop.
        """
        order = self._current_order()
        try:
            run, halted = self._turn(order, order.one(), heed_halt=False)
            if run is None and not self._stop():
                # Before the first wait: a halt, or jobs in the other places, are there already.
                run, halted = self._turn(order, order.all())
            while run is not None or not (halted or self._stop()):
                if run is not None:
                    outcome = self._do(run, order)
                    run, halted = self._turn(order, NO_PLACES if self._stop() else order.all(), outcome)
                else:
                    self._wait(order)
                    if not self._stop():
                        run, halted = self._turn(order, order.all())
            self._scripts.forget_memo()
        except Stopped:
            pass

    @cached_property
    def _scripts(self) -> Scripts:
        """On a connection of its own, made when it is first needed."""
        return self._patience.try_briefly(lambda _: self._connect())

    def _current_order(self) -> Order:
        """The worker's order as it says it now; the place in it is kept."""
        worker = self._worker
        queue_keys = [self._queue_key(name) for name in worker.queue_names()]
        if not queue_keys:
            raise WorkerError(
                f"worker {type(worker).__name__}: queue_names() lists no queue, so there is nothing to do"
            )
        order = Order(queue_keys, [self._timeout_s(queue_key) for queue_key in queue_keys], self._keys)
        if self._order is not None:
            order.continue_from(self._order)
        self._order = order
        return order

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
        """End the run of this outcome and take the next job from places: the job, and whether the prefix is halted."""
        nonce = _nonce()
        ending = None if outcome is None else self._ending(outcome, outcome.run.text)
        while True:
            turn = self._call(nonce, places, ending, heed_halt)
            if outcome is None or turn.ended is not Ended.CHANGED:
                break
            ending = self._ending(outcome, turn.changed_text)
        if outcome is not None and turn.ended is Ended.LATE:
            self._log.warning(
                "job %r: this run had outlived its timeout, or the job was run again since; its end changes nothing",
                outcome.run.jobid,
            )
        return self._taken(turn, nonce, order, places), turn.halted

    def _call(self, nonce: str, places: Places, ending: Ending | None, heed_halt: bool) -> Turn:
        stopped_at: float | None = None

        def give_up() -> bool:
            nonlocal stopped_at
            if not self._stop():
                return False
            stopped_at = stopped_at or time.monotonic()
            return ending is None or time.monotonic() - stopped_at > _AFTER_STOP_S

        try:
            return self._patience.outlast(
                lambda repeated: self._scripts.turn(nonce, places, ending, heed_halt=heed_halt, repeated=repeated),
                give_up,
            )
        except Stopped:
            if ending is None:
                raise
            raise ServerError(
                f"job {ending.jobid!r} has run, but Redis could not be told before this worker had to stop:"
                " it counts as timed out"
            ) from None

    def _taken(self, turn: Turn, nonce: str, order: Order, places: Places) -> Run | None:
        for queue_key, error in turn.troubles:
            self._troubles.report(f"queue {queue_key}", error)
        if turn.jobid is None or turn.place is None:
            if places is not NO_PLACES and not turn.halted:
                order.looked(places.places)
            return None
        queue_key = order.looked(turn.place + 1)
        return Run(decode(turn.jobid), nonce, queue_key, turn.text, turn.now, time.monotonic())

    def _wait(self, order: Order) -> None:
        """Until a bell rings, or a look by ourselves finds something, or we are told to stop."""
        places = order.all()

        def wait(_: bool) -> bool:
            with self._nap:
                return (
                    self._stop()
                    or self._bells.wait(order.bell_keys, self._longest_wait_s)
                    or self._scripts.anything(places)
                )
            return True  # a signal ended the nap

        while not self._patience.outlast(wait, self._stop):
            pass

    def _do(self, run: Run, order: Order) -> Outcome:
        """Call the worker. Whatever it raises is an outcome; only an interruption from the keyboard goes further."""
        try:
            run.jobid.encode()
        except UnicodeEncodeError:
            self._log.error("job id %r is not UTF-8: the job is BAD and is not run", run.jobid)
            return Outcome(run, Verdict.BAD)
        try:
            return Outcome(run, Verdict.DONE, self._worker.work(run.jobid))
        except StopWork:
            return Outcome(run, Verdict.QUIT)
        except UnsetJob:
            return Outcome(run, Verdict.UNSET)
        except (Exception, SystemExit):
            self._log.exception("job %r died", run.jobid)
            return Outcome(run, Verdict.DIED)
        except BaseException:
            self._turn(order, NO_PLACES, Outcome(run, Verdict.DIED))
            raise

    def _ending(self, outcome: Outcome, text: bytes | None) -> Ending:
        """How the run ends with the schedule as it stands."""
        run = outcome.run
        step, due_at = str(outcome.verdict), None
        if outcome.verdict is Verdict.DONE:
            step, due_at = self._by_schedule(run, text, outcome.result)
        try:
            goes_to = self._queue_key_for(run.jobid)
        except Exception:
            self._log.exception("the worker names no queue for job %r: it stays in the queue it came from", run.jobid)
            goes_to = run.queue_key
        return Ending(run.jobid, run.tag, run.queue_key, goes_to, text, step, due_at)

    def _by_schedule(self, run: Run, text: bytes | None, result: object) -> tuple[str, float | None]:
        if text is None:
            return Step.STOP, None
        plan = read(decode(text)).again(run.now())
        if plan.step is Step.BAD:
            self._log.warning("job %r is BAD: %s", run.jobid, plan.reason)
        if plan.step is Step.QUEUE:
            pause_s = self._pause_s(run, result)
            return (Step.AT, run.now() + pause_s) if pause_s > 0 else (Step.QUEUE, None)
        if plan.step is Step.STOP and plan.registered == "STOP":
            # The text of a one-off that another program registered as written is over with its run.
            return (Step.STOP if text == b"STOP" else Verdict.QUIT), None
        return plan.step, plan.due_at

    def _pause_s(self, run: Run, result: object) -> float:
        """The backoff that a job on CONTINUE asked for, seconds."""
        if result is None:
            return 0.0
        if is_number(result) and math.isfinite(result):
            return float(result)
        self._log.warning(
            "job %r returned %.100r: only a number of seconds, or None, means something; it is ignored",
            run.jobid,
            result,
        )
        return 0.0


def is_number(value: object) -> TypeGuard[float]:
    """Whether this is a real number; True and False are not meant as one."""
    return isinstance(value, numbers.Real | decimal.Decimal) and not isinstance(value, bool)


def _nonce() -> str:
    return secrets.token_hex(12)
