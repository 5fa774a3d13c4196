"""One cron job: a function of RQ by name, with its schedule, as Redbike holds it. Nothing is imported to show it."""

import importlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Self

import redis

from redbike.bridges.rq.home import CHANNEL, Found, Home, home_of
from redbike.bridges.rq.payload import QUEUE, name_of, read, written
from redbike.bridges.rq.texts import OVER, Wanted, told
from redbike.bridges.rq.worker import PREFIX
from redbike.schedule.forms import PAUSED
from redbike.worker import BadJob

IdGenerator = Callable[["RedbikeCronJob"], str]
"""A function that makes the id of a job from its other attributes."""

_OPTIONS = ("job_timeout", "result_ttl", "ttl", "failure_ttl", "meta", "description", "at_front")


class RedbikeCronJob:
    """A function that Redbike enqueues in RQ, again and again.

    Change attributes, then call `save`. Redis is asked only by `fetch`, `refresh` and the methods that change the job.
    They raise ServerError if Redis is out of reach.

    `id`: the job id under the prefix of the bridge. `func_name`: the dotted name of the function. `queue_name`, `args`,
    `kwargs`, and `job_options` (`job_timeout`, `result_ttl`, `ttl`, `failure_ttl`, `meta`, `description`, `at_front`):
    for RQ. `interval` (seconds), `cron` (five fields) with its IANA `zone`, or `schedule` (any text of Redbike): when.
    `enabled`: False for a paused job. `next_enqueue_time`, `latest_enqueue_time`: aware datetimes in UTC, or None.
    `total_run_count`: how often it was enqueued. `fault`: why the payload cannot be read; None if it can.
    """

    def __init__(
        self,
        id: str | None = None,
        queue_name: str = QUEUE,
        func: Callable[..., object] | str | None = None,
        func_name: str | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        interval: int | None = None,
        cron: str | None = None,
        *,
        zone: str | None = None,
        schedule: str | None = None,
        enabled: bool = True,
        connection: redis.Redis | str | None = None,
        prefix: str = PREFIX,
        channel: str = CHANNEL,
        id_generator: IdGenerator | None = None,
        **job_options: Any,
    ) -> None:
        """Make a job; `save` writes it. Raise ValueError for values that cannot be a job.

        `func`: the function or its name; RQ's worker must be able to import it. `zone`: of the cron expression; the
        zone of this machine by default. Without `id`: what `id_generator` returns, or a random id.
        """
        unknown = sorted(set(job_options) - set(_OPTIONS))
        if unknown:
            raise TypeError(f"{unknown[0]!r} is not an option of a cron job: the options are {', '.join(_OPTIONS)}")
        name = func_name if func is None else name_of(func)
        if name is None:
            raise ValueError("give func, a function or its dotted name, or func_name")
        self.func_name: str = name
        self.queue_name = queue_name
        self.args: tuple[Any, ...] = tuple(args or ())
        self.kwargs: dict[str, Any] = dict(kwargs or {})
        self.interval = interval or None
        self.cron = cron or None
        self.zone = zone
        self.schedule = schedule
        self.job_options = {key: value for key, value in job_options.items() if value is not None}
        self.enabled = enabled
        self.fault: str | None = None
        self.latest_enqueue_time: datetime | None = None
        self.next_enqueue_time: datetime | None = None
        self.total_run_count = 0
        self._planned: datetime | None = None  # the next run as Redis has it
        self._read_as: tuple[Wanted, str] | None = None  # how Redis says when, if it was read: in words of RQ, as text
        self._home: Home | None = None if connection is None else home_of(connection, prefix, channel)
        self._wanted.check()
        self._payload()
        self.id: str = id or ""
        if id is None:
            self.id = str(id_generator(self)) if id_generator else f"cron:{uuid.uuid4().hex}"
            if not self.id:
                raise ValueError("id_generator: it returned an empty id: let it return a text")

    @classmethod
    def fetch(cls, id: str, connection: redis.Redis | str, prefix: str = PREFIX, channel: str = CHANNEL) -> Self:
        """Return the job with this id. Raise RQ's NoSuchJobError if there is none."""
        return cls.of_home(id, home_of(connection, prefix, channel))

    @classmethod
    def of_home(cls, id: str, home: Home) -> Self:
        """Return the job with this id. Raise RQ's NoSuchJobError if there is none."""
        found = home.find(id)
        if found is None:
            no_such_job: type[Exception] = importlib.import_module("rq.exceptions").NoSuchJobError
            raise no_such_job(f"there is no cron job {id!r} under the prefix {home.bike.prefix!r}")
        return cls.of(found, home)

    @classmethod
    def of(cls, found: Found, home: Home) -> Self:
        """Return a job from what Redis holds of it. If its payload cannot be read, the job has a `fault`."""
        job = cls.__new__(cls)
        job._home, job.id = home, found.jobid
        job._read(found)
        return job

    def _read(self, found: Found) -> None:
        says, text = told(found.schedule), found.schedule.removeprefix(PAUSED)
        self.interval, self.cron, self.zone, self.enabled = says
        self.schedule = None if says.interval or says.cron else text
        self._read_as = self._words, text
        self.func_name, self.queue_name, self.args, self.kwargs, self.job_options = "", "", (), {}, {}
        self.fault = None
        try:
            call = read(found.payload)
        except BadJob as fault:
            self.fault = str(fault)
        else:
            self.func_name, self.queue_name = call.func, call.queue
            self.args, self.kwargs = tuple(call.args), dict(call.kwargs)
            options = {**call._asdict(), "job_timeout": call.timeout, "at_front": call.at_front or None}
            self.job_options = {name: options[name] for name in _OPTIONS if options[name] is not None}
        self._read_times(found)

    def _read_times(self, found: Found) -> None:
        last = found.last_run
        self.latest_enqueue_time = None if last is None else _moment(last["began"])
        self.total_run_count = 0 if last is None else int(str(last["count"]))
        self.next_enqueue_time = self._planned = _moment(found.next_run)

    @property
    def meta(self) -> dict[str, Any]:
        """The `meta` of RQ's jobs."""
        found: dict[str, Any] = self.job_options.setdefault("meta", {})
        return found

    def save(self, event: str = "updated") -> None:
        """Write the job, and publish the event. It keeps its next run, unless its schedule has changed.

        A new interval counts from the last run; without a run, the job runs at once. A `next_enqueue_time` that was
        changed is the time of the next run. A job that is BAD is planned again. Raise ValueError for values that cannot
        be a job, JobIdError for an id that Redbike refuses.
        """
        while not self._save(self._at_home.find(self.id), event):
            pass

    def _save(self, known: Found | None, event: str) -> bool:
        """Return False if another process has placed the job, which was not known: then find it, and save again."""
        if not self._is_as_read:
            self._wanted.check()
        payload = self._payload()
        bike = self._at_home.bike
        is_moved = self.next_enqueue_time != self._planned and self.next_enqueue_time is not None
        if known is None or known.is_bad or is_moved or not self._is_said(known):
            if not self._plan(known, payload, is_moved):
                return False
        else:
            if payload != known.payload:
                bike.set_payload(self.id, payload)
            if self.enabled != told(known.schedule).enabled:
                self._switch(known)
        self._at_home.tell(event, self.id)
        return True

    def _is_said(self, known: Found) -> bool:
        """Return True if Redis has the schedule of this job already. A job that was read may have a newer schedule."""
        if self._is_as_read:
            return True
        wanted = self._wanted
        if known.schedule == OVER and wanted.is_for_one_run:
            return self._at_home.has_placed(self.id, wanted.text(0))
        return wanted.is_said_by(known.schedule)

    def settle(self, home: Home, enabled: bool | None) -> Self:
        """Save the job here, as a new job or in place of the job with its id. `enabled`: None leaves it as it is."""
        self._home = home
        while True:
            known = home.find(self.id)
            if known is not None:
                if enabled is None:
                    self.enabled = told(known.schedule).enabled
                self._read_times(known)
            if self._save(known, "created" if known is None else "updated"):
                return self

    def enable(self) -> None:
        """Let the job run again, by its schedule from now on. Save changed attributes too."""
        self.enabled = True
        self.save("enabled")

    def disable(self) -> None:
        """Pause the job. It keeps its schedule. Save changed attributes too."""
        self.enabled = False
        self.save("disabled")

    def refresh(self) -> None:
        """Read the job again. Raise RQ's NoSuchJobError if it is gone."""
        self.__dict__.update(self.of_home(self.id, self._at_home).__dict__)

    def delete(self) -> None:
        """Remove the job. A call that is already in RQ's queue still runs."""
        self._at_home.unset(self.id)
        self._at_home.tell("deleted", self.id)

    def enqueue(self) -> None:
        """Run the job once, as soon as possible. Its schedule does not change. Raise ScheduleError if it is paused."""
        self._at_home.bike.enqueue(self.id)

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as values of JSON, without empty parts."""
        found: dict[str, Any] = {"args": list(self.args), **self.job_options}
        for name in ("id", "func_name", "queue_name", "kwargs", "interval", "cron", "zone", "schedule"):
            found[name] = getattr(self, name)
        for name in ("latest_enqueue_time", "next_enqueue_time"):
            at: datetime | None = getattr(self, name)
            found[name] = at and at.isoformat()
        found |= {"enabled": self.enabled, "total_run_count": self.total_run_count}
        return {name: value for name, value in found.items() if value not in (None, [], {})}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id!r}: {self.func_name} on {self.queue_name!r}>"

    @property
    def _at_home(self) -> Home:
        if self._home is None:
            raise ValueError(f"job {self.id!r} has no connection: give connection=redis.Redis(…)")
        return self._home

    @property
    def _words(self) -> Wanted:
        return Wanted(self.interval, self.cron, self.schedule, self.zone)

    @property
    def _is_as_read(self) -> bool:
        """True if nobody has changed when this job runs since it was read."""
        return self._read_as is not None and self._read_as[0] == self._words

    @property
    def _wanted(self) -> Wanted:
        # RQ would read a cron expression that was set elsewhere in another way, so it stays as it is.
        if self._read_as is not None and self._is_as_read and not self.interval:
            return Wanted(None, None, self._read_as[1], None)
        return self._words

    def _payload(self) -> str:
        options = {name: value for name, value in self.job_options.items() if name != "job_timeout"}
        timeout = self.job_options.get("job_timeout")
        own = {"func": self.func_name, "queue": self.queue_name, "args": list(self.args), "kwargs": self.kwargs}
        return written({**own, **options, "timeout": timeout})

    def _plan(self, known: Found | None, payload: str, is_moved: bool) -> bool:
        """Set the job with its schedule. `is_moved`: the user has named the next run. Return False as `_save` does."""
        now, first = self._at_home.bike.now(), None
        if is_moved and self.next_enqueue_time is not None:
            first = self.next_enqueue_time.timestamp()
        elif self.interval:
            first = float(int(now))
            if known is not None and known.last_run is not None:
                first = max(first, int(float(str(known.last_run["began"]))) + self.interval)
        text = self._wanted.text(now if first is None else first)
        paused = "" if self.enabled else PAUSED
        said = self._wanted.text(0)
        plan = self._at_home.place(self.id, said, f"{paused}{text}", payload, first, is_new=known is None)
        if plan is not None:
            self.next_enqueue_time = self._planned = _moment(plan.due_at)
        return plan is not None

    def _switch(self, known: Found) -> None:
        """Pause or resume the job. An interval that has never run runs at once."""
        bike = self._at_home.bike
        if not self.enabled:
            bike.pause(self.id)
            self.next_enqueue_time = self._planned = None
        elif self.interval and known.last_run is None:
            self._plan(known, self._payload(), False)
        else:
            plan = bike.resume(self.id)
            self.next_enqueue_time = self._planned = _moment(plan and plan.due_at)


def _moment(at: object) -> datetime | None:
    """Return a time in Unix seconds as an aware datetime in UTC; None for another value."""
    try:
        return None if at is None else datetime.fromtimestamp(float(str(at)), UTC)
    except (ValueError, OverflowError, OSError):
        return None
