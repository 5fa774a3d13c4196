"""Files of schedules: `JOBID,SCHEDULE` rows of CSV (RFC 4180), read once to check them all, and once more to set them.

What `write_rows` writes, `ScheduleFile` reads again, line breaks and commas included.
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


class Row(NamedTuple):
    """One job of the file."""

    line: int  # where the row ends, counted from 1
    jobid: str
    schedule: str


@contextmanager
def opened(path: str | Path) -> Iterator["ScheduleFile"]:
    """Open a file of schedules. One that can be read only once, such as a pipe, is copied first."""
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
    """A file in UTF-8 that is read row by row, more than once."""

    def __init__(self, path: str | Path, raw: BinaryIO) -> None:
        self._path, self._raw = path, raw
        self._state = self._state_now()
        self._passes = 0

    def rows(self) -> Iterator[Row]:
        """All rows but blank lines. ScheduleFileError names the line of the first malformed one.

        The first pass checks the file. Later ones refuse a file that was changed since.
        """
        if self._state_now() != self._state:
            raise ScheduleFileError(f"{self._path}: was changed while it was read; nothing of the file was set")
        self._passes += 1
        try:
            self._raw.seek(0)
            # newline="": csv knows its own line ends.
            text = io.TextIOWrapper(self._raw, encoding="utf-8-sig", newline="")
            try:
                yield from self._parsed(text)
            finally:
                with suppress(ValueError):  # closed already, after an error
                    text.detach()  # or it would close the file
        except OSError as error:
            raise _unreadable(self._path, error) from error

    def _parsed(self, text: TextIO) -> Iterator[Row]:
        reader = csv.reader(text, strict=True)
        try:
            for fields in reader:
                if not fields:
                    continue
                if len(fields) != 2:
                    raise self._malformed(reader.line_num, f"{len(fields)} fields where JOBID,SCHEDULE is needed")
                yield Row(reader.line_num, *fields)
        except csv.Error as error:
            raise self._malformed(reader.line_num, str(error)) from error
        except UnicodeDecodeError as error:
            line = reader.line_num + 1 + error.object[: error.start].count(b"\n")
            raise self._malformed(line, f"byte 0x{error.object[error.start]:02x} is not UTF-8") from error

    def _malformed(self, line: int, what: str) -> ScheduleFileError:
        if self._passes > 1:
            return ScheduleFileError(f"{self._path}:{line}: was changed while it was set; rows above are set already")
        return ScheduleFileError(
            f'{self._path}:{line}: {what}; quote a field that holds a comma ("..."), and nothing of the file was set'
        )

    def _state_now(self) -> tuple[int, int]:
        status = os.fstat(self._raw.fileno())
        return status.st_size, status.st_mtime_ns


def _unreadable(path: str | Path, error: OSError) -> ScheduleFileError:
    return ScheduleFileError(f"{path}: cannot be read ({error.strerror}); name a CSV file of schedules")


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
