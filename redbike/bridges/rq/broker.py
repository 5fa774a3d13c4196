"""Enqueue calls in RQ, each exactly once. This module imports RQ.

RQ's own `unique=True` recognises a duplicate only while RQ keeps the job: with `result_ttl` 0, until it has run. So a
key of Redbike remembers, for each job, due time and id of the last run that was enqueued. The script that enqueues
writes this key. It does nothing if the key holds this run or a later run. So a call that arrives late changes nothing.
"""

import importlib
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import redis
import rq

from redbike.bridges.refusals import is_of_the_server
from redbike.bridges.rq.payload import Call
from redbike.bridges.rq.worker import memory_key
from redbike.bridges.sending import Away
from redbike.errors import ConfigError, ServerError
from redbike.logs import printable
from redbike.server.client import Client
from redbike.store.text import decode
from redbike.worker import BadJob, Later

REMEMBERED_S = 7 * 86_400
"""For how long RQ's Redis remembers the last run of a job, in seconds."""

_MOST_QUEUES = 1000
_MOST_RACES = 5
_LONGEST_REASON = 120
_ENQUEUE = """
local held = redis.call('GET', KEYS[1]) or ''
local replaced, due, id, remembered_s = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local last_due, last = string.match(held, '^(%S+) (%S+)$')
if last == id then return false end
if last and tonumber(last_due) >= tonumber(due) and held ~= replaced then return held end
local at = 5
while at <= #ARGV do
  local count = tonumber(ARGV[at])
  redis.call(unpack(ARGV, at + 1, at + count))
  at = at + count + 1
end
redis.call('SET', KEYS[1], due .. ' ' .. id, 'EX', remembered_s)
return false
"""
"""Call the commands in ARGV, each after the number of its words, and remember the run. Return nothing, or what the
memory holds if that is a later run, and not the value that may be replaced. An error of a command ends the script, so
nothing is remembered."""


class Broker:
    """The Redis of RQ."""

    def __init__(self, settings: Mapping[str, object], history: bool) -> None:
        """Keep these settings, and connect later. `history`: write RQ's history of cron jobs.

        Raise ConfigError if this version of RQ has no history.
        """
        self._settings = settings
        self._history: Any = None
        if history:
            try:
                self._history = importlib.import_module("rq.cron").get_cron_job_history_key
                self._names = importlib.import_module("rq.cron_job_registry")
                self._limits = importlib.import_module("rq.defaults")
            except (ImportError, AttributeError):
                raise ConfigError(
                    f"history: RQ {version('rq')} keeps no history of cron jobs: install RQ 2.12 or newer"
                ) from None
        self._client: Client | None = None
        self._queues: dict[str, rq.Queue] = {}
        self._script: Any = None

    @property
    def where(self) -> str:
        """The address, without user and password."""
        if self._client is None:
            self._client = Client(self._settings)
        return self._client.where

    def enqueue(
        self,
        call: Call,
        prefix: str,
        jobid: str,
        run_id: str,
        due_at: float,
        ends_s: float,
        check_lease: Callable[[], object],
    ) -> str | None:
        """Enqueue a run of this job, unless this run is the last that was enqueued.

        Return None, or the reason why Redis refuses this call alone. `due_at`: the due time of the run, Unix seconds.
        `ends_s`: the end of the lease, monotonic. After it, raise Later, because another process may have enqueued this
        run and the next run. Raise Away if Redis is away, and BadJob for a call that RQ refuses.

        If the memory holds a run that is due later, the job may have been set to an earlier time. Or another process
        has sent this run and the next run, because this process was frozen. So `check_lease` is called before the next
        try; it raises an exception if another process may have this run.
        """
        try:
            queue, memory, replaced = self._queue(call.queue), memory_key(prefix, jobid), b""
            keys, words = self._commands(queue, call, jobid, run_id)
            for _ in range(_MOST_RACES):
                if time.monotonic() >= ends_s:
                    raise Later(0)
                arguments = [replaced, f"{due_at:.6f}", run_id, REMEMBERED_S, *words]
                replaced = self._script([memory, *keys], arguments, queue.connection)
                if replaced is None:
                    return None
                check_lease()
        except (redis.ConnectionError, redis.TimeoutError, ServerError, OSError) as error:
            raise Away(_reason(error)) from None
        except redis.ResponseError as error:
            if is_of_the_server(error):
                raise Away(_reason(error)) from None
            return _reason(error)
        raise Later(0)  # other processes were faster each time

    def disconnect(self) -> None:
        """Close idle connections."""
        if self._client is not None:
            self._client.forget_idle()

    def _commands(self, queue: rq.Queue, call: Call, jobid: str, run_id: str) -> tuple[list[Any], list[Any]]:
        """Return the keys of the commands with which RQ enqueues this call, and the words of these commands."""
        pipeline = queue.connection.pipeline()  # it only collects the commands
        self._add(queue, call, jobid, run_id, pipeline)
        commands = [words for words, _ in pipeline.command_stack]
        keys = dict.fromkeys(words[1] for words in commands)
        return [*keys], [word for words in commands for word in (len(words), *words)]

    def _add(self, queue: rq.Queue, call: Call, jobid: str, run_id: str, pipeline: Any) -> None:
        """Add the commands of RQ to a pipeline."""
        try:
            job = queue.create_job(
                call.func,
                args=tuple(call.args),
                kwargs=call.kwargs,
                timeout=call.timeout,  # type: ignore[arg-type]
                result_ttl=call.result_ttl,  # type: ignore[arg-type]
                ttl=call.ttl,  # type: ignore[arg-type]
                failure_ttl=call.failure_ttl,  # type: ignore[arg-type]
                description=call.description,
                job_id=run_id,
                meta=dict(call.meta or {}),
            )
            queue.enqueue_job(job, pipeline=pipeline, at_front=call.at_front)
        except (TypeError, ValueError, RecursionError) as error:
            raise BadJob(f"RQ refuses the call: {error}") from None
        if self._history is not None and job.enqueued_at is not None:
            key, at = self._history(jobid), job.enqueued_at.timestamp()
            pipeline.zadd(key, {job.id: at})
            pipeline.zremrangebyrank(key, 0, -(self._limits.DEFAULT_CRON_JOB_HISTORY_LIMIT + 1))
            pipeline.expire(key, self._limits.DEFAULT_CRON_JOB_HISTORY_TTL)
            self._names.add(jobid, pipeline, enqueue_timestamp=at)

    def _queue(self, name: str) -> rq.Queue:
        """Return the queue with this name. The first time, check the type of its key."""
        queue = self._queues.get(name)
        if queue is None:
            if self._client is None:
                self._client = Client(self._settings)
            if len(self._queues) >= _MOST_QUEUES:
                self._queues.clear()
            queue = rq.Queue(name, connection=self._client.redis)
            self._script = queue.connection.register_script(_ENQUEUE)
            kind: Any = self._client.redis.type(queue.key)
            if kind not in (b"list", b"none"):
                raise redis.ResponseError(f"WRONGTYPE the key {queue.key!r} holds a {decode(kind)}, not a list")
            self._queues[name] = queue
        return queue


def _reason(error: BaseException) -> str:
    """Return an error in a few words. The error of a pipeline quotes the command, which is left out."""
    text = str(error).rpartition("caused error: ")[2] or type(error).__name__
    text = printable(" ".join(text.split()))
    return text if len(text) <= _LONGEST_REASON else f"{text[: _LONGEST_REASON - 1]}…"
