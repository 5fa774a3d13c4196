"""Looking before one sets: `redbike next` and `next_runs`, which tell the next runs of a schedule and warn."""

import re
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from processes import environment

from redbike import cli, next_runs
from redbike.preview import MOST_RUNS

NOW = 1_790_000_000  # 2026-09-21 14:13:20 UTC


def utc(*moment: int) -> float:
    return datetime(*moment, tzinfo=UTC).timestamp()  # type: ignore[misc, arg-type]


def warnings(schedule: str, after: float = NOW, count: int = 5) -> list[str]:
    preview = next_runs(schedule, after, count)
    assert preview.reason is None
    return preview.warnings


# The command


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], list[str]]:
    """Exit code, and the lines on stdout and stderr."""
    code = cli.main(["next", *arguments])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()


def test_the_command_needs_nothing(tmp_path: Path) -> None:
    """`redbike next` prints the next five runs, one a line, with neither a conf nor a Redis."""
    ended = subprocess.run(
        [sys.executable, "-m", "redbike", "next", "EVERY:2h", f"--after={NOW}"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [
        "2026-09-21 16:13:20 UTC",
        "2026-09-21 18:13:20 UTC",
        "2026-09-21 20:13:20 UTC",
        "2026-09-21 22:13:20 UTC",
        "2026-09-22 00:13:20 UTC",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "schedule",
    [
        "CRON:0 8 * * MON-FRI Europe/Berlin",
        r"DTSTART;TZID=Europe/Berlin:20260101T080000\nRRULE:FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR",
    ],
)
def test_the_command_shows_wall_time(capsys: pytest.CaptureFixture[str], schedule: str) -> None:
    """Where the schedule names a zone, each line has the time in UTC and on the wall there, with its offset."""
    code, out, err = said(capsys, schedule, "--after", str(utc(2026, 10, 23)), "--count", "2")
    assert (code, err) == (0, [])
    assert out == [
        "2026-10-23 06:00:00 UTC  2026-10-23 08:00:00+02:00",
        "2026-10-26 07:00:00 UTC  2026-10-26 08:00:00+01:00",
    ]


@pytest.mark.parametrize(
    "schedule", ["garbage", "", "CRON:61 * * * *", "EVERY:x", "AT:noon", "FREQ=DAILY;BYHOUR=24", "\udcff\x00\x1b[31m"]
)
def test_the_command_refuses_a_bad_schedule(capsys: pytest.CaptureFixture[str], schedule: str) -> None:
    """A schedule that cannot be read is one line on stderr, the reason, and exit 1."""
    code, out, err = said(capsys, schedule)
    assert (code, out) == (1, [])
    [line] = err
    assert line == f"redbike: {next_runs(schedule).reason}"
    assert "\x1b" not in line


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--count", "0"], "--count: 0 is not a number of runs from 1 to 1000"),
        (["--count", "-5"], "--count: '-5' is not a number of runs from 1 to 1000"),
        (["--count", "x"], "--count: 'x' is not a number of runs from 1 to 1000"),
        (["--count", "1.5"], "--count: '1.5' is not a number of runs from 1 to 1000"),
        (["--count", ""], "--count: '' is not a number of runs from 1 to 1000"),
        (["--count", "1001"], "--count: 1001 is not a number of runs from 1 to 1000"),
        (["--count", "9" * 5000], f"--count: '{'9' * 40}' is not a number of runs from 1 to 1000"),
        (["--count", "٣"], "--count: '٣' is not a number of runs from 1 to 1000"),
        (["--after", "x"], "--after: 'x' is not a time in Unix seconds, such as 1790000000, or now"),
        (["--after", "nan"], "--after: 'nan' is not a time in Unix seconds, such as 1790000000, or now"),
        (["--after", "1e18"], "--after: 1000000000000000000 is not a time in Unix seconds within the years 1 to 9999"),
    ],
)
def test_the_command_refuses_what_is_no_number(
    capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    """A count or a time that cannot be meant is one line on stderr with the value and what is allowed, and exit 1."""
    assert said(capsys, "NOW", *arguments) == (1, [], [f"redbike: {reason}"])


def test_the_command_warns_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings go to stderr, so that stdout holds the runs alone, and the exit code is 0."""
    code, out, err = said(capsys, "FREQ=DAILY;UNTIL=20200101T000000")
    assert (code, out, err) == (0, [], ["redbike: never runs: the recurrence has no further run"])


PAGE = Path(__file__).parent.parent / "docs" / "schedules.md"


def shown() -> list[tuple[str, str]]:
    """The commands in the page on schedules, each with what it prints."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return [tuple(part.split("\n", 1)) for block in blocks for part in block.split("$ ")[1:]]  # type: ignore[misc]


@pytest.mark.parametrize(("typed", "printed"), shown())
def test_the_page_on_schedules(capsys: pytest.CaptureFixture[str], typed: str, printed: str) -> None:
    """Each command that the page on schedules shows prints what it shows there."""
    command, verb, *arguments = shlex.split(typed)
    assert (command, verb) == ("redbike", "next")
    _, out, err = said(capsys, *arguments)
    assert out + err == printed.splitlines()


# The function


@pytest.mark.parametrize(
    ("schedule", "runs"),
    [
        ("NOW", [utc(2026, 9, 21, 14, 13, 20)]),
        ("CONTINUE", [utc(2026, 9, 21, 14, 13, 20)]),
        ("STOP", []),
        ("AT:2026-12-24T18:00:00+01:00", [utc(2026, 12, 24, 17)]),
        ("EVERY:1d", [utc(2026, 9, 22, 14, 13, 20), utc(2026, 9, 23, 14, 13, 20), utc(2026, 9, 24, 14, 13, 20)]),
        ("CRON:0 0 1 * *", [utc(2026, 10, 1), utc(2026, 11, 1), utc(2026, 12, 1)]),
        ("DTSTART:20260101T000000\nRRULE:FREQ=MONTHLY;COUNT=11", [utc(2026, 10, 1), utc(2026, 11, 1)]),
    ],
)
def test_runs(schedule: str, runs: list[float]) -> None:
    """`next_runs` gives the times that a job with this schedule would run at, in UTC, each form in its way."""
    preview = next_runs(schedule, after=NOW, count=3)
    assert [run.timestamp() for run in preview.runs] == runs
    assert all(run.tzinfo is UTC for run in preview.runs)


def test_now_is_this_machines_time() -> None:
    """Without a reference time, the runs are those from now on."""
    before = datetime.now(UTC)
    [run] = next_runs("NOW").runs
    assert before <= run <= datetime.now(UTC)


def test_a_bad_schedule_has_a_reason() -> None:
    """A schedule that cannot be read has no runs, no zone and no warnings, but the reason."""
    preview = next_runs("CRON:61 * * * *")
    assert (preview.runs, preview.zone, preview.warnings) == ([], None, [])
    assert preview.reason is not None
    assert "the minute field '61'" in preview.reason


@pytest.mark.parametrize("count", [0, -5, MOST_RUNS + 1])
def test_a_count_out_of_range(count: int) -> None:
    """A count that is not from 1 to 1,000 is a ValueError."""
    with pytest.raises(ValueError, match=r"count: .* is not a number of runs from 1 to 1000"):
        next_runs("NOW", count=count)


@pytest.mark.parametrize("after", [float("nan"), float("inf"), -float("inf"), 1e18, -1e18])
def test_a_time_out_of_range(after: float) -> None:
    """A reference time outside of the years 1 to 9999 is a ValueError."""
    with pytest.raises(ValueError, match=r"after: .* within the years 1 to 9999"):
        next_runs("NOW", after=after)


@pytest.mark.parametrize("schedule", ["EVERY:1", "CRON:* * * * * Europe/Berlin", "FREQ=SECONDLY"])
def test_a_thousand_runs(schedule: str) -> None:
    """As many as 1,000 runs are told."""
    assert len(next_runs(schedule, NOW, MOST_RUNS).runs) == MOST_RUNS


def test_a_schedule_that_is_dear_to_follow() -> None:
    """A schedule whose every run takes long to find is told as far as was asked, and followed for no more than a second
    beyond."""
    hours, minutes = (",".join(map(str, range(1, size))) for size in (24, 60))
    excluded = f"EXRULE:FREQ=MINUTELY;BYHOUR={hours}\nEXRULE:FREQ=MINUTELY;BYHOUR=0;BYMINUTE={minutes}"
    text = f"DTSTART:20260101T000000\nRRULE:FREQ=MINUTELY\n{excluded}"
    begin = time.monotonic()
    assert len(next_runs(text, NOW, 3).runs) == 3
    assert time.monotonic() - begin < 5


# Warnings


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("STOP", ["never runs: STOP means just that"]),
        ("FREQ=DAILY;UNTIL=20200101T000000", ["never runs: the recurrence has no further run"]),
        ("CRON:0 0 */31 2 mon#5", ["never runs: the cron expression has no run within fifty years"]),
        ("CONTINUE", ["runs again as soon as it is over, over and over: return seconds from work() for a pause"]),
        ("AT:0", ["1970-01-01 00:00:00 UTC has passed: runs at once"]),
        (
            "DTSTART:20260101T090000\nRRULE:FREQ=MONTHLY;COUNT=11",
            ["ends after 2 more runs, the last at 2026-11-01 09:00:00 UTC"],
        ),
        (
            "DTSTART:20260101T090000\nRRULE:FREQ=MONTHLY;UNTIL=20261015T000000",
            ["ends after 1 more run, the last at 2026-10-01 09:00:00 UTC"],
        ),
        (
            "DTSTART:20300101T000000\nRRULE:FREQ=DAILY",
            ["the first run is more than a year away, at 2030-01-01 00:00:00 UTC"],
        ),
        ("EVERY:1", ["runs every second: a run that takes longer leaves out those that come due meanwhile"]),
        (
            "FREQ=DAILY",
            ["without DTSTART, each run begins the recurrence anew: times drift, and COUNT is never used up"],
        ),
        (
            "FREQ=DAILY;COUNT=3;BYHOUR=9;BYMINUTE=0;BYSECOND=0",
            ["without DTSTART, each run begins the recurrence anew: times drift, and COUNT is never used up"],
        ),
    ],
)
def test_warnings(schedule: str, expected: list[str]) -> None:
    """What a person might not have meant is said: no run, an end, a start far off, a run a second, no DTSTART."""
    assert warnings(schedule) == expected


