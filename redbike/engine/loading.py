"""Set the rows of a CSV file."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from redbike.csvfile import Row, opened
from redbike.engine.placing import Placing
from redbike.engine.planning import Planner
from redbike.errors import JobIdError, ScheduleFileError
from redbike.store.messages import Placement

_MOST_WARNINGS = 1_000  # of one file


def load_csv(path: str | Path, reference: float, planner: Planner, placing: Placing) -> None:
    """Set every row of the file, with one reference time for all. Raise ScheduleFileError before anything is set."""
    with opened(path) as file:
        for row in file.rows():
            try:
                planner.check(row.jobid)
            except JobIdError as error:
                raise ScheduleFileError(f"{path}:{row.line}: {error}; nothing of the file was set") from error
        # Read the file again, piece by piece: the plans of a million rows would take half a gigabyte of memory.
        placing.place_all(_placements(file.rows(), reference, planner))


def _placements(rows: Iterable[Row], reference: float, planner: Planner) -> Iterator[Placement]:
    """Yield how the jobs are placed. Each warning is logged once, with the first of the jobs that it concerns."""
    logged: set[str] = set()
    for row in rows:
        plan, placement = planner.plan(row.jobid, row.schedule, lambda: reference)
        new = [warning for warning in plan.warnings if warning not in logged]
        if new and len(logged) < _MOST_WARNINGS:
            logged.update(new)
            planner.warn(row.jobid, new)
        yield placement
