"""The methods of `Redbike` that set many jobs at once."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from redbike.reads import Reads

if TYPE_CHECKING:
    from redbike.engine.many import ManyPlanner

JobRow = tuple[str, str] | tuple[str, str, str | None] | tuple[str, str, str | None, float | None]
"""Job id and schedule, and perhaps the payload and the time of the first run (Unix seconds), as for `Redbike.set`."""


class Bulk(Reads):
    """A base class of `Redbike`."""

    def set_many(
        self,
        rows: Iterable[JobRow],
        *,
        after: float | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> int:
        """Set jobs as `set` does, in order, a few hundred per call of Redis. Return how many were set.

        `rows`: tuples of job id, schedule, and perhaps payload and time of the first run. They are read piece by piece,
        so there may be any number of them. `after`: one reference time for all. `progress` is called now and then with
        the number of jobs that are set. A schedule that cannot be read makes its job `BAD`, with a warning. If a row
        cannot be set, raise the error that `set` raises. It names the number of the row. The rows before it are set.
        """
        from redbike.engine.loading import set_many

        return set_many(rows, self._many(after), self._parts.placing, progress)

    def load_csv(self, csvfilename: str | Path, after: float | None = None) -> None:
        """Set every `JOBID,SCHEDULE[,PAYLOAD]` row of a file, with one reference time for all.

        A row whose schedule cannot be read becomes `BAD`. If a row is malformed, nothing of the file is set, and
        ScheduleFileError names the line.
        """
        from redbike.engine.loading import load_csv

        load_csv(csvfilename, self._many(after), self._parts.placing)

    def _many(self, after: float | None) -> "ManyPlanner":
        from redbike.engine.many import ManyPlanner

        return ManyPlanner(self._parts.planner, self._parts.references.of(after))
