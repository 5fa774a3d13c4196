"""Turn an entry into a job: schedule text and payload. Read values that only Celery's JSON can express."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from celery.beat import BeatLazyFunc
from celery.schedules import maybe_schedule
from kombu.utils import json

from redbike.bridges.celery import schedules
from redbike.bridges.celery.payload import Call, fault_of, members
from redbike.errors import ScheduleError
from redbike.schedule.forms import PAUSED
from redbike.worker import BadJob

if TYPE_CHECKING:
    import celery

STOP = "STOP"
"""The schedule text of a job without further runs."""

_MEMBERS = {"task", "schedule", "args", "kwargs", "options", "relative", "enabled", "name", "app"}


class Job(NamedTuple):
    """An entry as Redbike keeps it."""

    name: str
    schedule: str
    payload: str
    needs: dict[str, Any] | None = None
    """How to make the schedule again, if no text can express it. Then `schedule` is CONTINUE."""


def first_plan(app: "celery.Celery", job: Job, after: float) -> tuple[str, float | None]:
    """Return the text with which a job is set, and its first run after this time if the text does not say it.

    Both times in Unix seconds. CONTINUE without a first run would mean a run at once. So a job whose schedule has no
    further run is set with STOP. Raise ScheduleError for a schedule class that says no run.
    """
    if job.needs is None:
        return job.schedule, None
    schedule = schedules.restored(job.schedule.removeprefix(PAUSED), job.needs, app)
    try:
        following = schedules.next_after(schedule, datetime.fromtimestamp(after, UTC))
    except schedules.Endless as error:
        raise ScheduleError(f"entry {job.name!r}: {error}") from None
    if following is None:
        return job.schedule.replace(schedules.CONTINUE, STOP), None
    return job.schedule, following.timestamp()


def job_of(app: "celery.Celery", name: str, entry: Mapping[str, Any], now: float, *, is_static: bool = False) -> Job:
    """Return the job of an entry: a mapping as in `beat_schedule`. `now`: Unix seconds.

    The arguments of a static entry may be lazy, or of any type: then the payload says that they are in
    `beat_schedule`. Raise ScheduleError for an entry that cannot be kept, with its name and the way out.
    """
    if not isinstance(entry, Mapping):
        raise ScheduleError(f"entry {name!r}: {entry!r:.60} is not a dict: write {{'task': 'NAME', 'schedule': …}}")
    task = entry.get("task")
    if not isinstance(task, str) or not task:
        raise ScheduleError(f"entry {name!r}: names no task: write 'task': 'NAME'")
    unknown = sorted(map(str, set(entry) - _MEMBERS))
    if unknown:
        raise ScheduleError(f"entry {name!r}: {unknown[0]!r} is not known: write options of the task into 'options'")
    schedule = entry.get("schedule")
    if is_static and schedules.starts_now(schedule):
        raise ScheduleError(
            f"entry {name!r}: its rrule has no dtstart, so each start of a beat would change it: give it a dtstart"
        )
    try:
        written = schedules.written(_relative(schedule, entry, app), app, now)
    except (ValueError, TypeError) as error:
        raise ScheduleError(f"entry {name!r}: {error}") from None
    call: dict[str, Any] = {
        "task": task,
        "args": list(_checked(name, entry, "args", (list, tuple), "a list or a tuple")),
        "kwargs": dict(_checked(name, entry, "kwargs", Mapping, "a dict")),
        "options": dict(_checked(name, entry, "options", Mapping, "a dict")),
    }
    own = fault_of(call["options"])
    if own is not None:
        raise ScheduleError(f"entry {name!r}: {own}")
    fault = _fault(call)
    if fault is not None:
        if not is_static:
            raise ScheduleError(f"entry {name!r}: {fault}: give a text, a number or an id in its place")
        call = {"task": task, "static": True}
    if written.needs:
        call["schedule"] = written.needs
    paused = "" if entry.get("enabled", True) else PAUSED
    return Job(name, paused + written.text, json.dumps(members(call)), written.needs)


def decoded(call: Call, text: str) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """Return args, kwargs and options of a payload's text, with its times, numbers and ids as Python has them.

    kombu writes values that JSON does not know as objects with the member `__type__`. Raise BadJob for such an object
    that cannot be read.
    """
    if "__type__" not in text:
        return call.args, call.kwargs, call.options
    try:
        found = json.loads(text)
        args, kwargs, options = found.get("args") or [], found.get("kwargs") or {}, found.get("options") or {}
        if not (isinstance(args, list) and isinstance(kwargs, dict) and isinstance(options, dict)):
            raise TypeError
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        raise BadJob(f"the payload has a value that cannot be read: {type(error).__name__}") from None
    return args, kwargs, options


def _checked(name: str, entry: Mapping[str, Any], member: str, kinds: Any, wanted: str) -> Any:
    """Return a member of an entry, or an empty tuple in place of None. Raise ScheduleError for a wrong type."""
    value = entry.get(member)
    if value is not None and not isinstance(value, kinds):
        raise ScheduleError(f"entry {name!r}: {member} is {value!r:.60}: write {wanted}")
    return value or ()


def _relative(schedule: Any, entry: Mapping[str, Any], app: "celery.Celery") -> Any:
    if entry.get("relative"):
        return maybe_schedule(schedule, True, app=app)
    return schedule


def _fault(call: dict[str, Any]) -> str | None:
    """Return what JSON cannot hold, or None. JSON also changes some values, so read them back and compare."""
    for name in ("args", "kwargs", "options"):
        if any(isinstance(value, BeatLazyFunc) for value in _values(call[name])):
            return f"{name} has a lazy value, which only an entry of beat_schedule may have"
        try:
            same = _plain(json.loads(json.dumps(call[name]))) == _plain(call[name])
        except (TypeError, ValueError, KeyError, RecursionError) as error:
            return f"{name} has a value that JSON cannot hold ({type(error).__name__})"
        if not same:
            return f"{name} has a value that JSON would change"
    return None


def _values(given: Any) -> list[Any]:
    return list(given.values()) if isinstance(given, dict) else list(given)


def _plain(value: Any) -> Any:
    """Return a value with lists in place of tuples, as every serializer of Celery but pickle sends it."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
