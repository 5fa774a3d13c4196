"""The newest records of the history, for the page: chosen by job and outcome, and counted by minute."""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from redbike.looking.recent import FAULTS, Recent
from redbike.store.history import Record

if TYPE_CHECKING:
    from redbike.bike import Redbike


class Minute(NamedTuple):
    """The runs that ended in one minute."""

    at: int
    runs: int
    failures: int
    lateness_s: float
    """The longest."""


class Past(Recent):
    """The newest records. One thread reads from Redis; others look."""

    def __init__(self, bike: "Redbike") -> None:
        super().__init__(bike, math.inf)  # the page of the history goes back as far as it can

    records: Sequence[Record] = ()
    """The latest last. Replaced by each read of new records, and never changed."""

    def refresh(self) -> bool:
        """Read the new records. Return whether there were any. Raise ServerError."""
        is_new = super().refresh()
        if is_new:
            self.records = list(self._records)
        return is_new

    def latest_first(
        self, jobid: str | None = None, outcome: str | None = None, since: float | None = None
    ) -> Iterator[Record]:
        """Yield the records that fit."""
        for record in reversed(self.records):
            if since is not None and record.ended < since:
                return
            if (jobid is None or record.jobid == jobid) and outcome in (None, record.outcome):
                yield record

    def reaches(self) -> float | None:
        """Return when the oldest record ended; None without records."""
        return self.records[0].ended if self.records else None

    def minutes(self, now: float, number: int = 60) -> list[Minute]:
        """Return the last minutes, the present minute last."""
        first = int(now // 60) - number + 1
        runs, failures, lateness = [0] * number, [0] * number, [0.0] * number
        records = self.records
        for record in records[bisect_left(records, float(first * 60), key=lambda record: record.ended) :]:
            index = int(record.ended // 60) - first
            if 0 <= index < number:
                runs[index] += 1
                failures[index] += record.outcome in FAULTS
                lateness[index] = max(lateness[index], record.began - record.due)
        columns = zip(runs, failures, lateness, strict=True)
        return [Minute((first + index) * 60, *column) for index, column in enumerate(columns)]