@pytest.mark.parametrize(
    "schedule",
    [
        "NOW",
        "AT:2026-12-24T18:00:00+01:00",
        "EVERY:5m",
        "CRON:0 8 * * *",
        "CRON:0 8 * * * Europe/Berlin",
        "DTSTART:20260101T090000\nRRULE:FREQ=DAILY",
        "FREQ=WEEKLY;BYDAY=MO;BYHOUR=9;BYMINUTE=0;BYSECOND=0",
        "DTSTART:20260101T090000\nRRULE:FREQ=DAILY;COUNT=5000",
    ],
)
def test_no_warning_without_cause(schedule: str) -> None:
    """A schedule with nothing odd about it is told without a warning."""
    assert warnings(schedule) == []


def test_a_schedule_that_turns_bad() -> None:
    """Where a rule gives some runs and then matches too rarely to be searched for, the warning says so."""
    hours, minutes = ",".join(map(str, range(12, 24))), ",".join(map(str, range(30)))
    text = f"DTSTART:20260922T120001\nRRULE:FREQ=SECONDLY;INTERVAL=86399;BYHOUR={hours};BYMINUTE={minutes}"
    [warning] = warnings(text, NOW - 1)
    assert warning.startswith("ends after 2 more runs, the last at 2026-09-23 12:00:00 UTC, for then it is BAD: no run")


