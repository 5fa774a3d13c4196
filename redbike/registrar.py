"""Registering jobs: checks a job id, reads its schedule, and has the plan placed in Redis, for one job or for many.

Knows no clock and no file: reference times are the caller's.
"""

import logging
from collections.abc import Callable, Iterable, Iterator

from redbike.errors import JobIdError, ServerError
from redbike.keys import Keys, jobid_fault
from redbike.nonces import Nonces
from redbike.patience import Attempt
from redbike.schedule import Plan, Step, read
from redbike.scripts import Outdated, Scripts
from redbike.steps import Placement
from redbike.worker import Worker

_BATCH = 200  # jobs a round trip: a millisecond or so of the server's time


class Registrar:
    """Registers the jobs of one prefix."""

    def __init__(
        self,
        scripts: Scripts,
        nonces: Nonces,
        keys: Keys,
        worker: Worker,
        queue_key_for: Callable[[str], str],
        log: logging.Logger,
    ) -> None:
        self._scripts = scripts
        self._nonces = nonces
        self._keys = keys
        self._worker = worker
        self._queue_key_for = queue_key_for
        self._log = log

    def planned(self, jobid: str, schedule: str, reference: Callable[[], float]) -> tuple[Plan, Placement]:
        """What comes next for a job with this schedule, and how it is placed. `reference` is called where it matters.

        Raises JobIdError for an id that cannot be registered; a schedule that cannot be read makes a plan, too: `BAD`.
        """
        queue_key = self._checked_queue_key(jobid)
        if not isinstance(schedule, str):
            raise TypeError(f"job {jobid!r}: a schedule is text or None, not {type(schedule).__name__}")
        meant = read(schedule)
        plan = meant.first(reference() if meant.needs_reference else 0)
        if plan.step is Step.BAD:
            self._log.warning("job %r is BAD: %s", jobid, plan.reason, extra={"bad_schedule": True})
        elif plan.step is Step.STOP and plan.reason is not None:
            self._log.warning("job %r will not run: %s", jobid, plan.reason)
        once = plan.registered == "STOP" and plan.step is not Step.STOP
        return plan, Placement(jobid, queue_key, plan.registered, plan.step, plan.due_at, once)

    def check(self, jobid: str) -> None:
        """Raise JobIdError for an id that cannot be registered."""
        self._checked_queue_key(jobid)

    def by_hand(self, jobid: str) -> Placement:
        """How a job is placed that runs once, whatever its schedule."""
        return Placement(jobid, self._checked_queue_key(jobid), None, Step.QUEUE, once=True)

    def place(self, placement: Placement, call: "Call") -> None:
        """Have a job placed."""
        self._noted(
            call,
            lambda nonce, repeated, is_noted: self._scripts.place(
                placement._replace(once=True) if is_noted else placement, nonce=nonce, repeated=repeated
            ),
        )

    def place_all(self, placements: Iterable[Placement], call: "Call") -> None:
        """Have jobs placed in order, many at a time.

        Where a key of a wrong type keeps some of them out, the others are placed all the same, and then ServerError
        names the first of these.
        """
        refused: ServerError | None = None
        for batch in _batches(placements):
            try:
                self._place_many(batch, call)
            except ServerError as error:
                _raise_unless_spoiled(error)
                for placement in batch:
                    try:
                        self.place(placement, call)
                    except ServerError as refusal:
                        _raise_unless_spoiled(refusal)
                        refused = refused or ServerError(f"job {placement.jobid!r} is not set: {refusal}")
        if refused:
            raise refused

    def unset(self, jobid: str, queue_key: str, call: "Call") -> None:
        """Have a job forgotten."""
        self._noted(
            call,
            lambda nonce, repeated, is_noted: self._scripts.unset(jobid, queue_key, nonce, repeated, is_noted),
        )

    def _place_many(self, batch: list[Placement], call: "Call") -> None:
        self._noted(call, lambda nonce, repeated, _: self._scripts.place_many(batch, nonce, repeated=repeated))

    def _noted(self, call: "Call", attempt: Callable[[str, bool, bool], object]) -> None:
        """Call with a nonce. `attempt` also gets whether this very call was made before, and whether to leave the nonce
        in the memo: then, and where a call before it was given up and may still arrive.
        """
        caller = self._nonces.begin()
        try:
            while True:
                nonce, is_behind_another = caller.nonce(), caller.is_uncertain
                caller.is_uncertain = True  # until this one is answered
                try:
                    call(lambda repeated: attempt(nonce, repeated, repeated or is_behind_another))  # noqa: B023
                except Outdated:
                    caller.renew()
                    continue
                caller.is_uncertain = False
                return
        finally:
            self._nonces.end(caller)

    def _checked_queue_key(self, jobid: str) -> str:
        fault = jobid_fault(jobid)
        if fault is not None:
            raise JobIdError(fault)
        queue_key = self._queue_key_for(jobid)
        collision = self._keys.collision(jobid, queue_key, self._worker.queue_for, self._worker.queue_names())
        if collision is not None:
            raise JobIdError(
                f"job id {jobid!r} would share the key {collision!r} with another use: choose another job id"
            )
        return queue_key


Call = Callable[[Attempt[object]], object]
"""How to call Redis: with patience."""


def _raise_unless_spoiled(error: ServerError) -> None:
    """Go on only where a key of a wrong type is to blame."""
    if "WRONGTYPE" not in str(error):
        raise error


def _batches(placements: Iterable[Placement]) -> Iterator[list[Placement]]:
    """Pieces of a certain length at the most, in order; none has a job twice."""
    batch: dict[str, Placement] = {}
    for placement in placements:
        if placement.jobid in batch or len(batch) == _BATCH:
            yield list(batch.values())
            batch = {}
        batch[placement.jobid] = placement
    if batch:
        yield list(batch.values())
