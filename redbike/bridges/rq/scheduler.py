"""The scheduler for RQ: register cron jobs, list them, load RQ's config files, and run them on time."""

import hashlib
import importlib
import logging
import os
import socket
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import redis

from redbike.bridges.rq import payload
from redbike.bridges.rq.home import CHANNEL, Connection, Home
from redbike.bridges.rq.job import IdGenerator, RedbikeCronJob
from redbike.bridges.rq.running import run
from redbike.bridges.rq.texts import Wanted
from redbike.bridges.rq.worker import PREFIX
from redbike.bridges.sending import LEASE_S
from redbike.csvfile import Row
from redbike.logs import plain
from redbike.syncing.compare import Change, Kind
from redbike.syncing.load import Load
from redbike.syncing.memory import RowsInMemory

_EVENTS = {Kind.ADDED: "created", Kind.CHANGED: "updated", Kind.REMOVED: "deleted"}


class RedbikeCronScheduler:
    """Register cron jobs of RQ, and enqueue them on time. Any number of schedulers may run at once: there is no lock.

    The jobs live under `prefix` in the Redis of RQ. `start` runs a dispatcher and a worker; `redbike dispatch` and
    `redbike work` with an RQWorker do the same.
    """

    def __init__(
        self,
        connection: Connection,
        logging_level: str | int | None = None,
        name: str = "",
        lock_ttl: object = None,  # noqa: ARG002 - what rq-rediscron needs
        max_sleep_interval: object = None,  # noqa: ARG002 - what rq-rediscron needs
        id_generator: IdGenerator | None = None,
        *,
        prefix: str = PREFIX,
        channel: str = CHANNEL,
        lease: float = LEASE_S,
    ) -> None:
        """Connect as this client does, with separate connections; or connect by a URL, or by arguments of redis.Redis.

        `logging_level`: of the logger `redbike`; None leaves it unchanged. `lock_ttl` and `max_sleep_interval` change
        nothing. `id_generator`: makes the ids of jobs that are registered without one. `channel`: for events. `lease`:
        the seconds within which a worker hands a run over. Raise ConfigError for arguments that cannot be used.
        """
        self.name = name or f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
        self.connection = connection
        self.id_generator = id_generator
        self.log = logging.getLogger("redbike")
        if logging_level is not None:
            self.log.setLevel(logging_level)
        self._plain_log = plain(self.log)
        self._stop = threading.Event()
        self._is_stopped = False
        self._home = Home(connection, prefix, channel, lease=lease, stop_event=self._stop, log=self.log)

    @property
    def bike(self) -> Any:
        """The Redbike behind this scheduler, for operations that RQ's classes do not have."""
        return self._home.bike

    @property
    def channel(self) -> str:
        """The channel of events: `{"event": "created", "job_id": ID}`, and so on."""
        return self._home.channel

    def register(
        self,
        func: Callable[..., object] | str,
        queue_name: str = payload.QUEUE,
        id: str | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        interval: int | None = None,
        cron: str | None = None,
        job_timeout: int | str | None = None,
        result_ttl: int | str | None = None,
        ttl: int | str | None = None,
        failure_ttl: int | str | None = None,
        meta: Mapping[str, Any] | None = None,
        enabled: bool | None = None,
        id_generator: IdGenerator | None = None,
        *,
        zone: str | None = None,
        schedule: str | None = None,
        description: str | None = None,
        at_front: bool = False,
    ) -> RedbikeCronJob:
        """Create a cron job, or edit the job with this id. Return it.

        `func`: a function that RQ's workers can import, or its dotted name. Give one of `interval` (seconds), `cron`
        (five fields, read in the IANA `zone`, by default the zone of this machine) and `schedule` (any text of
        Redbike). A new interval runs at once, then in its rhythm. A job that is edited keeps its next run, unless its
        schedule has changed. `enabled`: None leaves a paused job paused. Raise ValueError for values that cannot be a
        job.
        """
        job = RedbikeCronJob(
            id=id,
            queue_name=queue_name,
            func=func,
            args=args,
            kwargs=kwargs,
            interval=interval,
            cron=cron,
            zone=zone,
            schedule=schedule,
            enabled=enabled is not False,
            id_generator=id_generator or self.id_generator,
            job_timeout=job_timeout,
            result_ttl=result_ttl,
            ttl=ttl,
            failure_ttl=failure_ttl,
            meta=None if meta is None else dict(meta),
            description=description,
            at_front=at_front or None,
        )
        return job.settle(self._home, enabled)

    def fetch(self, id: str) -> RedbikeCronJob:
        """Return the job with this id. Raise RQ's NoSuchJobError if there is none."""
        return RedbikeCronJob.of_home(id, self._home)

    def get_jobs(self) -> list[RedbikeCronJob]:
        """Return the enabled jobs, the next first. They are read in pages."""
        jobs = [job for job in self._jobs() if job.enabled]
        return sorted(jobs, key=lambda job: (job.next_enqueue_time is None, job.next_enqueue_time or 0, job.id))

    def get_all_jobs(self) -> list[RedbikeCronJob]:
        """Return all jobs by id, also those that are disabled. They are read in pages."""
        return sorted(self._jobs(), key=lambda job: job.id)

    def _jobs(self) -> Iterator[RedbikeCronJob]:
        return (RedbikeCronJob.of(found, self._home) for found in self._home.all())

    def load_config_from_file(self, config_path: str) -> None:
        """Register the jobs of a config file of RQ, which calls `rq.cron.register`. The file needs no change.

        The id of a job is its `name`, else the name of its function, with a digest if several jobs share it. A load
        deletes jobs that an earlier load of this path has registered and that are no longer in the file. Jobs that
        did not change keep their next run. Raise ValueError for a job that cannot be registered; then nothing changes.
        """
        cron = importlib.import_module("rq.cron")
        client = self.connection if isinstance(self.connection, redis.Redis) else self._home.bike.redis
        loaded = cron.CronScheduler(connection=client)
        loaded.load_config_from_file(config_path)
        rows = _rows(loaded.get_jobs())
        file = RowsInMemory(config_path, rows, partial(_malformed, config_path))
        changes: list[Change] = []
        load = Load(self._home.bike, file, f"rq:{config_path}", show=changes.append)
        load.check(unique=True)
        counts = load.sync()
        intervals = {row.jobid for row in rows if row.schedule.startswith("EVERY:")}
        for change in changes:
            if change.kind is Kind.ADDED and change.jobid in intervals:
                self._home.run_at_once(change.jobid)
            self._home.tell(_EVENTS[change.kind], change.jobid)
        self._plain_log.info(
            "%s: cron jobs created: %d, updated: %d, deleted: %d, unchanged: %d",
            *(config_path, counts.added, counts.changed, counts.removed, counts.unchanged),
        )

    def start(self) -> None:
        """Enqueue jobs on time until `stop` is called or the prefix is halted. In the main thread, also until a signal.

        SIGINT and SIGTERM end it after the run in hand, and this method returns. An earlier halt is cleared at the
        start, as by `redbike dispatch`. Raise ServerError if Redis is away at the start. If it is away later, wait
        until it is back.
        """
        self._stop.clear()
        self._is_stopped = False
        self._plain_log.info("cron scheduler %s: starting: %s", self.name, self._home.bike.describe())
        try:
            if run(self._home.bike, self._stop) and not self._is_stopped:
                self._plain_log.warning(
                    "cron scheduler %s: the prefix %s is halted: start() ends", self.name, self._home.bike.prefix
                )
        finally:
            self._plain_log.info("cron scheduler %s: stopped", self.name)

    def stop(self) -> None:
        """Let `start` return within a second or so. Another thread may call this."""
        self._is_stopped = True
        self._stop.set()

    def close(self) -> None:
        """Close the connections. The scheduler may still be used afterwards."""
        self._home.close()


