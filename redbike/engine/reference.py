"""The reference time of a schedule: the given time, else the time in the time file, else the server's time."""

import logging
import math
from collections.abc import Callable

from redbike.engine.policy import is_number
from redbike.timefile import TimeFile

_TIMES_AGREE_S = 5.0  # a dispatcher writes the time file every second or so


class ReferenceTimes:
    """Return the times from which schedules count."""

    def __init__(self, timefile: TimeFile, now: Callable[[], float], log: logging.Logger) -> None:
        """Read this time file. `now` asks for the server's time, in Unix seconds."""
        self._timefile = timefile
        self.now = now
        self._log = log
        self._has_warned = False

    def of(self, after: float | None) -> "Reference":
        """Return the reference time of one command: `after` if it is given."""
        return Reference(self, after)

    def first_pass(self, after: float | None) -> float | None:
        """Return the time that a dispatcher's first pass uses. None means the server's time."""
        return self.noted() if after is None else min(timestamp("after", after), self.now())

    def noted(self) -> float | None:
        """Return the time in the time file, but never a time that the server's clock has not reached."""
        noted = self._timefile.read()
        if noted is None:
            return None
        now = self.now()
        if noted - now > _TIMES_AGREE_S and not self._has_warned:
            self._has_warned = True
            self._log.warning(
                "time file %s: %d is %.0f s ahead of the server's clock: the server's time is used instead",
                self._timefile.path,
                noted,
                noted - now,
            )
        return min(noted, now)

    def warn_of_stale(self, jobid: str, noted: float, due_at: float) -> None:
        """Log a warning if a run is due at once because the time file is old."""
        now = self.now()
        if due_at <= now and now - noted > _TIMES_AGREE_S:
            self._log.warning(
                "job %r is due at once: its schedule counts from the time file %s, which is %.0f s old; to count from"
                " now, set it with --after=now, or remove the file",
                jobid,
                self._timefile.path,
                now - noted,
            )


class Reference:
    """The reference time of one command. It is read when a schedule first needs it."""

    def __init__(self, times: ReferenceTimes, after: float | None) -> None:
        self._times = times
        self._after = after
        self._noted: float | None = None

    def __call__(self) -> float:
        """Return the time, Unix seconds. Raise ValueError if `after` is not a time."""
        if self._after is None:
            self._noted = self._times.noted()
            self._after = self._times.now() if self._noted is None else self._noted
        return timestamp("after", self._after)

    def warn_if_stale(self, jobid: str, due_at: float | None) -> None:
        """Log a warning if a job is due at once because the reference time comes from an old time file."""
        if self._noted is not None and due_at is not None:
            self._times.warn_of_stale(jobid, self._noted, due_at)


def timestamp(name: str, value: float) -> float:
    """Return the value if it is a time in Unix seconds. Raise ValueError."""
    if not is_number(value) or not math.isfinite(value):
        raise ValueError(f"{name}: {value!r} is not a time in Unix seconds")
    return value
