"""One entry that is due: what its run sends, and when it runs next if its schedule is not in a text."""

import logging
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from celery.beat import BeatLazyFunc

from redbike.bridges.celery import payload, schedules
from redbike.bridges.celery.crontabs import crontab_fields
from redbike.bridges.celery.payload import Call
from redbike.bridges.celery.writing import decoded
from redbike.bridges.identity import run_id
from redbike.engine.outcome import one_line
from redbike.logs import RateLimitedLog, plain
from redbike.schedule.forms import read
from redbike.worker import BadJob, Later, Run, StopWork

if TYPE_CHECKING:
    import celery

_PLAIN_LOG = plain(logging.getLogger("redbike.bridges"))
_LOG = RateLimitedLog(_PLAIN_LOG)
_UNKNOWN_LATER_S = 5.0


class DueEntry:
    """The entry of one run. It has the attributes that Celery's hooks read: name, task, schedule and options."""

    def __init__(self, app: "celery.Celery", run: Run, call: Call) -> None:
        self.app = app
        self.name = run.jobid
        self.task = call.task
        self.args: list[Any] = []
        self.kwargs: dict[str, Any] = {}
        self.options: dict[str, Any] = {}
        self.run_id = run_id(run.prefix, run.jobid, run.due_at)
        self._text = run.schedule or "STOP"
        self._needs = call.schedule
        self._following: datetime | None = None
        self.late_s = run.late_s
        self.is_too_late = _is_too_late(app, run)

    @cached_property
    def schedule(self) -> Any:
        """The schedule as an object of Celery."""
        return schedules.restored(self._text, self._needs, self.app)

    @property
    def next_run(self) -> datetime | None:
        """When this entry runs next; None if its schedule text says it. Raise StopWork if it runs no more."""
        if self._needs is not None and self._following is None:
            raise StopWork
        return self._following

    def plan(self, run: Run) -> None:
        """Compute the next run, before lazy arguments are called and anything is sent: a class of the project may fail.

        The rhythm of an interval starts at the due time of this run, and times that have passed are skipped.
        """
        if self._needs is None:
            return
        schedule = self.schedule
        due, now = datetime.fromtimestamp(run.due_at, UTC), datetime.fromtimestamp(run.began_at, UTC)
        try:
            self._following = schedules.next_after(schedule, max(due, now), due)
        except schedules.Endless as error:
            raise BadJob(str(error)) from None
        except Exception as error:
            _LOG.report(
                f"job {self.name!r}",
                f"its schedule does not say the next run: {type(error).__name__}: {error}; its run is tried again every"
                f" {_UNKNOWN_LATER_S:g} s",
            )
            raise Later(_UNKNOWN_LATER_S) from None


def entry_of(app: "celery.Celery", run: Run) -> DueEntry:
    """Return the entry of a run. Raise BadJob for a payload that cannot be sent.

    Raise Later if the arguments are in `beat_schedule`, and this app has no such entry: another process, with a newer
    version of the app, may know the entry. Raise Later also if the schedule class fails.
    """
    call = payload.read(run.payload)
    due = _planned(app, run, call)
    if call.is_static:
        entry = app.conf.beat_schedule.get(run.jobid)
        if entry is None or entry.get("task") != call.task:
            _LOG.report(
                f"job {run.jobid!r}",
                "beat_schedule of this app has no such entry, so its run waits: start this beat again with the newest"
                " version of the app, or unset the job",
            )
            raise Later(_UNKNOWN_LATER_S)
        args, kwargs = list(_now(entry.get("args") or ())), dict(entry.get("kwargs") or {})
        kwargs = dict(zip(kwargs, _now(kwargs.values()), strict=True))
        options = entry.get("options") or {}
    else:
        args, kwargs, options = decoded(call, run.payload)
    due.args, due.kwargs, due.options = args, kwargs, dict(options)
    return due


def after_failure(app: "celery.Celery", run: Run, error: Exception) -> datetime:
    """Log an exception of the project, and return when the entry runs next. Raise it if the schedule text says this.

    For a run that raises an exception, CONTINUE means a run one second later. The schedule is meant instead.
    """
    call = payload.read(run.payload)
    if call.schedule is None:
        raise error
    following = _planned(app, run, call).next_run
    assert following is not None
    _PLAIN_LOG.error(
        "job %r died: %s; its schedule says its next run: %s", run.jobid, one_line(error), following, exc_info=error
    )
    return following


def _planned(app: "celery.Celery", run: Run, call: Call) -> DueEntry:
    """Return the entry of a run without its arguments. Raise BadJob if its schedule cannot be made again."""
    try:
        due = DueEntry(app, run, call)
        if not call.is_static or run.jobid in app.conf.beat_schedule:
            due.plan(run)  # another version of the app may know an entry that this version does not know
    except ValueError as error:
        raise BadJob(str(error)) from None
    return due


def _now(values: Any) -> Any:
    """Return the arguments of a run: the result of each lazy argument, and the other arguments as they are."""
    return [value() if isinstance(value, BeatLazyFunc) else value for value in values]


def _is_too_late(app: "celery.Celery", run: Run) -> bool:
    """Return True for a crontab whose last time is past by more than `beat_cron_starting_deadline` seconds."""
    deadline_s = app.conf.beat_cron_starting_deadline
    if deadline_s is None or run.late_s <= deadline_s or crontab_fields(run.schedule or "") is None:
        return False
    last = read(run.schedule or "").first(run.began_at - deadline_s - 0.000001).due_at
    return last is None or last > run.began_at
