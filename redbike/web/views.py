"""The data of each page, made of what is in memory. The same data, as a print, tell whether a page has changed.

Ages and the present time do not belong to the data: they change though nothing happens.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from redbike.looking.recent import FAULTS
from redbike.looking.troubles import Trouble, troubles
from redbike.web.digest import SHOWN
from redbike.web.pictures import coming_hour, last_hour
from redbike.web.sight import Sight
from redbike.web.things import Worked, processes, queues, running

Data = Mapping[str, Any]
Given = Mapping[str, str]

_MOST_REMEMBERED = 256
_MOST_FAILED = 20_000
DAY_S = 86_400
SPANS = {"1h": (3600, "one hour"), "24h": (DAY_S, "24 hours"), "7d": (7 * DAY_S, "7 days")}
_PER_PAGE = 50


@dataclass(frozen=True)
class Wrong:
    """A trouble. Its text is not compared, because it tells an age."""

    urgency: int
    kind: str
    text: str = field(repr=False)
    jobid: str | None = None
    queue: str | None = None


class Views:
    """Make the data of pages, once per look for any number of viewers."""

    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        self._makers: dict[str, Callable[[Given], Data]] = {
            "/": self._overview,
            "/jobs": self._jobs,
            "/job": self._job,
            "/history": self._history,
            "/fleet": lambda _: {"processes": self._processes()},
            "/queues": lambda _: {"queues": queues(self._sight.overview)},
            "/queue": self._queue,
            "/troubles": lambda _: {},
        }
        self._made: OrderedDict[tuple[object, ...], tuple[Data, str]] = OrderedDict()
        self._made_of: object = None
        """The look and the rows of which it was made."""
        self._troubles: list[Trouble] | None = None
        self._minutes: tuple[object, Data] = None, {}

    def knows(self, path: str) -> bool:
        """Return True if this page can change by itself."""
        return path in self._makers

    def data(self, path: str, given: Given) -> tuple[Data, str]:
        """Return the data of a page, and their print."""
        self._forget_old()
        key = (path, tuple(sorted(given.items())))
        found = self._made.get(key)
        if found is None:
            data = self._makers[path](given)
            found = self._made[key] = data, self._print(data)
            while len(self._made) > _MOST_REMEMBERED:
                self._made.popitem(last=False)
        return found

    def _forget_old(self) -> None:
        """Forget what was made of an older look."""
        state = self._sight.looked_at, self._sight.version
        if state != self._made_of:
            self._made_of, self._troubles = state, None
            self._made.clear()

    def _print(self, data: Data) -> str:
        shared = self._shared()
        return hashlib.blake2b(repr((data, shared)).encode("utf-8", "replace"), digest_size=9).hexdigest()

    def _shared(self) -> tuple[object, ...]:
        overview = self._sight.overview
        return () if overview is None else (overview.is_halted, overview.hold, self.troubles())

    def troubles(self) -> list["Wrong"] | None:
        """Return what is wrong now, the most urgent first; None if that is not known."""
        return None if self._sight.overview is None else [Wrong(*trouble) for trouble in self.told_troubles()]

    def told_troubles(self) -> list[Trouble]:
        """Return what `redbike why` says of the prefix."""
        self._forget_old()
        overview = self._sight.overview
        if self._troubles is None:
            self._troubles = [] if overview is None else troubles(overview, self._sight.digest.jobs)
        return self._troubles

    def now(self) -> float:
        """Return the server's time of the last look, or 0."""
        return 0.0 if self._sight.overview is None else self._sight.overview.now

    def _processes(self) -> list[Worked]:
        return processes(self._sight.overview)

    def _overview(self, _given: Given) -> Data:
        sight, overview = self._sight, self._sight.overview
        now, rows, found = self.now(), sight.digest.rows, self._processes()
        key = (sight.version, int(now // 60))
        if self._minutes[0] != key:
            self._minutes = key, self._of_rows(now)
        lines = queues(overview)
        runs = running(overview)
        return {
            **self._minutes[1],
            "upcoming": self._upcoming(),
            "known": len(rows),
            "knows": overview is not None,
            "knows_jobs": sight.read_at is not None,
            "overdue": 0 if overview is None else overview.overdue,
            "lateness": None if overview is None else overview.lateness,
            "workers": sum(one.kind == "worker" and one.silent_since is None for one in found),
            "dispatchers": sum(one.kind == "dispatcher" and one.silent_since is None for one in found),
            "troubles": self.troubles(),
            "running": runs[:SHOWN],
            "running_count": 0 if overview is None else overview.running_count,
            "queues": sorted(lines, key=lambda one: (-one.jobs, one.name))[:SHOWN],
            "queue_count": len(lines),
            "processes": found[:SHOWN],
            "process_count": len(found),
            "failed": self._failed(now),
            "hour": last_hour(sight.past.minutes(now), sight.past.reaches()),
        }

    def _upcoming(self) -> list[tuple[str, str, float]]:
        """Return the jobs that are due next: id, queue and time."""
        overview, known = self._sight.overview, self._sight.index.by_id
        found = [] if overview is None else overview.next[:SHOWN]
        return [(jobid, known[jobid].queue if jobid in known else "", due) for jobid, due in found]

    def _of_rows(self, now: float) -> Data:
        """Return what is made of all rows: once per minute, or when they were read again."""
        found = self._sight.digest
        start = now // 60 * 60
        counts = {state.value: number for state, number in found.jobs.states.items()}
        return {
            "counts": [(word, counts.get(word, 0)) for word in STATES if counts.get(word) or word in _ALWAYS],
            "coming": coming_hour(found.between(start, start + 3600), start),
            "lost": found.lost,
            "lost_count": found.jobs.lost,
        }

    def _failed(self, now: float) -> list[dict[str, Any]]:
        """Return the jobs that failed within a day, the latest failure first."""
        found: dict[str, dict[str, Any]] = {}
        for record in self._sight.past.latest_first(since=now - DAY_S):
            if record.outcome not in FAULTS:
                continue
            one = found.get(record.jobid)
            if one is None:
                if len(found) == _MOST_FAILED:
                    break
                found[record.jobid] = {**record._asdict(), "times": 1}
            else:
                one["times"] += 1
        return list(found.values())[:SHOWN]

    def _jobs(self, given: Given) -> Data:
        known = self._sight.digest.rows
        number = page_number(given)
        rows = self._sight.chooser.chosen(known, self._sight.version, given)
        pages = max(1, -(-len(rows) // _PER_PAGE))
        number = min(number, pages)
        shown = [self._sight.row(row) for row in rows[(number - 1) * _PER_PAGE : number * _PER_PAGE]]
        self._sight.watch(row.jobid for row in shown)
        return {
            "rows": shown,
            "total": len(rows),
            "known": len(known),
            "pages": pages,
            "number": number,
            "has_read": self._sight.read_at is not None,
        }

    def _job(self, given: Given) -> Data:
        jobid = given.get("id", "")
        self._sight.watch([jobid])
        records = self._sight.past.latest_first(jobid)
        return {"row": self._sight.row_of(jobid), "latest": next(records, None), "runs": self._runs_of(jobid)}

    def _runs_of(self, jobid: str) -> list[object]:
        return [run for run in running(self._sight.overview) if run.jobid == jobid]

    def _history(self, given: Given) -> Data:
        number = page_number(given)
        span = SPANS.get(given.get("since", ""))
        since = None if span is None else self.now() // 60 * 60 - span[0]
        found = self._sight.past.latest_first(given.get("job") or None, given.get("outcome") or None, since)
        skipped = (number - 1) * _PER_PAGE
        records = []
        for place, record in enumerate(found):
            if place >= skipped:
                records.append(record)
            if len(records) > _PER_PAGE:
                break
        return {"records": records[:_PER_PAGE], "has_more": len(records) > _PER_PAGE, "number": number}

    def _queue(self, given: Given) -> Data:
        name = given.get("name", "")
        return {"queue": next((one for one in queues(self._sight.overview) if one.name == name), None)}


def page_number(given: Given) -> int:
    """Return the number of the page that is asked for, from 1."""
    text = given.get("page", "")
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 8 else 1


STATES = ("running", "queued", "due", "planned", "paused", "stopped", "failed", "timed out", "lost", "bad", "new")
_ALWAYS = ("running", "queued", "failed", "lost")
