"""Set many jobs: the rows of a CSV file, or of `Redbike.set_many`."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from redbike.csvfile import Row
from redbike.engine.many import ManyPlanner
from redbike.engine.placing import Placing
from redbike.errors import JobIdError, PayloadError
from redbike.jobfile import form_by_name, opened
from redbike.store.messages import Placement

Progress = Callable[[int], object]
"""A function that is called now and then with the number of rows that are done."""

_ROWS_A_REPORT = 1_000


class Source(Protocol):
    """A file of jobs, or another source of rows that can be read twice."""

    @property
    def path(self) -> object:
        """The name of the source, for error messages."""

    def rows(self) -> Iterator[Row]:
        """Yield the rows."""

    @property
    def malformed(self) -> Callable[[int, str], Exception]:
        """Returns the error for a row that cannot be set, from its line and the fault."""


def load_csv(path: str | Path, many: ManyPlanner, placing: Placing) -> None:
    """Set every row of the file. Raise ScheduleFileError before anything is set."""
    with opened(path, form_by_name(path) or "csv") as file:
        check(file, many)
        # Read the file again, piece by piece: the plans of a million rows would take half a gigabyte of memory.
        placing.place_all(planned(file.rows(), many))


def check(
    file: Source,
    many: ManyPlanner,
    progress: Progress | None = None,
    note: Callable[[str], object] | None = None,
) -> int:
    """Check all rows of a file, and return how many there are. Raise ScheduleFileError for the first bad row.

    `note` is called with each job id.
    """
    count = 0
    for row in file.rows():
        try:
            many.check(row)
        except (JobIdError, PayloadError, ValueError) as error:
            raise file.malformed(row.line, str(error)) from error
        count += 1
        if note is not None:
            note(row.jobid)
        if progress is not None and count % _ROWS_A_REPORT == 0:
            progress(count)
    return count


def planned(rows: Iterable[Row], many: ManyPlanner) -> Iterator[Placement]:
    """Yield how the jobs of a file are placed."""
    plan = many.placement
    for _, jobid, schedule, payload, first in rows:
        yield plan(jobid, schedule, payload, first)


def set_many(rows: Iterable[Any], many: ManyPlanner, placing: Placing, progress: Progress | None) -> int:
    """Set rows of job id, schedule and perhaps payload and first run. Return how many were set.

    Raise the error of the first row that cannot be set, after the rows before it are set.
    """
    refused: list[Exception] = []

    def placements() -> Iterator[Placement]:
        plan = many.placement
        for number, row in enumerate(rows, 1):
            try:
                if not isinstance(row, tuple | list) or not 2 <= len(row) <= 4:
                    raise TypeError(f"{row!r:.200} is not a tuple (jobid, schedule[, payload[, first]])")
                placement = plan(*row)
            except (JobIdError, PayloadError, TypeError, ValueError) as error:
                refused.append(type(error)(f"row {number}: {error}; the rows before it are set"))
                refused[0].__cause__ = error
                return
            yield placement

    count = placing.place_all(placements(), progress)
    if refused:
        raise refused[0]
    return count
