"""Looking before one sets: `redbike next` and `next_runs`, which tell the next runs of a schedule and warn."""

import re
import shlex
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from helpers import ROOT, utc
from processes import run_command

from redbike import cli, next_runs
from redbike.schedule.preview import MOST_RUNS

NOW = 1_790_000_000  # 2026-09-21 14:13:20 UTC
NO_TIME = "not a time in Unix seconds, such as 1790000000, or in ISO 8601, such as 2026-12-24T18:00:00+01:00, or now"


def warnings(schedule: str, after: float = NOW, count: int = 5) -> list[str]:
    preview = next_runs(schedule, after, count)
    assert preview.reason is None
    return preview.warnings


# The command


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], list[str]]:
    """Return the exit code, and the lines on stdout and stderr."""
    code = cli.main(["next", *arguments])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()


def test_the_command_needs_nothing(tmp_path: Path) -> None:
    """`redbike next` prints the next five runs, one per line, with neither a conf nor a Redis."""
    ended = run_command(tmp_path, "next", "EVERY:2h", f"--after={NOW}")
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
    """If the schedule names a zone, each line has the time in UTC and the local time with its offset."""
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
    """A schedule that cannot be read gives one line with the reason on stderr, and exit code 1."""
    code, out, err = said(capsys, schedule)
    assert (code, out) == (1, [])
    [line] = err
    assert line == f"redbike: {next_runs(schedule).reason}"
    assert "\x1b" not in line


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--count", "0"], "--count: '0' is not a number from 1 to 1000"),
        (["--count", "-5"], "--count: '-5' is not a number from 1 to 1000"),
        (["--count", "x"], "--count: 'x' is not a number from 1 to 1000"),
        (["--count", "1.5"], "--count: '1.5' is not a number from 1 to 1000"),
        (["--count", ""], "--count: '' is not a number from 1 to 1000"),
        (["--count", "1001"], "--count: '1001' is not a number from 1 to 1000"),
        (["--count", "9" * 5000], f"--count: '{'9' * 40}' is not a number from 1 to 1000"),
        (["--count", "٣"], "--count: '٣' is not a number from 1 to 1000"),
        (["--after", "x"], f"--after: 'x' is {NO_TIME}"),
        (["--after", "nan"], f"--after: 'nan' is {NO_TIME}"),
        (["--after", "1e18"], "--after: 1000000000000000000 is not a time in Unix seconds within the years 1 to 9999"),
    ],
)
def test_the_command_refuses_what_is_no_number(
    capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    """A bad count or time gives one line on stderr with the value and the allowed values, and exit code 1."""
    assert said(capsys, "NOW", *arguments) == (1, [], [f"redbike: {reason}"])


def test_the_command_warns_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings go to stderr, so that stdout holds only the runs, and the exit code is 0."""
    code, out, err = said(capsys, "FREQ=DAILY;UNTIL=20200101T000000")
    assert (code, out, err) == (0, [], ["redbike: never runs: the recurrence has no further run"])


PAGE = ROOT / "docs" / "schedules.md"


def shown() -> list[tuple[str, str]]:
    """Return the commands on the page about schedules, each with its output."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return [tuple(part.split("\n", 1)) for block in blocks for part in block.split("$ ")[1:]]  # type: ignore[misc]


@pytest.mark.parametrize(("typed", "printed"), shown())
def test_the_page_on_schedules(capsys: pytest.CaptureFixture[str], typed: str, printed: str) -> None:
    """Each command on the page about schedules prints what the page shows."""
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
    """`next_runs` returns the times at which a job with this schedule would run, in UTC, for each form."""
    preview = next_runs(schedule, after=NOW, count=3)
    assert [run.timestamp() for run in preview.runs] == runs
    assert all(run.tzinfo is UTC for run in preview.runs)


def test_now_is_this_machines_time() -> None:
    """Without a reference time, the runs are those after now."""
    before = datetime.now(UTC)
    [run] = next_runs("NOW").runs
    assert before <= run <= datetime.now(UTC)


def test_a_bad_schedule_has_a_reason() -> None:
    """A schedule that cannot be read has no runs, no zone and no warnings, but a reason."""
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
    """Up to 1,000 runs can be asked for."""
    assert len(next_runs(schedule, NOW, MOST_RUNS).runs) == MOST_RUNS


def test_a_schedule_that_is_dear_to_follow() -> None:
    """A schedule whose every run takes long to find gives all runs that were asked for; warnings cost at most a second
    more.
    """
    hours, minutes = (",".join(map(str, range(1, size))) for size in (24, 60))
    excluded = f"EXRULE:FREQ=MINUTELY;BYHOUR={hours}\nEXRULE:FREQ=MINUTELY;BYHOUR=0;BYMINUTE={minutes}"
    text = f"DTSTART:20260101T000000\nRRULE:FREQ=MINUTELY\n{excluded}"
    begin = time.monotonic()
    assert len(next_runs(text, NOW, 3).runs) == 3
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    "schedule",
    [
        "CRON:0 0 29 2 *",
        "CRON:0 0 29 2 */7 America/New_York",
        "CRON:*/5 9-17 * * mon-fri Europe/Berlin",
        "CRON:59 23 31 12 5",
        "FREQ=DAILY",
        "DTSTART;TZID=Europe/Berlin:20260101T090000\nRRULE:FREQ=MONTHLY;BYDAY=-1FR;COUNT=900",
        "DTSTART;TZID=Europe/Berlin:20000101T000000\nRRULE:FREQ=MINUTELY\nEXRULE:FREQ=MINUTELY;BYDAY=SA,SU",
    ],
)
def test_a_preview_takes_fifty_milliseconds(schedule: str) -> None:
    """A preview of five runs, with its warnings, takes at most 50 ms of computing."""
    took = []
    for _ in range(5):
        begin = time.thread_time()
        assert len(next_runs(schedule, NOW).runs) == 5
        took.append(time.thread_time() - begin)
    assert min(took) <= 0.05


