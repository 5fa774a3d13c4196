"""Other programs that write into the same Redis without the scripts of Redbike, and the loops of 0.13.1.

The commands are those that 0.13.1 sends, in its order, with the same gaps between them.
"""

import contextlib
import itertools
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import redis

from redbike.schedule.forms import read
from redbike.schedule.plan import Action
from redbike.store.keys import Keys

_ENQUEUE = """
local queue, job = ARGV[1], ARGV[2]
if redis.call('SISMEMBER', queue .. '-members', job) == 1 then return end
if redis.call('GET', queue .. '-' .. job) then return end
redis.call('LPUSH', queue, job)
redis.call('SADD', queue .. '-members', job)
redis.call('HSET', ARGV[3], job, 'ENQ:' .. ARGV[4])
"""

_CONSUME = """
local queue = ARGV[1]
local job = redis.call('RPOP', queue)
if not job then return end
redis.call('SREM', queue .. '-members', job)
redis.call('SET', queue .. '-' .. job, ARGV[4])
redis.call('EXPIRE', queue .. '-' .. job, ARGV[2])
redis.call('HSET', ARGV[5], job, 'WRK:' .. ARGV[3])
return job
"""


class OldFleet:
    """A dispatcher and a worker that behave like those of 0.13.1, each in a thread."""

    def __init__(
        self, client: redis.Redis, prefix: str, codes: list[str], timeout_s: int, work: Callable[[str], object]
    ) -> None:
        self._client: Any = client
        self._keys = Keys(prefix)
        self._codes, self._timeout_s, self._work = codes, timeout_s, work
        self._stop = threading.Event()
        self._enqueue_script, self._consume_script = (client.register_script(text) for text in (_ENQUEUE, _CONSUME))
        self.ran = 0
        self._threads = [threading.Thread(target=loop, daemon=True) for loop in (self._dispatch, self._consume)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    def _queue(self, jobid: str) -> str:
        return self._keys.queue(f"work-{jobid.rpartition(':')[2]}")

    def _enqueue(self, jobid: str) -> None:
        self._enqueue_script(args=[self._queue(jobid), jobid, self._keys.statuses, int(time.time())])

    def _dispatch(self) -> None:
        while not self._stop.wait(0.01):
            for member in self._client.zrangebyscore(self._keys.timeline, 0, int(time.time())):
                self._client.zrem(self._keys.timeline, member)
                with contextlib.suppress(UnicodeDecodeError):
                    self._enqueue(member.decode())

    def _consume(self) -> None:
        for code in itertools.cycle(self._codes):
            if self._stop.wait(0.002):
                return
            queue, tag = self._keys.queue(f"work-{code}"), secrets.token_hex(15)
            arguments: list[str | int] = [queue, self._timeout_s, int(time.time()), tag, self._keys.statuses]
            job = self._consume_script(args=arguments)
            if job is not None:
                self.ran += 1
                self._work(job.decode())
                self._reschedule(job.decode(), queue, tag)

    def _reschedule(self, jobid: str, queue: str, tag: str) -> None:
        held = self._client.get(f"{queue}-{jobid}")
        if held != tag.encode():
            return
        self._client.delete(f"{queue}-{jobid}")
        text = self._client.hget(self._keys.schedules, jobid)
        if text is None:
            return
        plan = read(text.decode()).again(time.time())
        if plan.action is Action.QUEUE:
            self._enqueue(jobid)
        elif plan.action is Action.AT:
            self._client.hset(self._keys.statuses, jobid, f"TML:{time.time():.0f}")
            self._client.zadd(self._keys.timeline, {jobid: plan.due_at})
        else:
            self._client.hset(self._keys.statuses, jobid, f"STP:{time.time():.0f}")
