"""Figures of all rows for the overview. They are made when the rows are read, in the thread that reads them."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from redbike.looking.rows import BROKERS_QUEUE, Row
from redbike.looking.troubles import Jobs

BAD_STATES = ("failed", "timed out", "lost", "bad")
SHOWN = 8
_MOST_QUEUES = 200


class Digest(NamedTuple):
    """The counts, the planned runs and the lost jobs of all rows."""

    rows: Sequence[Row]
    """In the order of their ids."""
    planned: Sequence[tuple[float, str, Row]]
    """Time, queue and row, by time."""
    lost: Sequence[Row]
    queues: Sequence[str]
    brokers_queues: Sequence[str]
    """The names of queues in the worker's column `QUEUE`."""
    jobs: Jobs
    """The figures for the troubles."""

    def between(self, start: float, end: float) -> list[tuple[float, str]]:
        """Return the times and queues of the runs that are planned before `end`; overdue runs count at `start`."""
        first, last = self._place(start), self._place(end)
        overdue = [(start, queue) for _, queue, _ in self.planned[:first]]
        return [*overdue, *((at, queue) for at, queue, _ in self.planned[first:last])]

    def _place(self, at: float) -> int:
        return bisect_left(self.planned, at, key=lambda one: one[0])


EMPTY = Digest((), (), (), (), (), Jobs())


def digest(rows: Sequence[Row], jobs: Jobs) -> Digest:
    """Return the digest of these rows. `jobs`: what the troubles need of them."""
    rows = sorted(rows, key=lambda row: row.jobid)
    planned = [(row.next_run, row.queue, row) for row in rows if row.next_run is not None]
    planned.sort(key=lambda one: one[0])
    lost = sorted((row for row in rows if row.is_lost), key=lambda row: -(row.since or 0))
    queues = sorted({row.queue for row in rows})[:_MOST_QUEUES]
    brokers = sorted({name for row in rows if (name := row.calls.get(BROKERS_QUEUE))})[:_MOST_QUEUES]
    return Digest(rows, planned, lost[:SHOWN], tuple(queues), tuple(brokers), jobs)
