"""The answer to `redbike info`: the chosen rows and an overview. The command, its JSON and the API use it."""

import fnmatch
import heapq
import re
from bisect import insort
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from redbike.looking.calls import Calls
from redbike.looking.overview import Overview, look
from redbike.looking.recent import HOUR_S, Recent
from redbike.looking.rows import BROKERS_QUEUE, STATES, Row, Rows, State
from redbike.looking.settled import settled
from redbike.looking.table import SORTS, sorted_rows, sorts

if TYPE_CHECKING:
    from redbike.bike import Redbike

LIMIT = 100
_MOST_NAMED = 5
_COUNTED = ("states", "failing", "lost", "last_hour")
_MOST_QUEUES = 1000


class Asked(NamedTuple):
    """What is asked for. `limit`: the most rows; 0 for all."""

    jobids: tuple[str, ...] = ()
    queue: str | None = None
    state: str | None = None
    match: str | None = None
    sort: str = "status"
    by_queue: bool = False
    limit: int = LIMIT

    def check(self, heads: Sequence[str] = ()) -> None:
        """Raise ValueError if a word is not known. `heads`: the names of the columns of the worker."""
        if self.state is not None and self.state not in STATES:
            raise ValueError(f"--status: {self.state[:40]!r} is not one of {', '.join(STATES)}")
        known = sorts(heads)
        if self.sort.removeprefix("-") not in known:
            raise ValueError(f"--sort: {self.sort[:40]!r} is not one of {', '.join(known)}, or with - before it")

    def needs_calls(self, heads: Sequence[str]) -> bool:
        """Return True if the choice or the order of jobs depends on what they call: then all payloads are read."""
        name = self.sort.removeprefix("-")
        if BROKERS_QUEUE in heads and (self.queue is not None or self.by_queue or name == "queue"):
            return True
        return name not in SORTS

    def chosen(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows that are asked for, in no order."""
        found = matching(rows, self.queue, self.state)
        if self.match is None:
            return found
        fits = re.compile(fnmatch.translate(self.match)).match
        return (row for row in found if fits(row.jobid))

    def in_order(self, rows: Iterable[Row]) -> list[Row]:
        """Return the first of these rows in the order that is asked for, in memory for no more than `limit` rows."""
        take = partial(heapq.nsmallest, self.limit) if self.limit else sorted
        return sorted_rows(rows, self.sort, self.by_queue, take)


def matching(rows: Iterable[Row], queue: str | None = None, state: str | None = None) -> Iterator[Row]:
    """Yield the rows of this queue, of Redbike or of the broker, in this state, a word of STATES.

    `failing`: the last run failed.
    """
    for row in rows:
        if queue is not None and queue not in (row.queue, row.shown_queue):
            continue
        if state == "failing":
            if not row.failures:
                continue
        elif state is not None and not (row.state == state or (state == State.LOST and row.is_lost)):
            continue
        yield row


@dataclass
class Tally:
    """Counts, made while all rows pass by: states, some names of lost and paused jobs, and names of queues."""

    states: Counter[State] = field(default_factory=Counter)
    failing: int = 0
    lost_count: int = 0
    lost: list[str] = field(default_factory=list)
    paused: list[str] = field(default_factory=list)
    queues: dict[str, None] = field(default_factory=dict)

    def pass_on(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows, and count them."""
        for row in rows:
            self.states[row.state] += 1
            self.failing += row.failures > 0
            if row.is_lost:
                self.lost_count += 1
                _keep(self.lost, row.jobid)
            if row.state is State.PAUSED:
                _keep(self.paused, row.jobid)
            if row.queue not in self.queues and len(self.queues) < _MOST_QUEUES and row.queue != "?":
                self.queues[row.queue] = None
            yield row


def _keep(names: list[str], name: str) -> None:
    if len(names) < _MOST_NAMED or name < names[-1]:
        insort(names, name)
        del names[_MOST_NAMED:]


@dataclass
class Answer:
    """The chosen rows, and the look at all of the prefix."""

    asked: Asked
    overview: Overview
    rows: list[Row]
    found: int
    """The number of the chosen jobs, those included that `limit` left out."""
    tally: Tally
    unknown: list[str] = field(default_factory=list)
    """The job ids that were asked for, but are not registered."""

    def as_json(self) -> dict[str, object]:
        """Return the answer as `--json` prints it."""
        told = info_as_json(self.overview, self.rows, self.found)
        if self.asked.jobids:  # the other jobs and the history were not read
            for name in _COUNTED:
                del told[name]
        return told


def info_as_json(overview: Overview, rows: Iterable[Row], found: int | None = None) -> dict[str, Any]:
    """Return rows and overview as one object. `found`: the number of chosen jobs, if not all of them are in `rows`."""
    jobs = [row.as_json() for row in rows]
    return {"jobs": jobs, "left_out": 0 if found is None else found - len(jobs), **overview.as_json()}


def ask(bike: "Redbike", asked: Asked) -> Answer:
    """Return the answer. Its memory is bounded by the limit, whatever the number of jobs.

    If the worker has columns, the payloads of the rows are read: of all jobs only if the order asks for it.
    """
    calls = Calls(bike)
    if asked.jobids:
        return _ask_for_jobs(bike, asked, calls)
    tally, numbers = Tally(), [0]
    every: Iterable[Row] = settled(bike, Rows(bike).all())
    needs_calls = asked.needs_calls(calls.heads)
    if needs_calls:
        every = calls.fill(every)
    rows = asked.in_order(_counted(asked.chosen(tally.pass_on(every)), numbers))
    if not needs_calls:
        rows = list(calls.fill(rows))
    recent = Recent(bike, HOUR_S)
    recent.refresh()
    return Answer(asked, complete(bike, tally, recent), rows, numbers[0], tally)


def complete(bike: "Redbike", tally: "Tally", recent: Recent) -> Overview:
    """Return a look at the prefix with the counts of a tally and the runs of the last hour."""
    overview = look(bike, tally.queues)
    overview.states, overview.failing, overview.lost = tally.states, tally.failing, tally.lost_count
    overview.add_runs(recent)
    return overview


def _ask_for_jobs(bike: "Redbike", asked: Asked, calls: Calls) -> Answer:
    wanted = list(dict.fromkeys(asked.jobids))
    known = list(calls.fill(settled(bike, Rows(bike).of(wanted))))
    chosen = list(asked.chosen(known))
    unknown = set(wanted) - {row.jobid for row in known}
    rows = asked._replace(limit=0).in_order(chosen)
    return Answer(asked, look(bike), rows, len(rows), Tally(), [jobid for jobid in wanted if jobid in unknown])


def _counted(rows: Iterable[Row], numbers: list[int]) -> Iterator[Row]:
    for row in rows:
        numbers[0] += 1
        yield row
