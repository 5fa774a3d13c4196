"""The runs of the last hours, from the history: how late they were, and how many failed."""

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from redbike.store.history import Record

if TYPE_CHECKING:
    from redbike.bike import Redbike

HOUR_S = 3600.0
DAY_S = 86_400.0
_MOST_RECORDS = 10_000
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
        self._last: str | None = None

    def refresh(self) -> bool:
        """Read new records. Return whether there were any."""
        if self._last is None:
            self._last = self._bike.newest_record()
            self._records.extend(reversed(self._latest(self._bike.now() - self._seconds)))
            return bool(self._records)
        is_new = False
        for _ in range(_MOST_PAGES):
            self._last, found = self._bike.follow_history(self._last, 0)
            self._records.extend(found)
            is_new = is_new or bool(found)
            if len(found) < _FULL_PAGE:
                return is_new
        self._last = None  # too far behind: begin again with the latest runs
        self._records.clear()
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

    def _latest(self, since: float) -> list[Record]:
        return list(islice(self._bike.get_history(since=since, upto=self._last or None), _MOST_RECORDS))
