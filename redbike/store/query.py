"""Read the jobs in Redis: one job, or all jobs in pages, so that a million jobs neither block Redis nor fill memory.

Only `flush` changes anything: it deletes everything. Entries that cannot be read are reported and skipped.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Protocol, TypeVar

import redis

from redbike.errors import ServerError
from redbike.logs import RateLimitedLog
from redbike.schedule.forms import read
from redbike.schedule.plan import Action
from redbike.store.keys import Event, Keys
from redbike.store.messages import Told
from redbike.store.store import Store
from redbike.store.text import decode, encode

_PAGE = 1000  # entries a round trip
_BATCH = 100  # jobs per call of a script: well below a millisecond of the server's time

T = TypeVar("T")


class Call(Protocol):
    """A function that calls Redis with retries."""

    def __call__(self, attempt: Callable[[bool], T]) -> T: ...


class Query:
    """Read the jobs of one prefix."""

    def __init__(self, client: redis.Redis, keys: Keys, limited_log: RateLimitedLog) -> None:
        self._client = client
        self._keys = keys
        self._limited_log = limited_log

    def check_types(self) -> None:
        """Raise ServerError if a key that all jobs share has another type. Then another program uses the key."""
        keys = self._keys
        ours = {keys.schedules: b"hash", keys.statuses: b"hash", keys.timeline: b"zset", keys.control: b"string"}
        pipeline: Any = self._client.pipeline(transaction=False)
        for key in ours:
            pipeline.type(key)
        try:
            found = pipeline.execute()
        except redis.ResponseError:
            return  # the server refuses the question, but may still be suitable
        for (key, wanted), kind in zip(ours.items(), found, strict=True):
            if kind not in (wanted, b"none"):
                raise ServerError(
                    f"key {key!r} holds a {decode(kind)} where Redbike keeps a {decode(wanted)}: another program uses"
                    f" it; choose another prefix than {keys.prefix!r}, or remove the key"
                )

    def tell(self, jobid: str, queue_key: str) -> Told:
        """Return the state of one job, in one round trip."""
        pipeline: Any = self._client.pipeline(transaction=False)
        self.ask_about(pipeline, jobid, queue_key)
        return self.told(jobid, *pipeline.execute())

    def ask_about(self, pipeline: Any, jobid: str, queue_key: str) -> None:
        """Add the commands that ask for the state of one job. `told` reads the replies."""
        keys, field = self._keys, encode(jobid)
        pipeline.hget(keys.statuses, field).zscore(keys.timeline, field).hget(keys.schedules, field)
        pipeline.exists(encode(keys.tag(queue_key, jobid)))

    def told(self, jobid: str, status: Any, due_at: Any, schedule: Any, working: Any) -> Told:
        """Return the state of one job from the replies to `ask_about`."""
        return {
            "status": None if status is None else decode(status),
            "next_run": self._next_run(jobid, due_at),
            "schedule": None if schedule is None else decode(schedule),
            "working": bool(working),
        }

    def schedule_of(self, jobid: str) -> str | None:
        """Return the registered schedule of one job; None if it has none."""
        text: Any = self._client.hget(self._keys.schedules, encode(jobid))
        return None if text is None else decode(text)

    def held(self) -> dict[str, dict[str, object]]:
        """Return who holds which queue, by the name of the queue."""
        content: Any = self._client.get(self._keys.held)
        return {name: entry for name, entry in read_json(content or b"{}").items() if isinstance(entry, dict)}

    def payloads(self, call: Call) -> Iterator[tuple[str, str, str]]:
        """Yield job id, schedule text and payload of every registered job."""
        for page in _pages(self._fields(self._keys.schedules, call)):
            found = call(partial(self._payloads_of, [jobid for jobid, _ in page]))
            for (jobid, text), payload in zip(page, found, strict=True):
                yield decode(jobid), decode(text), decode(payload or b"")

    def _payloads_of(self, jobids: list[bytes], _repeated: bool) -> list[bytes | None]:
        found: Any = self._client.hmget(self._keys.payloads, jobids)
        return list(found)

    def is_working(self, jobid: str, queue_key: str) -> bool:
        """Return True if one job has a run tag."""
        return bool(self._client.exists(encode(self._keys.tag(queue_key, jobid))))

    def _next_run(self, jobid: str, due_at: float | None) -> float | None:
        if due_at is None or math.isfinite(due_at):
            return None if due_at is None else _whole(due_at)
        self._limited_log.report(f"job {jobid!r}", f"is on the timeline at {due_at}, which is not a Unix time")
        return None

    def schedules(self, call: Call) -> Iterator[tuple[str, str]]:
        """Yield job id and schedule text of every registered job."""
        for jobid, text in self._fields(self._keys.schedules, call):
            yield decode(jobid), decode(text)

    def statuses(self, call: Call) -> Iterator[tuple[str, str, int]]:
        """Yield job id, event and Unix time of every job that has a status."""
        for jobid, status in self._fields(self._keys.statuses, call):
            read_status = _event_and_time(status)
            if read_status is not None:
                yield decode(jobid), *read_status
            else:
                self._limited_log.report(f"status of job {decode(jobid)!r}", f"{status[:80]!r} is not EVENT:TIMESTAMP")

    def lost(
        self, call: Call, store: Store, queue_key_for: Callable[[str], str], now: float
    ) -> Iterator[tuple[str, str, int]]:
        """Yield job id, event and Unix time of every job that is in no place, but should run again after `now`.

        Also yield every job that is BAD, because its schedule cannot be read or no queue can take it.
        """
        found: list[tuple[str, str]] = []
        for jobid, text in self.schedules(call):
            plan = read(text).again(now)
            if plan.leads_on or plan.action is Action.BAD:
                try:
                    found.append((jobid, queue_key_for(jobid)))
                except Exception as error:
                    self._limited_log.report(f"job {jobid!r}: queue_for() failed", str(error))
                    # The job is in no queue that we know. Its status says if it is BAD for this reason.
                    queue = self._keys.queue("?")
                    yield from (one for one in self._lost_of([(jobid, queue)], call, store) if one[1] == Event.BAD)
            if len(found) == _BATCH:
                yield from self._lost_of(found, call, store)
                found = []
        yield from self._lost_of(found, call, store)

    def _lost_of(self, jobs: list[tuple[str, str]], call: Call, store: Store) -> Iterator[tuple[str, str, int]]:
        for jobid, status in call(lambda _: store.lost(jobs)) if jobs else []:
            yield jobid, *(_event_and_time(status) or ("", 0))

    def flush(self, queue_names: Iterable[str], queue_key_for: Callable[[str], str]) -> int:
        """Delete the keys of this prefix, and return how many there were.

        No glob distinguishes `redbike-benchmark-schedules` of the prefix `redbike-benchmark` from a run tag of the
        prefix `redbike`. So this method makes the keys from the jobs and the queues, as all other code does.
        """
        keys = self._keys
        queues = {keys.queue(name) for name in queue_names}
        deleted = 0
        # Delete piece by piece. Delete jobs and queues last, because a repeated flush needs them to find other keys.
        for page in _pages(self._jobids()):
            tags = []
            for jobid in page:
                try:
                    queue_key = queue_key_for(decode(jobid))
                except Exception:
                    continue  # a job for which queue_for() fails was never in a queue
                queues.add(queue_key)
                tags.append(encode(keys.tag(queue_key, decode(jobid))))
            deleted += self._delete(tags)
        for queue_key in queues:
            for page in _pages(self._queued(queue_key)):
                deleted += self._delete(encode(keys.tag(queue_key, decode(jobid))) for jobid in page)
        for page in _pages(self._running_tags()):
            deleted += self._delete(page)
        for page in _pages(self._client.scan_iter(match=keys.memo_pattern(), count=_PAGE)):
            deleted += self._delete(page)
        for queue_key in queues:
            deleted += self._delete((queue_key, keys.members(queue_key), keys.bell(queue_key), keys.watch(queue_key)))
        return deleted + self._delete((*keys.common(), keys.idle, keys.alive, keys.processes, keys.loaded))

    def _delete(self, keys: Iterable[str | bytes]) -> int:
        names = list(keys)
        return int(self._client.unlink(*names)) if names else 0

    def _queued(self, queue_key: str) -> Iterator[bytes]:
        if self._client.type(queue_key) == b"list":
            first = 0
            # Read from the left, because then no entry is missed while a worker takes jobs on the right.
            while page := _bytes(self._client.lrange(queue_key, first, first + _PAGE - 1)):
                yield from page
                first += _PAGE

    def _running_tags(self) -> Iterator[bytes]:
        keys = self._keys
        if self._client.type(keys.running) == b"zset":
            for entry, _ in self._client.zscan_iter(keys.running, count=_PAGE):
                _tag, _, place = entry.partition(b"\n")
                queue, _, jobid = place.partition(b"\n")
                if queue.startswith(encode(keys.queue(""))):
                    yield encode(keys.tag(decode(queue), decode(jobid)))

    def _jobids(self) -> Iterator[bytes]:
        # A key of a wrong type holds no jobs, and is deleted too.
        for key in (self._keys.schedules, self._keys.statuses):
            if self._client.type(key) == b"hash":
                yield from (field for field, _ in self._client.hscan_iter(key, count=_PAGE))
        if self._client.type(self._keys.timeline) == b"zset":
            yield from (member for member, _ in self._client.zscan_iter(self._keys.timeline, count=_PAGE))

    def _fields(self, key: str, call: Call) -> Iterator[tuple[bytes, bytes]]:
        """Yield the fields of a hash, page by page. Each page is a separate call, which may be repeated."""
        cursor = 0
        while True:
            cursor, fields = call(partial(self._page, key, cursor))
            yield from fields.items()
            if cursor == 0:
                return

    def _page(self, key: str, cursor: int, _repeated: bool) -> tuple[int, dict[bytes, bytes]]:
        page: Any = self._client.hscan(key, cursor, count=_PAGE)
        return page[0], page[1]


def read_json(text: bytes) -> dict[str, Any]:
    """Return a JSON object; an empty dict for another text."""
    import json

    try:
        found = json.loads(text, parse_constant=_no_number)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no JSON")


def _pages(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while page := list(islice(iterator, _PAGE)):
        yield page


def _event_and_time(status: bytes) -> tuple[str, int] | None:
    event, _, timestamp = status.partition(b":")
    return (decode(event), int(timestamp)) if timestamp.isdigit() and len(timestamp) < 16 else None


def _bytes(reply: Any) -> list[bytes]:
    return list(reply)


def _whole(number: float) -> float:
    return int(number) if number.is_integer() else number