# Warnings


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("STOP", ["never runs: the schedule is STOP"]),
        ("FREQ=DAILY;UNTIL=20200101T000000", ["never runs: the recurrence has no further run"]),
        ("CRON:0 0 */31 2 mon#5", ["never runs: the cron expression has no run within fifty years"]),
        ("CONTINUE", ["runs again as soon as a run ends: return seconds from work() for a pause"]),
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
        ("EVERY:1", ["runs every second: a run that takes longer skips the runs that become due meanwhile"]),
        (
            "FREQ=DAILY",
            ["without DTSTART, the recurrence starts again after each run: times drift, and COUNT is never used up"],
        ),
        (
            "FREQ=DAILY;COUNT=3;BYHOUR=9;BYMINUTE=0;BYSECOND=0",
            ["without DTSTART, the recurrence starts again after each run: times drift, and COUNT is never used up"],
        ),
    ],
)
def test_warnings(schedule: str, expected: list[str]) -> None:
    """Likely mistakes give a warning: no run, an end, a start far off, a run per second, no DTSTART."""
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
    """A schedule with nothing odd gives no warning."""
    assert warnings(schedule) == []


def test_a_schedule_that_turns_bad() -> None:
    """If a rule gives some runs and then matches too rarely to be searched, the warning says so."""
    hours, minutes = ",".join(map(str, range(12, 24))), ",".join(map(str, range(30)))
    text = f"DTSTART:20260922T120001\nRRULE:FREQ=SECONDLY;INTERVAL=86399;BYHOUR={hours};BYMINUTE={minutes}"
    [warning] = warnings(text, NOW - 1)
    assert warning.startswith("ends after 2 more runs, the last at 2026-09-23 12:00:00 UTC, because then it is BAD: no")


NEW_YORK = "America/New_York"
SPRING, AUTUMN = utc(2026, 3, 1), utc(2026, 10, 25)


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        (f"CRON:30 2 * * * {NEW_YORK}", SPRING, "skips 2026-03-08 02:30: runs at 2026-03-08 03:00:00-04:00 instead"),
        (f"CRON:0 2,3 * * * {NEW_YORK}", SPRING, "skips 2026-03-08 02:00: this run is left out"),
        (f"CRON:*/30 * * * * {NEW_YORK}", SPRING, "skips 2026-03-08 02:00: this run is left out"),
        (f"CRON:*/30 2 * * * {NEW_YORK}", SPRING, "skips 2026-03-08 02:00: this run is left out"),
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
    """For a schedule in a zone, a warning names the next clock change that affects a run, and its effect."""
    zone = next_runs(schedule, after).zone
    assert zone is not None
    assert warnings(schedule, after)[0] == f"the clock of {zone.key} {expected}"


def test_no_clock_changes_after_the_end() -> None:
    """A clock change after the last run gives no warning."""
    text = f"DTSTART;TZID={NEW_YORK}:20260921T013000\nRRULE:FREQ=DAILY;COUNT=20"
    assert [warning.split(",")[0] for warning in warnings(text)] == ["ends after 19 more runs"]
