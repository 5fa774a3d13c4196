"""One entry of the schedule, for Python: make it, save it, find it, change it, delete it."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from celery import current_app
from celery.beat import ScheduleEntry

from redbike.bridges.celery import payload, schedules
from redbike.bridges.celery.conf import bike_of
from redbike.bridges.celery.writing import Job, decoded, first_plan, job_of
from redbike.schedule.forms import PAUSED
from redbike.worker import BadJob

if TYPE_CHECKING:
    import celery

    from redbike.bike import Redbike

_OLD_PREFIX = "redbeat:"


class RedbikeEntry(ScheduleEntry):  # type: ignore[misc]
    """A periodic task in Redis. Its name is the id of a job of Redbike.

    `RedbikeEntry("report", "proj.report", crontab(hour=8, minute=0), args=[1]).save()`. Beats see the change at once.
    """

    def __init__(
        self,
        name: str | None = None,
        task: str | None = None,
        schedule: Any = None,
        args: Any = None,
        kwargs: Any = None,
        options: Any = None,
        enabled: bool = True,
        *,
        last_run_at: datetime | None = None,
        total_run_count: int | None = None,
        relative: bool = False,
        app: "celery.Celery | None" = None,
    ) -> None:
        """Describe an entry. Nothing is in Redis before `save`.

        `schedule`: a number of seconds, a timedelta, a schedule of Celery, `rrule`, or `RedbikeSchedule(TEXT)` for any
        text of Redbike. `args`, `kwargs` and `options`: as for `apply_async`; values that Celery's JSON can hold.
        `last_run_at`: an interval counts from this time, else from now.
        """
        app = app or current_app._get_current_object()
        super().__init__(
            name=name if name is None else str(name),
            task=task,
            schedule=schedule,
            args=args or (),
            kwargs=kwargs,
            options=options,
            relative=relative,
            last_run_at=last_run_at,
            total_run_count=total_run_count,
            app=app,
        )
        self.last_run_at: datetime | None = last_run_at
        self.enabled = enabled

    @classmethod
    def from_id(cls, name: str, app: "celery.Celery | None" = None) -> Self:
        """Return the entry of this name. Raise KeyError without such an entry, BadJob if it cannot be read."""
        app = app or current_app._get_current_object()
        found = bike_of(app).details(name)
        text = found["schedule"]
        if not isinstance(text, str):
            raise KeyError(name)
        return cls._read(app, name, text, str(found["payload"] or ""), found["last_run"])

    @classmethod
    def from_key(cls, key: str, app: "celery.Celery | None" = None) -> Self:
        """Return an entry by its `key`, which is its name. The key of an entry of RedBeat is accepted, too."""
        for name in dict.fromkeys((key, key.removeprefix(_OLD_PREFIX))):
            with suppress(KeyError):
                return cls.from_id(name, app)
        raise KeyError(key)

    @classmethod
    def all(cls, app: "celery.Celery | None" = None) -> Iterator[Self]:
        """Yield the entries of Redis, read in pages, in no order. Leave out entries that cannot be read."""
        app = app or current_app._get_current_object()
        for name, text, carried in bike_of(app).get_payloads():
            with suppress(BadJob):
                yield cls._read(app, name, text, carried, None)

    @classmethod
    def _read(cls, app: "celery.Celery", name: str, text: str, carried: str, last_run: Any) -> Self:
        call = payload.read(carried)
        if call.is_static:
            static = app.conf.beat_schedule.get(name) or {}
            values: dict[str, Any] = {part: static.get(part) for part in ("args", "kwargs", "options")}
        else:
            values = dict(zip(("args", "kwargs", "options"), decoded(call, carried), strict=True))
        try:
            schedule = schedules.restored(text.removeprefix(PAUSED), call.schedule, app)
        except ValueError as error:
            raise BadJob(f"entry {name!r}: {error}") from None
        return cls(
            name,
            call.task,
            schedule,
            **values,
            enabled=not text.startswith(PAUSED),
            last_run_at=datetime.fromtimestamp(last_run["began"], UTC) if last_run else None,
            total_run_count=last_run["count"] if last_run else 0,
            app=app,
        )

    @property
    def key(self) -> str:
        """The id of the job in Redis: the name."""
        return str(self.name)

    @property
    def due_at(self) -> datetime | None:
        """When the entry runs next, as Redis has it: now, if its run is queued. None if it runs no more.

        An entry that is not in Redis yet is due at the first time of its schedule after `last_run_at`, or after now.
        """
        told = self._bike.tell(self.key)
        if told["schedule"] is None:
            return schedules.next_after(self.schedule, self.last_run_at or self._now())
        if told["next_run"] is not None:
            return datetime.fromtimestamp(float(told["next_run"]), UTC)
        return self._now() if str(told["status"]).startswith("ENQ") else None

    @property
    def score(self) -> float:
        """`due_at` in Unix seconds; -1 if the entry runs no more."""
        due_at = self.due_at
        return -1 if due_at is None else due_at.timestamp()

    @property
    def rank(self) -> int | None:
        """How many entries are due before this entry. None if it is not planned."""
        rank: Any = self._bike.redis.zrank(self._bike.timeline_key, self.key)
        return None if rank is None else int(rank)

    def save(self) -> Self:
        """Write the entry to Redis. Beats see it at once. Return the entry.

        If only task, arguments or options have changed, the next run stays where it is. If the schedule has changed, or
        if the entry is BAD, it is planned again: an interval from `last_run_at`, if the entry has it, otherwise from
        now. An entry that is not `enabled` stays in Redis without runs. Raise ScheduleError for an entry that cannot be
        kept, JobIdError for its name.
        """
        bike, now = self._bike, self._now().timestamp()
        job = job_of(self.app, self.key, self._definition(), now)
        if self._is_planned(job):
            bike.set_payload(job.name, job.payload)
            return self
        self._place(job, self._start(now))
        return self

    def reschedule(self, last_run_at: datetime | None = None) -> None:
        """Plan the next run as if the last run had been at this time (default: now). Redis keeps the other fields."""
        now = self._now().timestamp()
        self.last_run_at = last_run_at or self._now()
        job = job_of(self.app, self.key, self._definition(), now)
        self._place(job, _aware(self.last_run_at).timestamp())

    def delete(self) -> None:
        """Remove the entry from Redis. A run that is being sent is sent."""
        self._bike.unset(self.key)

    def is_due(self) -> Any:
        """Return what Celery's entries return: whether the entry is due, and the seconds until the next look."""
        if not self.enabled:
            return False, 5.0
        due_at = self.due_at
        wait_s = 60.0 if due_at is None else max(0.0, (due_at - self._now()).total_seconds())
        return due_at is not None and wait_s == 0, wait_s

    @property
    def _bike(self) -> "Redbike":
        return bike_of(self.app)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._bike.now(), UTC)

    def _definition(self) -> dict[str, Any]:
        names = ("task", "schedule", "args", "kwargs", "options", "enabled")
        return {name: getattr(self, name) for name in names}

    def _start(self, now: float) -> float:
        counts_from_the_last_run = hasattr(self.schedule, "run_every") and self.last_run_at is not None
        return _aware(self.last_run_at).timestamp() if counts_from_the_last_run and self.last_run_at else now

    def _place(self, job: Job, after: float) -> None:
        text, first = first_plan(self.app, job, after)
        self._bike.set(job.name, text, after, payload=job.payload, first=first)

    def _is_planned(self, job: Job) -> bool:
        """Return True if Redis has the entry with this schedule. The start of an interval does not count."""
        found = self._bike.details(job.name)
        held = found["schedule"]
        if not isinstance(held, str) or held.startswith(PAUSED) != job.schedule.startswith(PAUSED):
            return False
        if str(found["status"]).startswith("BAD"):
            return False  # it has no next run that could be kept
        if job.needs is not None and held.removeprefix(PAUSED) != schedules.CONTINUE:
            return False  # it had no further run
        try:
            needs = payload.read(str(found["payload"] or "")).schedule
        except BadJob:
            return False
        return schedules.is_same(held, needs, self.schedule, self.app)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
