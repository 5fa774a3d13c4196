"""Files of schedules: `JOBID,SCHEDULE` rows of CSV (RFC 4180), read in full before anything is done with them.

What `write_rows` writes, `read_rows` reads again, line breaks and commas included.
"""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, TextIO

from redbike.errors import ScheduleFileError


class Row(NamedTuple):
    """One job of the file."""

    line: int  # where the row ends, counted from 1
    jobid: str
    schedule: str


def read_rows(path: str | Path) -> list[Row]:
    """All rows of a file in UTF-8 but for blank lines. ScheduleFileError names the line of the first malformed one."""
    rows = []
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            try:
                for fields in reader:
                    if not fields:
                        continue
                    if len(fields) != 2:
                        raise _malformed(path, reader.line_num, f"{len(fields)} fields where JOBID,SCHEDULE is needed")
                    rows.append(Row(reader.line_num, *fields))
            except csv.Error as error:
                raise _malformed(path, reader.line_num, str(error)) from error
            except UnicodeDecodeError as error:
                line = reader.line_num + 1 + error.object[: error.start].count(b"\n")
                raise _malformed(path, line, f"byte 0x{error.object[error.start]:02x} is not UTF-8") from error
    except OSError as error:
        raise ScheduleFileError(f"{path}: cannot be read ({error.strerror}); name a CSV file of schedules") from error
    return rows


def write_rows(file: TextIO, rows: Iterable[Iterable[object]]) -> None:
    """Write rows as CSV; fields that hold commas, quotes or line breaks are quoted."""
    csv.writer(_UnixLines(file), lineterminator="\r\n").writerows(rows)


class _UnixLines:
    """Ends rows in a line feed alone, although csv, which quotes what its row ends consist of, was told otherwise.

    A bare carriage return that is not quoted could not be read again.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, row: str) -> None:
        self._file.write(row.removesuffix("\r\n") + "\n")


def _malformed(path: str | Path, line: int, what: str) -> ScheduleFileError:
    return ScheduleFileError(
        f'{path}:{line}: {what}; quote a field that holds a comma ("..."), and nothing of the file was set'
    )
