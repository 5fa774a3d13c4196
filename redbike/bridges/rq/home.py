"""The Redbike on which cron jobs of RQ live: its prefix, its events, and how jobs are read from it in pages."""

import json
import logging
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import redis

from redbike.bike import Redbike, StopEvent
from redbike.bridges.identity import run_id
from redbike.bridges.rq.settings import settings_of
from redbike.bridges.rq.worker import PREFIX, RQWorker, memory_key
from redbike.bridges.sending import LEASE_S
from redbike.csvfile import Row
from redbike.errors import ConfigError
from redbike.schedule.plan import Plan
from redbike.server.arguments import pool_arguments
from redbike.store.details import LastRun
from redbike.store.loaded import Loaded
from redbike.store.messages import Placement
from redbike.store.text import decode, encode
from redbike.syncing.notes import Note, written

CHANNEL = "rq:cron_jobs:events"
"""The default channel of events."""

Connection = redis.Redis | str | Mapping[str, object]
"""A client, a URL, or the arguments of redis.Redis, such as `{"embedded": FOLDER}`."""

_OWNER = "RedbikeCronScheduler.register"  # in the notes of jobs that it has placed; files have other names
_PAGE = 1000  # jobs per round trip
_MOST_HOMES = 32
_MARKS_OF_NEW, _HAS_RUN = " p", "r"  # the end of the note of a job that a file has brought; the mark of run_at_once
_REPLACED = ("retry", "retry_on_error", "retry_on_timeout", "decode_responses")  # arguments that a Client replaces


class Found(NamedTuple):
    """What Redis holds of a job."""

    jobid: str
    schedule: str
    payload: str
    next_run: float | None  # Unix seconds
    last_run: LastRun | None
    is_bad: bool = False
    """The job cannot run until it is placed again. Only `find` reads this."""


