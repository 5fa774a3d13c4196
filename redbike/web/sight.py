"""What the page knows, in memory: the overview, all rows, the newest runs, and the rows that viewers look at."""

import time
from collections import OrderedDict
from collections.abc import Iterable

from redbike.bike import Redbike
from redbike.looking.calls import Calls
from redbike.looking.index import Index
from redbike.looking.overview import Overview, look
from redbike.looking.past import explained
from redbike.looking.rows import Row, Rows
from redbike.looking.settled import settled
from redbike.looking.troubles import Jobs
from redbike.looking.why import reasons, reasons_as_json
from redbike.store.details import LastRun
from redbike.store.text import decode, encode
from redbike.web.choosing import Chooser
from redbike.web.digest import EMPTY, digest
from redbike.web.past import Past

_MOST_WATCHED = 300
_WATCHED_FOR_S = 5.0
PEEK = 100


class Sight:
    """The state of one prefix. One thread reads from Redis; the pages look."""

    def __init__(self, bike: Redbike, hides_payloads: bool = False) -> None:
        self.bike = bike
        self._hides_errors = hides_payloads
        self.calls = Calls(bike, only_names=hides_payloads)
        """What jobs call, as far as the page may show it."""
        self.index = Index(bike, self.calls)
        self.past = Past(bike)
        self.overview: Overview | None = None
        self.chooser = Chooser()
        self.digest = EMPTY
        self.read_at: float | None = None
        """When all jobs were read, this machine's time."""
        self.version = 0
        """Of the rows."""
        self.looked_at: float | None = None
        """This machine's time."""
        self._rows = Rows(bike)
        self._watched: OrderedDict[str, float] = OrderedDict()
        self._fresh: dict[str, Row] = {}

    def look(self) -> None:
        """Look at Redis by a few calls. Raise ServerError."""
        overview = look(self.bike, self.digest.queues)
        self.past.refresh()
        overview.add_runs(self.past)
        self.overview = overview
        now = time.monotonic()
        watched = [jobid for jobid, ends_at in list(self._watched.items()) if ends_at > now]
        self._fresh = self._read(watched)
        self.looked_at = time.time()

    def _read(self, jobids: list[str]) -> dict[str, Row]:
        return {row.jobid: row for row in self.calls.fill(settled(self.bike, self._rows.of(jobids)))}

    def read_index(self) -> None:
        """Read all jobs, if it is time. Raise ServerError."""
        if self.index.refresh():
            self.read_at = time.time()
            if self.index.version != self.version or self.digest is EMPTY:
                rows = list(self.index.by_id.values())
                made = digest(rows, Jobs.of(map(self._without_error, rows)))
                self.digest, self.version = made, self.index.version

    def _without_error(self, row: Row) -> Row:
        """Return the row without the error of its last run, if errors must not leave the page."""
        return row if row.last is None or not self._hides_errors else row._replace(last=LastRun(row.last, error=""))

    def watch(self, jobids: Iterable[str]) -> None:
        """Read the rows of these jobs with each look, for a while."""
        ends_at = time.monotonic() + _WATCHED_FOR_S
        for jobid in jobids:
            self._watched[jobid] = ends_at
            self._watched.move_to_end(jobid)
        while len(self._watched) > _MOST_WATCHED:
            self._watched.popitem(last=False)

    def row(self, row: Row) -> Row:
        """Return the newest row of the same job."""
        return self._fresh.get(row.jobid, row)

    def row_of(self, jobid: str) -> Row | None:
        """Return the newest row of a job; None if it is unknown."""
        return self._fresh.get(jobid) or self.index.by_id.get(jobid)

    def study(self, jobid: str) -> dict[str, object]:
        """Return all that is known of one job, and `why` it does what it does, in sentences. Raise ServerError."""
        self.watch([jobid])
        self._fresh = {**self._fresh, **self._read([jobid])}
        found = self.details(jobid)
        is_known = found["status"] is not None or found["schedule"] is not None or found["working"]
        # The sentences quote errors. Those on an unknown job would read all ids, to name near ones.
        is_told = is_known and not self._hides_errors
        return {**found, "why": [one.text for one in reasons(self.bike, jobid, self.overview)] if is_told else []}

    def details(self, jobid: str) -> dict[str, object]:
        """Return what `redbike show JOBID --json` prints. Raise ServerError."""
        return self.calls.add_to(self.bike.details(jobid))

    def explain(self, jobid: str, at: float | None) -> dict[str, object]:
        """Return what `redbike why JOBID [TIME] --json` prints. Raise ServerError."""
        overview, found = explained(self.bike, jobid, at)
        return reasons_as_json(overview, jobid, at, found)

    def peek(self, queue: str) -> list[str]:
        """Return the first jobs of a queue, the next one first. Raise ServerError."""
        key = encode(self.bike._parts.keys.queue(queue))
        found: list[bytes] = self.bike._parts.ask(self.bike.redis.lrange, key, -PEEK, -1)  # type: ignore[arg-type]
        return [decode(jobid) for jobid in reversed(found)]
