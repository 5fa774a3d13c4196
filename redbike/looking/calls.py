"""What each job calls: the worker makes columns of its payload, such as its task and the queue of a broker.

A worker that hands its runs on, such as the bridges to Celery and RQ, has the optional method `columns(payload)`.
`columns("")` names the columns. The method is the user's code, so nothing here relies on it: in each case, the
cells are short texts of one line, or empty. Without the method, no payload is read.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from redbike.looking.asking import ask
from redbike.looking.rows import BROKERS_QUEUE, Row
from redbike.looking.words import shortened
from redbike.schedule.forms import PAUSED
from redbike.store.text import decode, encode

if TYPE_CHECKING:
    from redbike.bike import Redbike

_NAMES = frozenset({"TASK", "FUNC", BROKERS_QUEUE})
_OURS = frozenset({"JOB", "SCHEDULE", "STATUS", "NEXT", "LAST", "FAILS"})
_MOST_HEADS = 4
_LONGEST_HEAD = 20  # characters
_LONGEST = 200  # characters of a cell
_BATCH = 64  # payloads per round trip: each may have 1 MiB
_MOST_REMEMBERED = 10_000


class Calls:
    """The columns of one worker."""

    def __init__(self, bike: "Redbike", only_names: bool = False) -> None:
        """Ask the worker for the names of its columns. Connect to nothing.

        `only_names`: leave out columns other than `TASK`, `FUNC` and `QUEUE`. These are names of code and of queues,
        but other columns may show data of the payload.
        """
        self._bike = bike
        columns = getattr(bike.worker, "columns", None)
        self._columns: Callable[[str], object] | None = columns if callable(columns) else None
        self._seen: dict[tuple[str, ...], dict[str, str]] = {}
        self.heads: tuple[str, ...] = ()
        """The names of the columns, in capitals; none if the worker has no columns."""
        if self._columns:
            self.heads = tuple(head for head in self._cells("") if not only_names or head in _NAMES)

    def of(self, payload: str) -> dict[str, str]:
        """Return the cells of a job with this payload, by the name of the column. Do not change the dict: it is shared.

        Many jobs have the same cells: equal cells are in memory once.
        """
        found = self._cells(payload)
        texts = tuple(found.get(head, "") for head in self.heads)
        cells = self._seen.get(texts)
        if cells is None:
            if len(self._seen) >= _MOST_REMEMBERED:
                self._seen.clear()
            cells = self._seen[texts] = dict(zip(self.heads, texts, strict=True))
        return cells

    def add_to(self, details: Mapping[str, object]) -> dict[str, object]:
        """Return the details of a job, with what it calls if the worker has columns."""
        return {**details, "calls": self.of(str(details["payload"] or ""))} if self.heads else dict(details)

    def fill(self, rows: Iterable[Row]) -> Iterable[Row]:
        """Return the rows with their cells, in the same order. Their payloads are read in small pages."""
        return self._filled(rows) if self.heads else rows

    def _filled(self, rows: Iterable[Row]) -> Iterator[Row]:
        left = iter(rows)
        key = self._bike._parts.keys.payloads
        while page := list(islice(left, _BATCH)):
            [payloads] = ask(self._bike, ("HMGET", key, *(encode(row.jobid) for row in page)))
            for row, payload in zip(page, payloads or [None] * len(page), strict=True):
                text = decode(payload or b"")
                yield row._replace(calls=self.of(text), worker_decides=_worker_decides(row.schedule, text))

    def _cells(self, payload: str) -> dict[str, str]:
        """Return the cells that the worker makes of a payload, without cells that a table cannot show."""
        assert self._columns is not None
        try:
            found = self._columns(payload)
            if isinstance(found, CoroutineType):
                found.close()  # or Python warns that nobody awaits it
            if not isinstance(found, dict):
                return {}
            cells = {_head(name): _short(text) for name, text in islice(found.items(), _MOST_HEADS)}
        except Exception:  # the user's code must not stop the table
            return {}
        return {name: text for name, text in cells.items() if name and name not in _OURS}


def _worker_decides(schedule: str | None, payload: str) -> bool:
    """Return True for a job on CONTINUE with a JSON object as payload that has a `schedule`, as bridges write it."""
    if schedule is None or '"schedule"' not in payload:
        return False
    if schedule.strip().removeprefix(PAUSED).strip() != "CONTINUE":
        return False
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and bool(found.get("schedule"))


def called(cells: Mapping[str, str]) -> str | None:
    """Return what a job calls, as a clause; None if all cells are empty.

    `TASK` and `FUNC` are what it calls, and `QUEUE` is where it goes. Other columns follow by their names.
    """
    name = cells.get("TASK") or cells.get("FUNC") or ""
    queue = cells.get(BROKERS_QUEUE, "")
    others = [f"{head} {text}" for head, text in cells.items() if text and head not in _NAMES]
    where = f" on queue {queue}" if queue else ""
    clauses = [f"it calls {name}{where}"] if name else [f"it goes to queue {queue}"] if queue else []
    if others:
        clauses.append(f"{'' if clauses else 'it '}has {', '.join(others)}")
    return " and ".join(clauses) or None


def _head(name: Any) -> str:
    """Return the name of a column in capitals; an empty text if it cannot be the head of a column."""
    return name.upper() if isinstance(name, str) and len(name) <= _LONGEST_HEAD and name.isidentifier() else ""


def _short(text: Any) -> str:
    """Return a text in one line, cut; an empty text for anything else."""
    return shortened(" ".join(text[: 4 * _LONGEST].split()), _LONGEST) if isinstance(text, str) else ""
