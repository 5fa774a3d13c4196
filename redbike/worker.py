"""Define what workers are: the protocol `Worker`, a ready base class, what a run is, and exceptions that end a run.

Nothing here uses Redis. Names of queues do not contain the prefix. The loop that calls a worker is in
engine/processor.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


class StopWork(Exception):
    """Raise this in `work` to stop the job for good. Its schedule becomes `STOP`, even if it was set during the run.

    A `NOW` that was set during the run still runs.
    """


class UnsetJob(Exception):
    """Raise this in `work` to remove the job, with its schedule, its status, and all that was set during the run."""


class Later(Exception):
    """Raise this if the run cannot happen now: it happens `seconds` later, on any schedule. It is not a failure.

    The next attempt has the same due time and payload. A schedule that was set during the run wins.
    """

    seconds: float = 0.0

    def __init__(self, seconds: float) -> None:
        """Raise ValueError for a number of seconds that is negative, not finite, or above a thousand million."""
        super().__init__(seconds)
        self.seconds = float(seconds)
        if not 0 <= self.seconds <= 1e9:
            raise ValueError(f"Later({seconds!r}): write a number of seconds from 0 to 1000000000")


class BadJob(Exception):
    """Raise this if the job itself is wrong, such as its payload: it is `BAD`, and does not run until it is set."""


class LeaseLost(Exception):
    """The lease of the run has ended, or belongs to another run: the end of this run changes nothing."""


@dataclass(frozen=True)
class Run:
    """One run of a job, for a worker that has `perform(run)`."""

    jobid: str
    payload: str
    """The text that was set with the job; empty without one."""
    due_at: float
    """The Unix time for which the run was planned: the first missed time, if it is late."""
    began_at: float
    """The server's time when the worker took the job, Unix seconds."""
    attempt: int
    """1 for the first attempt. Retries and `Later` make further attempts with the same due time."""
    queue: str
    """The name of the queue from which the job was taken."""
    schedule: str | None
    """The schedule text when the worker took the job; None without one."""
    timeout_s: float
    """The seconds from the begin to the end of the lease, as the worker's `timeout` says."""
    id: str
    """The run tag: a text that no other run has. While the lease lasts, it is the value of the key `P-Q-JOBID`."""
    _extend: Callable[[float], bool] = field(repr=False, compare=False)
    _stopping: Callable[[], bool] = field(repr=False, compare=False, default=bool)
    prefix: str = ""
    """The prefix of the keys in Redis, within which the job id is unique."""

    @property
    def late_s(self) -> float:
        """The seconds from the due time to the begin."""
        return max(0.0, self.began_at - self.due_at)

    def json(self) -> Any:
        """Return the payload read as JSON; None without a payload. Raise BadJob for another text."""
        import json  # not at the top: a command such as `redbike set` does without it

        if not self.payload:
            return None
        try:
            return json.loads(self.payload)
        except ValueError as error:
            raise BadJob(f"the payload is not JSON: {error}") from None

    def is_stopping(self) -> bool:
        """Return True if the process was asked to stop. A long run may then end early, for example by Later(0)."""
        return self._stopping()

    def extend(self, seconds: float) -> None:
        """Let the lease end `seconds` from now. Raise LeaseLost if the lease has ended or belongs to another run."""
        if not 0 < seconds <= 1e9:
            raise ValueError(f"extend({seconds!r}): write a number of seconds above 0 and up to 1000000000")
        if not self._extend(seconds):
            raise LeaseLost(f"job {self.jobid!r}: the lease of this run has ended, or belongs to another run")


@runtime_checkable
class Worker(Protocol):
    """The methods that Redbike calls on a worker. An object with these four methods is a worker.

    With `perform(run)`, it needs no `work`: it is called with a `Run`.

    With an attribute `conf_defaults`, a dict such as `{"on_error": "retry"}`, the commands use these settings where the
    conf says nothing.

    With `columns(payload)`, `redbike info`, `show` and `why` and the web page show what its jobs call. This method gets
    the payload of a job (an empty text without a payload) and returns a dict of short texts by names, such as
    `{"TASK": "proj.add", "QUEUE": "emails"}`. `columns("")` names the columns: each has a name of letters, digits and
    underscores, and at most four are shown. `TASK` or `FUNC` is what the job calls. `QUEUE` is the queue of another
    system: it takes the place of the queue of Redbike in tables. Commands that show jobs call the method, so it should
    import little and connect to nothing. If it raises an exception, or returns no text, the cell is empty.
    """

    def queue_for(self, jobid: str) -> str:
        """Return the name of the queue for this job."""

    def queue_names(self) -> list[str]:
        """Return the queues to serve, in order. A queue that the list names twice is served twice as often."""

    def work(self, jobid: str) -> object:
        """Do the job. On a `CONTINUE` schedule, a result above 0 is the pause in seconds before the next run."""

    def timeout(self, queue_name: str) -> float | None:
        """Return the seconds after which a run counts as lost; None: the default. `queue_name` is the full key."""


class RoundRobin:
    """A worker whose jobs name their own queue: job `report:A` goes into the queue `work-A`.

    Subclass it, and override `work` or define `perform(run)`.
    """

    def __init__(self, initstring: str) -> None:
        """Serve the queues in the order of `initstring`.

        With `A:A:B`, and jobs in both queues, `work-A` is served twice as often as `work-B`.
        """
        self._queue_names = [f"work-{code}" for code in initstring.split(":")]

    def queue_for(self, jobid: str) -> str:
        """Return `work-` and the text after the last colon of the job id. Without a colon, that is the whole id."""
        return f"work-{jobid.rpartition(':')[2]}"

    def queue_names(self) -> list[str]:
        """Return the queues in the order of the initstring, with repetitions."""
        return list(self._queue_names)

    def work(self, jobid: str) -> object:
        """Override this method: do the job. This version only raises NotImplementedError."""
        raise NotImplementedError(f"{type(self).__name__}.work() must be overridden to do job {jobid!r}")

    def timeout(self, queue_name: str) -> float | None:  # noqa: ARG002 - part of the protocol
        """Return None: every queue has the default timeout."""
        return None