class Home:
    """One prefix of one Redis, which is also the Redis of RQ."""

    def __init__(
        self,
        connection: Connection,
        prefix: str = PREFIX,
        channel: str = CHANNEL,
        *,
        lease: float = LEASE_S,
        stop_event: StopEvent | None = None,
        log: logging.Logger | None = None,
    ) -> None:
        """Connect as this client does, with separate connections. Raise ConfigError for wrong arguments."""
        if isinstance(connection, str):
            connection = {"url": connection}
        if isinstance(connection, Mapping):
            client, given = None, dict[str, Any](connection)
        else:
            client, given = connection, {}
        if client is None and not given:
            raise ConfigError("connection: it is empty: give a redis.Redis, a URL, or the arguments of redis.Redis")
        self.channel = channel
        self._worker = RQWorker(lease=lease, connection=client, **given)
        self.bike = Redbike(
            self._worker,
            redis_config=settings_of(client, given),
            log=log,
            stop_event=stop_event,
            **{**self._worker.conf_defaults, "prefix": prefix},
        )

    def close(self) -> None:
        """Close the connections. The object may still be used afterwards."""
        self.bike.close()
        self._worker.disconnect()

    def find(self, jobid: str) -> Found | None:
        """Return a job, read in one round trip; None if there is no such job."""
        known = self.bike.details(jobid)
        if known["schedule"] is None:
            return None
        return Found(
            jobid,
            str(known["schedule"]),
            str(known["payload"] or ""),
            known["next_run"],  # type: ignore[arg-type]
            known["last_run"],  # type: ignore[arg-type]
            str(known["status"]).startswith("BAD:"),
        )

    def has_placed(self, jobid: str, schedule: str) -> bool:
        """Return True if `place` has placed this job, the last time with this schedule."""
        note = Note.of(self._note(jobid))
        return note.owner == _OWNER and note.digest == Note.of(written(_OWNER, Row(0, jobid, schedule))).digest

    def place(
        self, jobid: str, schedule: str, text: str, payload: str, first: float | None, is_new: bool
    ) -> Plan | None:
        """Set a job as `Redbike.set` does, and note in P:loaded which schedule it has. Return its plan.

        `text`: how to set the schedule: from a start, or paused. `is_new`: return None, and change nothing, if another
        process has placed the job by now. A job from a file keeps the note of its file. If RQ has had the planned run
        of this job already, it would recognise a second try. So the job runs a second later.
        """
        parts = self.bike._parts
        reference = parts.references.of(None)
        plan, placement = parts.planner.plan(jobid, text, reference, payload=payload, first=first)
        now = self.bike.now()
        placement = self._not_had(placement, now)
        plan = replace(plan, due_at=placement.due_at)
        held = self._note(jobid)
        if is_new or Note.of(held).owner in ("", _OWNER):
            # The time makes this note differ from each earlier note.
            note = written(_OWNER, Row(0, jobid, schedule, first=now))
            placement = placement._replace(note=note, former=held if is_new else None)
        # Another process that has placed the job after the note was read has written another note.
        if (is_new and self.bike.get_schedule(jobid) is not None) or not parts.placing.place(placement):
            return None
        parts.planner.warn(jobid, plan.warnings)
        reference.warn_if_stale(jobid, plan.due_at)
        return plan

    def unset(self, jobid: str) -> None:
        """Forget a job, and the note that `place` has made."""
        note = self._note(jobid)
        queue_key = self.bike._parts.queue_for_any(jobid)
        if Note.of(note).owner != _OWNER or not self.bike._parts.placing.unset(jobid, queue_key, note):
            self.bike.unset(jobid)

    def run_at_once(self, jobid: str) -> None:
        """Let a new job of a config file run now and then by its schedule, once for all processes that load the file.

        The process that marks the note of the job wins.
        """
        parts, note, text = self.bike._parts, self._note(jobid), self.bike.get_schedule(jobid)
        if text is None or not note.endswith(_MARKS_OF_NEW):
            return
        now = self.bike.now()
        _, placement = parts.planner.plan(jobid, text, lambda: now, first=float(int(now)))
        parts.placing.place(self._not_had(placement, now)._replace(note=note + _HAS_RUN, former=note))

    def _not_had(self, placement: Placement, now: float) -> Placement:
        if placement.due_at is None or not self._has_had(placement.jobid, placement.due_at):
            return placement
        return placement._replace(due_at=float(int(now) + 1))

    def _has_had(self, jobid: str, due_at: float) -> bool:
        """Return True if RQ's memory holds this run."""
        held: Any = self.bike._parts.ask(self.bike.redis.get, memory_key(self.bike.prefix, jobid))
        return held is not None and decode(held).rpartition(" ")[2] == run_id(self.bike.prefix, jobid, due_at)

    def _note(self, jobid: str) -> str:
        parts = self.bike._parts
        return Loaded(self.bike.redis, parts.keys, parts.call).found([jobid], ())[jobid].note

    def all(self) -> Iterator[Found]:
        """Yield every job, in no order, in three round trips per thousand jobs."""
        jobs = self.bike.get_payloads()
        while page := list(islice(jobs, _PAGE)):
            ids = [encode(jobid) for jobid, _, _ in page]
            dues, runs = self.bike._parts.ask(partial(self._dues_and_runs, ids))
            for (jobid, schedule, payload), due_at, run in zip(page, dues, runs, strict=True):
                yield Found(jobid, schedule, payload, due_at, LastRun.of(run))

    def _dues_and_runs(self, ids: list[bytes]) -> list[Any]:
        pipeline: Any = self.bike.redis.pipeline(transaction=False)
        pipeline.zmscore(self.bike.timeline_key, ids)
        pipeline.hmget(self.bike._parts.keys.runs, ids)
        return list(pipeline.execute())

    def tell(self, event: str, jobid: str) -> None:
        """Publish an event: created, updated, enabled, disabled or deleted."""
        message = json.dumps({"event": event, "job_id": jobid}, separators=(",", ":"))
        self.bike._parts.ask(self.bike.redis.publish, self.channel, message)


_HOMES: dict[Hashable, Home] = {}
"""The homes of jobs that were made without a scheduler, the oldest first. There is no lock, because of forks."""


def home_of(connection: Connection, prefix: str, channel: str) -> Home:
    """Return the home on this connection: the same object for all clients that connect in the same way.

    So a web application may make a client for each request. The oldest of many homes is closed, and can still be used.
    """
    key = (_way_of(connection), prefix, channel)
    home = _HOMES.get(key)
    if home is None:
        home = _HOMES.setdefault(key, Home(connection, prefix, channel))
        for oldest in list(_HOMES)[:-_MOST_HOMES]:
            if (evicted := _HOMES.pop(oldest, None)) is not None:
                evicted.close()
    return home


def close_homes() -> None:
    """Close and forget the homes of jobs that were made without a scheduler."""
    while _HOMES:
        _HOMES.popitem()[1].close()


def _way_of(connection: Connection) -> Hashable:
    """Return how a client connects. It may hold a password, so it must not be shown."""
    if isinstance(connection, redis.Redis):
        pool = connection.connection_pool
        arguments = {name: value for name, value in pool_arguments(pool).items() if name not in _REPLACED}
        return pool.connection_class, _way_of(arguments)
    if isinstance(connection, Mapping):
        return frozenset((name, _hashable(value)) for name, value in connection.items())
    return connection  # a URL; a Home refuses any other object


def _hashable(value: object) -> Hashable:
    try:
        hash(value)
    except TypeError:
        return type(value), repr(value)
    return type(value), value
