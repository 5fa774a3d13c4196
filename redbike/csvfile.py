"""Read and write files of schedules: `JOBID,SCHEDULE` rows of CSV (RFC 4180).

A file is read twice: first to check all rows, then to set them. `ScheduleFile` reads the files that `write_rows`
writes, including fields with line breaks and commas.
"""

import csv
import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, TextIO

from redbike.errors import ScheduleFileError

_QUOTES = 'put a field with a comma into quotes ("..."), and write a quote in it twice'


class Row(NamedTuple):
    """One job of the file."""

    line: int  # the number of the last line of the row, counted from 1
    jobid: str
    schedule: str


@contextmanager
def opened(path: str | Path) -> Iterator["ScheduleFile"]:
    """Open a file of schedules. Copy it first if it can be read only once, such as a pipe.

    Raise ScheduleFileError if it cannot be opened.
    """
    with ExitStack() as stack:
        try:
            raw: BinaryIO = stack.enter_context(Path(path).open("rb"))
            if not raw.seekable():
                copy = stack.enter_context(tempfile.TemporaryFile())
                shutil.copyfileobj(raw, copy)
                copy.flush()
                raw = copy
            file = ScheduleFile(path, raw)
        except OSError as error:
            raise _unreadable(path, error) from error
        yield file


class ScheduleFile:
    """A file in UTF-8 that can be read more than once, row by row."""

    def __init__(self, path: str | Path, raw: BinaryIO) -> None:
        """Read from an open file. `path` appears in error texts."""
        self._path, self._raw = path, raw
        self._state = self._state_now()
        self._passes = 0

    def rows(self) -> Iterator[Row]:
        """Yield the rows, without blank lines. Raise ScheduleFileError with the line number of the first bad row.

        The first pass checks the file. Later passes raise ScheduleFileError if the file has changed since then.
        """
        if self._state_now() != self._state:
            raise ScheduleFileError(f"{self._path}: the file changed while it was read; nothing of the file was set")
        self._passes += 1
        try:
            self._raw.seek(0)
            # newline="": the csv module itself handles line ends.
            text = io.TextIOWrapper(self._raw, encoding="utf-8-sig", newline="")
            try:
                yield from self._parsed(text)
            finally:
                with suppress(ValueError):  # after an error, the file may be closed already
                    text.detach()  # otherwise the wrapper would close the file
        except OSError as error:
            raise _unreadable(self._path, error) from error

    def _parsed(self, text: TextIO) -> Iterator[Row]:
        reader = csv.reader(text, strict=True)
        try:
            for fields in reader:
                if not fields:
                    continue
                if len(fields) != 2:
                    raise self._malformed(reader.line_num, _wrong_number(len(fields)))
                yield Row(reader.line_num, *fields)
        except csv.Error as error:
            raise self._malformed(reader.line_num, f"{error}; {_QUOTES}") from error
        except UnicodeDecodeError as error:
            line = reader.line_num + 1 + error.object[: error.start].count(b"\n")
            fault = f"byte 0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8"
            raise self._malformed(line, fault) from error

    def _malformed(self, line: int, fault: str) -> ScheduleFileError:
        if self._passes > 1:
            return ScheduleFileError(
                f"{self._path}:{line}: the file changed while its rows were set; the rows above this line are set"
            )
        return ScheduleFileError(f"{self._path}:{line}: {fault}; nothing of the file was set")

    def _state_now(self) -> tuple[int, int]:
        status = os.fstat(self._raw.fileno())
        return status.st_size, status.st_mtime_ns


def _wrong_number(of_fields: int) -> str:
    if of_fields == 1:
        return "1 field instead of the two of JOBID,SCHEDULE; put a comma between job id and schedule"
    return f"{of_fields} fields instead of the two of JOBID,SCHEDULE; {_QUOTES}"


def _unreadable(path: str | Path, error: OSError) -> ScheduleFileError:
    return ScheduleFileError(f"{path}: cannot be read ({error.strerror}); name a readable CSV file of schedules")


def write_rows(file: TextIO, rows: Iterable[Iterable[object]]) -> None:
    """Write rows as CSV. Quote the fields that contain commas, quotes or line breaks."""
    csv.writer(_UnixLines(file), lineterminator="\r\n").writerows(rows)


class _UnixLines:
    """Write rows that end in a line feed, although the csv module ends them in a carriage return and a line feed.

    The csv module quotes a field if it contains a character of the line end. The line end must have the carriage
    return, because the csv module cannot read an unquoted carriage return again.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, row: str) -> None:
        """Write a row with its line end replaced."""
        self._file.write(row.removesuffix("\r\n") + "\n")
