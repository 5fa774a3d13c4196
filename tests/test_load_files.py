"""Files of jobs: CSV with comments, a header and payloads, and JSON Lines."""

import io
import json
from pathlib import Path

import pytest
from helpers import FUTURE

from redbike.csvfile import Row, write_rows
from redbike.errors import ScheduleFileError
from redbike.jobfile import opened


def rows(path: Path, content: str, form: str | None = None) -> list[tuple[object, ...]]:
    path.write_text(content)
    with opened(path, form) as file:
        found = list(file.rows())
        assert list(file.rows()) == found
    assert all(isinstance(row, Row) for row in found)
    return [tuple(row) for row in found]


def fault(path: Path, content: str) -> str:
    with pytest.raises(ScheduleFileError) as error:
        rows(path, content)
    return str(error.value)


# CSV


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("# a comment\na:A,NOW\n#b:A,NOW\n", [(2, "a:A", "NOW", None, None)]),
        ("#a:A,NOW\r\n\r\nb:A,NOW\r\n", [(3, "b:A", "NOW", None, None)]),
        ("job,schedule\na:A,NOW\n", [(2, "a:A", "NOW", None, None)]),
        ("# jobs\n\nJob,Schedule,Payload\na:A,NOW,p\n", [(4, "a:A", "NOW", "p", None)]),
        ('"job",schedule\n', [(1, "job", "schedule", None, None)]),
        ("a:A,NOW\njob,schedule\n", [(1, "a:A", "NOW", None, None), (2, "job", "schedule", None, None)]),
        ('"#a:A",NOW\n', [(1, "#a:A", "NOW", None, None)]),
        ('a:A,"RRULE:FREQ=DAILY\n# no comment"\n', [(2, "a:A", "RRULE:FREQ=DAILY\n# no comment", None, None)]),
        ("a:A,NOW,\n", [(1, "a:A", "NOW", "", None)]),
        ("a:A,EVERY:5,5\n", [(1, "a:A", "EVERY:5", "5", None)]),
        ('a:A,"CRON:0 6 * * 1",3\n', [(1, "a:A", "CRON:0 6 * * 1", "3", None)]),
        ('a:A,CRON:0 6 * * 1,"{""x"":3}"\n', [(1, "a:A", "CRON:0 6 * * 1", '{"x":3}', None)]),
        ("job,schedule,payload\na:A,CRON:0 6 * * 1,3\n", [(2, "a:A", "CRON:0 6 * * 1", "3", None)]),
        ("# only a comment", []),
        ("", []),
    ],
)
def test_rows_of_csv(tmp_path: Path, content: str, expected: list[object]) -> None:
    """C3: comments, blank lines and a header are no rows, quotes make them rows, and a third field is a payload."""
    assert rows(tmp_path / "jobs.csv", content) == expected


@pytest.mark.parametrize("schedule", ["CRON:0 6 * * 1", "RRULE:FREQ=DAILY;BYHOUR=1", "RDATE:20260101T000000"])
def test_an_unclear_comma(tmp_path: Path, schedule: str) -> None:
    """C3: a third field that may belong to the schedule is an error, because it would be lost without a trace."""
    path = tmp_path / "jobs.csv"
    said = fault(path, f"a:A,{schedule},3\n")
    assert said.startswith(f"{path}:1: 3 fields, and the comma may belong to the schedule; put a field with a comma")
    assert said.endswith("begin the file with the line job,schedule,payload; nothing of the file was set")


@pytest.mark.parametrize("jobid", ["#odd:A", "#", "job", "JOB", "jobs:A", 'job,"x"', "#a,b", "plain:A", "x\n#y"])
@pytest.mark.parametrize("schedule", ["schedule", "CRON:0 6 * * 1", "RRULE:FREQ=DAILY;BYHOUR=1,2", "", "# x"])
@pytest.mark.parametrize("payload", [None, "", "3", '{"x": [1, 2]}', "payload", "two\nlines"])
def test_written_rows_are_read_again(tmp_path: Path, jobid: str, schedule: str, payload: str | None) -> None:
    """C3: a row that is written comes back, also if its job id looks like a comment or a header."""
    row = (jobid, schedule) if payload is None else (jobid, schedule, payload)
    file = io.StringIO(newline="")
    write_rows(file, [row, row])
    found = rows(tmp_path / "jobs.csv", file.getvalue())
    assert [one[1:] for one in found] == [(jobid, schedule, payload, None)] * 2


