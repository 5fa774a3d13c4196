"""The methods of `Redbike` that only look: one job, all jobs, the history. They change nothing."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from redbike.uncopied import Uncopied

if TYPE_CHECKING:
    import redis

    from redbike.engine.life import SignOfLife
    from redbike.parts import Parts
    from redbike.store.history import Record
    from redbike.store.messages import Told
    from redbike.worker import Worker


class Reads(Uncopied):
    """The base class of `Redbike`. Methods raise ServerError if Redis stays out of reach or refuses a command."""

    _parts: "Parts"
    worker: "Worker"
    control_key: str

    @property
    def redis(self) -> "redis.Redis":
        """The redis-py client. It returns bytes."""
        return self._parts.client.redis

    @property
    def life(self) -> "SignOfLife":
        """The sign of life of the loop: whether it waits for Redis, and since when."""
        return self._parts.retry.life

    def tell(self, jobid: str) -> "Told":
        """Return the state of one job: only None and False for an unknown job. `next_run` is in Unix seconds."""
        return self._parts.ask(self._parts.query.tell, jobid, self._parts.queue_for_any(jobid))

    def details(self, jobid: str) -> dict[str, object]:
        """Return all that is known of one job, in one round trip.

        The keys of `tell`, and: `payload`; `last_run` (None before the first run), a dict of `count`, `outcome`,
        `began`, `ended` (Unix seconds), `failures` (in a row) and `error`; `pause`, a dict of `by`, `since`, `note` and
        `until`; `queue`, the name of its queue; `position`, how many jobs are before it there (None if it is not in the
        queue, or further back than the first thousand); `queue_held`, whether nothing is taken from the queue.
        """
        from redbike.store.details import details

        queue_key = self._parts.queue_for_any(jobid)
        return self._parts.ask(details, self.redis, self._parts.keys, self._parts.query, jobid, queue_key)

    def get_history(
        self,
        jobid: str | None = None,
        since: float | None = None,
        outcome: str | None = None,
        upto: str | None = None,
    ) -> Iterator["Record"]:
        """Yield the records of past runs, the latest run first, read in pages.

        `jobid`, `outcome`: only these records. `since`: only runs that ended at or after this Unix time. `upto`: no
        record after the record with this id, which `newest_record` returns.
        """
        from redbike.store.history import History

        return History(self.redis, self._parts.keys).latest_first(self._parts.call, jobid, since, outcome, upto)

    def newest_record(self) -> str:
        """Return the id of the newest record of the history, for `follow_history`."""
        from redbike.store.history import History

        return self._parts.ask(History(self.redis, self._parts.keys).newest_id)

    def follow_history(self, last: str, wait_s: float = 1.0) -> tuple[str, list["Record"]]:
        """Return the records after the record with this id, and the id of the last of them.

        Wait up to `wait_s` seconds for the first of them.
        """
        from redbike.store.history import History

        return self._parts.ask(History(self.redis, self._parts.keys).after, last, wait_s)

    def get_statuses(self, before: float | None = None) -> Iterator[tuple[str, str, int]]:
        """Return job id, event code and Unix time of each status up to `before` (default: now), in no order.

        They are read in pages. If a status changes meanwhile, the old or the new status is returned.
        """
        latest = self.now() if before is None else before
        return (status for status in self._parts.query.statuses(self._parts.call) if status[2] <= latest)

    def get_schedule(self, jobid: str) -> str | None:
        """Return the registered schedule of a job; None if it has none."""
        return self._parts.ask(self._parts.query.schedule_of, jobid)

    def get_schedules(self) -> Iterator[tuple[str, str]]:
        """Return job id and schedule text of each registered job, in no order, read in pages."""
        return self._parts.query.schedules(self._parts.call)

    def get_payloads(self) -> Iterator[tuple[str, str, str]]:
        """Return job id, schedule text and payload of each registered job, in no order, read in pages."""
        return self._parts.query.payloads(self._parts.call)

    def get_lost(self, before: float | None = None) -> Iterator[tuple[str, str, int]]:
        """Return the lost jobs: they should run again, but are neither planned, queued nor running.

        Their run died with its worker, exceeded its timeout or failed (with `drop`), or Redis lost data, or they are
        `BAD`; not a job of one run. Return job id, last event and its Unix time, up to `before` (default: now).
        """
        return self._parts.lost(before)

    def is_working(self, jobid: str) -> bool:
        """Return True if a run of this job is in progress and within its timeout."""
        return self._parts.ask(self._parts.query.is_working, jobid, self.queue_for(jobid))

    def describe(self) -> str:
        """Return in one line where loops of this object run, and by which settings."""
        return self._parts.describe()

    def is_halted(self) -> bool:
        """Return True if loops on this object should stop: the stop event is set, or the prefix is halted."""
        return self._parts.is_asked_to_stop() or self._parts.ask(self.redis.get, self.control_key) == b"HALT"

    def get_held(self) -> dict[str, dict[str, object]]:
        """Return who holds which queue: a dict of `by`, `since` and `note` for each name. "" is all of the prefix."""
        return self._parts.ask(self._parts.query.held)

    def point_in_time(self) -> float:
        """Return the time up to which jobs were dispatched, from the time file, or without it this machine's time."""
        return time.time() if (noted := self._parts.timefile.read()) is None else noted

    def now(self) -> float:
        """Return the server's time, Unix seconds."""
        return self._parts.ask(self._parts.store.now)

    def queue_for(self, jobid: str) -> str:
        """Return the key of the job's queue, from the name that the worker returns."""
        return self._parts.keys.queue_of(jobid, self.worker)

    def queue_names(self) -> list[str]:
        """Return the keys of the worker's queues in the order in which they are served, repetitions included."""
        return [self._parts.keys.queue(name) for name in self.worker.queue_names()]
