"""Read and write P:loaded: which jobs came from which file. Its notes are in notes of `Placement`, too."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import redis

from redbike.store.keys import Keys
from redbike.store.query import Call
from redbike.store.text import decode, encode

_PAGE = 1000  # entries a round trip


class Found(NamedTuple):
    """What Redis holds of a job."""

    text: str | None  # the registered schedule
    note: str  # "" without a note
    payload: str  # "" without a payload, and if nobody asked for it


class Loaded:
    """The notes of one prefix."""

    def __init__(self, client: redis.Redis, keys: Keys, call: Call) -> None:
        """`call` calls Redis with retries."""
        self._client = client
        self._keys = keys
        self._call = call

    def found(self, jobids: Sequence[str], with_payload: Sequence[str]) -> dict[str, Found]:
        """Return what Redis holds of each job, and the payloads of some of them. This is one round trip."""
        return self._call(partial(self._found, jobids, with_payload)) if jobids else {}

    def _found(self, jobids: Sequence[str], with_payload: Sequence[str], _repeated: bool) -> dict[str, Found]:
        fields = [encode(jobid) for jobid in jobids]
        pipeline: Any = self._client.pipeline(transaction=False)
        pipeline.hmget(self._keys.schedules, fields).hmget(self._keys.loaded, fields)
        if with_payload:
            pipeline.hmget(self._keys.payloads, [encode(jobid) for jobid in with_payload])
        texts, notes, *rest = pipeline.execute()
        payloads = dict(zip(with_payload, rest[0] if rest else (), strict=True))
        return {
            jobid: Found(
                None if text is None else decode(text), decode(note or b""), decode(payloads.get(jobid) or b"")
            )
            for jobid, text, note in zip(jobids, texts, notes, strict=True)
        }

    def notes(self) -> Iterator[list[tuple[str, str]]]:
        """Yield job id and note of each job with a note, in pages. A job may appear twice."""
        cursor = 0
        while True:
            cursor, page = self._call(partial(self._page, cursor))
            yield [(decode(jobid), decode(note)) for jobid, note in page.items()]
            if cursor == 0:
                return

    def _page(self, cursor: int, _repeated: bool) -> tuple[int, dict[bytes, bytes]]:
        page: Any = self._client.hscan(self._keys.loaded, cursor, count=_PAGE)
        return page[0], page[1]

    def write(self, notes: Mapping[str, str]) -> None:
        """Give jobs that stay as they are other notes."""
        if notes:
            mapping: Any = {encode(jobid): encode(note) for jobid, note in notes.items()}
            self._call(lambda _: self._client.hset(self._keys.loaded, mapping=mapping))

    def check(self) -> None:
        """Raise ServerError if another program uses the key."""
        self._call(lambda _: self._client.hlen(self._keys.loaded))
