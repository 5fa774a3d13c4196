"""The runs of the last hours, from the history: how late they were, how many failed, which runs failed last."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from redbike.store.history import Record

if TYPE_CHECKING:
    from redbike.bike import Redbike

HOUR_S = 3600.0
DAY_S = 86_400.0
_MOST_RECORDS = 10_000
_MOST_FAILURES = 100
_FULL_PAGE = 900  # records: a page has 1,000 entries, a few of which another program may have written
_MOST_PAGES = 12
FAULTS = frozenset({"failed", "lost", "late", "bad"})
"""Outcomes of runs that did not succeed."""


class Lateness(NamedTuple):
    """How late runs began, in seconds after their due times."""

    p50_s: float
    p99_s: float
    worst_s: float

    @classmethod
    def of(cls, records: Sequence[Record]) -> "Lateness | None":
        """Return the lateness of these runs; None without a run."""
        late = sorted(max(0.0, record.began - record.due) for record in records if record.outcome != "later")
        if not late:
            return None
        return cls(late[len(late) // 2], late[min(len(late) - 1, len(late) * 99 // 100)], late[-1])


class Recent:
    """The latest runs: at most 10,000. `refresh` reads the new runs."""

    def __init__(self, bike: "Redbike", seconds: float = DAY_S) -> None:
        """`seconds`: how far back the first `refresh` reads."""
        self._bike = bike
        self._seconds = seconds
        self._records: deque[Record] = deque(maxlen=_MOST_RECORDS)
        self._failures: deque[Record] = deque(maxlen=_MOST_FAILURES)
        self._last: str | None = None

    def refresh(self) -> bool:
        """Read new records. Return whether there were any."""
        if self._last is None:
            self._last = self._bike.newest_record()
            self._add(reversed(self._latest(self._bike.now() - self._seconds)))
            return bool(self._records)
        is_new = False
        for _ in range(_MOST_PAGES):
            self._last, found = self._bike.follow_history(self._last, 0)
            self._add(found)
            is_new = is_new or bool(found)
            if len(found) < _FULL_PAGE:
                return is_new
        self._last = None  # too far behind: begin again with the latest runs
        self._records.clear()
        self._failures.clear()
        return self.refresh()

    @property
    def is_cut(self) -> bool:
        """Whether older runs were left out."""
        return len(self._records) == _MOST_RECORDS

    def of_last(self, seconds: float, now: float) -> list[Record]:
        """Return the runs that ended within these seconds, in the order in which they ended."""
        found: list[Record] = []
        for record in reversed(self._records):
            if record.ended < now - seconds:
                break
            found.append(record)
        return found[::-1]

    def failures(self, seconds: float, now: float) -> list[Record]:
        """Return the runs of the last seconds that did not succeed, the latest first: 100 at most."""
        return [record for record in reversed(self._failures) if record.ended >= now - seconds]

    def _latest(self, since: float) -> list[Record]:
        found: list[Record] = []
        for record in self._bike.get_history(since=since, upto=self._last or None):
            found.append(record)
            if len(found) == _MOST_RECORDS:
                break
        return found

    def _add(self, records: Iterable[Record]) -> None:
        for record in records:
            self._records.append(record)
            if record.outcome in FAULTS:
                self._failures.append(record)
