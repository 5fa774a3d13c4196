"""Reading what stands in Redis: one job, or all in pages, so that a million neither block Redis nor fill memory.

Changes nothing, but for `flush`, which removes it all. What cannot be read is reported and passed over.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol, TypedDict, TypeVar

import redis

from redbike.keys import Keys
from redbike.schedule import read
from redbike.scripts import Scripts
from redbike.steps import decode, encode
from redbike.trouble import Troubles

_PAGE = 1000  # entries a round trip
_BATCH = 100  # jobs a call of a script: well below a millisecond of the server's time

T = TypeVar("T")


class Told(TypedDict):
    """What is known of a job."""

    status: str | None  # EVENT:TIMESTAMP
    next_run: float | None  # Unix seconds
    schedule: str | None
    working: bool


class Call(Protocol):
    """How to call Redis: as it is, or with patience."""

    def __call__(self, attempt: Callable[[bool], T]) -> T: ...


class Registry:
    """The jobs of one prefix, as they stand."""

    def __init__(self, client: redis.Redis, keys: Keys, troubles: Troubles) -> None:
        self._client = client
        self._keys = keys
        self._troubles = troubles

    def tell(self, jobid: str, queue_key: str) -> Told:
        """All that is known of one job, in one round trip."""
        keys, field = self._keys, encode(jobid)
        pipeline: Any = self._client.pipeline(transaction=False)
        pipeline.hget(keys.statuses, field).zscore(keys.timeline, field).hget(keys.schedules, field)
        pipeline.exists(encode(keys.tag(queue_key, jobid)))
        status, due_at, schedule, working = pipeline.execute()
        return {
            "status": None if status is None else decode(status),
            "next_run": None if due_at is None else _whole(due_at),
            "schedule": None if schedule is None else decode(schedule),
            "working": bool(working),
        }

    def schedules(self, call: Call) -> Iterator[tuple[str, str]]:
        """Job id and schedule text of every registered job."""
        for jobid, text in self._fields(self._keys.schedules, call):
            yield decode(jobid), decode(text)

    def statuses(self, call: Call) -> Iterator[tuple[str, str, int]]:
        """Job id, event and Unix time of every job that has a status."""
        for jobid, status in self._fields(self._keys.statuses, call):
            read_status = _event_and_time(status)
            if read_status is not None:
                yield decode(jobid), *read_status
            else:
                self._troubles.report(f"status of job {decode(jobid)!r}", f"{status[:80]!r} is not EVENT:TIMESTAMP")

    def lost(
        self, call: Call, scripts: Scripts, queue_key_for: Callable[[str], str], now: float
    ) -> Iterator[tuple[str, str, int]]:
        """Job id, event and Unix time of every job that is in no place, though its schedule leads on from `now`."""
        live: list[tuple[str, str]] = []
        for jobid, text in self.schedules(call):
            if read(text).again(now).leads_on:
                try:
                    live.append((jobid, queue_key_for(jobid)))
                except Exception as error:
                    self._troubles.report(f"job {jobid!r}, for which no queue can be told", str(error))
            if len(live) == _BATCH:
                yield from self._lost_of(live, call, scripts)
                live = []
        yield from self._lost_of(live, call, scripts)

    def _lost_of(self, jobs: list[tuple[str, str]], call: Call, scripts: Scripts) -> Iterator[tuple[str, str, int]]:
        for jobid, status in call(lambda _: scripts.lost(jobs)) if jobs else []:
            yield jobid, *(_event_and_time(status) or ("", 0))

    def flush(self, queue_names: Iterable[str], queue_key_for: Callable[[str], str]) -> int:
        """Delete the keys of this prefix; returns how many there were.

        No glob can tell `redbike-benchmark-schedules` of the prefix `redbike-benchmark` from a run tag of the prefix
        `redbike`, so the keys are found the way they are made: from the jobs and the queues.
        """
        keys = self._keys
        queues = {keys.queue(name) for name in queue_names}
        tags: set[bytes] = set()
        for jobid in set(self._jobids()):
            try:
                queue_key = queue_key_for(decode(jobid))
            except Exception:
                continue  # a job that no queue can be told for was never in one
            queues.add(queue_key)
            tags.add(encode(keys.tag(queue_key, decode(jobid))))
        for queue_key in queues:
            if self._client.type(queue_key) == b"list":
                queued = _bytes(self._client.lrange(queue_key, 0, -1))
                tags.update(encode(keys.tag(queue_key, decode(jobid))) for jobid in queued)
        is_index = self._client.type(keys.running) == b"zset"
        for entry in _bytes(self._client.zrange(keys.running, 0, -1)) if is_index else []:
            _tag, _, place = entry.partition(b"\n")
            queue, _, jobid = place.partition(b"\n")
            if queue.startswith(encode(keys.queue(""))):
                tags.add(encode(keys.tag(decode(queue), decode(jobid))))
        found: list[bytes | str] = [keys.schedules, keys.statuses, keys.timeline, keys.control, *tags]
        found += (keys.running, keys.retries, keys.idle)
        for queue_key in queues:
            found += (queue_key, keys.members(queue_key), keys.bell(queue_key), keys.watch(queue_key))
        found += self._client.scan_iter(match=keys.memo_pattern(), count=_PAGE)
        return sum(self._client.unlink(*found[at : at + _PAGE]) for at in range(0, len(found), _PAGE))

    def _jobids(self) -> Iterator[bytes]:
        # A key that somebody made with a wrong type holds no jobs, and is still to be deleted.
        for key in (self._keys.schedules, self._keys.statuses):
            if self._client.type(key) == b"hash":
                yield from (field for field, _ in self._client.hscan_iter(key, count=_PAGE))
        if self._client.type(self._keys.timeline) == b"zset":
            yield from (member for member, _ in self._client.zscan_iter(self._keys.timeline, count=_PAGE))

    def _fields(self, key: str, call: Call) -> Iterator[tuple[bytes, bytes]]:
        """The fields of a hash, page by page; each page is asked for on its own, so an outage between pages is none."""
        cursor = 0
        while True:
            cursor, fields = call(partial(self._page, key, cursor))
            yield from fields.items()
            if cursor == 0:
                return

    def _page(self, key: str, cursor: int, _repeated: bool) -> tuple[int, dict[bytes, bytes]]:
        page: Any = self._client.hscan(key, cursor, count=_PAGE)
        return page[0], page[1]


def _event_and_time(status: bytes) -> tuple[str, int] | None:
    event, _, timestamp = status.partition(b":")
    return (decode(event), int(timestamp)) if timestamp.isdigit() and len(timestamp) < 16 else None


def _bytes(reply: Any) -> list[bytes]:
    return list(reply)


def _whole(number: float) -> float:
    return int(number) if number.is_integer() else number
