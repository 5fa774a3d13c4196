"""Rows that no file holds, for a load."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from redbike.csvfile import Row


@dataclass(frozen=True)
class RowsInMemory:
    """Rows in the form of a file of jobs."""

    path: str
    """The name of the source, for error messages."""
    held: Sequence[Row]
    malformed: Callable[[int, str], Exception]
    """Returns the error for a row that cannot be set, from its line and the fault."""

    def rows(self) -> Iterator[Row]:
        """Yield the rows."""
        return iter(self.held)
