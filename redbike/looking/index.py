"""All jobs in memory, for a page or an exporter: read again in the background, at a small part of the time.

A read of 100,000 jobs takes about a second. So the index is read again only after twenty times as long, and a program
that shows a few jobs asks for their rows (`Rows.of`).
"""

import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from redbike.looking.calls import Calls
from redbike.looking.rows import Row, Rows
from redbike.looking.settled import settled

if TYPE_CHECKING:
    from redbike.bike import Redbike

_SHARE = 20  # a read may take a twentieth of the time
_SHORTEST_S = 1.0


class Index:
    """The rows of all jobs, by job id. Threads may share it; `refresh` replaces the rows in one step."""

    def __init__(self, bike: "Redbike", calls: Calls | None = None) -> None:
        """Read nothing yet. `calls`: the columns of the worker that are shown; None for all of them."""
        self._bike = bike
        self._rows, self._calls = Rows(bike), calls or Calls(bike)
        self._lock = threading.Lock()
        self._again_at = 0.0
        self.by_id: dict[str, Row] = {}
        """The rows of the latest complete read, with those that `put` has changed since."""
        self.read_at: float | None = None
        """When the latest complete read ended, on the monotonic clock; None before the first."""
        self.took_s = 0.0
        """How long the latest complete read took."""
        self.version = 0
        """Grows with each read that has changed a row."""

    def refresh(self, *, at_once: bool = False) -> bool:
        """Read all jobs again if it is time, or `at_once`. Return whether they were read."""
        if not (at_once or time.monotonic() >= self._again_at) or not self._lock.acquire(blocking=at_once):
            return False
        try:
            began = time.monotonic()
            found = {row.jobid: row for row in self._calls.fill(settled(self._bike, self._rows.all()))}
            if found != self.by_id:
                self.version += 1
            self.by_id = found
            self.read_at = time.monotonic()
            self.took_s = self.read_at - began
            self._again_at = self.read_at + max(_SHORTEST_S, _SHARE * self.took_s)
            return True
        finally:
            self._lock.release()

    def put(self, rows: list[Row], asked: Iterable[str] = ()) -> None:
        """Replace rows that were read since, and forget jobs of `asked` that have no row any more."""
        fresh = {row.jobid: row for row in rows}
        gone = [jobid for jobid in asked if jobid not in fresh and jobid in self.by_id]
        if gone or any(self.by_id.get(jobid) != row for jobid, row in fresh.items()):
            by_id = self.by_id | fresh  # a copy: another thread may be reading the former rows
            for jobid in gone:
                del by_id[jobid]
            self.by_id = by_id
            self.version += 1
