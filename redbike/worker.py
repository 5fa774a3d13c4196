"""What a user's worker builds on: the protocol of a worker, a ready base class, and the two ways to end a job for good.

Nothing here touches Redis; the names of queues are without the prefix.
"""

from typing import Protocol, runtime_checkable


class StopWork(Exception):
    """Raised by `work`: the job does not run any more. Its schedule becomes `STOP`, even if it was set during the run.

    A `NOW` that was set during the run still runs.
    """


class UnsetJob(Exception):
    """Raised by `work`: forget the job, with its schedule, its status, and all that was set during the run."""


@runtime_checkable
class Worker(Protocol):
    """What Redbike asks of a worker object. Any object with these four methods will do."""

    def queue_for(self, jobid: str) -> str:
        """The name of the queue that the job belongs into."""

    def queue_names(self) -> list[str]:
        """The queues to serve, in order. A name that stands there twice is served twice as often."""

    def work(self, jobid: str) -> object:
        """Do the job. On a `CONTINUE` schedule, a returned number is a pause in seconds until the next run."""

    def timeout(self, queue_name: str) -> float | None:
        """After how many seconds a run from the queue with this full key counts as lost; None: the default."""


class RoundRobin:
    """A worker whose jobs name their own queue: job `report:A` goes into the queue `work-A`.

    `initstring` is the order in which the queues are served: with `A:A:B` and work in both, `work-A` is served twice
    for each time that `work-B` is. Subclass it and override `work`.
    """

    def __init__(self, initstring: str) -> None:
        self._queue_names = [f"work-{code}" for code in initstring.split(":")]

    def queue_for(self, jobid: str) -> str:
        """`work-` and whatever follows the last colon of the job id (all of it, where there is none)."""
        return f"work-{jobid.rpartition(':')[2]}"

    def queue_names(self) -> list[str]:
        """The queues in the order of the initstring, repetitions included."""
        return list(self._queue_names)

    def work(self, jobid: str) -> object:
        """Must be overridden: what a job does is yours to say."""
        raise NotImplementedError(f"{type(self).__name__}.work() must be overridden to do job {jobid!r}")

    def timeout(self, queue_name: str) -> float | None:  # noqa: ARG002 - part of the protocol
        """None: every queue has the default timeout."""
        return None