def _malformed(path: str, line: int, fault: str) -> ValueError:
    return ValueError(f"{path}: cron job {line} of the file: {fault}; nothing was registered")


def _rows(jobs: Sequence[Any]) -> list[Row]:
    """Return cron jobs of RQ as rows. Raise ValueError for a job that cannot be a row."""
    names = [getattr(job, "name", "") or job.func_name for job in jobs]
    shared = Counter(names)
    rows = []
    for number, (name, job) in enumerate(zip(names, jobs, strict=True), 1):
        options = dict(job.job_options)
        try:
            if options.pop("webhooks", None):
                raise ValueError("webhooks: cannot be in a payload: remove them, or enqueue from a function")
            wanted = Wanted(None if job.cron else job.interval, job.cron, None, None)
            wanted.check()
            timeout = options.pop("job_timeout", None)
            own = {"func": job.func_name, "queue": job.queue_name, "args": list(job.args), "kwargs": job.kwargs}
            text = payload.written({**own, **options, "timeout": timeout})
        except ValueError as error:
            raise ValueError(f"cron job {name!r}: {error}") from None
        schedule = f"EVERY:{job.interval}s" if wanted.interval else wanted.text(0)
        if shared[name] > 1:
            name = f"{name}:{hashlib.blake2b(f'{schedule} {text}'.encode(), digest_size=4).hexdigest()}"
        rows.append(Row(number, name, schedule, text))
    return rows