# JSON Lines


def test_rows_of_json_lines(tmp_path: Path) -> None:
    """C3: a line of JSON is a row; text is a payload as it is, another value as compact JSON, null is no payload."""
    found = [
        {"job": "a:A", "schedule": "NOW"},
        {"job": "b:A", "schedule": "CRON:0 6 * * *", "payload": "text, as it is"},
        {"job": "c:A", "schedule": "EVERY:5", "payload": {"url": "ä", "n": [1, 2.5, None]}, "first": FUTURE},
        {"job": "d:A", "schedule": "STOP", "payload": None},
        {"job": "e:A", "schedule": "STOP", "payload": False, "first": None},
    ]
    content = "\n# a comment\n".join(json.dumps(one) for one in found)
    assert rows(tmp_path / "jobs.jsonl", content) == [
        (1, "a:A", "NOW", None, None),
        (3, "b:A", "CRON:0 6 * * *", "text, as it is", None),
        (5, "c:A", "EVERY:5", '{"url":"ä","n":[1,2.5,null]}', FUTURE),
        (7, "d:A", "STOP", "", None),
        (9, "e:A", "STOP", "false", None),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a:A,NOW", "the line is not JSON: Expecting value"),
        ('["a:A", "NOW"]', "the line is a list, not an object; write {"),
        ('{"schedule": "NOW"}', "'job' is missing; write {"),
        ('{"job": "a:A"}', "'schedule' is missing"),
        ('{"job": 5, "schedule": "NOW"}', "'job' is a number, not text"),
        ('{"job": "a:A", "schedule": null}', "'schedule' is a null, not text"),
        ('{"job": "a:A", "schedule": "NOW", "paylod": 1}', "'paylod' is not known; did you mean 'payload'?"),
        ('{"job": "a:A", "schedule": "NOW", "x": 1}', "'x' is not known; a row has job, schedule, payload, first"),
        ('{"job": "a:A", "schedule": "NOW", "first": "soon"}', "'first' is a text, not a time in Unix seconds"),
        ('{"job": "a:A", "schedule": "NOW", "first": true}', "'first' is a truth value, not a time"),
        ('{"job": "a:A", "schedule": "NOW", "payload": NaN}', "NaN is not a JSON value"),
        ('{"job": "a:A", "job": "b:A", "schedule": "NOW"}', "'job' is there twice"),
        ('{"job": "a:A", "schedule": "NOW", "payload": ' + "[" * 100_000 + "}", "nests lists or objects too deeply"),
    ],
)
def test_malformed_json_lines(tmp_path: Path, line: str, said: str) -> None:
    """C3: a line that is not a job names file and line, what is wrong, and what to write."""
    path = tmp_path / "jobs.jsonl"
    message = fault(path, '{"job": "first:A", "schedule": "NOW"}\n' + line + "\n")
    assert message.startswith(f"{path}:2: ")
    assert said in message
    assert message.endswith("nothing of the file was set")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("jobs.csv", "{a},NOW\n", "csv"),
        ("jobs.ndjson", "", "jsonl"),
        ("jobs", '\ufeff\n {"job": "a:A", "schedule": "NOW"}', "jsonl"),
        ("jobs", "a:A,NOW\n", "csv"),
        ("jobs.txt", "", "csv"),
    ],
)
def test_the_form_of_a_file(tmp_path: Path, name: str, content: str, form: str) -> None:
    """C3: the end of a file's name decides between CSV and JSON Lines, or else its first character."""
    (tmp_path / name).write_text(content)
    with opened(tmp_path / name, None) as file:
        assert file.form == form
