"""Open files of jobs: CSV, or JSON Lines. A file is read twice: first to check all rows, then to set them."""

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from redbike import csvfile
from redbike.csvfile import Lines, Malformed, Row
from redbike.errors import ScheduleFileError

FORMS = ("csv", "jsonl")

_FORMS_BY_SUFFIX = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def form_by_name(path: str | Path) -> str | None:
    """Return the form of a file by the end of its name: "csv", "jsonl", or None for another name."""
    return _FORMS_BY_SUFFIX.get(Path(path).suffix.lower())


@contextmanager
def opened(path: str | Path, form: str | None = "csv") -> Iterator["JobFile"]:
    """Open a file of jobs. Copy it first if it can be read only once, such as a pipe.

    `form`: "csv" or "jsonl". None: the end of the file's name decides, or else its first character.
    Raise ScheduleFileError if it cannot be opened.
    """
    with ExitStack() as stack:
        try:
            raw: BinaryIO = stack.enter_context(Path(path).open("rb"))
            file = JobFile(path, raw if raw.seekable() else _copied(raw, stack), form)
        except OSError as error:
            raise _unreadable(path, error) from error
        yield file


@contextmanager
def opened_stdin(form: str | None = None) -> Iterator["JobFile"]:
    """Read stdin as a file of jobs. Raise ScheduleFileError if it cannot be read."""
    with ExitStack() as stack:
        try:
            # Standard streams that were closed are open by now: see streams.py. But sys.stdin may be None.
            file = JobFile("stdin", _copied(io.FileIO(0, closefd=False), stack), form)
        except OSError as error:
            raise _unreadable("stdin", error) from error
        yield file


def _copied(raw: BinaryIO | io.FileIO, stack: ExitStack) -> BinaryIO:
    copy: BinaryIO = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    shutil.copyfileobj(raw, copy)
    copy.flush()
    return copy


class JobFile:
    """A file in UTF-8 that can be read more than once, row by row."""

    def __init__(self, path: str | Path, raw: BinaryIO, form: str | None = "csv") -> None:
        """Read from an open file. `path` appears in error texts."""
        self.path, self._raw = path, raw
        self._state = self._state_now()
        self.form = form or form_by_name(path) or self._form_by_content()
        self._passes = 0

    def rows(self) -> Iterator[Row]:
        """Yield the rows, without blank lines. Raise ScheduleFileError with the line number of the first bad row.

        The first pass checks the file. Later passes raise ScheduleFileError if the file has changed since then.
        """
        if self._state_now() != self._state:
            raise ScheduleFileError(f"{self.path}: the file changed while it was read; nothing of the file was set")
        self._passes += 1
        try:
            self._raw.seek(0)
            # newline="": the csv module itself handles line ends.
            text = io.TextIOWrapper(self._raw, encoding="utf-8-sig", newline="")
            lines = Lines(text)
            try:
                yield from self._parsed(lines)
            except Malformed as error:
                raise self.malformed(error.line, str(error)) from error
            except UnicodeDecodeError as error:
                line = lines.number + 1 + error.object[: error.start].count(b"\n")
                fault = f"byte 0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8"
                raise self.malformed(line, fault) from error
            finally:
                with suppress(ValueError):  # after an error, the file may be closed already
                    text.detach()  # otherwise the wrapper would close the file
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def _parsed(self, lines: "Lines") -> Iterator[Row]:
        if self.form == "csv":
            return csvfile.rows(lines)
        from redbike import jsonlfile

        return jsonlfile.rows(lines)

    def malformed(self, line: int, fault: str) -> ScheduleFileError:
        """Return the error for a row that cannot be set."""
        if self._passes > 1:
            return ScheduleFileError(
                f"{self.path}:{line}: the file changed while its rows were set; the rows above this line are set"
            )
        return ScheduleFileError(f"{self.path}:{line}: {fault}; nothing of the file was set")

    def is_blank(self) -> bool:
        """Return True if the file holds nothing but white space."""
        self._raw.seek(0)
        return not any(line.strip() for line in self._raw)

    def _form_by_content(self) -> str:
        self._raw.seek(0)
        begin = self._raw.read(65_536).removeprefix(b"\xef\xbb\xbf").lstrip()
        return "jsonl" if begin.startswith(b"{") else "csv"

    def _state_now(self) -> tuple[int, int]:
        status = os.fstat(self._raw.fileno())
        return status.st_size, status.st_mtime_ns


def _unreadable(path: str | Path, error: OSError) -> ScheduleFileError:
    return ScheduleFileError(f"{path}: cannot be read ({error.strerror}); name a readable file of schedules")
