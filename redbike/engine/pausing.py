"""Pause and resume jobs, and hold queues. A pause is the word `PAUSED:` before the schedule of a job.

The scripts compare the schedule again, so a `set` that comes meanwhile wins.
"""

import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress

from redbike.engine.placing import Placing
from redbike.engine.planning import Planner
from redbike.errors import PayloadError, ScheduleError
from redbike.schedule.forms import PAUSED
from redbike.schedule.plan import Plan

_MOST_TRIES = 20
_LONGEST_NOTE = 1000  # characters


class Pausing:
    """Pause the jobs of one prefix."""

    def __init__(
        self,
        placing: Placing,
        planner: Planner,
        schedule_of: Callable[[str], str | None],
        now: Callable[[], float],
    ) -> None:
        """`schedule_of` returns the registered schedule of a job. `now` returns the server's time, Unix seconds."""
        self._placing = placing
        self._planner = planner
        self._schedule_of = schedule_of
        self._now = now

    def pause(self, jobid: str, queue_key: str, until: float | None, note: str | None) -> str:
        """Pause a job, and return its schedule as it is registered now. Raise ScheduleError without a schedule."""
        text = self._placing.pause(jobid, queue_key, until, self._entry(note))
        if text is None:
            raise ScheduleError(
                f"job {jobid!r} has no schedule, so it cannot be paused: redbike schedules lists the jobs"
            )
        return text

    def resume(self, jobid: str) -> Plan | None:
        """Plan a paused job from now, and return its plan. Return None if it is not paused."""
        for _ in range(_MOST_TRIES):
            text = self._schedule_of(jobid)
            if text is None or not text.startswith(PAUSED):
                return None
            plan, placement = self._planner.plan(jobid, text.removeprefix(PAUSED), self._now)
            if self._placing.place(placement, only_paused=text):
                return plan
            # Somebody has set the job meanwhile.
        raise ScheduleError(f"job {jobid!r} is set again and again, so it cannot be resumed: try again later")

    def hold(self, name: str, note: str | None) -> bool:
        """Hold the queue with this name; "" is all of the prefix. Return True if it was held before."""
        return self._placing.hold(name, self._entry(note))

    def release(self, name: str) -> bool:
        """Release a queue. Return True if it was held."""
        return self._placing.hold(name, "")

    def _entry(self, note: str | None) -> str:
        entry: dict[str, object] = {"by": _who(), "since": round(self._now(), 3)}
        if note:
            if len(note) > _LONGEST_NOTE:
                raise PayloadError(f"note of {len(note)} characters: at most {_LONGEST_NOTE} are allowed")
            entry["note"] = note
        return json.dumps(entry, ensure_ascii=False)


def _who() -> str:
    """Return user and host, for people."""
    import getpass

    name = str(os.getuid())
    with suppress(Exception):  # no such user in this container
        name = getpass.getuser()
    return f"{name}@{socket.gethostname()}"
