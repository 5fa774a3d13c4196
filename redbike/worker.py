"""Define what workers are: the protocol `Worker`, a ready base class, and two exceptions that end a job for good.

Nothing here uses Redis. Names of queues do not contain the prefix. The loop that calls a worker is in
engine/processor.py.
"""

from typing import Protocol, runtime_checkable


class StopWork(Exception):
    """Raise this in `work` to stop the job for good. Its schedule becomes `STOP`, even if it was set during the run.

    A `NOW` that was set during the run still runs.
    """


class UnsetJob(Exception):
    """Raise this in `work` to remove the job, with its schedule, its status, and all that was set during the run."""


@runtime_checkable
class Worker(Protocol):
    """The methods that Redbike calls on a worker. Any object with these four methods is a worker."""

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

    Subclass it and override `work`.
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