NEW_YORK = "America/New_York"
SPRING, AUTUMN = utc(2026, 3, 1), utc(2026, 10, 25)


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        (f"CRON:30 2 * * * {NEW_YORK}", SPRING, "skips 2026-03-08 02:30: runs at 2026-03-08 03:00:00-04:00 instead"),
        (f"CRON:0 2,3 * * * {NEW_YORK}", SPRING, "skips 2026-03-08 02:00: no run of its own for it"),
        (f"CRON:*/30 * * * * {NEW_YORK}", SPRING, "skips 2026-03-08 02:00: no run of its own for it"),
        (f"CRON:*/30 2 * * * {NEW_YORK}", SPRING, "skips 2026-03-08 02:00: no run of its own for it"),
        (
            f"CRON:30 1 * * * {NEW_YORK}",
            AUTUMN,
            "shows 2026-11-01 01:30 twice: runs once, at 2026-11-01 01:30:00-04:00",
        ),
        (f"CRON:0 * * * * {NEW_YORK}", AUTUMN, "shows 2026-11-01 01:00 twice: runs at both"),
        (
            f"DTSTART;TZID={NEW_YORK}:20260101T023000\nRRULE:FREQ=DAILY",
            SPRING,
            "skips 2026-03-08 02:30: runs at 2026-03-08 03:30:00-04:00 instead",
        ),
        (
            f"DTSTART;TZID={NEW_YORK}:20260101T013000\nRRULE:FREQ=DAILY",
            AUTUMN,
            "shows 2026-11-01 01:30 twice: runs once, at 2026-11-01 01:30:00-04:00",
        ),
        (
            f"DTSTART;TZID={NEW_YORK}:20260101T003000\nRRULE:FREQ=HOURLY",
            AUTUMN,
            "shows 2026-11-01 01:30 twice: runs at both",
        ),
        (
            "CRON:15 2 * * * Australia/Lord_Howe",
            utc(2026, 9, 1),
            "skips 2026-10-04 02:15: runs at 2026-10-04 02:30:00+11:00 instead",
        ),
    ],
)
def test_warnings_of_clock_changes(schedule: str, after: float, expected: str) -> None:
    """For a schedule in a zone, the next change of its clock that touches a run is told, with what becomes of it."""
    zone = next_runs(schedule, after).zone
    assert zone is not None
    assert warnings(schedule, after)[0] == f"the clock of {zone.key} {expected}"


def test_no_clock_changes_after_the_end() -> None:
    """A change of the clock that comes after the last run is not told."""
    text = f"DTSTART;TZID={NEW_YORK}:20260921T013000\nRRULE:FREQ=DAILY;COUNT=20"
    assert [warning.split(",")[0] for warning in warnings(text)] == ["ends after 19 more runs"]
