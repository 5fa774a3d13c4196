"""The base class of the workers that send. They hand each run to another system, and wait if its broker is away.

A run is sent at least once. Every try to send it has the same id (identity.py).
"""

import importlib.util
import logging
import os
import time
from abc import ABC, abstractmethod
from typing import Any

from redbike.errors import ConfigError
from redbike.logs import RateLimitedLog, plain
from redbike.worker import Later, Run

LEASE_S = 60.0
"""The default lease of a run: how long one worker may take to hand it over, in seconds."""
SOCKET_TIMEOUT_S = 10.0
"""The default time limit of a reply of the broker, in seconds."""

_LOG = plain(logging.getLogger("redbike.bridges"))
_LIMITED_LOG = RateLimitedLog(_LOG)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_LOOK_S = 0.1  # the interval at which a wait checks whether the process should stop
_LATER_S = 1.0  # a run that could not be sent comes again after this time


class Away(Exception):
    """The broker is out of reach, or takes no messages at all. The message says why, in a few words."""


class Sender(ABC):
    """A worker with one queue, whose `perform` sends. A subclass says how a run is prepared and sent."""

    default_prefix: str
    """The prefix of the keys in Redis, if no setting names another."""
    lease_name = "lease"
    """The name of the lease in error messages."""

    def __init__(self, queue: str, lease_s: float) -> None:
        """Serve this queue. `lease_s`: the seconds within which a run is handed over.

        Raise ConfigError for a lease that is not a number of seconds above 0 and up to a day.
        """
        if isinstance(lease_s, bool) or not isinstance(lease_s, int | float) or not 0 < lease_s <= 86400:
            raise ConfigError(f"{self.lease_name}: {lease_s!r} is not a number of seconds above 0 and up to 86400")
        self._queue = queue
        self.lease_s = float(lease_s)
        self._away_since: float | None = None  # monotonic
        self._last_s = 0.0  # monotonic: after this time, no try of the present run begins

    @property
    def conf_defaults(self) -> dict[str, Any]:
        """The settings that the commands use where the conf says nothing.

        A run that was lost is tried again, because it may not have been sent. After an error, the schedule decides.
        No time is kept in a file, because Redis knows which runs are due.
        """
        return {
            "prefix": self.default_prefix,
            "default_timeout": self.lease_s,
            "on_timeout": "retry",
            "on_error": "reschedule",
            "timefile": os.devnull,
        }

    def queue_for(self, jobid: str) -> str:  # noqa: ARG002 - part of the protocol
        """Return the name of the one queue."""
        return self._queue

    def queue_names(self) -> list[str]:
        """Return the one queue."""
        return [self._queue]

    def timeout(self, queue_name: str) -> float | None:  # noqa: ARG002 - part of the protocol
        """Return the lease in seconds. Check the settings first, because a worker's loop asks this when it starts.

        Raise ConfigError for settings with which nothing can be sent safely.
        """
        self.check()
        return self.lease_s

    def work(self, jobid: str) -> object:
        """Raise NotImplementedError: `perform` does the runs."""
        raise NotImplementedError(f"{type(self).__name__} sends job {jobid!r} by perform()")

    def perform(self, run: Run) -> object:
        """Send a run, and return what `send` returns. While the broker is away, try again for half the lease.

        No try begins in the second half of the lease: another worker may send the run when the lease is over. Then
        raise Later, so the run comes again a second later. The other runs stay in the queue meanwhile. Raise BadJob
        for a payload that cannot be sent.
        """
        self._last_s = last_s = time.monotonic() + self.lease_s / 2
        prepared = self.prepare(run)
        if time.monotonic() >= last_s:
            _LIMITED_LOG.report(
                f"job {run.jobid!r}",
                f"its run was not sent, because preparing it took more than half the lease of {self.lease_s:g} s; it"
                " comes again later: make the lease longer, or let the lazy arguments of the job return sooner",
            )
        pause_s = _FIRST_PAUSE_S
        while time.monotonic() < last_s:
            try:
                result = self.send(prepared, run)
            except Away as away:
                self.disconnect()
                self._note_away(str(away))
                if not _slept(min(pause_s, last_s - time.monotonic()), run):
                    raise Later(0) from None
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                self._note_back()
                return result
        raise Later(_LATER_S)

    @property
    def may_begin(self) -> bool:
        """True in the first half of the lease of the present run."""
        return time.monotonic() < self._last_s

    def check_installed(self, name: str, extra: str) -> None:
        """Raise ConfigError if the other system is not installed. `extra`: its package, which the extra brings."""
        if importlib.util.find_spec(extra) is None:
            raise ConfigError(f"{type(self).__name__}: {name} is not installed: pip install 'redbike[{extra}]'")

    def check_timeout(self, name: str, socket_timeout_s: float) -> None:
        """Raise ConfigError if a try that begins in the first half of the lease may last longer than the lease.

        `name`: the setting that holds the time limit of the broker's replies.
        """
        if self.lease_s < 2 * socket_timeout_s:
            raise ConfigError(
                f"{self.lease_name}: {self.lease_s:g} s is less than twice {name} ({socket_timeout_s:g} s), so a run"
                f" could be sent after its lease: make the lease at least {2 * socket_timeout_s:g} s, or {name} shorter"
            )

    @abstractmethod
    def check(self) -> None:
        """Raise ConfigError for settings with which nothing can be sent safely."""

    @abstractmethod
    def prepare(self, run: Run) -> Any:
        """Return what `send` needs. Do here what may fail because of the job. Raise BadJob if it cannot be sent."""

    @abstractmethod
    def send(self, prepared: Any, run: Run) -> object:
        """Send a run once, without retries. Raise Away if the broker is away."""

    @abstractmethod
    def disconnect(self) -> None:
        """Close the connection to the broker. The next `send` connects again."""

    @property
    @abstractmethod
    def broker(self) -> str:
        """The broker and its address for log lines, without a password."""

    def _note_away(self, why: str) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            _LOG.warning("%s is out of reach (%s); the runs stay queued until it is back", self.broker, why)

    def _note_back(self) -> None:
        if self._away_since is not None:
            away_s = time.monotonic() - self._away_since
            self._away_since = None
            _LOG.warning("%s is back after %.1f s", self.broker, away_s)


def _slept(seconds: float, run: Run) -> bool:
    """Sleep. Return False as soon as the process was asked to stop."""
    until_s = time.monotonic() + seconds
    while not run.is_stopping():
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            return True
        time.sleep(min(_LOOK_S, left_s))
    return False
