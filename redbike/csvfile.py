"""Read and write `JOBID,SCHEDULE[,PAYLOAD]` rows of CSV (RFC 4180).

`rows` reads the files that `write_rows` writes, including fields with line breaks and commas.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TextIO

_LONGEST_FIELD = 2_097_152  # characters: a payload has at most half of it
_QUOTES = 'put a field with a comma into quotes ("..."), and write a quote in it twice'
_HEADER = ("job", "schedule", "payload")
_MAY_HOLD_COMMAS = re.compile(r"CRON:|[^,]*(=|DATE)")
"""Matches the schedules in which a comma is possible: cron expressions and recurrences."""


class Row(NamedTuple):
    """One job of the file."""

    line: int  # the number of the last line of the row, counted from 1
    jobid: str
    schedule: str
    payload: str | None = None  # None: the row has none, so the payload of the job stays as it is
    first: float | None = None  # the time of the first run, Unix seconds


class Malformed(Exception):
    """A row cannot be read. `line` is its line, and the message says what is wrong with it."""

    def __init__(self, line: int, fault: str) -> None:
        super().__init__(fault)
        self.line = line


class Lines:
    """The lines of a file, counted. At the beginning of a row, skip lines that are comments, if asked to."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self.number = 0
        self.row: list[str] = []
        """The lines of the present row."""
        self.begins_row = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._text)
        self.number += 1
        if self.begins_row:
            while line.startswith("#"):
                line = next(self._text)
                self.number += 1
            self.begins_row = False
            self.row.clear()
        self.row.append(line)
        return line


def rows(lines: Lines) -> Iterator[Row]:
    """Yield the rows of a CSV file, without comments, blank lines and the header. Raise Malformed."""
    # The limit belongs to the process: raise it, and leave it so. A larger limit does no harm to others.
    csv.field_size_limit(max(_LONGEST_FIELD, csv.field_size_limit()))
    reader = csv.reader(lines, strict=True)
    may_be_header, has_payloads = True, False
    try:
        while True:
            lines.begins_row = True
            fields = next(reader, None)
            if fields is None:
                return
            if not fields:
                continue
            if may_be_header:
                may_be_header = False
                if _is_header(fields, lines.row[0]):
                    has_payloads = len(fields) == 3
                    continue
            if len(fields) == 2:
                yield Row(lines.number, fields[0], fields[1])
            elif len(fields) == 3:
                if not has_payloads and _is_unclear(fields, lines.row):
                    raise Malformed(lines.number, _wrong_number(3))
                yield Row(lines.number, fields[0], fields[1], fields[2])
            else:
                raise Malformed(lines.number, _wrong_number(len(fields)))
    except csv.Error as error:
        raise Malformed(lines.number, f"{error}; {_QUOTES}") from error


def _is_header(fields: list[str], line: str) -> bool:
    """Return True for `job,schedule[,payload]` without quotes. `write_rows` writes a job called `job` in quotes."""
    return tuple(field.lower() for field in fields) in (_HEADER[:2], _HEADER) and '"' not in line


def _is_unclear(fields: list[str], lines: list[str]) -> bool:
    """Return True if the last comma of a row may belong to the schedule: no quotes show where the payload begins."""
    if not fields[2] or not _MAY_HOLD_COMMAS.match(fields[1]):
        return False
    return ',"' not in "".join(lines)


def _wrong_number(of_fields: int) -> str:
    if of_fields == 1:
        return "1 field instead of JOBID,SCHEDULE; put a comma between job id and schedule"
    if of_fields == 3:
        return (
            f"3 fields, and the comma may belong to the schedule; {_QUOTES}; or begin the file with the line"
            " job,schedule,payload"
        )
    return f"{of_fields} fields instead of JOBID,SCHEDULE or JOBID,SCHEDULE,PAYLOAD; {_QUOTES}"


def write_rows(file: TextIO, rows: Iterable[Iterable[object]]) -> None:
    """Write rows as CSV, so that `rows` reads them again.

    Quote the fields that contain commas, quotes or line breaks, all fields of a row with a payload, and a job id that
    would look like a comment or a header.
    """
    lines = _UnixLines(file)
    plain = csv.writer(lines, lineterminator="\r\n")
    quoted = csv.writer(lines, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        fields = tuple(row)
        has_payload = len(fields) == 3 and isinstance(fields[2], str)
        (quoted if has_payload else plain).writerow(fields)


class _UnixLines:
    """Write rows that end in a line feed, although the csv module ends them in a carriage return and a line feed.

    The csv module quotes a field if it contains a character of the line end. The line end must have the carriage
    return, because the csv module cannot read an unquoted carriage return again.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, row: str) -> None:
        """Write a row with its line end replaced."""
        if row.startswith("#") or row[:4].lower() == f"{_HEADER[0]},":
            first, comma, rest = row.partition(",")
            row = f'"{first}"{comma}{rest}'
        self._file.write(row.removesuffix("\r\n") + "\n")
