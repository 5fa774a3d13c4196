"""Place and forget jobs in Redis: call the script with a request id, and repeat the call until Redis has answered."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

from redbike.engine.retry import RetryPolicy
from redbike.errors import ServerError
from redbike.server.refusals import is_wrong_type
from redbike.store.messages import Placement
from redbike.store.requests import RequestIds
from redbike.store.store import Outdated, Store

T = TypeVar("T")

_BATCH = 200  # jobs per round trip: a millisecond or so of the server's time
_BATCH_CHARS = 1_048_576  # of payloads per round trip


class Placing:
    """Place the jobs of one prefix in Redis."""

    def __init__(
        self, store: Store, request_ids: RequestIds, check_server: Callable[[], None], policy: RetryPolicy
    ) -> None:
        """Use this store. Call `check_server` before each transition."""
        self._store = store
        self._request_ids = request_ids
        self._check_server = check_server
        self._policy = policy

    def place(self, placement: Placement, *, only_paused: str | None = None, only_payload: bool = False) -> bool:
        """Place a job. Return False if it was not placed: see `Store.place`."""
        place = partial(self._store.place, [placement], only_paused=only_paused, only_payload=only_payload)
        return self._send(place, placement.once or only_paused is not None)

    def pause(self, jobid: str, queue_key: str, until: float | None, note: str) -> str | None:
        """Pause a job. Return its schedule as it is registered now; None without a schedule."""
        return self._send(partial(self._store.pause, jobid, queue_key, until, note), False)

    def place_all(
        self,
        placements: Iterable[Placement],
        progress: Callable[[int], object] | None = None,
        *,
        only_payload: bool = False,
    ) -> int:
        """Place jobs in order, many per call. Return their number. Call `progress` with their number so far.
        `only_payload`: see `Store.place`.

        If a key of a wrong type refuses some jobs, place the other jobs. Then raise ServerError, which names the first
        job that is missing.
        """
        refused: ServerError | None = None
        count = 0
        for batch in _batches(placements):
            if progress is not None and count:
                progress(count)
            try:
                self._send(partial(self._store.place, batch, only_payload=only_payload), True)
            except ServerError as error:
                if not is_wrong_type(error):
                    raise
                for placement in batch:
                    try:
                        self.place(placement, only_payload=only_payload)
                    except ServerError as refusal:
                        if not is_wrong_type(refusal):
                            raise
                        refused = refused or ServerError(f"job {placement.jobid!r} is not set: {refusal}")
            count += len(batch)
        if refused:
            raise refused
        if progress is not None:
            progress(count)
        return count

    def hold(self, name: str, entry: str) -> bool:
        """Hold a queue, or release it. Return True if it was held before."""
        return self._send(partial(self._store.hold, name, entry), True)

    def unset(self, jobid: str, queue_key: str, note: str | None = None) -> bool:
        """Forget a job. `note`: only if this is its note in P:loaded. Return True if the job was known."""
        return self._send(partial(self._store.unset, jobid, queue_key, note=note), False)

    def _send(self, transition: Callable[..., T], noted: bool) -> T:
        """Make a call with a request id. The memo keeps the id if `noted`, or if an earlier call may still arrive."""
        self._check_server()
        client = self._request_ids.begin()
        try:
            while True:
                request_id, noted = client.request_id(), noted or client.is_uncertain
                client.is_uncertain = True  # until this call is answered
                try:
                    result = self._policy.retry(partial(transition, request_id, noted=noted))
                except Outdated:
                    client.renew()
                    continue
                client.is_uncertain = False
                return result
        finally:
            self._request_ids.end(client)


def _batches(placements: Iterable[Placement]) -> Iterator[list[Placement]]:
    """Return pieces of limited length, in order. No piece has a job twice."""
    batch: dict[str, Placement] = {}
    chars = 0
    for placement in placements:
        if placement.jobid in batch or len(batch) == _BATCH or chars > _BATCH_CHARS:
            yield list(batch.values())
            batch, chars = {}, 0
        batch[placement.jobid] = placement
        if placement.payload:
            chars += len(placement.payload)
    if batch:
        yield list(batch.values())
