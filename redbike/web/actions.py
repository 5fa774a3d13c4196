"""The changes that the page can make. Each is one verb of `Redbike`, and the next page shows its result."""

import math
import re
import time
from collections.abc import Callable

from redbike.bike import Redbike
from redbike.errors import RedbikeError
from redbike.schedule.forms import read_time
from redbike.schedule.lengths import read_length
from redbike.schedule.plan import Action
from redbike.web.outlook import LONGEST_SCHEDULE

Form = dict[str, str]


class NotDone(RedbikeError):
    """An action has not been done, because the input cannot be used."""


def enqueue(bike: Redbike, jobid: str, _form: Form) -> str:
    """Run a job now."""
    bike.enqueue(jobid)
    return "Queued: the job runs as soon as a worker is free."


def pause(bike: Redbike, jobid: str, form: Form) -> str:
    """Pause a job."""
    until = _until(form.get("until", ""), bike.now)
    bike.pause(jobid, until, form.get("note", "").strip() or None)
    return "Paused. The job starts no new run until it is resumed."


def resume(bike: Redbike, jobid: str, _form: Form) -> str:
    """Resume a job."""
    return "Resumed." if bike.resume(jobid) is not None else "The job is not paused, so nothing has changed."


def reset(bike: Redbike, jobid: str, _form: Form) -> str:
    """Reschedule a lost job."""
    return "Rescheduled." if bike.reset(jobid) else "The job is not lost, so nothing has changed."


def unset(bike: Redbike, jobid: str, _form: Form) -> str:
    """Forget a job."""
    bike.unset(jobid)
    return "Unset: the job and its schedule are gone."


def set_schedule(bike: Redbike, jobid: str, form: Form) -> str:
    """Set the schedule of a job."""
    schedule = form.get("schedule", "").replace("\r\n", "\n").strip()
    if not schedule:
        raise NotDone("The schedule is empty: write a schedule, or unset the job.")
    if len(schedule) > LONGEST_SCHEDULE:
        raise NotDone("The schedule is too long.")
    plan = bike.set(jobid, schedule, keep_readable=True)
    if plan is None or plan.action is Action.BAD:
        raise NotDone(f"The job is BAD: {plan and plan.reason}")
    return " ".join(["The schedule is set.", *plan.warnings])


def hold(bike: Redbike, queue: str, form: Form) -> str:
    """Hold or release a queue; an empty name means all queues."""
    name = queue or None
    if form.get("what") == "release":
        return "Released." if bike.release(name) else "It is not held, so nothing has changed."
    bike.hold(name, form.get("note", "").strip() or None)
    return "Held: workers take nothing from it until it is released."


OF_A_JOB: dict[str, Callable[[Redbike, str, Form], str]] = {
    "enqueue": enqueue,
    "pause": pause,
    "resume": resume,
    "reset": reset,
    "unset": unset,
    "set": set_schedule,
}


def _until(text: str, now: Callable[[], float]) -> float | None:
    """Return the time at which a pause ends; None for an empty text."""
    text = text.strip()
    if not text:
        return None
    is_length = text.startswith("+") or text[-1].isalpha()  # else a number is a Unix time
    if is_length and (ahead := read_length(text.removeprefix("+").strip())) is not None:
        return now() + ahead
    if re.fullmatch(r"\d\d?:\d\d", text, re.ASCII):
        hour, minute = map(int, text.split(":"))
        if hour > 23 or minute > 59:
            raise NotDone(f"Until: {text} is not a time of a day; write 00:00 to 23:59")
        year, month, day, *_ = time.localtime(now())
        at = time.mktime((year, month, day, hour, minute, 0, 0, 0, -1))
        # Not 86,400 seconds later: the clock may change until then.
        return at if at > now() else time.mktime((year, month, day + 1, hour, minute, 0, 0, 0, -1))
    try:
        at = float(read_time(text))
    except ValueError as error:
        raise NotDone(f"Until: {error}, or +2h, or 18:30") from None
    if not math.isfinite(at) or at <= now():
        raise NotDone(f"Until: {text[:60]} has passed.")
    return at
