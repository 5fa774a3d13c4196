"""Set the rows of a CSV file."""

from pathlib import Path

from redbike.csvfile import opened
from redbike.engine.placing import Placing
from redbike.engine.planning import Planner
from redbike.errors import JobIdError, ScheduleFileError


def load_csv(path: str | Path, reference: float, planner: Planner, placing: Placing) -> None:
    """Set every row of the file, with one reference time for all. Raise ScheduleFileError before anything is set."""
    with opened(path) as file:
        for row in file.rows():
            try:
                planner.check(row.jobid)
            except JobIdError as error:
                raise ScheduleFileError(f"{path}:{row.line}: {error}; nothing of the file was set") from error
        # Read the file again, piece by piece: the plans of a million rows would take half a gigabyte of memory.
        placing.place_all(planner.plan(row.jobid, row.schedule, lambda: reference)[1] for row in file.rows())
