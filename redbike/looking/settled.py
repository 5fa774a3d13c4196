"""Confirm lost jobs. Rows are read by several commands, and a job may move to another place between them."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from redbike.looking.rows import Row, Rows, State

if TYPE_CHECKING:
    from redbike.bike import Redbike

_BATCH = 100  # jobs per call of the script


def settled(bike: "Redbike", rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows. Those that seem to be lost are read again, and a script, which sees one moment, confirms it."""
    doubtful: list[str] = []
    for row in rows:
        if not _seems_lost(row):
            yield row
            continue
        doubtful.append(row.jobid)
        if len(doubtful) == _BATCH:
            yield from _again(bike, doubtful)
            doubtful = []
    yield from _again(bike, doubtful)


def _seems_lost(row: Row) -> bool:
    return row.state is not State.BAD and (row.is_lost or row.state in (State.LOST, State.TIMED_OUT))


def _again(bike: "Redbike", jobids: list[str]) -> Iterator[Row]:
    rows = Rows(bike).of(jobids) if jobids else []
    parts = bike._parts
    asked = [
        (row.jobid, parts.queue_for_any(row.jobid)) for row in rows if _seems_lost(row) and row.schedule is not None
    ]
    lost = {jobid for jobid, _ in parts.ask(parts.store.lost, asked)} if asked else set()
    for row in rows:
        is_placed = _seems_lost(row) and row.schedule is not None and row.jobid not in lost
        # It is on its way from its queue to a worker, or back.
        yield row._replace(state=State.RUNNING, is_lost=False) if is_placed else row
